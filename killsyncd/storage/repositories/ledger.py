"""The ledger: what was listed, what is wanted, and how far each walk has come.

From the moment a page is written down here no mail on it can be lost: it ends
stored, or quarantined with a reason. A page's validators (ETag, Expires) are
committed together with what the page told us, never before.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace

from killsyncd.core.model import HEAVY_PENDING, Job, PageState, PendingOf, Ref, SyncMode, Walk
from killsyncd.storage.repositories import sync_requests as wants
from killsyncd.storage.repositories.sightings import sight, try_another_hash
from killsyncd.storage.transaction import Row, Run, Store, Tx, ids_parameter, one
from killsyncd.sync.walk import (
    Outcome,
    PageNews,
    PageSeen,
    PageWritten,
    Sighted,
    SourceState,
    after_page,
    is_torn,
)


def open_walk(source_id: int, mode: SyncMode) -> Tx[Walk]:
    """The walk that is under way, widened to `mode`, or a new one."""
    row = one((yield Run("ledger.walk_running", {"source_id": source_id})))
    if row is None:
        row = one((yield Run("ledger.walk_start", {"source_id": source_id, "mode": mode.value})))
        assert row is not None, "INSERT ... RETURNING answers its row"
        return _walk(row)
    walk = _walk(row)
    broad = wants.wider(walk.mode, mode)
    if broad is not walk.mode:
        # What an incremental walk has passed without stopping counts for the full one too.
        yield Run("ledger.walk_mode", {"id": walk.id, "mode": broad.value})
        walk = replace(walk, mode=broad)
    return walk


def _restart_walk(walk: Walk, ends_at: int | None) -> Tx[Walk]:
    yield Run("ledger.walk_restart", {"id": walk.id})
    if ends_at is not None:
        yield Run("ledger.list_ends", {"source_id": walk.source_id, "pages": ends_at})
    return (yield from open_walk(walk.source_id, walk.mode))


def _before_ask(source_id: int, page: int, at: float, holder: str) -> Tx[bool]:
    row = one((yield Run("ledger.held", {"source_id": source_id})))
    if row is None or row["holder"] != holder:
        return False
    yield Run("ledger.page_asked", {"source_id": source_id, "page": page, "at": at})
    return True


def _page_state(source_id: int, page: int) -> Tx[PageState | None]:
    row = one((yield Run("ledger.page", {"source_id": source_id, "page": page})))
    if row is None:
        return None
    return PageState(
        int(row["page"]),
        row["etag"],
        row["last_modified"],
        float(row["expires_at"]),
        float(row["asked_at"]),
        float(row["answered_at"]),
        int(row["pages"]),
    )


def _write_page(
    dialect: str, job: Job, walk: Walk, news: PageNews, max_pages: int, holder: str
) -> Tx[PageWritten]:
    lost = PageWritten(False, Outcome.GO_ON, walk, 0.0)
    held = one((yield Run("ledger.held", {"source_id": job.source_id})))
    source = one((yield Run("ledger.source", {"source_id": job.source_id})))
    if held is None or held["holder"] != holder or source is None:
        return lost
    before = yield from _page_state(job.source_id, news.page)
    pages = _pages(walk, news, before)
    sighted = Sighted()
    if news.entries is not None:
        sighted = yield from sight(dialect, job.source_id, news.entries, news.at)
    known_whole = sighted.new == 0
    if before is not None and before.answered_at and pages > before.pages and not walk.new:
        known_whole = False  # the list has grown, and not by what this walk has seen: behind this page
    last_modified = news.last_modified or (before.last_modified if before else None)
    yield Run(
        "ledger.page_answered",
        {
            "source_id": job.source_id,
            "page": news.page,
            "etag": news.etag or (before.etag if before and news.entries is None else None),
            "last_modified": last_modified,
            "expires_at": news.expires_at,
            "at": news.at,
            "pages": pages,
        },
    )
    if news.page == 1:
        yield Run("ledger.pages_beyond", {"source_id": job.source_id, "pages": pages})
    seen = PageSeen(news.page, pages, news.last_modified, known_whole)
    may_stop = source["unbroken_at"] is not None and (yield from _settled_before(job.source_id))
    outcome = after_page(walk, seen, may_stop=may_stop, max_pages=max_pages)
    walk = replace(
        walk,
        next_page=news.page + 1,
        pages=pages,
        last_modified=walk.last_modified or last_modified,
        torn=is_torn(walk, seen),
        listed=walk.listed + sighted.listed,
        new=walk.new + sighted.new,
    )
    stepped = yield Run(
        "ledger.walk_step",
        {
            "id": walk.id,
            "state": outcome.value,
            "next_page": walk.next_page,
            "pages": pages,
            "last_modified": walk.last_modified,
            "torn": walk.torn,
            "listed": sighted.listed,
            "new": sighted.new,
            "ended": int(outcome is not Outcome.GO_ON),
        },
    )
    if not stepped:
        return lost
    if sighted.new:
        yield from derive_last_ids(dialect, [job.source_id])
    acknowledged = False
    if outcome is not Outcome.GO_ON:
        acknowledged = yield from _end(dialect, job, outcome, holder)
    return PageWritten(True, outcome, walk, news.expires_at, sighted, acknowledged)


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


def _end(dialect: str, job: Job, outcome: Outcome, holder: str) -> Tx[bool]:
    """The last page of a walk: the source's marks, the user's, and the acknowledgement."""
    if outcome is Outcome.COMPLETE:
        yield Run("ledger.walked_unbroken", {"source_id": job.source_id})
    yield Run("ledger.synced", {"source_id": job.source_id})
    yield from derive_last_ids(dialect, [job.source_id])
    yield Run("ledger.walks_prune", {"source_id": job.source_id})
    if outcome is Outcome.TORN:
        return False  # the caller keeps the job, for another walk once the list has settled
    return (yield from wants.finish(job, holder))


def derive_last_ids(dialect: str, source_ids: Sequence[int]) -> Tx[None]:
    """Set `last_killmail_id` of these sources' users anew. A part for other transactions."""
    ids = {"ids": ids_parameter(dialect, source_ids)}
    if dialect != "sqlite":
        # A statement of its own: the next one then sees what the last holder of the lock committed.
        yield Run("ledger.lock_users", ids)
    yield Run("ledger.derive_last_ids", ids)


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
    )


def _ref(row: Row) -> Ref:
    return Ref(
        int(row["killmail_id"]),
        str(row["killmail_hash"]),
        int(row["attempts"]),
        int(row["refusals"]),
        float(row["first_listed_at"]),
    )


def _page_refused(source_id: int, page: int, at: float, expires_at: float) -> Tx[None]:
    values = {"source_id": source_id, "page": page, "at": at, "expires_at": expires_at}
    yield Run("ledger.page_refused", values)


def _source_state(source_id: int) -> Tx[SourceState | None]:
    row = one((yield Run("ledger.source", {"source_id": source_id})))
    return SourceState(row["unbroken_at"], row["full_walk_at"]) if row is not None else None


def _torn_in_a_row(source_id: int) -> Tx[int]:
    row = one((yield Run("ledger.torn_in_a_row", {"source_id": source_id})))
    return int(row["n"]) if row else 0


def _pending_sources() -> Tx[list[int]]:
    rows = yield Run("ledger.pending_sources", {})
    return [int(row["source_id"]) for row in rows]


def _pending_of(source_id: int, limit: int, holder: str) -> Tx[PendingOf]:
    counting = {"source_id": source_id, "limit": limit + HEAVY_PENDING + 1}
    counted = one((yield Run("ledger.pending_count", counting)))
    if counted is None:
        return PendingOf([], 0, 1)
    rows = yield Run("ledger.pending_of", {"source_id": source_id, "limit": limit, "holder": holder})
    return PendingOf([_ref(row) for row in rows], int(counted["pending"]), int(counted["weight"]))


def _ripe_sources(after: float) -> Tx[tuple[list[int], float]]:
    # The time first: what ripens between the two statements is found by the next call.
    now = one((yield Run("meta.now", {})))
    assert now is not None, "SELECT without FROM answers one row"
    rows = yield Run("ledger.ripe_sources", {"after": after})
    return [int(row["source_id"]) for row in rows], float(now["now"])


def _next_retry() -> Tx[float | None]:
    row = one((yield Run("ledger.next_retry", {})))
    return None if row is None or row["due"] is None else float(row["due"])


def _claim_refs(dialect: str, ids: Sequence[int], holder: str) -> Tx[set[int]]:
    rows = yield Run("ledger.ref_claim", {"ids": ids_parameter(dialect, ids), "holder": holder})
    return {int(row[0]) for row in rows}


def _release_refs(dialect: str, ids: Sequence[int], holder: str) -> Tx[None]:
    yield Run("ledger.ref_release", {"ids": ids_parameter(dialect, ids), "holder": holder})


def _ref_failed(
    ref: Ref, holder: str, reason: str, not_before: float, attempts: int, refusals: int, quarantine: bool
) -> Tx[bool]:
    row = one(
        (
            yield Run(
                "ledger.ref_failed",
                {
                    "killmail_id": ref.killmail_id,
                    "holder": holder,
                    "state": "quarantined" if quarantine else "pending",
                    "reason": reason,
                    "not_before": not_before,
                    "attempts": attempts,
                    "refusals": refusals,
                },
            )
        )
    )
    return row is not None and not (quarantine and (yield from try_another_hash(ref.killmail_id, row)))


def _retry(dialect: str, ids: Sequence[int] | None) -> Tx[list[int]]:
    if ids is None:
        rows = yield Run("ledger.retry_all", {})
    else:
        rows = yield Run("ledger.retry", {"ids": ids_parameter(dialect, ids)})
    return [int(row[0]) for row in rows]


class LedgerRepository:
    """The ledger as the consumer and the fetcher see it. holder: this daemon's id."""

    def __init__(self, store: Store, holder: str) -> None:
        self._store = store
        self._holder = holder

    async def source_state(self, source_id: int) -> SourceState | None:
        """None: the source is gone (erased)."""
        return await self._store.read(_source_state, source_id)

    async def open_walk(self, source_id: int, mode: SyncMode) -> Walk:
        """The walk under way, or a new one, at least as wide as mode."""
        return await self._store.write(open_walk, source_id, mode)

    async def restart_walk(self, walk: Walk, ends_at: int | None = None) -> Walk:
        """Begin again at page 1, in the same mode; what was seen stays seen.

        ends_at: the list is only so many pages long by now, which an answer without X-Pages would not tell.
        """
        return await self._store.write(_restart_walk, walk, ends_at)

    async def page_state(self, source_id: int, page: int) -> PageState | None:
        """What we know of a page; None when it was never asked for."""
        return await self._store.read(_page_state, source_id, page)

    async def before_ask(self, source_id: int, page: int, at: float) -> bool:
        """Write down that a page is about to be asked for. False: the lease is lost, don't ask."""
        return await self._store.write(_before_ask, source_id, page, at, self._holder)

    async def write_page(self, job: Job, walk: Walk, news: PageNews, max_pages: int) -> PageWritten:
        """One page, one transaction: sightings, refs, validators, progress, and the job's end."""
        return await self._store.write(
            _write_page, self._store.dialect, job, walk, news, max_pages, self._holder
        )

    async def page_refused(self, source_id: int, page: int, at: float, expires_at: float) -> None:
        """ESI answered, and with nothing of use. expires_at: its Expires, 0 where it had none."""
        await self._store.write(_page_refused, source_id, page, at, expires_at)

    async def torn_in_a_row(self, source_id: int) -> int:
        """How many walks in a row were torn, the last one included."""
        return await self._store.read(_torn_in_a_row, source_id)

    async def pending_sources(self) -> list[int]:
        """Every source that waits for mails and is not paused."""
        return await self._store.read(_pending_sources)

    async def pending_of(self, source_id: int, limit: int) -> PendingOf:
        """The newest mails of a source that may be fetched now; none while its user is paused.

        Its total is exact up to `limit + HEAVY_PENDING`: enough to tell whether more waits, and who is heavy.
        """
        return await self._store.read(_pending_of, source_id, limit, self._holder)

    async def ripe_sources(self, after: float) -> tuple[list[int], float]:
        """Sources with mails to be tried again since `after`, and the time to pass the next time."""
        return await self._store.read(_ripe_sources, after)

    async def next_retry(self) -> float | None:
        """When a mail that failed may be tried again, in seconds since 1970."""
        return await self._store.read(_next_retry)

    async def claim_refs(self, ids: Sequence[int]) -> set[int]:
        """Take mails for fetching; the answer holds those that nobody else has.

        Where this daemon is alone with its database nothing is written: it can't meet itself.
        """
        if self._store.exclusive:
            return set(ids)
        return await self._store.write(_claim_refs, self._store.dialect, ids, self._holder)

    async def release_refs(self, ids: Sequence[int]) -> None:
        """Give mails back that were claimed and not fetched."""
        if ids and not self._store.exclusive:
            await self._store.write(_release_refs, self._store.dialect, ids, self._holder)

    async def ref_failed(
        self, ref: Ref, *, reason: str, not_before: float, attempts: int, refusals: int, quarantine: bool
    ) -> bool:
        """A detail did not come: when to try again, or why it never will by itself.

        False: that does not stand, for it is somebody else's by now, or was listed with another hash as well,
        which is tried next.
        """
        return await self._store.write(
            _ref_failed, ref, self._holder, reason, not_before, attempts, refusals, quarantine
        )

    async def retry(self, ids: Sequence[int] | None = None) -> list[int]:
        """Put quarantined mails back (all, or these, pending ones included); answers which."""
        return await self._store.write(_retry, self._store.dialect, ids)
