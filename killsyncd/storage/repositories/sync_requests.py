"""The queue: what each source wants, as rows. At least once, priorities 0 to 10.

One row a source. Asking again raises the priority and widens incremental to
full; a row asked for again while it is worked on stays for another round.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence

from killsyncd.core.model import Job, Origin, QueueDepth, Source, SourceKind, SyncMode, WaitsFor
from killsyncd.storage.repository import Repository, reads, writes
from killsyncd.storage.transaction import Row, Run, Store, Tx, one
from killsyncd.sync.walk import wider


def ask(source_id: int, mode: SyncMode, priority: int, origin: Origin, not_before: float) -> Tx[SyncMode]:
    """Want a sync of this source; answers how far it will walk. A part for other transactions."""
    if origin is not Origin.MESSAGE:
        yield Run("wants.weigh_source", {"source_id": source_id, "priority": priority})
    values = {"source_id": source_id, "mode": mode.value, "priority": priority, "origin": origin.value}
    inserted = one((yield Run("wants.insert", {**values, "not_before": not_before})))
    if inserted is not None:
        return mode
    row = one((yield Run("wants.of_source", {"source_id": source_id})))
    if row is None:  # finished between the two statements; the next round of the caller asks again
        yield Run("wants.insert", {**values, "not_before": not_before})
        return mode
    mode = wider(SyncMode(row["mode"]), mode)
    widened = {
        "source_id": source_id,
        "mode": mode.value,
        "priority": max(int(row["priority"]), priority),
        "origin": origin.value if priority >= int(row["priority"]) else Origin.PRODUCER.value,
        "not_before": min(float(row["not_before"]), not_before),
    }
    changed = widened["mode"] != row["mode"] or int(row["priority"]) < priority
    # Somebody who asks while the job is worked on wants another look; the producer just comes round,
    # and a message lay in its queue for who knows how long.
    asked_during = row["holder"] is not None and origin in (Origin.LOGIN, Origin.MANUAL)
    # What is asked for by everybody's rule may spend more than what is only asked for sooner.
    promoted = row["origin"] == Origin.ACTIVE and origin is not Origin.ACTIVE and row["holder"] is None
    if changed or asked_during or promoted or not_before < float(row["not_before"]):
        yield Run("wants.widen", widened)
    return mode


def finish(job: Job, holder: str) -> Tx[bool]:
    """Acknowledge: the row goes, or, asked for again meanwhile, waits for its next round.

    Answers False where the lease was lost. A part for the ledger's last transaction.
    """
    gone = yield Run("wants.finish", {"source_id": job.source_id, "holder": holder, "version": job.version})
    if gone:
        return True
    kept = yield Run("wants.let_go", {"source_id": job.source_id, "holder": holder})
    return bool(kept)


class SyncRequests(Repository):
    """The queue's rows, as the consumer sees them.

    name: of the queue. second: of the one for corporations' lists, None where there is one queue for all.
    start: what is read for a job in the transaction that claims it; see `JobStarts`.
    """

    def __init__(
        self,
        store: Store,
        name: str,
        holder: str,
        second: str | None = None,
        start: Callable[[int, SyncMode, str], Tx[object | None]] | None = None,
    ) -> None:
        super().__init__(store)
        self._name = name
        self._second = second
        self._holder = holder
        self._start = start

    @writes
    def claim(self, source_id: int | None = None) -> Tx[Job | None]:
        """Take the most urgent job that is due, or this source's; None when there is none."""
        if source_id is None:
            claimed = one((yield Run("wants.claim", {"holder": self._holder})))
        else:
            values = {"source_id": source_id, "holder": self._holder}
            claimed = one((yield Run("wants.claim_source", values)))
        if claimed is None:
            return None
        row = one((yield Run("wants.job", {"source_id": claimed["source_id"]})))
        if row is None:
            return None
        start = None
        if self._start is not None:
            start = yield from self._start(int(row["source_id"]), SyncMode(row["mode"]), str(row["user_id"]))
        return _job(row, start)

    @writes
    def finish(self, job: Job) -> Tx[bool]:
        """Acknowledge a job outside of a page's transaction; False where the lease was lost."""
        return (yield from finish(job, self._holder))

    @writes
    def postpone(
        self,
        job: Job,
        not_before: float,
        *,
        attempts: int,
        reason: str | None,
        waits_for: WaitsFor | None = None,
        by: float | None = None,
    ) -> Tx[None]:
        """Give a job back until then. attempts: what is counted against it from now on."""
        yield Run(
            "wants.postpone",
            {
                "source_id": job.source_id,
                "holder": self._holder,
                "version": job.version,
                "not_before": not_before,
                "by": by,
                "attempts": attempts,
                "last_error": reason,
                "waits_for": None if waits_for is None else waits_for.value,
            },
        )

    @writes
    def drop(self, source_id: int) -> Tx[None]:
        """Forget what a source wants: its user can't sync until something changes."""
        yield Run("wants.drop", {"source_id": source_id})

    @reads
    def next_due(self) -> Tx[float | None]:
        """When the next waiting job may be claimed, in seconds since 1970; None without one."""
        row = one((yield Run("wants.next_due", {})))
        return None if row is None or row["due"] is None else float(row["due"])

    @reads
    def depth(self) -> Tx[QueueDepth]:
        """Of the first queue: jobs waiting, jobs worked on, jobs by priority."""
        return (yield from self.depths.tx())[0]

    @reads
    def depths(self) -> Tx[list[QueueDepth]]:
        """The same of every queue."""
        rows = yield Run("wants.depth", {})
        if self._second is None:
            return [_depth(self._name, rows)]
        corporations = [row for row in rows if row["kind"] == SourceKind.CORPORATION]
        others = [row for row in rows if row["kind"] != SourceKind.CORPORATION]
        return [_depth(self._name, others), _depth(self._second, corporations)]


def _depth(name: str, rows: Sequence[Row]) -> QueueDepth:
    by_priority: dict[int, int] = {}
    for row in rows:
        by_priority[int(row["priority"])] = by_priority.get(int(row["priority"]), 0) + int(row["jobs"])
    working = sum(int(row["working"]) for row in rows)
    return QueueDepth(name, sum(by_priority.values()) - working, working, by_priority)


def _job(row: Row, start: object | None) -> Job:
    return Job(
        source_id=int(row["source_id"]),
        source=Source(SourceKind(row["kind"]), int(row["subject_id"])),
        user_id=str(row["user_id"]),
        character_id=int(row["character_id"]),
        character_name=str(row["character_name"]),
        mode=SyncMode(row["mode"]),
        priority=int(row["priority"]),
        origin=Origin(row["origin"]),
        queued_at=float(row["queued_at"]),
        attempts=int(row["attempts"]),
        version=int(row["version"]),
        last_killmail_id=None if row["last_killmail_id"] is None else int(row["last_killmail_id"]),
        subject_name=row["subject_name"],
        start=start,
    )
