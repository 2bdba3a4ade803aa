"""One webhook's way along the feed: filter, wait for names and value, build, send, write down, go on.

In order, one mail after the other. Before a request leaves, the database says for which mail; what came of
it and the new place in the feed are written together. A daemon that dies in between leaves one mail in doubt,
which is sent again, and says so.
"""

from __future__ import annotations

import asyncio
import math
from dataclasses import dataclass, replace

from killsyncd.config import WebhookConfig
from killsyncd.core.clock import utc
from killsyncd.core.errors import BadInput, KillsyncdError, NotFound, Unavailable
from killsyncd.core.events import Wakeup
from killsyncd.core.logging import StateLog, get_logger
from killsyncd.core.read_model import FeedMail, FeedSlice
from killsyncd.webhooks.answers import Outcome, back_off, outcome_of
from killsyncd.webhooks.candidates import Candidates, Parts
from killsyncd.webhooks.filters import Verdict, WebhookFilter
from killsyncd.webhooks.model import (
    NAMES_PATIENCE,
    Candidate,
    Ours,
    WebhookState,
)
from killsyncd.webhooks.names import NotYetKnown, resolve
from killsyncd.webhooks.ports import (
    LEASE_SECONDS,
)

SLICE = 50
"""Mails of the feed that are looked at together."""

SLICE_ATTACKERS = 20_000
"""On these mails together, one mail at least: all of them are in memory while they are looked at."""

GATHER = 0.25
"""Seconds that pass after a ring: what is stored meanwhile is looked at together."""

LOOK_AGAIN = 5.0
"""Seconds after which one that cannot go on looks again."""

LONGEST_SLEEP = 30.0
"""Seconds for which one that waits for a time sleeps at the most: clocks are set."""

BELL = math.inf
"""It sleeps until it is rung: `Webhooks` looks after all that sleep, with one query."""

UNKNOWN_AGAIN = 1.0
"""Seconds after which names or a value that are missing are looked for again."""

RESOLVE_AGAIN = 30.0

log = get_logger(__name__)


Trouble = BadInput | NotYetKnown
"""Why a filter cannot be used."""


@dataclass(frozen=True, slots=True)
class Step:
    """A mail whose turn it is. known: the webhook's position in the database."""

    one: Candidate
    verdict: Verdict
    outcome: str
    known: int

    @property
    def position(self) -> int:
        """Everything up to here is settled: what stands before the mail was left out, and positions have
        no gaps.
        """
        return self.one.mail.feed_position - 1


def within(found: FeedSlice) -> FeedSlice:
    """The beginning of a stretch, as far as it does not hold too much."""
    attackers = 0
    for count, each in enumerate(found.mails):
        attackers += each.mail.attacker_count
        if count and attackers > SLICE_ATTACKERS:
            return FeedSlice(found.mails[:count], found.mails[count - 1].mail.feed_position)
    return found


class Deliverer:
    """Delivers for one webhook, wherever this daemon holds its row."""

    def __init__(self, config: WebhookConfig, parts: Parts) -> None:
        self.config = config
        self.trouble: Trouble | None = None
        self.counts: dict[str, int] = {}
        """Outcomes since the start of the process, by verdict."""
        self._parts = parts
        self._clock = parts.clock
        self._candidates = Candidates(parts)
        self._filter: WebhookFilter | None = None
        self._resolve_at = 0.0
        self._seen: WebhookState | None = None
        self._signal = Wakeup()
        self._stopping = asyncio.Event()
        self._log = log.bind(webhook=config.name)
        self._states = StateLog(self._log)

    async def run(self, stopping: asyncio.Event) -> None:
        """Deliver until `stopping`; the request under way ends first."""
        self._stopping = stopping
        events = self._parts.events
        offs = [events.on(each, self._signal.ring) for each in ("feed", "named", "values", "webhooks")]
        offs.append(events.on("static-data", self._resolve_now))
        try:
            with self._signal.ringing_at(stopping):
                while not stopping.is_set():
                    pause = await self._guarded()
                    if pause == BELL and not stopping.is_set():
                        await self._signal.wait(self._clock)
                        await self._clock.sleep(GATHER)
                    elif pause > 0.0 and not stopping.is_set():
                        await self._signal.wait(self._clock, pause)
        finally:
            for off in offs:
                off()
        try:
            await self._parts.rows.release(self.config.name)
        except Unavailable:
            pass  # it falls with the lease

    def look(self, state: WebhookState) -> None:
        """This is how the row is: ring where it is another one than was gone by, or somebody must take it."""
        seen = self._seen
        if seen is None:
            free = state.holder is None or state.now - (state.leased_at or 0.0) > LEASE_SECONDS
            if free:
                self._signal.ring()
        elif _levers(state) != _levers(seen):
            self._signal.ring()

    def _resolve_now(self) -> None:
        self._resolve_at = 0.0
        self._signal.ring()

    async def _guarded(self) -> float:
        try:
            pause = await self._round()
        except KillsyncdError as error:  # whatever it is, it must not end the daemon, and may pass
            self._states.set("round", "failing", "webhook cannot go on", reason=error.message)
            return LOOK_AGAIN
        self._states.set("round", "ok", "webhook goes on")
        return pause

    async def filter(self) -> WebhookFilter:
        """The filter with its names resolved. Raises BadInput, NotYetKnown, Unavailable."""
        if self._filter is None:
            self._filter = await resolve(
                self.config, self._parts.mails, static_comes=self._parts.static_comes
            )
        return self._filter

    async def _round(self) -> float:
        """One stretch of the feed; answers how long to wait before the next."""
        rows, name = self._parts.rows, self.config.name
        # Not at every ring: looking for the nearest of all names takes a while.
        if self.trouble is not None and self._clock.monotonic() < self._resolve_at:
            return self._resolve_at - self._clock.monotonic()
        try:
            conditions = await self.filter()
        except (BadInput, NotYetKnown) as error:
            self.trouble = error
            self._resolve_at = self._clock.monotonic() + RESOLVE_AGAIN
            self._states.set("filter", "refused", "webhook's filter cannot be used", reason=error.message)
            return RESOLVE_AGAIN
        self.trouble = None
        self._states.set("filter", "ok", "webhook's filter can be used")
        self._seen = state = await rows.claim(name, LEASE_SECONDS)
        if state is None or state.paused_at is not None or state.stopped_for_good:
            return BELL
        if state.not_before > state.now:
            return min(state.not_before - state.now, LONGEST_SLEEP)
        if state.sending_id is not None:
            await rows.doubt(name)
        return await self._go_along(state, conditions)

    async def _go_along(self, state: WebhookState, conditions: WebhookFilter) -> float:
        found = await self._slice(state)
        if not found.mails:
            if found.reached > state.position:
                await self._parts.rows.advance(self.config.name, state.position, found.reached)
            return 0.0 if found.reached < state.feed_end else BELL
        ours = await self._parts.mails.our_side()
        candidates = {
            each.mail.killmail_id: each for each in await self._candidates.of([m.mail for m in found.mails])
        }
        known = state.position  # as the database has it
        for feed_mail in found.mails:
            one = candidates.get(feed_mail.mail.killmail_id)
            verdict = self._judge(one, conditions, ours, state) if one is not None else None
            if one is None or verdict is None or verdict.refused is not None:
                continue
            step = Step(one, verdict, conditions.outcome(one, ours), known)
            pause = await self._deliver(step, state)
            if pause is not None or self._stopping.is_set():
                return pause or 0.0
            known = feed_mail.mail.feed_position
            state = replace(state, attempts=0, sending_id=None)
        if found.reached > known:
            await self._parts.rows.advance(self.config.name, known, found.reached)
        return 0.0 if found.reached < state.feed_end else BELL

    async def _slice(self, state: WebhookState) -> FeedSlice:
        """The next stretch of the feed. What is no news is not even read; nor is, where it is sent once
        more, what nobody asked for.
        """
        reading = self._parts.reading
        if not state.replaying:
            return await reading.feed_after(state.position, SLICE, fresh_only=self.config.fresh_only)
        found = await reading.feed_after(state.position, SLICE, killed_since=utc(state.replay_since))
        inside: list[FeedMail] = [each for each in found.mails if each.mail.feed_position <= state.replay_to]
        if len(inside) == len(found.mails) and found.reached <= state.replay_to:
            return found
        return FeedSlice(inside, min(found.reached, state.replay_to))

    def _judge(
        self, one: Candidate, conditions: WebhookFilter, ours: Ours, state: WebhookState
    ) -> Verdict | None:
        """What the filter says; None: the replay does not ask for this mail."""
        replayed = one.mail.feed_position <= state.replay_to
        if replayed and one.mail.killmail_time.timestamp() < state.replay_since:
            return None
        return conditions.judge(one, ours, replayed=replayed, patient=self._patient(one, state))

    def _patient(self, one: Candidate, state: WebhookState) -> bool:
        return state.now - one.mail.created_at.timestamp() < NAMES_PATIENCE

    async def _deliver(self, step: Step, state: WebhookState) -> float | None:
        """Send one mail. None: it is settled; else seconds to wait before it is looked at again."""
        rows, name, mail = self._parts.rows, self.config.name, step.one.mail
        wait = await self._not_yet(step, state)
        if wait > 0.0:
            if step.position > step.known:
                await rows.advance(name, step.known, step.position)
            return wait
        again = state.sending_id == mail.killmail_id
        if again and await self._arrived(state):
            await rows.advance(name, step.known, mail.feed_position)
            return None
        shown = await self._candidates.shown(step.one, step.outcome, again=again)
        try:
            wanted = await self._candidates.request(shown, self.config)
        except NotFound:  # erased a moment ago
            await rows.advance(name, step.known, mail.feed_position)
            return None
        held_up = await self._begun(step)
        if held_up > 0.0:
            return held_up
        answer = await self._parts.sender.post(
            wanted.url, wanted.body, wanted.headers, timeout=wanted.timeout, ours=lambda: self._may(state)
        )
        if answer.withheld:
            if not again:
                await rows.advance(name, step.position, step.position)
            return UNKNOWN_AGAIN
        outcome = outcome_of(self.config.kind, answer)
        if outcome.everybody or outcome.channel_wide:
            everybody = outcome.everybody or state.channel is None
            self._parts.hush.ask(self.config.kind, None if everybody else state.channel, outcome.wait)
        self.counts[outcome.verdict] = self.counts.get(outcome.verdict, 0) + 1
        return await self._written(outcome, step, state)

    def _may(self, state: WebhookState) -> bool:
        """Whether a request may leave, asked when its connection stands."""
        return self._parts.lease.holds() and not self._parts.hush.holds(self.config.kind, state.channel)

    async def _begun(self, step: Step) -> float:
        """Write down that the request leaves now, as soon as the pace allows it; else seconds to come
        again.
        """
        while True:
            held_up = await self._parts.rows.begin(
                self.config.name,
                step.one.mail.killmail_id,
                step.known,
                step.position,
                self._parts.pace_of(self.config.kind),
            )
            if held_up is None:
                return LOOK_AGAIN
            if held_up <= 0.0:
                return 0.0
            if held_up > LOOK_AGAIN or self._stopping.is_set():
                return LOOK_AGAIN
            await self._clock.sleep(held_up)

    async def _not_yet(self, step: Step, state: WebhookState) -> float:
        """Seconds before a mail may go: its delay, and names and value for two minutes after it was
        stored.
        """
        one, verdict = step.one, step.verdict
        left = one.mail.killmail_time.timestamp() + self.config.delay - state.now
        if self.config.delay > 0.0 and left > 0.0:
            return min(left, LONGEST_SLEEP)
        if not self._patient(one, state):
            return 0.0
        if verdict.open is not None:
            return UNKNOWN_AGAIN
        if self.config.kind == "zkillboard":
            return 0.0
        if self._parts.values and one.value is None and await self._parts.mails.has_prices():
            return UNKNOWN_AGAIN
        return UNKNOWN_AGAIN if await self._parts.mails.nameless(one.mail.killmail_id) else 0.0

    async def _arrived(self, state: WebhookState) -> bool:
        """Whether the request in doubt was answered after all, to a daemon that had lost the row by then."""
        assert state.sending_id is not None, "only for one in doubt"
        known = await self._parts.rows.deliveries(self.config.name, [state.sending_id])
        found = known.get(state.sending_id)
        return found is not None and found.refused is None and found.at >= (state.sending_at or 0.0)

    async def _written(self, outcome: Outcome, step: Step, state: WebhookState) -> float | None:
        """Write down what came of a request, as often as it takes: nobody else knows it."""
        while True:
            try:
                return await self._write(outcome, step, state)
            except Unavailable as error:
                self._states.set("write", "failing", "what was sent cannot be noted", reason=error.message)
                if self._stopping.is_set():
                    raise
                await self._clock.sleep(1.0)

    async def _write(self, outcome: Outcome, step: Step, state: WebhookState) -> float | None:
        rows, name, mail = self._parts.rows, self.config.name, step.one.mail
        if outcome.verdict in ("delivered", "refused"):
            refused = outcome.reason if outcome.verdict == "refused" else None
            await rows.settle(
                name,
                mail.killmail_id,
                step.position,
                mail.feed_position,
                message_id=outcome.message_id,
                channel=outcome.channel,
                refused=refused,
                wait=outcome.wait,
            )
            self._states.set("send", "ok", "webhook delivers again")
            if refused is not None:
                self._log.warning("a mail was set aside", killmail_id=mail.killmail_id, reason=refused)
            return None
        # What was in doubt once stays so, whatever came of the attempts after it.
        doubtful = outcome.doubtful or state.sending_id == mail.killmail_id
        if outcome.verdict == "stopped":
            await rows.stop(name, outcome.reason, outcome.wait, doubtful=doubtful)
            self._states.set("send", "stopped", "webhook stopped", reason=outcome.reason)
            return BELL if outcome.wait <= 0.0 else min(outcome.wait, LONGEST_SLEEP)
        counts = outcome.verdict == "failed" or outcome.untold
        wait = outcome.wait
        if counts or not wait:
            wait = max(wait, back_off(state.attempts, self._parts.rng, self._parts.first_back_off))
        await rows.failed(name, outcome.reason, wait, counts=counts, doubtful=doubtful)
        if outcome.everybody or outcome.channel_wide:
            await rows.hold_up(name, wait, everybody=outcome.everybody)
        if counts:
            self._states.set("send", "failing", "webhook does not deliver", reason=outcome.reason)
        return min(wait, LONGEST_SLEEP)


def _levers(state: WebhookState) -> tuple[object, ...]:
    """What of a row makes a round worth while."""
    return state.holder, state.feed_end, state.paused_at, state.stopped_at, state.not_before, state.replay_to
