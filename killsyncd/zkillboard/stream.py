"""The task that reads zKillboard's live stream (R2Z2): numbered files, one a mail, from a durable position.

Files stay for about a day. What is missing between two files is filled from the lists: a gap makes them due.
"""

from __future__ import annotations

import random
from collections.abc import Mapping
from dataclasses import dataclass, field

from killsyncd.core.background import ZKILLBOARD_STREAM, PeriodicTask, TaskRows, TaskState, Turn
from killsyncd.core.clock import Clock
from killsyncd.core.errors import BadInput
from killsyncd.core.logging import get_logger
from killsyncd.zkillboard.answers import StreamFile
from killsyncd.zkillboard.client import NotNow, ZkillboardClient
from killsyncd.zkillboard.ports import Found, ZkillboardRows
from killsyncd.zkillboard.walk import Reading

TURN = 60.0
"""Seconds after which the task looks whether it is still the one to do this."""

BATCH = 50
"""Files between two looks at who is ours."""

NOT_YET = 6.5
"""Seconds until a file that was not there is asked for again; zKillboard wants six at least."""

HEAD_EVERY = 300.0
"""Seconds between two looks at the stream's last number, while files fail to appear."""

UNUSABLE = 3
"""A file that cannot be read is asked for so often; then the lists have to tell what was on it."""

PAUSED = 15.0

log = get_logger(__name__)


@dataclass(slots=True)
class Batch:
    """What was read in one go. last: of the files; at_end: nothing was behind it; gap: some were missing."""

    last: int
    found: list[Found] = field(default_factory=list)
    at_end: bool = False
    gap: bool = False
    trouble: BadInput | NotNow | None = None


class StreamTask(PeriodicTask):
    """Reads the stream."""

    name = ZKILLBOARD_STREAM
    longest_retry = 900.0

    def __init__(
        self,
        client: ZkillboardClient,
        subjects: ZkillboardRows,
        rows: TaskRows,
        clock: Clock,
        rng: random.Random,
        reading: Reading,
    ) -> None:
        super().__init__(rows, clock, rng, lambda: None)
        self._client = client
        self._subjects = subjects
        self._listed = reading.listed
        self._paused = reading.paused
        self._head = -1
        self._head_at = -HEAD_EVERY
        self._unusable: tuple[int, int] = (-1, 0)

    async def turn(self, state: TaskState) -> Turn:
        """Read on for a minute. Raises NotNow, BadInput; what was read before is kept."""
        begun = self._clock.monotonic()
        position = await self._subjects.stream_position()
        sequence = position.sequence
        if sequence is None:
            sequence = await self._begin()
        elif position.read_at is not None:
            # Before a restart, or by another daemon: the file after it was not there then.
            await self._clock.sleep(min(NOT_YET, position.read_at + NOT_YET - self._clock.now()))
        while self._clock.monotonic() - begun < TURN and not self._paused():
            batch = await self._batch(sequence, await self._subjects.watched())
            sequence = await self._keep(batch)
            if batch.trouble is not None:
                raise NotNow(batch.trouble.message, getattr(batch.trouble, "until", 0.0))
            if batch.at_end:
                await self._clock.sleep(NOT_YET)
        return Turn(PAUSED if self._paused() else 0.0, sequence)

    async def _begin(self) -> int:
        """From now on; the lists have what was before."""
        head = await self._client.sequence()
        self._head, self._head_at = head, self._clock.monotonic()
        await self._subjects.stream_begins(head)
        log.info("zKillboard's stream is read from now on", sequence=head)
        return head

    async def _keep(self, batch: Batch) -> int:
        wanted = await self._subjects.stream_read(
            batch.last, batch.found, self._clock.now(), at_end=batch.at_end, gap=batch.gap
        )
        for source_id in wanted:
            self._listed(source_id)
        if batch.found:
            log.info("zKillboard's stream brought killmails", killmails=len(batch.found))
        if batch.gap:
            log.info("zKillboard's stream has a gap; the lists are read again", sequence=batch.last)
        return batch.last

    async def _batch(self, sequence: int, watched: Mapping[int, int]) -> Batch:
        batch = Batch(sequence)
        for _ in range(BATCH):
            try:
                file = await self._client.stream_file(batch.last + 1)
            except NotNow as error:
                batch.trouble = error
                break
            except BadInput as error:
                if not self._give_up(batch.last + 1):
                    batch.trouble = error
                    break
                batch.last, batch.gap = batch.last + 1, True
                continue
            if file is None:
                try:
                    if not await self._pass_over(batch):
                        break
                except (NotNow, BadInput) as error:
                    batch.trouble = error
                    break
                continue
            batch.last += 1
            self._sort(file, watched, batch)
        return batch

    def _sort(self, file: StreamFile, watched: Mapping[int, int], batch: Batch) -> None:
        sources = tuple(sorted({watched[each] for each in file.involved if each in watched}))
        if sources:
            batch.found.append(Found(file.killmail_id, file.killmail_hash, sources))

    def _give_up(self, sequence: int) -> bool:
        """Whether a file that cannot be read was tried often enough."""
        times = self._unusable[1] + 1 if self._unusable[0] == sequence else 1
        self._unusable = (sequence, times)
        return times >= UNUSABLE

    async def _pass_over(self, batch: Batch) -> bool:
        """The next file is not there. False: it is yet to come. True: it never will; `batch` is past it."""
        missing = batch.last + 1
        now = self._clock.monotonic()
        if self._head < missing:
            if now - self._head_at < HEAD_EVERY:
                batch.at_end = True
                return False
            self._head, self._head_at = await self._client.sequence(), now
            if self._head < missing <= self._head + 1 + BATCH:
                batch.at_end = True
                return False
        if self._head > missing:
            await self._clock.sleep(NOT_YET)  # it may have come with the number
            if await self._client.stream_file(missing) is not None:
                return True  # and is read in its turn
            if await self._client.stream_file(missing + 1) is not None:
                batch.last, batch.gap = missing, True
                return True
        elif self._head == missing:
            batch.at_end = True  # just now
            self._head = missing - 1
            return False
        # A day's files are gone, or the numbers began anew.
        batch.last, batch.gap = self._head, True
        return True
