"""A stage for tests from outside: EVE in one process, the daemon in another, real sockets between them."""

from __future__ import annotations

from collections.abc import Mapping
from contextlib import ExitStack
from pathlib import Path
from typing import Any

from killsyncd.simulator import SimulatorProcess
from tests.support.daemon import DaemonProcess
from tests.support.login_browser import log_in
from tests.support.mails import breaches

QUICK = {"producer": {"interval": "2s", "min_age": "1s"}}
"""Background sync every two seconds, for simulators whose lists live as short."""


class Stage:
    """Starts EVEs and daemons, and ends them with the test.

    In the end no EVE may have counted a breach of its rules (but those a test says it provokes), nor
    have failed itself, and every daemon that still runs must stop with 0.
    """

    def __init__(self, folder: Path, stack: ExitStack) -> None:
        self.folder = folder
        self._stack = stack
        self.eves: list[SimulatorProcess] = []
        self._daemons: list[DaemonProcess] = []
        self.provoked: set[str] = set()

    def eve(self, **options: Any) -> SimulatorProcess:
        """A running simulator; options as on its command line."""
        eve = self._stack.enter_context(SimulatorProcess(**options))
        self.eves.append(eve)
        return eve

    def daemon(
        self,
        eve: SimulatorProcess | str,
        settings: Mapping[str, Mapping[str, Any]] | None = None,
        *,
        name: str = "daemon",
        start: bool = True,
        **more: Any,
    ) -> DaemonProcess:
        """A daemon against this EVE, running unless told otherwise."""
        address = eve if isinstance(eve, str) else eve.base_url
        sections = {key: dict(value) for key, value in (settings or {}).items()}
        sections.setdefault("esi", {}).setdefault("requests_per_second", 200)  # the tests have no all day
        daemon = DaemonProcess(self.folder / name, address, settings=sections, **more)
        self._daemons.append(daemon)
        return daemon.start() if start else daemon

    def log_in(self, daemon: DaemonProcess, eve: SimulatorProcess, *pilots: int) -> None:
        """Log these pilots in (all of them without any named), as their browsers do it."""
        for pilot in pilots or [each["character_id"] for each in eve.pilots()]:
            log_in(daemon.url, eve.base_url, pilot)

    def end(self) -> None:
        """What must hold in the end."""
        for daemon in self._daemons:
            if daemon.process is not None:
                assert daemon.stop() == 0, daemon.tail()
        for eve in self.eves:
            found = [each for each in breaches(eve) if each.split(" ")[0] not in self.provoked]
            assert found == [], f"ESI's rules were broken: {found}"
            crashes = eve.counters()["crashes"]
            assert crashes == [], f"the simulator failed: {crashes}"

    def abandon(self) -> None:
        """The test has failed: no more questions."""
        for daemon in self._daemons:
            if daemon.process is not None:
                daemon.kill()


def pilots_of(eve: SimulatorProcess) -> list[int]:
    """Character ids, in the simulator's order."""
    return [int(each["character_id"]) for each in eve.pilots()]
