"""What was read of zKillboard, and how far (killsyncd/zkillboard/)."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import replace

from killsyncd.core.model import SourceKind
from killsyncd.storage.repositories.sightings import derive_last_ids, sight
from killsyncd.storage.repositories.sources import switch
from killsyncd.storage.repository import Repository, reads, writes
from killsyncd.storage.transaction import Row, Run, Tx, one
from killsyncd.zkillboard.ports import Found, PageKept, StreamPosition
from killsyncd.zkillboard.walk import KEEP, WITH_STREAM, EntityKind, ListedPage, Subject, after_page


def subject_from(row: Row) -> Subject:
    """A subject from a row of `zkillboard.subject`."""
    return Subject(
        int(row["source_id"]),
        EntityKind(row["entity"]),
        int(row["subject_id"]),
        int(row["next_page"]),
        row["walk_at"],
        row["whole_at"],
        row["full_at"],
        row["unbroken_at"],
        row["watched_at"],
        int(row["failures"]),
        bool(row["listed"]),
    )


class ZkillboardRepository(Repository):
    """Implements `ZkillboardRows`."""

    @writes
    def switch(self, *, on: bool) -> Tx[None]:
        """Whether zKillboard is asked at all."""
        yield from switch(SourceKind.ZKILLBOARD, on=on)

    @writes
    def watch(self, *, corporations: bool) -> Tx[None]:
        """Give everybody a subject who is to be looked for and has none."""
        values = {"corporations": int(corporations)}
        yield Run("zkillboard.new_pilots", {})
        yield Run("zkillboard.new_corporations", values)
        yield Run("zkillboard.new_subjects", {})
        yield Run("zkillboard.not_watched", values)
        yield Run("zkillboard.watched_again", {**values, "keep": KEEP})

    @reads
    def watched(self) -> Tx[Mapping[int, int]]:
        """The id of everybody who is to be looked for, with the source."""
        rows = yield Run("zkillboard.watched", {})
        return {int(row["subject_id"]): int(row["source_id"]) for row in rows}

    @reads
    def next_subject(self) -> Tx[Subject | None]:
        """Whose page is to be asked for next; None: nobody's just now."""
        row = one((yield Run("zkillboard.next_subject", {"longest": 2 * WITH_STREAM})))
        return None if row is None else subject_from(row)

    @reads
    def next_due(self) -> Tx[float | None]:
        """Seconds until somebody's page is; None: nobody is there."""
        row = one((yield Run("zkillboard.next_due", {})))
        return None if row is None or row["seconds"] is None else max(0.0, float(row["seconds"]))

    @writes
    def page_read(
        self, subject: Subject, page: ListedPage, at: float, *, streaming: bool
    ) -> Tx[PageKept | None]:
        """Keep a page: its mails, and how far the subject was read. None: the subject is gone."""
        row = one((yield Run("zkillboard.subject", {"source_id": subject.source_id})))
        if row is None:
            return None
        sighted = yield from sight(subject.source_id, page.entries, at)
        known = subject_from(row)
        if not streaming:
            known = replace(known, unbroken_at=None)
        progress = after_page(known, page, new=sighted.new, at=at)
        values = {
            "source_id": subject.source_id,
            "next_page": progress.subject.next_page,
            "walk_at": progress.subject.walk_at,
            "whole_at": progress.subject.whole_at,
            "full_at": progress.subject.full_at,
            "wait": progress.wait,
            "bad": page.bad,
        }
        yield Run("zkillboard.page_read", values)
        yield Run("zkillboard.no_trouble", {"source_id": subject.source_id})
        if progress.ended:
            yield Run("ledger.synced", {"source_id": subject.source_id})
        yield from derive_last_ids([subject.source_id])
        return PageKept(progress.ended, sighted.new, sighted.listed - sighted.stored)

    @writes
    def subject_failed(self, source_id: int, wait: float, reason: str | None) -> Tx[None]:
        """A page did not come; the subject is asked for again in `wait` seconds."""
        yield Run("zkillboard.subject_failed", {"source_id": source_id, "wait": wait})
        if reason is not None:
            yield Run("zkillboard.trouble", {"source_id": source_id, "reason": reason})

    @reads
    def stream_position(self) -> Tx[StreamPosition]:
        """How far the stream was read."""
        row = one((yield Run("zkillboard.stream", {})))
        assert row is not None, "its migration makes the row"
        return StreamPosition(row["sequence"], row["unbroken_at"], row["read_at"])

    @writes
    def stream_begins(self, sequence: int) -> Tx[None]:
        """The stream is read from after `sequence` on, with a gap before it: the lists are to fill it."""
        yield Run("zkillboard.stream_begins", {"sequence": sequence})
        yield Run("zkillboard.lists_fill_the_gap", {"keep": KEEP})

    @writes
    def stream_read(
        self, sequence: int, found: Sequence[Found], at: float, *, at_end: bool, gap: bool
    ) -> Tx[Sequence[int]]:
        """Keep what the files up to `sequence` brought; answers the sources that wait for mails of it."""
        by_source: dict[int, list[tuple[int, str]]] = {}
        for each in found:
            for source_id in each.source_ids:
                by_source.setdefault(source_id, []).append((each.killmail_id, each.killmail_hash))
        wanted = []
        for source_id, listed in sorted(by_source.items()):
            # Erased meanwhile: nobody of ours is on it any more.
            if one((yield Run("zkillboard.subject", {"source_id": source_id}))) is not None:
                sighted = yield from sight(source_id, listed, at)
                if sighted.listed > sighted.stored:
                    wanted.append(source_id)
        if by_source:
            yield from derive_last_ids(sorted(by_source))
        if gap:
            yield from self.stream_begins.tx(sequence)
        yield Run("zkillboard.stream_read", {"sequence": sequence, "at_end": int(at_end)})
        return wanted
