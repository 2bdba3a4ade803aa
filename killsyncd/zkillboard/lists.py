"""The task that reads zKillboard's lists: a page a second, of whoever has waited longest."""

from __future__ import annotations

import random

from killsyncd.core.background import ZKILLBOARD, PeriodicTask, TaskRows, TaskState, Turn
from killsyncd.core.clock import Clock
from killsyncd.core.errors import BadInput
from killsyncd.core.logging import get_logger
from killsyncd.core.retry import full_jitter
from killsyncd.zkillboard.client import NotNow, ZkillboardClient
from killsyncd.zkillboard.ports import ZkillboardRows
from killsyncd.zkillboard.settings import ZkillboardSettings
from killsyncd.zkillboard.walk import KEEP, ListedPage, Reading, Subject

TURN = 60.0
"""Seconds after which the task looks whether it is still the one to do this."""

IDLE = 15.0
"""Seconds until it looks again who is there, at most."""

NOBODY = 5.0
"""The same while there is nobody: whoever logs in first wants to see something."""

FIRST_RETRY = 120.0
LONGEST_RETRY = 6 * 3600.0
"""Seconds, beyond an hour, until a subject whose page cannot be used is asked for again."""

TROUBLE_FROM = 3
"""Failures in a row from which a subject's source is in trouble."""

ALL_ALIKE = 3
"""So many pages in a row that cannot be used are zKillboard's fault, and not the pages'."""

log = get_logger(__name__)


class ListsTask(PeriodicTask):
    """Reads lists."""

    name = ZKILLBOARD
    longest_retry = 1800.0

    def __init__(
        self,
        settings: ZkillboardSettings,
        client: ZkillboardClient,
        subjects: ZkillboardRows,
        rows: TaskRows,
        clock: Clock,
        rng: random.Random,
        reading: Reading,
    ) -> None:
        super().__init__(rows, clock, rng, lambda: None)
        self._settings = settings
        self._client = client
        self._subjects = subjects
        self._listed = reading.listed
        self._paused = reading.paused

    async def turn(self, state: TaskState) -> Turn:
        """Read what is due, for a minute. Raises NotNow where zKillboard as a whole does not answer."""
        begun, unusable = self._clock.monotonic(), 0
        await self._subjects.watch(corporations=self._settings.corporations)
        while self._clock.monotonic() - begun < TURN:
            if self._paused():
                return Turn(IDLE, state.position)
            subject = await self._subjects.next_subject()
            if subject is None:
                due = await self._subjects.next_due()
                return Turn(NOBODY if due is None else min(IDLE, due), state.position)
            unusable = 0 if await self._read(subject) else unusable + 1
            if unusable >= ALL_ALIKE:
                raise NotNow("none of zKillboard's last answers can be used")
        return Turn(0.0, state.position)

    async def _read(self, subject: Subject) -> bool:
        """Read the next page of a subject; False: what came cannot be used."""
        try:
            page = await self._client.list_page(subject.entity, subject.entity_id, subject.next_page)
            if page.empty and subject.next_page == 1 and subject.whole_at is not None and subject.listed:
                raise BadInput("zKillboard lists nothing, where it has listed mails before")
        except BadInput as error:
            await self._unusable(subject, error)
            return False
        except NotNow:
            await self._subjects.subject_failed(subject.source_id, 0.0, None)  # behind the others
            raise
        kept = await self._subjects.page_read(
            subject, page, self._clock.now(), streaming=self._settings.stream
        )
        if kept is None:
            return True  # erased meanwhile
        if kept.wanted:
            self._listed(subject.source_id)
        self._tell_page(subject, page, kept.new, kept.ended)
        return True

    async def _unusable(self, subject: Subject, error: BadInput) -> None:
        failures = subject.failures + 1
        # It was an answer all the same, and none is asked for again within the hour.
        wait = KEEP + full_jitter(failures, first=FIRST_RETRY, cap=LONGEST_RETRY, rng=self._rng)
        log.info(
            "a list of zKillboard's cannot be used",
            entity=subject.entity.value,
            entity_id=subject.entity_id,
            page=subject.next_page,
            reason=error.message,
        )
        reason = error.message if failures >= TROUBLE_FROM else None
        await self._subjects.subject_failed(subject.source_id, wait, reason)

    def _tell_page(self, subject: Subject, page: ListedPage, new: int, ended: bool) -> None:
        tell = log.info if new or page.bad else log.debug
        tell(
            "read zKillboard's list",
            entity=subject.entity.value,
            entity_id=subject.entity_id,
            page=subject.next_page,
            listed=len(page.entries),
            new=new,
            unreadable=page.bad,
            ended=ended,
        )
