"""Finds out which corporations our pilots are in, and sees to it that each one's list has a reader.

`POST /characters/affiliation` says who is in which corporation: up to 1000 characters at once, cached for
an hour, under the old error limit. Pilots change corporations and lose roles every day; who was asked is
asked again after an hour, and whoever may read a list without a reader reads it from then on. Whether a
corporation that nobody of ours is in any more was closed, `GET /corporations/{corporation_id}` says.
"""

from __future__ import annotations

from collections.abc import Sequence

from killsyncd.core.clock import Clock
from killsyncd.core.errors import Unavailable
from killsyncd.core.events import Events, Wakeup
from killsyncd.core.logging import StateLog, get_logger
from killsyncd.core.model import PRIORITY_LOGIN, PRIORITY_PRODUCER, Origin
from killsyncd.esi.client import EsiClient
from killsyncd.esi.responses import EsiError, EsiStatus, MustWait
from killsyncd.sync.ports import CorporationRows, DueSources

BATCH = 1000
"""As many characters as the route takes at once."""

AGAIN = 3600.0
"""Seconds until a character is asked for again whom ESI did not know; it caches what it knows as long."""

SOONEST_AGAIN = 1.0
"""Seconds until somebody is asked for again, also where ESI says that its answer is cached for no time."""

UNANSWERED_AGAIN = 300.0
"""Seconds until characters are asked for again of whom ESI said nothing."""

REFUSED_IN_A_ROW = 12
"""After so many refusals without an answer between them ESI is at fault, not a character: one among a
thousand is found with eleven. Each counts on the old error limit, which stops every route when it is
broken."""

CLOSED_AGAIN = 86_400.0
"""Seconds until it is asked again whether a corporation that nobody of ours is in was closed."""

LOOK_AGAIN = 60.0
FEWEST = 15.0
"""Seconds at most, and at least, between two looks at who can read what."""


class Corporations:
    """One task. skip_within: seconds; a list that has a reader again is not queued at once if it was read
    since."""

    def __init__(
        self,
        *,
        esi: EsiClient,
        rows: CorporationRows,
        sources: DueSources,
        events: Events,
        clock: Clock,
        skip_within: float,
    ) -> None:
        self._esi = esi
        self._rows = rows
        self._sources = sources
        self._events = events
        self._clock = clock
        self._skip_within = skip_within
        self._signal = Wakeup()
        events.on("grants", self._signal.ring)
        events.on("lenders", self._signal.ring)
        self._log = get_logger(__name__)
        self._states = StateLog(self._log)
        self._refused = 0

    async def run(self) -> None:
        """Look again and again, until cancelled."""
        while True:
            wait = await self.round()
            await self._signal.wait(self._clock, wait)

    async def round(self) -> float:
        """Look once; answers after how many seconds to look again."""
        wait = LOOK_AGAIN
        try:
            try:
                await self._place()
                await self._ask_closed()
            except MustWait as error:
                wait = max(1.0, min(LOOK_AGAIN, error.until - self._clock.now()))
            except EsiError as error:
                reason = error.message
                self._states.set(
                    "esi", "failing", "ESI does not say who is in which corporation", reason=reason
                )
            else:
                self._states.set("esi", "ok", "ESI says again who is in which corporation")
            await self._settle()
            due = await self._rows.next_due()
        except Unavailable as error:
            self._states.set("rows", "failing", "corporations cannot be looked after", reason=error.message)
            return FEWEST
        self._states.set("rows", "ok", "corporations can be looked after again")
        return wait if due is None else min(wait, max(1.0, due))

    async def _place(self) -> None:
        """Ask where everybody is whose hour is over."""
        self._refused = 0
        while characters := await self._rows.unplaced(BATCH, UNANSWERED_AGAIN):
            await self._ask(characters)

    async def _ask(self, characters: Sequence[int]) -> None:
        try:
            told = await self._esi.affiliations(characters)
        except EsiStatus as refusal:
            if refusal.status not in (400, 404, 422):
                raise
            self._refused += 1
            if self._refused >= REFUSED_IN_A_ROW:
                raise
            if len(characters) == 1:
                await self._rows.placed([], characters, AGAIN)  # biomassed, or not known at the moment
                return
            # One id that ESI does not know fails the whole batch.
            middle = len(characters) // 2
            await self._ask(characters[:middle])
            await self._ask(characters[middle:])
            return
        self._refused = 0
        answered = {each.character_id for each in told.found}
        unknown = [each for each in characters if each not in answered]
        await self._rows.placed(told.found, unknown, max(SOONEST_AGAIN, told.cached_for))

    async def _ask_closed(self) -> None:
        """Whether corporations that nobody of ours is in any more are gone for good, or only without us."""
        for corporation_id in await self._rows.without_pilots(CLOSED_AGAIN):
            try:
                closed = await self._esi.corporation_closed(corporation_id)
            except EsiStatus as refusal:
                if refusal.status != 404:
                    raise
                continue
            if closed:
                await self._rows.closed(corporation_id)
                self._log.info("a corporation was closed", corporation_id=corporation_id)

    async def _settle(self) -> None:
        for each in await self._rows.settle():
            who = {
                "character": each.member.lender.character_name,
                "character_id": each.member.lender.character_id,
            }
            self._log.info("a corporation's list has a reader", source=each.source_id, **who)
            if each.replaced:
                # The list is read on as it was, and what is wanted of it stands.
                self._events.tell("wants")
                continue
            # Whoever was refused a day ago is only asked whether that has changed: no hurry.
            urgent = each.member.refusal is None
            await self._sources.queue(
                [each.source_id],
                PRIORITY_LOGIN if urgent else PRIORITY_PRODUCER,
                Origin.LOGIN if urgent else Origin.PRODUCER,
                skip_within=self._skip_within,
            )
            self._events.tell("wants")
