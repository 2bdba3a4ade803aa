"""What a claimed job begins with, as a part of the transaction that claims it (`sync.job_start`)."""

from __future__ import annotations

from killsyncd.core.model import Job, SyncMode
from killsyncd.storage.repositories.grants import GrantRepository
from killsyncd.storage.repositories.walks import Walks
from killsyncd.storage.transaction import Store, Tx
from killsyncd.sync.job_start import JobStart


class JobStarts:
    """Opens a job's walk, and reads what its first request needs. holder: this daemon's id."""

    def __init__(self, store: Store, holder: str) -> None:
        self._walks = Walks(store, holder)
        self._grants = GrantRepository(store)

    def of(self, job: Job) -> Tx[JobStart | None]:
        """None: the source is gone. The consumer may still widen the walk."""
        source = yield from self._walks.source_state.tx(job.source_id)
        if source is None:
            return None
        mode = job.mode
        if source.unbroken_at is None and mode is SyncMode.INCREMENTAL:
            mode = SyncMode.FIRST_SYNC
        walk = yield from self._walks.open_walk.tx(job.source_id, mode)
        page = yield from self._walks.page_state.tx(job.source_id, walk.next_page)
        return JobStart(source, walk, page, (yield from self._grants.load.tx(job.user_id)))
