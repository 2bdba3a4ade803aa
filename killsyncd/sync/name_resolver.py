"""Names of ids, in bulk and at the lowest priority: a sync never waits for one.

`POST /universe/names` answers all or nothing, so one unknown id fails its whole
batch, and the route is under the old error limit, which stops every other route
when it is broken. So a failed batch is halved until the unknown ids stand alone,
at most 20 errors a minute, and those ids are asked for again, ever more rarely.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Sequence

from killsyncd.core.clock import Clock
from killsyncd.core.errors import RowRefused, Unavailable
from killsyncd.core.events import Events, Wakeup
from killsyncd.core.logging import StateLog, get_logger
from killsyncd.esi.client import EsiClient
from killsyncd.esi.responses import EsiError, EsiStatus, MustWait, ResolvedName
from killsyncd.sync.ports import NameRows, NameWaits

BATCH = 1000
"""As many ids as the route takes at once."""

ERRORS_A_MINUTE = 20

UNKNOWN_AGAIN: NameWaits = (600.0, 3600.0, 6 * 3600.0, 86_400.0, 7 * 86_400.0)
"""Seconds after which an id that ESI did not know is asked for once more, each time longer: for minutes ESI
refuses names that it knows."""

REFUSED_IN_A_ROW = 20
REFUSED_PAUSE = 600.0
"""After so many refusals without a single name between them ESI is at fault, not the ids: it is not asked for
so many seconds. Ids that stand alone by then count as unknown; the others have lost nothing."""

GATHER = 0.3
"""Seconds to let more ids come before a request is spent on few."""


class NamesRefused(EsiError):
    """Every question for names was refused for a while."""


class NameResolver:
    """Resolves what the store has no name for."""

    def __init__(self, *, esi: EsiClient, rows: NameRows, events: Events, clock: Clock) -> None:
        self._esi = esi
        self._rows = rows
        self._events = events
        self._clock = clock
        self._signal = Wakeup()
        events.on("names", self._signal.ring)
        self._again = Wakeup()
        events.on("names-again", self._again.ring)
        self._errors: deque[float] = deque()
        self._refused = 0
        self._log = get_logger(__name__)
        self._states = StateLog(self._log)
        self.progress = clock.monotonic()

    async def run(self) -> None:
        """Resolve until cancelled; losing a round loses nothing but the round."""
        while True:
            self.progress = self._clock.monotonic()
            try:
                pause = await self._round()
            except MustWait as waiting:
                pause = max(1.0, waiting.until - self._clock.now())
            except NamesRefused as error:
                self._refused = 0
                self._states.set("names", "failing", "names cannot be resolved", reason=error.message)
                await self._again.wait(self._clock, REFUSED_PAUSE)  # not even for new names
                pause = 0.0
            except (EsiError, Unavailable) as error:
                self._states.set("names", "failing", "names cannot be resolved", reason=error.message)
                pause = 60.0
            else:
                self._states.set("names", "ok", "names can be resolved again")
            if pause > 0.0:
                await self._signal.wait(self._clock, pause)
                await self._clock.sleep(GATHER)

    async def _round(self) -> float:
        ids = await self._rows.unresolved(BATCH)
        if not ids:
            due = await self._rows.next_due()
            return 60.0 if due is None else min(60.0, max(1.0, due - self._clock.now()))
        await self._resolve(ids)
        return 0.0

    async def _resolve(self, ids: Sequence[int]) -> None:
        try:
            names = await self._esi.names(ids)
        except EsiStatus as refusal:
            if refusal.status not in (400, 404, 422):
                raise
            self._refused += 1
            if len(ids) == 1:  # written before any wait: a retry that comes meanwhile is not undone by it
                await self._rows.resolved([], ids, UNKNOWN_AGAIN)
            await self._spend_error()
            if self._refused >= REFUSED_IN_A_ROW:
                raise NamesRefused(f"{self._refused} refusals in a row: {refusal.message}") from None
            if len(ids) == 1:
                return
            middle = len(ids) // 2
            await self._resolve(ids[:middle])
            await self._resolve(ids[middle:])
            return
        if names:
            self._refused = 0
        answered = {each.id for each in names}
        unknown = [each for each in ids if each not in answered]
        asked_for = set(ids)
        await self._keep([each for each in names if each.id in asked_for], unknown)
        self._events.tell("named")

    async def _keep(self, names: Sequence[ResolvedName], unknown: Sequence[int]) -> None:
        try:
            await self._rows.resolved(names, unknown, UNKNOWN_AGAIN)
        except RowRefused:
            if len(names) < 2:  # a name the database will not have is as good as none
                await self._rows.resolved([], [*unknown, *(each.id for each in names)], UNKNOWN_AGAIN)
                return
            middle = len(names) // 2
            await self._keep(names[:middle], unknown)
            await self._keep(names[middle:], [])

    async def _spend_error(self) -> None:
        """Wait until another error is affordable."""
        now = self._clock.monotonic()
        self._errors.append(now)
        while self._errors and now - self._errors[0] > 60.0:
            self._errors.popleft()
        if len(self._errors) >= ERRORS_A_MINUTE:
            await self._clock.sleep(60.0 - (now - self._errors[0]))
