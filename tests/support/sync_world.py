"""The core on a real SQLite store, with ESI and token care played by hand."""

from __future__ import annotations

import asyncio
import random
from collections.abc import AsyncIterator, Awaitable, Callable, Sequence
from contextlib import AbstractContextManager, asynccontextmanager, nullcontext
from pathlib import Path
from typing import Any, NoReturn

from killsyncd.auth.grant import GrantRow, GrantUnusable, ListRefused
from killsyncd.auth.refusals import LIST_PAUSES
from killsyncd.core.errors import Unavailable
from killsyncd.core.events import Events
from killsyncd.core.model import Job, Source, SourceKind, UserState
from killsyncd.esi.ratelimit.ports import Alongside
from killsyncd.esi.responses import EsiError, KillmailResponse, ListPage, NotBefore
from killsyncd.storage.repositories.corporations import CorporationRepository
from killsyncd.storage.repositories.job_starts import JobStarts
from killsyncd.storage.repositories.sync_requests import SyncRequests
from killsyncd.storage.sqlite.store import SqliteStore
from killsyncd.storage.transaction import Tx
from killsyncd.sync.consumer import Consumer
from killsyncd.sync.fetcher import Fetcher
from killsyncd.sync.job_source import EmbeddedJobSource
from killsyncd.sync.lending import ListTokens
from killsyncd.sync.settings import ConsumerSettings
from tests.support.clocks import ManualClock
from tests.support.new_database import open_migrated
from tests.support.storage_world import Pilot, StorageWorld, arrival, hash_of

Scripted = ListPage | Exception


async def eventually(holds: Callable[[], bool | Awaitable[bool]], seconds: float = 10.0) -> None:
    """Wait, in real time, until something holds: database threads don't go by the manual clock."""
    async with asyncio.timeout(seconds):
        while True:
            found = holds()
            if found if isinstance(found, bool) else await found:
                return
            await asyncio.sleep(0.002)


class Timed:
    """What `StorageWorld` needs of a backend."""

    def __init__(self, clock: ManualClock) -> None:
        self.clock = clock

    async def pass_time(self, seconds: float) -> None:
        self.clock.tick(seconds)


class FlakyStore:
    """A store whose writes of one transaction can be made to fail. Everything else is the real one."""

    def __init__(self, store: SqliteStore) -> None:
        self._store = store
        self.failing: set[str] = set()
        self.refused = 0

    def __getattr__(self, name: str) -> Any:
        return getattr(self._store, name)

    async def write(self, tx: Callable[..., Tx[Any]], *args: Any, **kwargs: Any) -> Any:
        if tx.__name__ in self.failing:
            self.refused += 1
            raise Unavailable("the disk is full", "free some space")
        return await self._store.write(tx, *args, **kwargs)


class PlayedLists:
    """ESI's lists. `script`: what each page answers, in turn; the last one for ever."""

    def __init__(self, clock: ManualClock, store: FlakyStore) -> None:
        self._clock = clock
        self._store = store
        self.script: dict[int, list[Scripted]] = {}
        self.asked: list[tuple[int, str, str | None]] = []

    def page(
        self,
        *ids: int,
        pages: int | None = 1,
        etag: str | None = "etag",
        modified: str | None = "monday",
        expires: float = 300.0,
        unchanged: bool = False,
    ) -> ListPage:
        """An answer. expires: seconds from now."""
        now = self._clock.now()
        entries = None if unchanged else [(each, hash_of(each)) for each in ids]
        status = 304 if unchanged else 200
        return ListPage(status, entries, etag, modified, now + expires, pages, now, now, now)

    async def list_page(
        self,
        source: Source,
        page: int,
        *,
        token: str,
        etag: str | None = None,
        not_before: float = 0.0,
        cached_for: float | None = None,
        alongside: Alongside | None = None,
        character_id: int | None = None,
        keep: float = 0.0,
    ) -> ListPage:
        if self.esi_now() < not_before:
            raise NotBefore("still cached", not_before)
        answers = self.script[page]
        answer = answers.pop(0) if len(answers) > 1 else answers[0]
        if isinstance(answer, Exception) and not isinstance(answer, EsiError):
            raise answer
        if alongside is not None and getattr(answer, "until", None) is None:
            await self._reserve(alongside)
        self.asked.append((page, token, etag))
        if isinstance(answer, EsiError) and answer.at is not None:
            answer.at = self.esi_now()  # a script is written before
        if isinstance(answer, Exception):
            raise answer
        return answer

    async def _reserve(self, alongside: Alongside) -> None:
        def reserve() -> Tx[None]:
            yield from alongside(self.esi_now())

        await self._store.write(reserve)

    def settling(self) -> AbstractContextManager[None]:
        return nullcontext()

    def cache_seconds(self, kind: SourceKind) -> float:
        return 300.0

    def esi_now(self) -> float:
        return self._clock.now()

    def wall(self, esi_time: float) -> float:
        return esi_time


class PlayedTokens:
    """Token care: `token` until somebody rejects it."""

    def __init__(self) -> None:
        self.token = "token-1"
        self.refreshed = 0
        self.refused: list[str] = []
        self.fault: Exception | None = None
        self.scope = False
        self.accepted = 0

    async def access_token(self, user_id: str, grant: GrantRow | None = None) -> str:
        if self.fault is not None:
            raise self.fault
        return self.token

    async def force_refresh(self, user_id: str, rejected_access_token: str) -> str:
        self.refreshed += 1
        self.token = f"token-{self.refreshed + 1}"
        return self.token

    async def list_refused(
        self, user_id: str, source_id: int, refused_access_token: str, words: str
    ) -> NoReturn:
        self.refused.append(refused_access_token)
        if self.scope:
            raise ListRefused(f"refused: {words}", retry_after=LIST_PAUSES[0])
        raise GrantUnusable("the scope is missing", "log in again", state=UserState.SCOPE_MISSING)

    async def list_accepted(self, user_id: str, source_id: int) -> None:
        self.accepted += 1


class PlayedPermit:
    """Leave for one request."""

    def __init__(self, esi: PlayedDetails) -> None:
        self._esi = esi
        self.open = True

    def release(self) -> None:
        self._esi.released += self.open
        self.open = False


class PlayedDetails:
    """ESI's details. `faults`: what a mail answers in turn instead of itself; `bodies`: what it holds in
    turn instead of what it should; `dry`: no permits; `ill`: what every mail answers."""

    def __init__(self, clock: ManualClock) -> None:
        self._clock = clock
        self.faults: dict[int, list[Exception]] = {}
        self.bodies: dict[int, list[bytes]] = {}
        self.dry: Exception | None = None
        self.ill: Exception | bytes | None = None
        self.asked: list[int] = []
        self.permits_asked: list[bool] = []
        """Whether each was for heavy sources."""
        self.released = 0
        self.held: asyncio.Event | None = None

    async def detail_permits(self, count: int = 1, *, heavy: bool = False) -> list[PlayedPermit]:
        self.permits_asked.append(heavy)
        if self.dry is not None:
            raise self.dry
        return [PlayedPermit(self) for _ in range(count)]

    async def killmail(self, permit: PlayedPermit, killmail_id: int, killmail_hash: str) -> KillmailResponse:
        permit.open = False
        self.asked.append(killmail_id)
        if self.held is not None:
            await self.held.wait()
        await asyncio.sleep(0)
        if isinstance(self.ill, Exception):
            raise self.ill
        if self.ill is not None:
            return KillmailResponse(self.ill, self._clock.now())
        faults = self.faults.get(killmail_id)
        if faults:
            raise faults.pop(0)
        assert killmail_hash == hash_of(killmail_id)
        bodies = self.bodies.get(killmail_id)
        raw = bodies.pop(0) if bodies else arrival(killmail_id, self._clock.now()).raw
        return KillmailResponse(raw, self._clock.now())


class PlayedJobs:
    """The embedded queue; or, for `SyncWorld.work_off`, the one job that was put into it, and then none."""

    def __init__(self, usual: EmbeddedJobSource) -> None:
        self._usual = usual
        self._put: Job | None = None
        self._only = False
        self.fault: Exception | None = None
        """What becomes of a job's acknowledgement."""
        self.acknowledged = asyncio.Event()

    def put(self, job: Job) -> None:
        self._put, self._only = job, True
        self.acknowledged.clear()

    async def next(self) -> Job:
        if not self._only:
            return await self._usual.next()
        if self._put is None:
            await asyncio.Event().wait()  # until the consumer is to stop
        job, self._put = self._put, None
        assert job is not None
        return job

    async def done(self, job: Job) -> None:
        self.acknowledged.set()
        if self.fault is not None:
            raise self.fault
        await self._usual.done(job)

    def back_to_usual(self) -> None:
        self._put, self._only = None, False


class SyncWorld:
    """Consumer and fetcher over one store; see the fixtures of the tests."""

    def __init__(self, clock: ManualClock, store: FlakyStore, world: StorageWorld) -> None:
        self.clock = clock
        self.store = store
        self.world = world
        starts = JobStarts(store, world.holder)  # type: ignore[arg-type]
        self.world.wants = SyncRequests(store, "queue", world.holder, start=starts.of)  # type: ignore[arg-type]
        self.events = Events()
        self.lists = PlayedLists(clock, store)
        self.tokens = PlayedTokens()
        self.details = PlayedDetails(clock)
        self.paused = False
        self.listed: list[int] = []
        self.jobs = PlayedJobs(
            EmbeddedJobSource(self.world.wants, self.events, self.clock, lambda: self.paused)
        )
        self.consumer = self.make_consumer()
        self.fetcher = self.make_fetcher()

    @classmethod
    @asynccontextmanager
    async def begin(cls, folder: Path) -> AsyncIterator[SyncWorld]:
        """A new database in the folder."""
        clock = ManualClock()
        store = await open_migrated(folder / "killsyncd.db", clock)
        try:
            flaky = FlakyStore(store)
            world = await StorageWorld.begin(Timed(clock), flaky)  # type: ignore[arg-type]
            yield cls(clock, flaky, world)
        finally:
            await store.close()

    def make_consumer(self, **changes: Any) -> Consumer:
        """A consumer; changes: other arguments or settings than ours."""
        settings = {"concurrency": 4, "max_pages": 50, "full_walk": 86_400.0, "interval": 600.0}
        settings |= {each: changes.pop(each) for each in tuple(changes) if each in settings}
        arguments: dict[str, Any] = {
            "jobs": self.jobs,
            "rows": self.world.wants,
            "ledger": self.world.ledger,
            "esi": self.lists,
            "tokens": ListTokens(self.tokens, CorporationRepository(self.world.store), self.clock),  # type: ignore[arg-type]
            "events": self.events,
            "clock": self.clock,
            "rng": random.Random(7),
            "paused": lambda: self.paused,
            "listed": self.listed.append,
        }
        return Consumer(ConsumerSettings(**settings), **{**arguments, **changes})

    def make_fetcher(self, **changes: Any) -> Fetcher:
        """A fetcher; changes: other arguments than ours."""
        arguments: dict[str, Any] = {
            "ledger": self.world.ledger,
            "store": self.world.storing,
            "esi": self.details,
            "events": self.events,
            "clock": self.clock,
            "in_flight": 8,
            "rng": random.Random(7),
            "paused": lambda: self.paused,
        }
        return Fetcher(**{**arguments, **changes})

    async def work(self, pilot: Pilot) -> None:
        """Claim the pilot's job and work it off, once."""
        job = await self.claim(pilot)
        assert job is not None, "nothing to claim"
        await self.work_off(job)

    async def work_off(self, job: Job) -> None:
        """Have the consumer work off a job that is claimed already, and stop."""
        self.jobs.put(job)
        stopping = asyncio.Event()
        running = asyncio.ensure_future(self.consumer.run(stopping))
        acknowledged = asyncio.ensure_future(self.jobs.acknowledged.wait())
        try:
            await asyncio.wait((running, acknowledged), return_when=asyncio.FIRST_COMPLETED)
            stopping.set()
            await running
        finally:
            for each in (running, acknowledged):
                each.cancel()
            await asyncio.gather(running, acknowledged, return_exceptions=True)
            self.jobs.back_to_usual()

    async def claim(self, pilot: Pilot) -> Job | None:
        """The pilot's job, if it may be claimed now."""
        return await self.world.wants.claim(pilot.source_id)

    async def want_row(self, pilot: Pilot) -> dict[str, Any] | None:
        """The pilot's row in the queue."""
        rows = await self.world.rows(
            "SELECT holder, not_before, attempts, last_error, version FROM wants WHERE source_id = :id",
            id=pilot.source_id,
        )
        return dict(rows[0]) if rows else None  # type: ignore[call-overload]

    @asynccontextmanager
    async def running(
        self, *runs: Callable[[asyncio.Event], Awaitable[None]]
    ) -> AsyncIterator[asyncio.Event]:
        """Run tasks beside the test; at its end they drain."""
        stopping = asyncio.Event()
        tasks: Sequence[asyncio.Future[None]] = [asyncio.ensure_future(each(stopping)) for each in runs]
        try:
            yield stopping
            stopping.set()
            async with asyncio.timeout(10):
                while not all(each.done() for each in tasks):
                    self.clock.tick(1.0)
                    await asyncio.sleep(0.002)
        finally:
            for each in tasks:
                each.cancel()
            done = await asyncio.gather(*tasks, return_exceptions=True)
        for each in done:
            if isinstance(each, Exception):
                raise each
