"""Who is running on this database, and until when its leases hold.

Every running daemon has a row. Whatever is claimed (a want, a mail, a refresh,
the producer's run) names that row in its `holder`, so that claims fall by
themselves when the row goes (ON DELETE SET NULL). The database's own time
decides when that is, because the clocks of several machines do not agree.

Where the store is exclusive nobody else can be alive: whoever joins drops all
older rows, its own never ends, and the heartbeat has nothing to do. On a shared
store a daemon says every `BEAT_SECONDS` that it lives, and sweeps away those
that have not for `LEASE_SECONDS`.
"""

from __future__ import annotations

import asyncio
import os
import secrets
import socket
from collections.abc import Callable
from dataclasses import dataclass

from killsyncd.core.clock import Clock
from killsyncd.core.errors import KillsyncdError, Unavailable
from killsyncd.core.logging import StateLog, get_logger
from killsyncd.storage.transaction import Row, Run, Store, Tx, one

LEASE_SECONDS = 30.0
BEAT_SECONDS = 8.0
RETRY_SECONDS = 1.0
"""How soon a beat is tried again that the database did not take."""
LEAVE_SECONDS = 5.0

_FOR_EVER = 100 * 365 * 86400.0

log = get_logger(__name__)


@dataclass(frozen=True, slots=True)
class Daemon:
    """A daemon that is alive, as the database sees it. started_at: seconds since 1970."""

    id: str
    host: str
    pid: int
    egress: str
    version: str
    started_at: float


def _join(me: Daemon, seconds: float, exclusive: bool) -> Tx[list[str]]:
    """Insert our row and delete those of daemons that are dead; answers their ids."""
    gone: list[str] = []
    if exclusive:
        yield Run("meta.daemons_all", {})
    else:
        gone = [str(row["id"]) for row in (yield Run("meta.daemons_dead", {}))]
    yield Run(
        "meta.daemon_join",
        {
            "id": me.id,
            "host": me.host,
            "pid": me.pid,
            "egress": me.egress,
            "version": me.version,
            "seconds": seconds,
        },
    )
    return gone


def begin_feed(exclusive: bool) -> Tx[None]:
    """Write down that positions of the feed are given out by a new start from here on.

    Not while daemons run on the database: theirs goes on. The feed's row is locked, so that of two that
    start at once one sees the other.
    """
    row = one((yield Run("meta.feed_locked", {})))
    assert row is not None, "migration 1 makes the feed's row"
    if not exclusive and (yield Run("meta.daemons_alive", {})):
        return
    yield Run("meta.feed_start", {"position": int(row["position"]), "id": secrets.token_hex(4)})


def _enter(me: Daemon, seconds: float, exclusive: bool) -> Tx[list[str]]:
    yield from begin_feed(exclusive)
    return (yield from _join(me, seconds, exclusive))


def _beat(me: Daemon, seconds: float) -> Tx[tuple[bool, list[str]]]:
    """Renew our lease, delete dead daemons: (whether our lease still held, the ids of the dead).

    A lease that has ended is not revived, also when nobody else swept it: whatever could not be
    given back while the database was away is free again that way.
    """
    there = yield Run("meta.daemon_beat", {"id": me.id, "seconds": seconds})
    if not there:
        return False, (yield from _join(me, seconds, exclusive=False))
    return True, [str(row["id"]) for row in (yield Run("meta.daemons_dead", {}))]


def _leave(daemon_id: str) -> Tx[None]:
    yield Run("meta.daemon_leave", {"id": daemon_id})


def _alive() -> Tx[list[Daemon]]:
    return [_daemon(row) for row in (yield Run("meta.daemons_alive", {}))]


def _daemon(row: Row) -> Daemon:
    return Daemon(
        str(row["id"]),
        str(row["host"]),
        int(row["pid"]),
        str(row["egress"]),
        str(row["version"]),
        float(row["started_at"]),
    )


async def daemons_alive(store: Store) -> list[Daemon]:
    """Every daemon whose lease holds, the oldest first. Commands that want none to run ask this."""
    return await store.read(_alive)


class Membership:
    """This daemon's place among those on its database. `id` is what claims name as their holder.

    Make one with `join`, run `run` beside the tasks that claim things, and `leave` at the end.
    """

    def __init__(self, store: Store, clock: Clock, me: Daemon, beaten: float) -> None:
        self._store = store
        self._clock = clock
        self._me = me
        self._beaten = beaten
        self._left = False
        self._state = StateLog(log)

    @classmethod
    async def join(cls, store: Store, clock: Clock, *, egress: str, version: str) -> Membership:
        """Enter this process among the daemons. Raises Unavailable.

        egress: the configuration's name for the address that our requests leave from.
        """
        me = Daemon(secrets.token_hex(8), socket.gethostname(), os.getpid(), egress, version, clock.now())
        beaten = clock.monotonic()
        gone = await store.write(_enter, me, _FOR_EVER if store.exclusive else LEASE_SECONDS, store.exclusive)
        member = cls(store, clock, me, beaten)
        await member._told(gone)
        return member

    @property
    def id(self) -> str:
        """The holder that this daemon's claims name."""
        return self._me.id

    def alive(self) -> bool:
        """Whether our lease certainly holds, so that beginning something under a claim makes sense.

        Counted from before the last beat was sent, so never longer than the database counts.
        It is a hint: a machine that slept does not know. What ends a claim looks into the row.
        """
        if self._left:
            return False
        return self._store.exclusive or self._clock.monotonic() - self._beaten < LEASE_SECONDS

    async def beat(self) -> bool:
        """Renew the lease and sweep the dead. Raises Unavailable.

        False: our row was gone, because we were silent too long. It is there again, under the
        same id, but everything claimed before has fallen and may be somebody else's.
        """
        sent = self._clock.monotonic()
        kept, gone = await self._store.write(_beat, self._me, LEASE_SECONDS)
        self._beaten = sent
        await self._told(gone)
        return kept

    async def run(self, on_lost: Callable[[], None] | None = None) -> None:
        """Beat until cancelled. A database that does not answer is waited for.

        on_lost: called when claims of ours have fallen.
        """
        while True:
            if self._store.exclusive:
                await self._clock.sleep(3600.0)
                continue
            pause = BEAT_SECONDS
            try:
                kept = await self.beat()
            except Unavailable as error:
                self._state.set("beat", "failing", "the heartbeat does not reach the database", error=error)
                pause = RETRY_SECONDS
            else:
                self._state.set("beat", "ok", "the heartbeat reaches the database again")
                if not kept:
                    log.warning("this daemon was silent too long: its claims have fallen", daemon=self.id)
                    if on_lost is not None:
                        on_lost()
            await self._clock.sleep(pause)

    async def peers(self) -> list[Daemon]:
        """Every daemon alive, this one included, the oldest first."""
        return await self._store.read(_alive)

    async def leave(self) -> None:
        """Take our row away: open claims fall at once. Safe to call twice, and when the database is gone."""
        if self._left:
            return
        self._left = True
        try:
            async with asyncio.timeout(LEAVE_SECONDS):
                await self._store.write(_leave, self.id)
                await self._told([self.id])
        except (KillsyncdError, TimeoutError) as error:
            log.warning("could not sign off; claims fall when the lease ends", error=error)

    async def _told(self, gone: list[str]) -> None:
        """What these daemons held is free: tell every daemon to look."""
        if not gone:
            return
        for each in gone:
            if each != self.id:
                log.warning("a daemon is gone; what it held is free again", daemon=each)
        await self._store.notify("wants")
        await self._store.notify("refs")
