"""A daemon's control socket over a real SQLite store, and the executable that talks to it."""

from __future__ import annotations

import asyncio
import json
import os
import sys
from collections.abc import AsyncIterator, Mapping
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from functools import partial
from pathlib import Path
from typing import IO, Any

from killsyncd.auth.grant import SsoUnavailable
from killsyncd.auth.login import LoggedIn, LoginStatus, PendingLogin
from killsyncd.auth.login_state import LoginOrigin, LoginReturn, LoginState
from killsyncd.auth.revoker import Revoker
from killsyncd.control.client import ControlClient
from killsyncd.control.server import ControlServer
from killsyncd.control.socket import ControlSocket
from killsyncd.core.clock import SystemClock
from killsyncd.core.errors import LoginRefused
from killsyncd.core.events import Events
from killsyncd.core.model import UserState
from killsyncd.service.health import Health
from killsyncd.service.import_export import ImportExport
from killsyncd.service.operations import Operations
from killsyncd.service.pilot_groups import PilotGroups
from killsyncd.service.ports import OperationsStorage
from killsyncd.service.statistics_check import StatisticsCheck
from killsyncd.service.status import OperationsSettings
from killsyncd.storage.repositories.import_export import ImportExportRepository
from killsyncd.storage.repositories.names import NameRepository
from killsyncd.storage.repositories.pilot_groups import PilotGroupRepository
from killsyncd.storage.repositories.revocations import Revocations
from killsyncd.storage.repositories.search import KillmailSearch
from killsyncd.storage.repositories.sources import SourceRepository
from killsyncd.storage.repositories.status import StatusRepository
from killsyncd.storage.sqlite import backup as backups
from tests.support.new_database import open_migrated
from tests.support.storage_world import StorageWorld

ROOT = Path(__file__).parents[2]


class PlayedLogins:
    """Logins, as far as their outcome goes: each is finished by a test, by whom it says."""

    def __init__(self) -> None:
        self.states: dict[str, LoginStatus] = {}
        self.pasted: dict[str, LoggedIn] = {}

    async def begin(self, esi: LoginOrigin) -> PendingLogin:
        assert esi is LoginOrigin.CLI
        login_id = f"login{len(self.states)}"
        self.states[login_id] = LoginStatus(LoginState.PENDING)
        return PendingLogin(
            "https://sso.invalid/authorize?state=s3cret", "s3cret", None, login_id, 1_795_000_000.0
        )

    async def finish(self, at: LoginReturn, code: str, state: str, cookie: str | None = None) -> LoggedIn:
        raise AssertionError("nobody comes back here")

    async def finish_query(
        self, at: LoginReturn, query: Mapping[str, str], cookie: str | None = None
    ) -> LoggedIn:
        return self.pasted[query["code"]]

    async def finish_redirect(self, url: str) -> LoggedIn:
        if url not in self.pasted:
            raise LoginRefused("that is not the address the SSO redirects to", "copy the whole address")
        return self.pasted[url]

    async def status(self, login_id: str) -> LoginStatus:
        return self.states.get(login_id, LoginStatus(LoginState.UNKNOWN, message="there is no such login"))


@dataclass
class PlayedSso:
    """Where grants are taken back."""

    down: bool = False
    revoked: list[tuple[int, bytes]] = field(default_factory=list)

    async def revoke(self, character_id: int, refresh_token_enc: bytes) -> None:
        if self.down:
            raise SsoUnavailable("the SSO does not answer", answered=False)
        self.revoked.append((character_id, refresh_token_enc))


class _Timed:
    def __init__(self) -> None:
        self.clock = SystemClock()

    async def pass_time(self, seconds: float) -> None:
        raise AssertionError("real time")


@dataclass
class ControlWorld:
    """What a test works with."""

    folder: Path
    world: StorageWorld
    events: Events
    health: Health
    operations: Operations
    server: ControlServer
    desk: PlayedLogins
    sso: PlayedSso
    socket: Path

    @property
    def client(self) -> ControlClient:
        """A client of the socket; its methods block, so `asyncio.to_thread` them."""
        return ControlClient(str(self.socket))

    async def get(self, route: str, **parameters: str) -> Any:
        """GET through the client."""
        return await asyncio.to_thread(self.client.get, route, parameters)

    async def post(self, route: str, **body: Any) -> Any:
        """POST through the client."""
        return await asyncio.to_thread(self.client.post, route, body)

    async def ctl(self, *words: str, **given: Any) -> Ended:
        """`killsyncd ctl WORDS`, in a process of its own."""
        return await execute("ctl", "--socket", str(self.socket), *words, **given)


@dataclass(frozen=True)
class Ended:
    """A process that ended."""

    code: int
    out: str
    err: str

    @property
    def json(self) -> Any:
        """What it printed, which must be JSON and nothing else."""
        return json.loads(self.out)


def environment(folder: Path | None = None, **more: str) -> dict[str, str]:
    """Of a command: nothing of the tester's own configuration."""
    kept = {name: value for name, value in os.environ.items() if not name.startswith(("KILLSYNCD_", "XDG_"))}
    return {**kept, "PYTHONPATH": str(ROOT), "HOME": str(folder or "/nonexistent"), **more}


async def execute(
    *words: str, stdin: bytes | IO[bytes] | None = None, folder: Path | None = None, **more: str
) -> Ended:
    """Run the executable to its end. stdin: what is in a pipe, or an open file."""
    piped = asyncio.subprocess.PIPE if isinstance(stdin, bytes) else stdin or asyncio.subprocess.DEVNULL
    process = await asyncio.create_subprocess_exec(
        sys.executable,
        "-m",
        "killsyncd",
        *words,
        stdin=piped,
        stdout=asyncio.subprocess.PIPE,
        stderr=asyncio.subprocess.PIPE,
        env=environment(folder, **more),
    )
    out, err = await process.communicate(stdin if isinstance(stdin, bytes) else None)
    assert process.returncode is not None
    return Ended(process.returncode, out.decode(), err.decode())


@asynccontextmanager
async def control_world(folder: Path) -> AsyncIterator[ControlWorld]:
    """Open a store, serve it, close both."""
    clock = SystemClock()
    store = await open_migrated(folder / "killsyncd.db", clock)
    world = await StorageWorld.begin(_Timed(), store)
    events, health = Events(), Health(clock)
    desk, sso = PlayedLogins(), PlayedSso()
    import random

    revoker = Revoker(rows=Revocations(store), tokens=sso, events=events, clock=clock, rng=random.Random(1))
    operations = Operations(
        OperationsStorage(
            rows=StatusRepository(store),
            users=world.users,
            sources=SourceRepository(store),
            ledger=world.ledger,
            names=NameRepository(store),
            queue=world.wants,
        ),
        OperationsSettings(skip_within=900.0, producer_enabled=True, version="1.2.3", started_at=clock.now()),
        events,
        health,
        clock,
        logins=desk,
        revoker=revoker,
    )
    documents = ImportExportRepository(store, world.storing)
    exchange = ImportExport(documents, clock, stored=partial(events.tell, "feed"))
    server = ControlServer(
        operations,
        exchange,
        lambda: backups.make(store, "1.2.3", clock.now()),
        groups=PilotGroups(PilotGroupRepository(store), operations),
        statistics=StatisticsCheck(KillmailSearch(store), documents, operations),
    )
    socket = folder / "killsyncd.sock"
    await server.start(ControlSocket.bind(socket))
    try:
        yield ControlWorld(folder, world, events, health, operations, server, desk, sso, socket)
    finally:
        await server.close()
        await store.close()


def logged_in(user_id: str, character_id: int, name: str) -> LoggedIn:
    """A finished login."""
    return LoggedIn(user_id, character_id, name, True, UserState.OK, f"{name} is logged in")
