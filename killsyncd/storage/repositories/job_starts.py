"""What a claimed job begins with, as a part of the transaction that claims it (`sync.job_start`)."""

from __future__ import annotations

from killsyncd.core.model import SyncMode
from killsyncd.storage.repositories.grants import GrantRepository
from killsyncd.storage.repositories.walks import Walks
from killsyncd.storage.transaction import Store, Tx
from killsyncd.sync.job_start import JobStart


class JobStarts:
    """Opens a job's walk, and reads what its first request needs. holder: this daemon's id."""

    def __init__(self, store: Store, holder: str) -> None:
        self._walks = Walks(store, holder)
        self._grants = GrantRepository(store)

    def of(self, source_id: int, mode: SyncMode, user_id: str) -> Tx[JobStart | None]:
        """user_id: who lends the token. None: the source is gone. The consumer may still widen the walk."""
        begun = yield from self._walks.start(source_id, mode)
        return None if begun is None else JobStart(*begun, (yield from self._grants.load.tx(user_id)))
