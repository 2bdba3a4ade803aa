"""The consumer: takes a job, walks a pilot's list, writes it into the ledger, and is done.

A job is short. It never waits for ESI's budget, for Expires or for the end of a
downtime while it holds its claim: it gives the row back with the time from which
it may go on, and the walk stays where it stopped.
"""

from __future__ import annotations

import asyncio
import random
from collections.abc import Awaitable, Callable
from dataclasses import dataclass
from typing import Any, Protocol, TypeVar

from killsyncd.answers import Downtime, EsiError, EsiStatus, NotBefore, Waiting
from killsyncd.backoff import full_jitter
from killsyncd.clock import Clock
from killsyncd.errors import KillsyncdError, Unavailable
from killsyncd.events import Events, Signal
from killsyncd.grants import GrantUnusable, SsoUnavailable
from killsyncd.jobs import Jobs
from killsyncd.lists import LeaseLost, ListDoor, ListReader, Tokens, WalkLedger
from killsyncd.logs import Logger, StateLog, get_logger
from killsyncd.model import Job, SyncMode, Walk
from killsyncd.walks import Outcome, PageWritten, SourceState, too_close_to_expiry

T = TypeVar("T")

FIRST_BACKOFF = 5.0
LONGEST_BACKOFF = 900.0


class JobRows(Protocol):
    """The queue's rows, where a job ends. Raises Unavailable."""

    async def finish(self, job: Job) -> bool:
        """Acknowledge a job; False where the lease was lost."""

    async def postpone(self, job: Job, not_before: float, *, attempts: int, reason: str | None) -> None:
        """Give a job back until then; nothing happens where the lease was lost."""


@dataclass(slots=True)
class Summary:
    """What a job did, in the reference's words: new, skipped, errors, total."""

    pages: int = 0
    listed: int = 0
    new: int = 0
    skipped: int = 0


class Consumer:
    """Works jobs off, `concurrency` at once."""

    def __init__(
        self,
        *,
        jobs: Jobs,
        rows: JobRows,
        ledger: WalkLedger,
        door: ListDoor,
        tokens: Tokens,
        users: UserMarks,
        events: Events,
        clock: Clock,
        concurrency: int,
        max_pages: int,
        full_walk: float,
        rng: random.Random,
        paused: Callable[[], bool],
        listed: Callable[[int], None],
        log: Logger | None = None,
    ) -> None:
        self._jobs = jobs
        self._rows = rows
        self._ledger = ledger
        self._door = door
        self._tokens = tokens
        self._users = users
        self._events = events
        self._clock = clock
        self._slots = asyncio.Semaphore(concurrency)
        self._max_pages = max_pages
        self._full_walk = full_walk
        self._rng = rng
        self._paused = paused
        self._listed = listed
        self._log = log or get_logger(__name__)
        self._states = StateLog(self._log)
        self._waited_for_expiry: set[int] = set()  # sources; for lists that live too short, once is enough
        self._switched = Signal()
        events.on("switches", self._switched.ring)
        self.working = 0
        self.jobs_done = 0
        self.jobs_failed = 0
        self._progress = clock.monotonic()
        self._idle = False

    @property
    def progress(self) -> float:
        """Monotonic time of the last step; waiting for a job is no standstill."""
        return self._clock.monotonic() if self._idle else self._progress

    async def run(self, stopping: asyncio.Event) -> None:
        """Take and work jobs until stopping; then those under way are worked to their end."""
        async with asyncio.TaskGroup() as group:
            while not stopping.is_set():
                self._progress = self._clock.monotonic()
                await self._slots.acquire()
                job = await self._take(stopping)
                if job is None:
                    self._slots.release()
                    break
                group.create_task(self._work(job), name=f"job-{job.source_id}")

    async def _take(self, stopping: asyncio.Event) -> Job | None:
        """The next job, or None once stopping."""
        stopped = asyncio.ensure_future(stopping.wait())
        self._idle = True
        try:
            while not stopping.is_set():
                if self._paused():
                    await _first(stopped, asyncio.ensure_future(self._switched.wait(self._clock)))
                    continue
                try:
                    return await _first(stopped, asyncio.ensure_future(self._jobs.next()))
                except Unavailable as error:
                    self._states.set("rows", "failing", "the queue cannot be read", reason=error.message)
                    await _first(stopped, asyncio.ensure_future(self._clock.sleep(2.0)))
            return None
        finally:
            self._idle = False
            stopped.cancel()

    async def _work(self, job: Job) -> None:
        log = self._log.bind(character=job.character_name, character_id=job.character_id)
        self.working += 1
        try:
            summary = await self._sync(job, log)
        except LeaseLost:
            log.info("job went to somebody else")
        except Waiting as error:
            # Nobody's fault: no attempt counts. A little apart, so that not all come back at once.
            until = error.until + self._rng.uniform(0.0, 1.0)
            await self._give_back(job, until, job.attempts, error.message, log)
        except GrantUnusable as error:
            log.warning("needs a new login", reason=error.message)
            await self._rows.drop(job.source_id)
        except KillsyncdError as error:
            await self._failed(job, error, log)
        except Exception as error:
            log.exception("job failed in a way nobody foresaw", error)
            await self._failed(job, KillsyncdError(f"internal error: {type(error).__name__}"), log)
        else:
            self.jobs_done += 1
            log.info(
                "synced list",
                mode=job.mode.value,
                new=summary.new,
                skipped=summary.skipped,
                total=summary.listed,
                pages=summary.pages,
            )
            if self._states.state(job.source_id) != "ok":
                self._states.set(job.source_id, "ok", "sync works again", character_id=job.character_id)
            self._states.forget(job.source_id)
        finally:
            self.working -= 1
            self._progress = self._clock.monotonic()
            self._slots.release()
            await self._jobs.done(job)
            self._events.tell("jobs")

    async def _failed(self, job: Job, error: KillsyncdError, log: Logger) -> None:
        self.jobs_failed += 1
        if isinstance(error, EsiStatus) and error.status == 403:
            # ESI.md: 403 on the list means the scope is missing. Asking again would only cost 5 tokens.
            await self._users.mark(
                job.user_id, UserState.SCOPE_MISSING, "ESI refuses the list: the killmail scope is missing"
            )
            await self._rows.drop(job.source_id)
            log.warning("the killmail scope is missing")
            return
        attempts = job.attempts + 1
        wait = full_jitter(attempts, first=FIRST_BACKOFF, cap=LONGEST_BACKOFF, rng=self._rng)
        if isinstance(error, SsoUnavailable) and error.retry_after:
            wait = max(wait, error.retry_after)
        state = f"{type(error).__name__}"
        self._states.set(
            job.source_id,
            state,
            "sync failed, will try again",
            level="warning",
            reason=error.message,
            attempts=attempts,
        )
        await self._give_back(job, self._clock.now() + wait, attempts, error.message, log)

    async def _give_back(self, job: Job, until: float, attempts: int, reason: str, log: Logger) -> None:
        log.debug("waits", seconds=round(until - self._clock.now(), 1), reason=reason)
        try:
            await self._rows.postpone(job, until, attempts=attempts, reason=reason)
        except Unavailable as error:
            # The lease falls with this daemon's heartbeat or with its next start.
            log.error("could not give a job back", reason=error.message)
        self._events.tell("wants")

    async def _sync(self, job: Job, log: Logger) -> Summary:
        source = await self._ledger.source_state(job.source_id)
        if source is None:
            raise LeaseLost("the source is gone")
        walk = await self._ledger.open_walk(job.source_id, self._how_far(job, source))
        summary = Summary()
        while True:
            written = await self._page(job, walk, log)
            summary.pages += 1
            summary.listed += written.listed
            summary.new += written.new
            summary.skipped += written.listed - written.new
            walk = written.walk
            if written.new:
                self._listed(job.source_id)
            if written.outcome is not Outcome.GO_ON:
                self._waited_for_expiry.discard(job.source_id)
            if written.outcome is Outcome.TORN:
                await self._walk_again(job, log)
                return summary
            if written.outcome is not Outcome.GO_ON:
                if written.outcome is Outcome.CUT:
                    log.warning("walk cut short", pages=walk.pages, max_pages=self._max_pages)
                return summary
            if walk.next_page == 2 and self._expires_too_soon(job, walk, written):
                self._waited_for_expiry.add(job.source_id)
                await self._ledger.restart_walk(walk)
                raise NotBefore("the list is about to change", self._door.wall(written.expires_at))

    def _how_far(self, job: Job, source: SourceState) -> SyncMode:
        """A source without an unbroken walk is read whole; so is every source once a day."""
        if source.unbroken_at is None:
            return job.mode if job.mode is SyncMode.FULL_SYNC else SyncMode.FIRST_SYNC
        old = self._clock.now() - (source.full_walk_at or 0.0)
        return SyncMode.FULL_SYNC if old >= self._full_walk else job.mode

    def _expires_too_soon(self, job: Job, walk: Walk, written: PageWritten) -> bool:
        return job.source_id not in self._waited_for_expiry and too_close_to_expiry(
            pages_left=min(walk.pages, self._max_pages) - 1,
            expires_at=written.expires_at,
            now=self._door.esi_now(),
        )

    async def _walk_again(self, job: Job, log: Logger) -> None:
        """A torn walk counts as none: walk again once the list has a new generation, ever more rarely."""
        torn = await self._ledger.torn_in_a_row(job.source_id)
        page = await self._ledger.page_state(job.source_id, 1)
        wait = full_jitter(torn, first=30.0, cap=3600.0, rng=self._rng)
        until = max(self._door.wall(page.expires_at) if page else 0.0, self._clock.now() + wait)
        log.info("the list changed while it was read; reading it again later", torn=torn)
        await self._give_back(job, until, job.attempts, "the list changed while it was read", log)


async def _first(stopped: asyncio.Future[Any], work: asyncio.Future[T]) -> T | None:
    """Wait for work, or for the stop, which cancels the work.

    A claim that is cancelled in the making falls with this daemon's row when it leaves.
    """
    try:
        await asyncio.wait({stopped, work}, return_when=asyncio.FIRST_COMPLETED)
        return work.result() if work.done() else None
    finally:
        if not work.done():
            work.cancel()
            await asyncio.wait({work})
