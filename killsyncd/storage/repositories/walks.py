"""How far each walk has come, and what the pages said that it read.

A page is one transaction: its sightings, what is wanted because of them, its validators (ETag,
Expires), the walk's progress, and with the last page the job's end. So the ETag of a page is
never stored without what the page listed.
"""

from __future__ import annotations

from dataclasses import replace
from datetime import datetime

from killsyncd.core.clock import utc
from killsyncd.core.model import FRESH_SECONDS, Doubt, Job, PageState, SyncMode, Walk
from killsyncd.esi.ratelimit.ports import Alongside
from killsyncd.esi.ratelimit.windows import Settlement
from killsyncd.esi.responses import SetAside
from killsyncd.storage.repositories import sync_requests as wants
from killsyncd.storage.repositories.budgets import settle
from killsyncd.storage.repositories.sightings import derive_last_ids, sight
from killsyncd.storage.repository import Repository, reads, writes
from killsyncd.storage.transaction import Many, Row, Run, Store, Tx, as_datetime, one
from killsyncd.sync.walk import (
    LeaseLost,
    Outcome,
    PageNews,
    PageSeen,
    PageWritten,
    Sighted,
    SourceState,
    after_page,
    doubt_after,
    is_torn,
    wider,
)

LISTED_FOR = 89 * 86_400.0
"""Seconds for which a mail certainly stands on its list: ESI lists 90 days."""

MOST_SET_ASIDE = 100
"""Entries of a page that are written down although they cannot be read; a page of nonsense has thousands."""


_GOLDEN = 0x9E3779B1
"""2^32 by the golden ratio (Knuth): its multiples of any regular numbers are spread evenly."""


class Walks(Repository):
    """Walks and pages, as the consumer sees them. holder: this daemon's id."""

    def __init__(self, store: Store, holder: str) -> None:
        super().__init__(store)
        self._holder = holder

    @reads
    def source_state(self, source_id: int) -> Tx[SourceState | None]:
        """How far a source was read. None: it is gone (erased)."""
        row = one((yield Run("ledger.source", {"source_id": source_id})))
        return SourceState(row["unbroken_at"], row["full_walk_at"]) if row is not None else None

    def start(self, source_id: int, mode: SyncMode) -> Tx[tuple[SourceState, Walk, PageState | None] | None]:
        """A source, its walk at least as wide as mode, and that walk's next page; None: the source is gone.

        A part for the transaction that claims a job.
        """
        row = one((yield Run("ledger.start", {"source_id": source_id})))
        if row is None:
            return None
        source = SourceState(row["unbroken_at"], row["full_walk_at"])
        if source.unbroken_at is None and mode is SyncMode.INCREMENTAL:
            mode = SyncMode.FIRST_SYNC
        running = None if row["id"] is None else _walk(row)
        if running is None:
            walk = yield from _start_walk(source_id, mode)
        elif wider(running.mode, mode) is running.mode:
            walk = running
        else:
            walk = yield from self.open_walk.tx(source_id, mode)
            return source, walk, (yield from self.page_state.tx(source_id, walk.next_page))
        return source, walk, _page_state(row, walk.next_page, row["not_before"])

    @writes
    def open_walk(self, source_id: int, mode: SyncMode) -> Tx[Walk]:
        """The walk under way, or a new one, at least as wide as mode."""
        row = one((yield Run("ledger.walk_running", {"source_id": source_id})))
        if row is None:
            return (yield from _start_walk(source_id, mode))
        walk = _walk(row)
        broad = wider(walk.mode, mode)
        if broad is walk.mode:
            return walk
        # What an incremental walk has passed without stopping counts for the full one too.
        yield Run("ledger.walk_mode", {"id": walk.id, "mode": broad.value})
        walk = replace(walk, mode=broad)
        if walk.doubt is not None:
            # But not a page that was answered 304 (its doubt may stand behind another): a full walk reads
            # every entry anew.
            return (yield from self.restart_walk.tx(walk, None))
        return walk

    @writes
    def restart_walk(self, walk: Walk, ends_at: int | None = None) -> Tx[Walk]:
        """Begin again at page 1, in the same mode; what was seen stays seen.

        ends_at: the list is only so many pages long by now, which an answer without X-Pages would not tell.
        """
        yield Run("ledger.walk_restart", {"id": walk.id})
        if ends_at is not None:
            ends = {"source_id": walk.source_id, "pages": ends_at}
            yield Run("ledger.list_ends", ends)
            yield Run("ledger.pages_beyond", ends)
        return (yield from self.open_walk.tx(walk.source_id, walk.mode))

    @reads
    def page_state(self, source_id: int, page: int) -> Tx[PageState | None]:
        """What we know of a page; None when it was never asked for."""
        row = one((yield Run("ledger.page", {"source_id": source_id, "page": page})))
        return None if row is None else _page_state(row, page, row["not_before"])

    @writes
    def before_ask(self, source_id: int, page: int, at: float) -> Tx[bool]:
        """Write down that a page is about to be asked for. False: the lease is lost, don't ask."""
        values = {"source_id": source_id, "page": page, "at": at, "holder": self._holder}
        return bool((yield Run("ledger.page_asked", values)))

    def asking(self, source_id: int, page: int) -> Alongside:
        """The same as a part of the transaction that reserves the request's tokens; it raises LeaseLost."""

        def note(at: float) -> Tx[None]:
            if not (yield from self.before_ask.tx(source_id, page, at)):
                raise LeaseLost("the lease is lost")

        return note

    @writes
    def write_page(
        self, job: Job, walk: Walk, news: PageNews, max_pages: int, settlement: Settlement | None = None
    ) -> Tx[PageWritten]:
        """One page, one transaction: sightings, refs, validators, progress, its cost, and the job's end."""
        if settlement is not None:
            yield from settle(settlement.bills, settlement.observations)
        lost = PageWritten(False, Outcome.GO_ON, walk, 0.0)
        held = one((yield Run("ledger.held", {"source_id": job.source_id, "page": news.page})))
        if held is None or held["holder"] != self._holder:
            return lost
        before = _page_state(held, news.page)
        pages = _pages(walk, news, before)
        sighted = Sighted()
        if news.entries is not None:
            sighted = yield from sight(job.source_id, news.entries, news.at)
            yield from _set_aside(walk, news)
        known_whole = sighted.new == 0 and not news.passed
        if before is not None and before.answered_at and pages > before.pages and not walk.new:
            known_whole = False  # the list grew and this walk saw nothing new: it is on later pages
        if not news.passed:
            yield from _page_answered(job.source_id, news, before, pages)
        seen = PageSeen(news.page, pages, news.last_modified, known_whole)
        more = seen.page < seen.pages  # else it ends here, whatever was known before
        unbroken = more and held["unbroken_at"] is not None
        may_stop = unbroken and (yield from _settled_before(job.source_id))
        outcome = after_page(walk, seen, may_stop=may_stop, max_pages=max_pages)
        doubt = doubt_after(walk, news, pages)
        if news.no_list and doubt is None and (yield from _must_be_listed(job.source_id, news.at)):
            doubt = Doubt.NO_LIST
        walk = replace(
            walk,
            next_page=news.page + 1,
            pages=pages,
            last_modified=walk.last_modified or news.last_modified,
            torn=is_torn(walk, seen),
            listed=walk.listed + sighted.listed,
            new=walk.new + sighted.new,
            made_at=news.made_at if news.page == 1 else walk.made_at,
            doubt=doubt,
        )
        if not (yield from _step(walk, outcome, sighted)):
            return lost
        if sighted.new:
            yield from derive_last_ids([job.source_id])
        acknowledged = False
        if outcome is not Outcome.GO_ON:
            acknowledged = yield from _end(
                job,
                walk,
                outcome,
                self._holder,
                news.at,
                listed=bool(news.entries),
                has_set_aside=bool(held["has_set_aside"]),
            )
        return PageWritten(True, outcome, walk, news.expires_at, sighted, acknowledged)

    @writes
    def page_refused(
        self, source_id: int, page: int, at: float, expires_at: float, *, gone: bool = False
    ) -> Tx[None]:
        """ESI answered, and with nothing of use. expires_at: its Expires, 0 where it had none. gone: 404."""
        values = {
            "source_id": source_id,
            "page": page,
            "at": at,
            "expires_at": expires_at,
            "gone": int(gone),
        }
        yield Run("ledger.page_refused", values)

    @reads
    def torn_in_a_row(self, source_id: int) -> Tx[int]:
        """How many walks in a row were torn, the last one included."""
        row = one((yield Run("ledger.torn_in_a_row", {"source_id": source_id})))
        return int(row["n"]) if row else 0


def _start_walk(source_id: int, mode: SyncMode) -> Tx[Walk]:
    row = one((yield Run("ledger.walk_start", {"source_id": source_id, "mode": mode.value})))
    assert row is not None, "INSERT ... RETURNING answers its row"
    return _walk(row)


def _page_state(row: Row, page: int, not_before: float | None = None) -> PageState | None:
    """What a row says of a page; None where it was never asked for. not_before: of a life before this one."""
    if row["page"] is None:
        if not_before is None:
            return None
        return PageState(page, None, None, 0.0, 0.0, 0.0, 1, not_before=float(not_before))
    return PageState(
        int(row["page"]),
        row["etag"],
        row["page_modified"],
        float(row["expires_at"]),
        float(row["asked_at"]),
        float(row["answered_at"]),
        int(row["page_pages"]),
        float(row["body_at"]),
        float(not_before or 0.0),
        float(row["gone_at"]),
    )


def _page_answered(source_id: int, news: PageNews, before: PageState | None, pages: int) -> Tx[None]:
    kept = before if before is not None and news.entries is None else None
    body_at = news.at if news.entries is not None else (before.body_at if before else 0.0)
    yield Run(
        "ledger.page_answered",
        {
            "source_id": source_id,
            "page": news.page,
            # The validator of what was read: a 304 from a node that has gone wrong may name a newer list,
            # which every other node would then rightly call unchanged.
            "etag": kept.etag if kept is not None else news.etag,
            "last_modified": news.last_modified or (kept.last_modified if kept else None),
            "expires_at": news.expires_at,
            "at": news.at,
            "pages": pages,
            "body_at": body_at,
        },
    )
    if news.page == 1 and (before is None or before.pages != pages):
        yield Run("ledger.pages_beyond", {"source_id": source_id, "pages": pages})


def _set_aside(walk: Walk, news: PageNews) -> Tx[None]:
    """Write down entries that cannot be read; a full walk that no longer meets one deletes it."""
    told: dict[str, SetAside] = {each.entry: each for each in news.set_aside[:MOST_SET_ASIDE]}
    if told:
        yield Many(
            "ledger.set_aside",
            [
                {
                    "source_id": walk.source_id,
                    "entry": each.entry,
                    "reason": each.reason,
                    "at": news.at,
                    "walk_id": walk.id,
                }
                for each in told.values()
            ],
        )


def _must_be_listed(source_id: int, at: float) -> Tx[bool]:
    """Whether this source has listed a mail that cannot have left its list yet."""
    row = one((yield Run("ledger.newest_listed", {"source_id": source_id})))
    if row is None:
        return False
    killed: datetime | None = as_datetime(row["killmail_time"])
    return killed is None or killed > utc(at - LISTED_FOR)


def _step(walk: Walk, outcome: Outcome, sighted: Sighted) -> Tx[bool]:
    stepped = yield Run(
        "ledger.walk_step",
        {
            "id": walk.id,
            "state": outcome.value,
            "next_page": walk.next_page,
            "pages": walk.pages,
            "last_modified": walk.last_modified,
            "torn": walk.torn,
            "listed": sighted.listed,
            "new": sighted.new,
            "made_at": walk.made_at,
            "doubt": walk.doubt.value if walk.doubt else None,
            "ended": int(outcome is not Outcome.GO_ON),
        },
    )
    return bool(stepped)


def _pages(walk: Walk, news: PageNews, before: PageState | None) -> int:
    """How long the list is; an answer without X-Pages leaves that as it was last said."""
    if news.pages is not None:
        return news.pages
    if news.page > 1:
        return walk.pages
    return before.pages if before is not None else 1


def _settled_before(source_id: int) -> Tx[bool]:
    """Whether the walk before this one came to its end.

    One that was torn or given up has seen first pages without those behind them: to
    stop at a page that it made known would hide what stands beyond.
    """
    row = one((yield Run("ledger.unsettled", {"source_id": source_id})))
    return row is not None and int(row["n"]) <= 1


def _end(
    job: Job, walk: Walk, outcome: Outcome, holder: str, at: float, *, listed: bool, has_set_aside: bool
) -> Tx[bool]:
    """After the last page of a walk: what the source and the user keep of it, and the acknowledgement.

    listed: whether the page had entries; where it had none (304) no last id has changed. has_set_aside:
    whether the source had entries that cannot be read before this page.
    A walk in doubt ends like any other, but is no proof that the list is complete.
    """
    proof = walk.doubt is None and outcome in (Outcome.COMPLETE, Outcome.STOPPED)
    whole = proof and outcome is Outcome.COMPLETE
    if whole and has_set_aside:
        yield Run("ledger.no_more_set_aside", {"source_id": job.source_id, "walk_id": walk.id})
    vouched = {"source_id": job.source_id, "until": walk.made_at if proof else None, "whole": int(whole)}
    yield Run("ledger.walked", vouched)
    yield Run("ledger.user_synced", {"source_id": job.source_id})
    if walk.new:
        yield from _fought(job.source_id, at)
    if listed:
        yield from derive_last_ids([job.source_id])
    if _prunes(walk.id):
        yield Run("ledger.walks_prune", {"source_id": job.source_id})
    if outcome is Outcome.TORN:
        return False  # the caller keeps the job, for another walk once the list has settled
    return (yield from wants.finish(job, holder))


def _prunes(walk_id: int) -> bool:
    """Whether this walk deletes old ones: one in eight does.

    The ids of a source's walks may lie any distance apart (4,900 lists read in turn): they are mixed first.
    """
    return (walk_id * _GOLDEN) >> 29 & 7 == 0


def _fought(source_id: int, at: float) -> Tx[None]:
    """The newest mail may be stored already, through another source, and fresh all the same."""
    row = one((yield Run("ledger.newest_listed", {"source_id": source_id})))
    killed = as_datetime(row["killmail_time"]) if row is not None else None
    if killed is not None and at - killed.timestamp() <= FRESH_SECONDS:
        yield Run("ledger.fresh", {"source_id": source_id, "at": killed.timestamp()})


def _walk(row: Row) -> Walk:
    return Walk(
        int(row["id"]),
        int(row["source_id"]),
        SyncMode(row["mode"]),
        int(row["next_page"]),
        int(row["pages"]),
        row["last_modified"],
        bool(row["torn"]),
        float(row["started_at"]),
        int(row["listed"]),
        int(row["new"]),
        None if row["made_at"] is None else float(row["made_at"]),
        None if row["doubt"] is None else Doubt(row["doubt"]),
    )
