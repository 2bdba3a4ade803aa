"""The composition root: the one place that knows everybody, and how long each of them lives.

What is opened goes onto an AsyncExitStack, what runs into a TaskGroup. A task that
dies takes the daemon with it, so that nothing is ever silently missing; the service
manager starts it again, and the ledger knows where everything was.
"""

from __future__ import annotations

import asyncio
import os
import random
import signal
from collections.abc import Callable, Mapping
from contextlib import AsyncExitStack, suppress

from killsyncd import __version__
from killsyncd.config import Config
from killsyncd.config.service_manager import service_manager
from killsyncd.core import logging as logs
from killsyncd.core.clock import Clock, SystemClock
from killsyncd.core.errors import EXIT_OK, Unavailable
from killsyncd.core.logging import get_logger
from killsyncd.daemon import garbage
from killsyncd.daemon.app import App
from killsyncd.daemon.build import build
from killsyncd.daemon.reload import Reloader
from killsyncd.daemon.systemd import Notifier, tell_status, watchdog

DRAIN_SECONDS = 20.0
"""How long what is under way may take to end after the first signal. Closing takes 8 s more at the worst (API
2, control socket 4, logins 1, tokens 1): 30 s are promised, systemd waits 35."""

log = get_logger(__name__)


def run(config: Config, environ: Mapping[str, str], load: Callable[[], Config]) -> int:
    """Run the daemon in the foreground until a signal ends it; answers the exit code.

    load: reads the configuration again, for SIGHUP.
    Raises Refused and what is below it where starting again would not help.
    """
    import uvloop  # not for `killsyncd ctl`, which must start fast

    logs.configure(config.log.level, config.log.format, journal=service_manager(environ).journal)
    garbage.keep_little()
    with asyncio.Runner(loop_factory=uvloop.new_event_loop) as runner:
        return runner.run(_until_signalled(config, environ, load))


async def _until_signalled(config: Config, environ: Mapping[str, str], load: Callable[[], Config]) -> int:
    stopping, cut = asyncio.Event(), asyncio.Event()
    loop = asyncio.get_running_loop()

    def stop(name: str) -> None:
        if stopping.is_set():
            log.warning("second signal: stopping now", signal=name)
            cut.set()
            return
        log.info("stopping", signal=name)
        stopping.set()

    for number in (signal.SIGTERM, signal.SIGINT):
        loop.add_signal_handler(number, stop, signal.Signals(number).name)
    reloader = Reloader(config, load)
    manager = service_manager(environ)
    notifier = Notifier(manager.notify_socket)

    def reload() -> None:
        with notifier.reloading():
            reloader.reload()

    loop.add_signal_handler(signal.SIGHUP, reload)
    try:
        await serve(
            config,
            SystemClock(),
            stopping,
            cut=cut,
            notifier=notifier,
            watchdog_seconds=manager.watchdog,
            environ=environ,
            ready=lambda app: reloader.knows(app.appliers(), app.rereaders(), app.reload_told),
        )
    except* Exception as group:
        refusals = [each for each in _leaves(group) if not isinstance(each, asyncio.CancelledError)]
        for each in refusals[1:]:
            log.exception("also failed", each)
        raise refusals[0] from None
    return EXIT_OK


def _leaves(group: BaseExceptionGroup[BaseException]) -> list[BaseException]:
    found: list[BaseException] = []
    for each in group.exceptions:
        found.extend(_leaves(each) if isinstance(each, BaseExceptionGroup) else [each])
    return found


async def serve(
    config: Config,
    clock: Clock,
    stopping: asyncio.Event,
    *,
    cut: asyncio.Event | None = None,
    notifier: Notifier | None = None,
    watchdog_seconds: float | None = None,
    environ: Mapping[str, str] | None = None,
    ready: Callable[[App], None] | None = None,
) -> None:
    """Open everything, run until `stopping`, drain, close.

    cut: ends the drain at once. environ: what the service manager passed. ready: called with the
    app once every task is at work.
    """
    notifier = notifier or Notifier(None)
    cut = cut or asyncio.Event()
    async with AsyncExitStack() as stack:
        try:
            app = await build(stack, config, clock, random.Random(), stopping, notifier.starting)
        except Unavailable:
            if stopping.is_set():
                return  # asked to end while it waited for the database
            raise
        await app.listen(stack, environ or {})
        async with asyncio.TaskGroup() as group:
            workers = [
                group.create_task(work(stopping), name=name) for name, work in app.tasks.workers.items()
            ]
            background = [group.create_task(run(), name=name) for name, run in app.tasks.background.items()]
            background.append(group.create_task(tell_status(notifier, clock, app.status_line), name="status"))
            if watchdog_seconds is not None:
                feeding = watchdog(notifier, clock, watchdog_seconds, app.no_progress)
                background.append(group.create_task(feeding, name="watchdog"))
            garbage.freeze()
            notifier.ready()
            log.info("ready", version=__version__, pid=os.getpid(), **app.addresses)
            if ready is not None:
                ready(app)
            await stopping.wait()
            notifier.stopping()
            app.servers.draining = True
            await _drain(workers, cut)
            app.store.hurry()
            for task in background:
                task.cancel()
    log.info("stopped")


async def _drain(workers: list[asyncio.Task[None]], cut: asyncio.Event) -> None:
    """Let the workers end by themselves, to a deadline; what is cut is in the ledger all the same."""
    cutting = asyncio.ensure_future(cut.wait())
    try:
        everybody = asyncio.ensure_future(asyncio.wait(workers))
        await asyncio.wait({everybody, cutting}, timeout=DRAIN_SECONDS, return_when=asyncio.FIRST_COMPLETED)
        everybody.cancel()
        with suppress(asyncio.CancelledError):
            await everybody
    finally:
        cutting.cancel()
    late = [task for task in workers if not task.done()]
    for task in late:
        log.warning("did not end in time; cutting it short", task=task.get_name())
        task.cancel()
