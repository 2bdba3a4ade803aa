"""Mails with what filters ask of them, and as messages show them; and the parts that deliverers share."""

from __future__ import annotations

import math
import random
from collections.abc import Sequence
from dataclasses import dataclass

from killsyncd.config import WebhookConfig
from killsyncd.core.clock import Clock
from killsyncd.core.events import Events
from killsyncd.core.read_model import Mail
from killsyncd.webhooks import request
from killsyncd.webhooks.answers import FIRST_BACK_OFF, PACE
from killsyncd.webhooks.http import WebhookSender
from killsyncd.webhooks.model import Candidate, PaceWindow, Shown, Sides
from killsyncd.webhooks.ports import LEASE_SECONDS, MailDocuments, MailReader, WebhookMails, WebhookRows

LEASE_MARGIN = 1.0
"""Seconds before its end by which nothing begins under a lease any more."""


@dataclass(slots=True)
class Lease:
    """Whether what this daemon holds is certainly still its own, by a clock that nobody sets.

    exclusive: nobody else can be using the database. A process that was stopped for a while finds out before
    a request leaves.
    """

    clock: Clock
    exclusive: bool
    renewed_at: float = -math.inf

    def holds(self) -> bool:
        """Whether the last sign of life is young enough."""
        return self.exclusive or self.clock.monotonic() - self.renewed_at < LEASE_SECONDS - LEASE_MARGIN


class Hush:
    """Pauses that the other side asked several webhooks for, until the database has them: those of this
    process hear of one at once.
    """

    def __init__(self, clock: Clock) -> None:
        self._clock = clock
        self._until: dict[tuple[str, str | None], float] = {}

    def ask(self, kind: str, channel: str | None, seconds: float) -> None:
        """Nothing to this channel for so long; None: to nobody of the kind."""
        self._until[kind, channel] = self._clock.monotonic() + seconds

    def holds(self, kind: str, channel: str | None) -> bool:
        """Whether a webhook of this kind and channel must keep still; None: its channel is not known."""
        now = self._clock.monotonic()
        return any(
            until > now and kind == asked_kind and (asked is None or channel is None or asked == channel)
            for (asked_kind, asked), until in self._until.items()
        )


@dataclass(frozen=True, slots=True)
class Parts:
    """What deliverers share. public_url: of the dashboard. agent: who we are. zkillboard_url: of its API.
    values: mails get a value. static_comes: static data are switched on.

    pace: of requests by kind, Discord's own unless a test has another. first_back_off: seconds after a
    failure.
    """

    rows: WebhookRows
    mails: WebhookMails
    reading: MailReader
    documents: MailDocuments
    sender: WebhookSender
    events: Events
    clock: Clock
    rng: random.Random
    lease: Lease
    hush: Hush
    public_url: str = ""
    agent: str = "killsyncd"
    zkillboard_url: str = ""
    values: bool = False
    static_comes: bool = False
    pace: dict[str, tuple[PaceWindow, ...]] | None = None
    first_back_off: float = FIRST_BACK_OFF

    def pace_of(self, kind: str) -> tuple[PaceWindow, ...]:
        """How often a webhook of this kind may be asked."""
        return (self.pace or PACE)[kind]


class Candidates:
    """Mails with what filters ask of them, and as messages show them. Used by deliverers and by
    `--explain`.
    """

    def __init__(self, parts: Parts) -> None:
        self._parts = parts

    async def of(self, mails: Sequence[Mail]) -> list[Candidate]:
        """Read what is known of mails; those that were erased meanwhile are left out."""
        parts, ids = self._parts, [each.killmail_id for each in mails]
        if not ids:
            return []
        victims = await parts.reading.victims(ids)
        pilots = await parts.mails.characters_of(ids)
        corporations = await parts.mails.corporations_of(ids)
        places = await parts.mails.places(sorted({each.solar_system_id for each in mails}))
        ships = await parts.mails.ships(sorted({each.ship_type_id for each in victims.values()}))
        values = await parts.mails.values(ids)
        return [
            Candidate(
                mail,
                victims[mail.killmail_id],
                pilots.get(mail.killmail_id, Sides()),
                corporations.get(mail.killmail_id, Sides()),
                places.get(mail.solar_system_id),
                ships.get(victims[mail.killmail_id].ship_type_id),
                values.get(mail.killmail_id),
            )
            for mail in mails
            if mail.killmail_id in victims
        ]

    async def shown(self, one: Candidate, outcome: str, *, test: bool = False, again: bool = False) -> Shown:
        """A mail with the names that a message shows."""
        killmail_id = one.mail.killmail_id
        blow = (await self._parts.reading.final_blows([killmail_id])).get(killmail_id)
        ids = [one.mail.solar_system_id, one.victim.ship_type_id]
        for each in (one.victim, blow):
            if each is not None:
                ids += [
                    id_
                    for id_ in (
                        each.character_id,
                        each.corporation_id,
                        each.alliance_id,
                        each.faction_id,
                        each.ship_type_id,
                    )
                    if id_ is not None
                ]
        names = await self._parts.reading.names(sorted(set(ids)))
        return Shown(one, outcome, blow, names, test=test, again=again)

    async def request(self, shown: Shown, config: WebhookConfig) -> request.Request:
        """What is sent for it. Raises Unavailable, NotFound."""
        if config.kind == "discord":
            return request.discord(shown, config, self._parts.public_url)
        if config.kind == "zkillboard":
            return request.published(shown, config, self._parts.zkillboard_url, self._parts.agent)
        data = await self._parts.documents.of(shown.candidate.mail.killmail_id)
        return request.signed(shown, config, data, self._parts.clock.now())
