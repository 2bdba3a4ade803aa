"""The consumer: takes a job, walks a source's list, writes it into the ledger, and is done.

A job is short. It never waits for ESI's rate limit, for `Expires` or for the end of a downtime while it holds
its claim: it gives the row back with the time from which it may go on, and the walk stays where it stopped.
"""

from __future__ import annotations

import asyncio
import random
from collections.abc import Callable
from typing import Any, TypeVar

from killsyncd.auth.grant import GrantUnusable, LenderLost, ListRefused, SsoUnavailable
from killsyncd.core.clock import Clock
from killsyncd.core.errors import KillsyncdError, Unavailable
from killsyncd.core.events import Events, Wakeup
from killsyncd.core.logging import Logger, StateLog, get_logger
from killsyncd.core.model import Job, Origin, SyncMode, WaitsFor, Walk
from killsyncd.core.retry import full_jitter
from killsyncd.esi.client import EsiClient
from killsyncd.esi.responses import Downtime, EsiError, EsiStatus, MustWait, NotBefore, RateLimited
from killsyncd.sync.job_release import DATABASE_AGAIN, LEAST_PAUSE, JobRelease
from killsyncd.sync.job_source import JobSource
from killsyncd.sync.job_start import JobStart
from killsyncd.sync.lending import ListTokens
from killsyncd.sync.list_reader import ListReader, is_gone
from killsyncd.sync.ports import SyncRequestRows, WalkLedger
from killsyncd.sync.settings import ConsumerSettings
from killsyncd.sync.summary import Summary, whose
from killsyncd.sync.walk import LeaseLost, Outcome, PageWritten, SourceState, too_close_to_expiry, wider

T = TypeVar("T")

FIRST_BACKOFF = 5.0
LONGEST_BACKOFF = 900.0
LONGEST_CLOSED = 60.0
"""Seconds for which no job is taken at most, because ESI said no to everybody."""

EVERYBODY = "error-limit"
"""The group of a RateLimited that shuts every route."""

STUCK_AFTER = 3
"""After so many failures in a row of a page behind the first the walk begins anew."""


class Consumer:
    """Works jobs off, `concurrency` at once.

    paused: whether nothing shall be taken. listed: told of a source whose list holds mails not stored yet.
    """

    def __init__(
        self,
        settings: ConsumerSettings,
        *,
        jobs: JobSource,
        rows: SyncRequestRows,
        ledger: WalkLedger,
        esi: EsiClient,
        tokens: ListTokens,
        events: Events,
        clock: Clock,
        rng: random.Random,
        paused: Callable[[], bool],
        listed: Callable[[int], None],
    ) -> None:
        self._jobs = jobs
        self._ledger = ledger
        self._esi = esi
        self._reader = ListReader(ledger, esi, tokens, settings)
        self._events = events
        self._clock = clock
        self._slots = asyncio.Semaphore(settings.concurrency)
        self._settings = settings
        self._rng = rng
        self._paused = paused
        self._listed = listed
        self._log = get_logger(__name__)
        self._states = StateLog(self._log)
        self._release = JobRelease(rows, events, clock, self._states, self._stepped)
        self._waited_for_expiry: set[int] = set()  # sources; for lists that live too short, once is enough
        self._switched = Wakeup()
        events.on("switches", self._switched.ring)
        self._closed_until = 0.0  # monotonic: ESI is shut for everybody until then
        self.working = 0
        self.jobs_done = 0
        self.jobs_failed = 0
        self._progress = clock.monotonic()
        self._idle = False

    @property
    def progress(self) -> float:
        """Monotonic time of the last step; waiting for a job is no standstill."""
        return self._clock.monotonic() if self._idle else self._progress

    def _stepped(self) -> None:
        self._progress = self._clock.monotonic()

    def reconfigure(self, settings: ConsumerSettings) -> None:
        """Walk by other settings from now on; `concurrency` stays what it was at the start."""
        self._settings = self._reader.settings = settings

    @property
    def trouble(self) -> str | None:
        """Why the queue's rows cannot be read or written just now."""
        return self._release.trouble

    async def run(self, stopping: asyncio.Event) -> None:
        """Take and work jobs until stopping; then those under way are worked to their end."""
        self._release.stopping = stopping
        stopped = asyncio.ensure_future(stopping.wait())  # once, and not for each job
        try:
            async with asyncio.TaskGroup() as group:
                while not stopping.is_set():
                    self._progress = self._clock.monotonic()
                    await self._slots.acquire()
                    job = await self._take(stopping, stopped)
                    if job is None:
                        self._slots.release()
                        break
                    group.create_task(self._work(job), name=f"job-{job.source_id}")
        finally:
            stopped.cancel()

    async def _take(self, stopping: asyncio.Event, stopped: asyncio.Future[Any]) -> Job | None:
        """The next job, or None once stopping."""
        self._idle = True
        try:
            while not stopping.is_set():
                closed = self._closed_until - self._clock.monotonic()
                if self._paused() or closed > 0.0:
                    pause = None if self._paused() else closed
                    await _first(stopped, asyncio.ensure_future(self._switched.wait(self._clock, pause)))
                    continue
                try:
                    job = await _first(stopped, asyncio.ensure_future(self._jobs.next()))
                except Unavailable as error:
                    self._release.in_trouble(error)
                    await _first(stopped, asyncio.ensure_future(self._clock.sleep(DATABASE_AGAIN)))
                else:
                    self._release.out_of_trouble()
                    return job
            return None
        finally:
            self._idle = False

    async def _work(self, job: Job) -> None:
        log = self._log.bind(**whose(job))
        self.working += 1
        try:
            await self._try(job, log)
        finally:
            self.working -= 1
            self._progress = self._clock.monotonic()
            self._slots.release()
            await self._done(job, log)

    async def _try(self, job: Job, log: Logger) -> None:
        """Sync, and see to it that the row lets go of the job however that ends."""
        try:
            summary = await self._sync(job, log)
        except LeaseLost as error:
            log.info("the lease of a job was lost")
            # Does nothing where the claim is gone; otherwise the row must not stay held for ever.
            await self._release.give_back(
                job, self._clock.now() + FIRST_BACKOFF, job.attempts, error.message, log
            )
        except MustWait as error:
            if isinstance(error, Downtime) or (isinstance(error, RateLimited) and error.group == EVERYBODY):
                # For everybody: ten thousand jobs must not be taken and given back, over and over.
                pause = min(LONGEST_CLOSED, error.until - self._clock.now())
                self._closed_until = max(self._closed_until, self._clock.monotonic() + pause)
            elif isinstance(error, RateLimited) and job.origin is Origin.ACTIVE:
                # Half of a list's window is for the interval: the producer's next run goes on with it, or
                # what it leaves does then.
                until, why = self._clock.now() + self._settings.interval, "the rest of its budget is kept"
                return await self._release.give_back(job, until, job.attempts, why, log, None)
            # No failure: no attempt counts. A little apart, so that not all come back at once.
            until = error.until + self._rng.uniform(0.0, 1.0)
            await self._release.give_back(job, until, job.attempts, error.message, log, error.waits_for)
        except SsoUnavailable as error:
            if not error.everybody:
                return await self._failed(job, error, log)
            # No failure of this source, and reported once for all (`sso_unavailable`): no attempt counts. The
            # longer it lasts, the further apart, for it may concern thousands.
            asked_to = error.retry_after or 0.0
            wait = asked_to + self._rng.uniform(LEAST_PAUSE, FIRST_BACKOFF + 2 * min(asked_to, 120.0))
            await self._release.give_back(job, self._clock.now() + wait, job.attempts, error.message, log)
        except LenderLost as error:
            await self._lender_lost(job, error, log)
        except GrantUnusable as error:
            log.warning("needs a new login", reason=error.message)
            self._states.forget(job.source_id)
            # Acknowledged and not dropped: after a login in this very moment there is another request.
            await self._release.finish(job, log)
        except KillsyncdError as error:
            await self._failed(job, error, log)
        except Exception as error:
            log.exception("a job failed with an unexpected error", error)
            await self._failed(job, KillsyncdError(f"internal error: {type(error).__name__}"), log)
        else:
            self.jobs_done += 1
            log.info(
                "synced list",
                mode=job.mode.value,
                new=summary.new,
                skipped=summary.skipped,
                errors=summary.errors,
                total=summary.total,
                pages=summary.pages,
            )
            self._states.set(job.source_id, "ok", "sync works again", character_id=job.character_id)

    async def _lender_lost(self, job: Job, error: LenderLost, log: Logger) -> None:
        """A corporation's list goes on with another's token; without any it waits for one, and not in the
        queue."""
        self._states.forget(job.source_id)
        log.warning("a corporation's list is not read with this pilot's token", reason=error.message)
        self._events.tell("lenders")
        if error.retry_after is None:
            await self._release.finish(job, log)
            return
        until = self._clock.now() + error.retry_after + self._rng.uniform(LEAST_PAUSE, 1.0)
        await self._release.give_back(job, until, job.attempts, error.message, log)

    async def _done(self, job: Job, log: Logger) -> None:
        try:
            await self._jobs.done(job)
        except Exception as error:  # its message comes again, and finds no request
            log.exception("a job's message could not be acknowledged", error)

    async def _failed(self, job: Job, error: KillsyncdError, log: Logger) -> None:
        self.jobs_failed += 1
        attempts = job.attempts + 1
        wait = full_jitter(attempts, first=FIRST_BACKOFF, cap=LONGEST_BACKOFF, rng=self._rng)
        if isinstance(error, SsoUnavailable | ListRefused) and error.retry_after:
            wait = max(wait, error.retry_after)
        if isinstance(error, EsiStatus) and 400 <= error.status < 500:
            # A refusal costs five tokens, and six empty the window: no sooner than a list has news.
            wait = max(wait, self._esi.cache_seconds(job.source.kind))
        state = f"{type(error).__name__}"
        self._states.set(
            job.source_id,
            state,
            "sync failed, will try again",
            level="warning",
            character_id=job.character_id,
            reason=error.message,
            attempts=attempts,
        )
        await self._release.give_back(job, self._clock.now() + wait, attempts, error.message, log)

    async def _sync(self, job: Job, log: Logger) -> Summary:
        walk, start = await self._begin(job)
        summary = Summary()
        while True:
            written = await self._page(job, walk, log, start)
            start = None
            summary.add(written.sighted)
            walk = written.walk
            if written.sighted.listed > written.sighted.stored:
                # Not only what is new to this list: the fetcher may not know of what was listed before.
                self._listed(job.source_id)
            if written.outcome is not Outcome.GO_ON:
                self._waited_for_expiry.discard(job.source_id)
            if written.outcome is Outcome.TORN:
                await self._walk_again(job, log)
                return summary
            if written.outcome is not Outcome.GO_ON:
                if written.outcome is Outcome.CUT:
                    log.warning("walk cut short", pages=walk.pages, max_pages=self._settings.max_pages)
                return summary
            if walk.next_page == 2 and self._expires_too_soon(job, walk, written):
                self._waited_for_expiry.add(job.source_id)
                await self._ledger.restart_walk(walk)
                raise NotBefore("the list is about to change", self._esi.wall(written.expires_at))

    async def _begin(self, job: Job) -> tuple[Walk, JobStart | None]:
        """The walk to go on with, and what else was read when the job was claimed."""
        start = job.start if isinstance(job.start, JobStart) else None
        source = start.source if start is not None else await self._ledger.source_state(job.source_id)
        if source is None:
            raise LeaseLost("the source is gone")
        mode = self._how_far(job, source)
        if start is not None and wider(mode, start.walk.mode) is start.walk.mode:
            return start.walk, start
        return await self._ledger.open_walk(job.source_id, mode), None

    async def _page(self, job: Job, walk: Walk, log: Logger, start: JobStart | None) -> PageWritten:
        self._progress = self._clock.monotonic()
        try:
            return await self._reader.next_page(job, walk, log, start)
        except EsiError as error:
            if walk.next_page > 1 and _stuck(job, error):
                # A walk that goes on where it stopped would stop there again, and news on the first
                # page would wait behind it for ever.
                # One 404 may be wrong, and would hide the page for as long as the first answers 304.
                shrunk = is_gone(error) and await self._gone_before(job, walk.next_page)
                await self._ledger.restart_walk(walk, ends_at=walk.next_page - 1 if shrunk else None)
            raise

    async def _gone_before(self, job: Job, page: int) -> bool:
        """Whether ESI said 404 to this page before, so long ago that this is another answer."""
        known = await self._ledger.page_state(job.source_id, page)
        least = self._esi.cache_seconds(job.source.kind)
        return known is not None and 0.0 < known.gone_at <= self._esi.esi_now() - least

    def _how_far(self, job: Job, source: SourceState) -> SyncMode:
        """A source without an unbroken walk is read whole; so is every source once a day."""
        if source.unbroken_at is None:
            return job.mode if job.mode is SyncMode.FULL_SYNC else SyncMode.FIRST_SYNC
        old = self._clock.now() - (source.full_walk_at or 0.0)
        # Below zero: written while the clock was wrong.
        return job.mode if 0.0 <= old < self._settings.full_walk else SyncMode.FULL_SYNC

    def _expires_too_soon(self, job: Job, walk: Walk, written: PageWritten) -> bool:
        return job.source_id not in self._waited_for_expiry and too_close_to_expiry(
            pages_left=min(walk.pages, self._settings.max_pages) - 1,
            expires_at=written.expires_at,
            now=self._esi.esi_now(),
        )

    async def _walk_again(self, job: Job, log: Logger) -> None:
        """A torn walk counts as none: walk again once the list has a new generation, ever more rarely."""
        torn = await self._ledger.torn_in_a_row(job.source_id)
        page = await self._ledger.page_state(job.source_id, 1)
        wait = full_jitter(torn, first=30.0, cap=3600.0, rng=self._rng)
        until = max(self._esi.wall(page.expires_at) if page else 0.0, self._clock.now() + wait)
        log.info("the list changed while it was read; reading it again later", torn=torn)
        why = "the list changed while it was read"
        await self._release.give_back(job, until, job.attempts, why, log, WaitsFor.CACHE)


def _stuck(job: Job, error: EsiError) -> bool:
    """Whether a page behind the first will not come: the list has shrunk (404), or it failed three times."""
    return is_gone(error) or (error.counts and (job.attempts + 1) % STUCK_AFTER == 0)


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
