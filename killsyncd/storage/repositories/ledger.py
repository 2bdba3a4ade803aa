"""The ledger: what was listed, what is wanted, and (in `walks`) how far each walk has come.

From the moment a page is written down here no mail on it can be lost: it ends
stored, or quarantined with a reason. A page's validators (ETag, Expires) are
committed together with what the page told us, never before.
"""

from __future__ import annotations

from collections.abc import Sequence

from killsyncd.core.model import HEAVY_PENDING, PendingOf, Ref, SourceKind
from killsyncd.storage.repositories.sightings import try_another_hash
from killsyncd.storage.repositories.walks import LISTED_FOR, Walks
from killsyncd.storage.repository import reads, writes
from killsyncd.storage.transaction import Ids, Many, Row, Run, Tx, one

_ALWAYS_HEAVY = (SourceKind.ZKILLBOARD, SourceKind.IMPORT)
"""Kinds of sources whose mails nobody waits for: they come after what ESI lists, however few they are."""


def _ref(row: Row) -> Ref:
    return Ref(
        int(row["killmail_id"]),
        str(row["killmail_hash"]),
        int(row["attempts"]),
        int(row["refusals"]),
        float(row["first_listed_at"]),
    )


def _next_hash(row: Row) -> tuple[str, str]:
    """Of several hashes the one whose last try is longest ago, and those tried since.

    A refusal may have passed for any of them.
    """
    following, *others = str(row["tried"]).split()
    return following, " ".join([*others, str(row["killmail_hash"])])


class LedgerRepository(Walks):
    """The ledger as the consumer and the fetcher see it. holder: this daemon's id."""

    @reads
    def pending_sources(self) -> Tx[list[int]]:
        """Every source that waits for mails and is not paused."""
        rows = yield Run("ledger.pending_sources", {})
        return [int(row["source_id"]) for row in rows]

    @reads
    def pending_of(self, source_id: int, limit: int) -> Tx[PendingOf]:
        """The newest mails of a source that may be fetched now; none while its user is paused.

        Its total is exact up to `limit + HEAVY_PENDING`: enough to tell whether more waits, and who is heavy.
        """
        counting = {"source_id": source_id, "limit": limit + HEAVY_PENDING + 1}
        counted = one((yield Run("ledger.pending_count", counting)))
        if counted is None:
            return PendingOf([], 0, 1)
        rows = yield Run(
            "ledger.pending_of", {"source_id": source_id, "limit": limit, "holder": self._holder}
        )
        return PendingOf(
            [_ref(row) for row in rows],
            int(counted["pending"]),
            int(counted["weight"]),
            heavy=counted["kind"] in _ALWAYS_HEAVY,
        )

    @reads
    def ripe_sources(self, after: float) -> Tx[tuple[list[int], float]]:
        """Sources with mails to be tried again since `after`, and the time to pass the next time."""
        # The time first: what ripens between the two statements is found by the next call.
        now = one((yield Run("meta.now", {})))
        assert now is not None, "SELECT without FROM answers one row"
        rows = yield Run("ledger.ripe_sources", {"after": after})
        return [int(row["source_id"]) for row in rows], float(now["now"])

    @reads
    def next_retry(self) -> Tx[float | None]:
        """When a mail that failed may be tried again, in seconds since 1970."""
        row = one((yield Run("ledger.next_retry", {})))
        return None if row is None or row["due"] is None else float(row["due"])

    async def claim_refs(self, ids: Sequence[int]) -> set[int]:
        """Take mails for fetching; the answer holds those that nobody else has.

        Where one daemon alone uses the database nothing is written: there is nobody to keep away.
        """
        if self._store.exclusive:
            return set(ids)
        return await self._claim(ids)

    async def release_refs(self, ids: Sequence[int]) -> None:
        """Give mails back that were claimed and not fetched."""
        if ids and not self._store.exclusive:
            await self._release(ids)

    @writes
    def ref_failed(
        self,
        ref: Ref,
        *,
        reason: str,
        not_before: float,
        attempts: int,
        refusals: int,
        quarantine: bool,
        by: float | None = None,
    ) -> Tx[bool]:
        """A detail did not come: when to try again, or why it never will by itself.

        False: it has not failed yet: another daemon has it, or it was listed with another hash as well (or
        meanwhile), which is tried next.
        """
        row = one(
            (
                yield Run(
                    "ledger.ref_failed",
                    {
                        "killmail_id": ref.killmail_id,
                        "killmail_hash": ref.killmail_hash,
                        "holder": self._holder,
                        "state": "quarantined" if quarantine else "pending",
                        "reason": reason,
                        "not_before": not_before,
                        "by": by,
                        "attempts": attempts,
                        "refusals": refusals,
                    },
                )
            )
        )
        return row is not None and not (quarantine and (yield from try_another_hash(ref.killmail_id, row)))

    @writes
    def revive(self, limit: int) -> Tx[int]:
        """Put those back that were quarantined a day ago and are still listed; answers how many."""
        rows = yield Run("ledger.revive", {"limit": limit, "listed_for": LISTED_FOR})
        turned = [(row, *_next_hash(row)) for row in rows if row["tried"]]
        if turned:
            yield Many(
                "ledger.ref_next_hash",
                [
                    {"killmail_id": row["killmail_id"], "killmail_hash": following, "tried": tried}
                    for row, following, tried in turned
                ],
            )
        return len(rows)

    @writes
    def retry(self, ids: Sequence[int] | None = None) -> Tx[list[int]]:
        """Put quarantined mails back (all, or these, pending ones included); answers which."""
        if ids is None:
            rows = yield Run("ledger.retry_all", {})
        else:
            rows = yield Run("ledger.retry", {"ids": Ids(ids)})
        return [int(row[0]) for row in rows]

    @writes
    def _claim(self, ids: Sequence[int]) -> Tx[set[int]]:
        rows = yield Run("ledger.ref_claim", {"ids": Ids(ids), "holder": self._holder})
        return {int(row[0]) for row in rows}

    @writes
    def _release(self, ids: Sequence[int]) -> Tx[None]:
        yield Run("ledger.ref_release", {"ids": Ids(ids), "holder": self._holder})
