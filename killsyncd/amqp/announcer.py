"""One queue of the broker's: publishes a message for every sync request of its kind that is due, and
counts."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable
from contextlib import suppress
from typing import Any, Protocol

from killsyncd.amqp import messages
from killsyncd.amqp.connection import ANSWER_SECONDS
from killsyncd.amqp.ports import AnnouncedRows
from killsyncd.core.clock import Clock
from killsyncd.core.errors import KillsyncdError, Unavailable
from killsyncd.core.events import Wakeup
from killsyncd.core.logging import StateLog, get_logger
from killsyncd.core.model import SourceKind
from killsyncd.sync.job_source import Announcement

BATCH = 100
"""Messages published at once, confirmed together."""

LOOK_AGAIN = 5.0
"""Seconds after which the rows are looked at although nothing has signalled a change."""

ON_ITS_WAY = 1.0
"""Seconds between marking a sync request and having its message confirmed, generously."""

LOST_SECONDS = 30.0
"""A message that nobody got for so long, while the broker holds too few for what is due, is lost."""

Headers = dict[str, Any]
TokenOf = Callable[[str], Awaitable[str]]

log = get_logger(__name__)


class Publish(Protocol):
    """Publishes until the broker has confirmed it."""

    async def __call__(
        self, queue: str, body: bytes, priority: int, headers: Headers | None = None
    ) -> None: ...


class Announcer:
    """A queue: its name, the kind of list that its messages speak of, the rows behind it.

    token_of: an access token for a user; None where messages carry none.
    """

    def __init__(
        self,
        name: str,
        kind: SourceKind,
        rows: AnnouncedRows,
        clock: Clock,
        token_of: TokenOf | None,
    ) -> None:
        self.name = name
        self.kind = kind
        self.rows = rows
        self._clock = clock
        self._token_of = token_of
        self._signal = Wakeup()
        self._state = StateLog(log)
        self.messages: int | None = None
        """Messages that wait in the queue, as of the last probe; None before the first."""
        self.dead = 0
        self.consumers = 0
        """Of all daemons, and of workers of the system before."""
        self._doubtful = False
        self._renewed_at = 0.0

    def watched(self, queue: tuple[int, int], dead: tuple[int, int]) -> None:
        """What a probe of the queue and of its dead queue said: (messages, consumers) of each."""
        self.messages, self.consumers = queue
        self.dead = dead[0]

    def renewed(self, waiting: int, asked_at: float) -> None:
        """The queue was declared on a new connection, and held so many messages.

        It may be a new queue too: what was announced before `asked_at` (loop's time) is in doubt.
        """
        self.messages = waiting
        self._doubtful, self._renewed_at = True, asked_at - ON_ITS_WAY
        self.ring()

    def ring(self) -> None:
        """There may be sync requests without a message."""
        self._signal.ring()

    async def run(self, ready: asyncio.Event, publish: Publish) -> None:
        """Publish a message for every sync request that is due, until cancelled.

        ready: set while there is a channel.
        """
        while True:
            try:
                await ready.wait()
                more = await self._announce_some(publish)
                due = await self.rows.next_due()
            except Unavailable as error:
                self._state.set("rows", "failing", "the queue cannot be read", reason=error.message)
                await self._clock.sleep(2.0)
                continue
            self._state.set("rows", "ok", "the queue can be read again")
            if not more:
                wait = LOOK_AGAIN if due is None else due - self._clock.now()
                # Due already and announced: there is nothing to do until something changes.
                await self._signal.wait(self._clock, wait if 0.0 < wait < LOOK_AGAIN else LOOK_AGAIN)

    async def _announce_some(self, publish: Publish) -> bool:
        """Publish a batch; answers whether there may be more."""
        lost_after = None
        if self.messages is not None and self.messages < await self.rows.due():
            lost_after = LOST_SECONDS
            if self._doubtful:
                lost_after = min(LOST_SECONDS, asyncio.get_running_loop().time() - self._renewed_at)
        requests = await self.rows.announce(BATCH, lost_after)
        self._doubtful = self._doubtful and len(requests) == BATCH
        if not requests:
            return False
        out: set[int] = set()
        try:
            await asyncio.gather(*(self._announce_one(each, out, publish) for each in requests))
        finally:
            missing = [each.source_id for each in requests if each.source_id not in out]
            if missing:
                # Also when we are cancelled; where that fails, the next connection is in doubt again.
                with suppress(Unavailable, TimeoutError):
                    async with asyncio.timeout(ANSWER_SECONDS):
                        await self.rows.unannounce(missing)
        return len(requests) == BATCH and bool(out)

    async def _announce_one(self, request: Announcement, out: set[int], publish: Publish) -> None:
        token = None
        if self._token_of is not None:
            try:
                token = await self._token_of(request.user_id)
            except KillsyncdError as error:
                log.debug("no access token for a message", character_id=request.character_id, error=error)
                await self._clock.sleep(2.0)
                return
        await publish(self.name, messages.build(request, token), request.priority)
        out.add(request.source_id)
