"""The ledger: what was listed, what is wanted, and (in `walks`) how far each walk has come.

From the moment a page is written down here no mail on it can be lost: it ends
stored, or quarantined with a reason. A page's validators (ETag, Expires) are
committed together with what the page told us, never before.
"""

from __future__ import annotations

from collections.abc import Sequence

from killsyncd.core.model import HEAVY_PENDING, Job, PageState, PendingOf, Ref, SyncMode, Walk
from killsyncd.storage.repositories import walks
from killsyncd.storage.repositories.sightings import try_another_hash
from killsyncd.storage.repositories.walks import LISTED_FOR
from killsyncd.storage.transaction import Row, Run, Store, Tx, ids_parameter, one
from killsyncd.sync.walk import PageNews, PageWritten, SourceState


def _ref(row: Row) -> Ref:
    return Ref(
        int(row["killmail_id"]),
        str(row["killmail_hash"]),
        int(row["attempts"]),
        int(row["refusals"]),
        float(row["first_listed_at"]),
    )


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


def _revive(limit: int) -> Tx[int]:
    rows = yield Run("ledger.revive", {"limit": limit, "listed_for": LISTED_FOR})
    return len(rows)


class LedgerRepository:
    """The ledger as the consumer and the fetcher see it. holder: this daemon's id."""

    def __init__(self, store: Store, holder: str) -> None:
        self._store = store
        self._holder = holder

    async def source_state(self, source_id: int) -> SourceState | None:
        """None: the source is gone (erased)."""
        return await self._store.read(walks.source_state, source_id)

    async def open_walk(self, source_id: int, mode: SyncMode) -> Walk:
        """The walk under way, or a new one, at least as wide as mode."""
        return await self._store.write(walks.open_walk, source_id, mode)

    async def restart_walk(self, walk: Walk, ends_at: int | None = None) -> Walk:
        """Begin again at page 1, in the same mode; what was seen stays seen.

        ends_at: the list is only so many pages long by now, which an answer without X-Pages would not tell.
        """
        return await self._store.write(walks.restart_walk, walk, ends_at)

    async def page_state(self, source_id: int, page: int) -> PageState | None:
        """What we know of a page; None when it was never asked for."""
        return await self._store.read(walks.page_state, source_id, page)

    async def before_ask(self, source_id: int, page: int, at: float) -> bool:
        """Write down that a page is about to be asked for. False: the lease is lost, don't ask."""
        return await self._store.write(walks.before_ask, source_id, page, at, self._holder)

    async def write_page(self, job: Job, walk: Walk, news: PageNews, max_pages: int) -> PageWritten:
        """One page, one transaction: sightings, refs, validators, progress, and the job's end."""
        return await self._store.write(
            walks.write_page, self._store.dialect, job, walk, news, max_pages, self._holder
        )

    async def page_refused(self, source_id: int, page: int, at: float, expires_at: float) -> None:
        """ESI answered, and with nothing of use. expires_at: its Expires, 0 where it had none."""
        await self._store.write(walks.page_refused, source_id, page, at, expires_at)

    async def torn_in_a_row(self, source_id: int) -> int:
        """How many walks in a row were torn, the last one included."""
        return await self._store.read(walks.torn_in_a_row, source_id)

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

    async def revive(self, limit: int) -> int:
        """Put those back that were quarantined a day ago and are still listed; answers how many."""
        return await self._store.write(_revive, limit)

    async def retry(self, ids: Sequence[int] | None = None) -> list[int]:
        """Put quarantined mails back (all, or these, pending ones included); answers which."""
        return await self._store.write(_retry, self._store.dialect, ids)
