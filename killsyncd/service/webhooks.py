"""Webhooks as ctl, GraphQL and the dashboard see them: how each is, why a mail went out or not, and the
levers.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from datetime import datetime
from typing import Protocol

from killsyncd.core.clock import Clock, utc
from killsyncd.core.deployment import fit
from killsyncd.core.errors import KillsyncdError, NotFound, Unavailable, UsageError
from killsyncd.core.logging import get_logger
from killsyncd.core.read_model import FeedPoint, Mail
from killsyncd.core.text import count as plural
from killsyncd.service.cursor import feed_cursor
from killsyncd.service.health import Health
from killsyncd.service.webhook_reports import (
    ConditionReport,
    MailVerdict,
    SetAsideMail,
    WebhookChanged,
    WebhookExplained,
    WebhookReport,
    WebhookStatus,
    WebhookTested,
)
from killsyncd.service.webhook_words import remedy_of, remedy_of_test, status_of, why_waiting
from killsyncd.webhooks.answers import outcome_of
from killsyncd.webhooks.candidates import Candidates
from killsyncd.webhooks.filters import Verdict, WebhookFilter, without_filter
from killsyncd.webhooks.manager import Webhooks
from killsyncd.webhooks.model import Delivery
from killsyncd.webhooks.model import WebhookState as State

FAILING_AFTER = 300.0
"""Seconds for which a webhook may fail before it shows as a problem."""

LAST = 10
"""Mails of which a report says why they passed or not."""

SEARCHED_FOR_TEST = 200
TEST_PATIENCE = 30.0
"""Seconds that a test waits for the other side's pace."""

EVERY = 10.0
LATELY = 86_400.0
"""Seconds for which mails that were set aside show as a problem."""

log = get_logger(__name__)


class FeedPoints(Protocol):
    """Where the feed stands (`KillmailSearch`)."""

    async def feed_point(self) -> FeedPoint: ...


class WebhookOperations:
    """The use cases. Raises, from any method: NotFound, UsageError, BadInput, Unavailable."""

    def __init__(self, webhooks: Webhooks, feed: FeedPoints, health: Health, clock: Clock) -> None:
        self._webhooks = webhooks
        self._parts = webhooks.parts
        self._candidates = Candidates(webhooks.parts)
        self._feed = feed
        self._health = health
        self._clock = clock

    # -- looking -----------------------------------------------------------------------------------

    async def all(self, *, last: int = LAST) -> list[WebhookReport]:
        """Every configured webhook, by name. last: of how many mails it says why they passed or not."""
        if not self._webhooks.configs:
            return []
        point = await self._feed.feed_point()
        states = {each.name: each for each in await self._parts.rows.all()}
        return [
            await self._report(states[name], point, last)
            for name in sorted(self._webhooks.configs)
            if name in states
        ]

    async def explain(self, name: str, killmail_id: int) -> WebhookExplained:
        """Which condition let a mail pass, or kept it out, and what became of it."""
        config = self._webhooks.config(name)
        mails = await self._parts.reading.mails([killmail_id])
        if killmail_id not in mails:
            raise NotFound(
                f"killmail {killmail_id} is not stored", f"killsyncd ctl explain {killmail_id} says why"
            )
        state = await self._state(config.name)
        verdicts = await self._verdicts(config.name, state, [mails[killmail_id]])
        verdict, judged = verdicts[0]
        conditions = [ConditionReport(each.name, each.passed, each.why) for each in judged.conditions]
        return WebhookExplained(
            config.name,
            killmail_id,
            verdict.became,
            verdict.why,
            conditions,
            verdict.at,
            verdict.message_id,
        )

    async def waiting(self) -> dict[str, int]:
        """Mails of the feed that are not settled yet, by webhook; for the metrics."""
        known = self._webhooks.configs
        return {
            each.name: max(0, each.feed_end - each.position)
            for each in await self._parts.rows.all()
            if each.name in known
        }

    def counts(self) -> dict[tuple[str, str], int]:
        """Requests since the start of this process, by webhook and what came of them."""
        return self._webhooks.counts()

    async def run(self) -> None:
        """Report what is wrong with webhooks to the health model, until cancelled."""
        while True:
            try:
                await self.look()
            except Unavailable as error:
                log.debug("webhooks could not be looked at", reason=error.message)
            await self._clock.sleep(EVERY)

    async def look(self) -> None:
        """Report once."""
        reports = await self.all(last=0)
        self._tell("webhook_stopped", [each for each in reports if each.state is WebhookStatus.STOPPED])
        self._tell("webhook_refused", [each for each in reports if each.state is WebhookStatus.REFUSED])
        long = self._clock.now() - FAILING_AFTER
        self._tell(
            "webhook_failing",
            [
                each
                for each in reports
                if each.state is WebhookStatus.FAILING
                and each.failing_since is not None
                and each.failing_since.timestamp() <= long
            ],
        )
        await self._tell_of_set_aside()

    def _tell(self, code: str, those: Sequence[WebhookReport]) -> None:
        if not those:
            self._health.clear(code)
            return
        reason = "; ".join(f"webhook {each.name}: {each.reason}" for each in those[:5])
        self._health.report(code, reason, those[0].remedy if len(those) == 1 else "")

    async def _tell_of_set_aside(self) -> None:
        """What the other side refused for good is in no channel: somebody has to know."""
        known = self._webhooks.configs
        lately = await self._parts.rows.set_aside_since(LATELY)
        those = {name: each for name, each in lately.items() if name in known}
        if not those:
            self._health.clear("webhook_set_aside")
            return
        told = (
            f"webhook {name}: {plural(each.mails, 'mail')} set aside in the last day ({each.reason})"
            for name, each in sorted(those.items())[:5]
        )
        self._health.report("webhook_set_aside", "; ".join(told))

    # -- levers ------------------------------------------------------------------------------------

    async def pause(self, name: str) -> WebhookChanged:
        """Stop delivering; what comes meanwhile waits."""
        config = self._webhooks.config(name)
        changed = await self._parts.rows.pause(config.name)
        return self._changed(config.name, changed, "paused" if changed else "paused already")

    async def resume(self, name: str) -> WebhookChanged:
        """Go on after a pause or a stop, and at once after failures."""
        config = self._webhooks.config(name)
        changed = await self._parts.rows.resume(config.name)
        return self._changed(config.name, changed, "goes on" if changed else "was neither paused nor stopped")

    async def replay(self, name: str, since: datetime) -> WebhookChanged:
        """Send once more what passes the filter and was killed since then, fresh or not."""
        config = self._webhooks.config(name)
        mails = await self._parts.rows.replay(config.name, since.timestamp())
        message = (
            f"goes through {mails:,} mails killed since {since:%Y-%m-%d %H:%M} UTC"
            if mails
            else f"has seen nothing that was killed since {since:%Y-%m-%d %H:%M} UTC"
        )
        return self._changed(config.name, bool(mails), message, mails)

    def _changed(self, name: str, changed: bool, message: str, mails: int = 0) -> WebhookChanged:
        if changed:
            log.info("webhook changed", webhook=name, what=message)
            self._parts.events.tell("webhooks")
        return WebhookChanged(name, changed, message, mails)

    async def test(self, name: str) -> WebhookTested:
        """Send one real mail, marked as a test, past filter and feed: the newest that passes, else the
        newest.
        """
        config = self._webhooks.config(name)
        if config.kind == "zkillboard":
            raise UsageError(
                "zkillboard cannot be tested: what is published there cannot be taken back",
                f"killsyncd ctl webhooks {config.name} shows what came of the last mails",
            )
        state = await self._state(config.name)
        ids = await self._parts.rows.last_settled(state.feed_end, SEARCHED_FOR_TEST)
        mails = await self._parts.reading.mails(ids)
        candidates = await self._candidates.of([mails[each] for each in ids if each in mails])
        if not candidates:
            raise NotFound("there is no killmail yet that could be sent", "killsyncd ctl queue brings some")
        conditions = await self._filter(config.name)
        ours = await self._parts.mails.our_side()
        passing = [e for e in candidates if conditions.judge(e, ours, replayed=True).passed]
        one = passing[0] if passing else candidates[0]
        shown = await self._candidates.shown(one, conditions.outcome(one, ours), test=True)
        wanted = await self._candidates.request(shown, config)
        await self._pace(config.name, config.kind)
        answer = await self._parts.sender.post(
            wanted.url, wanted.body, wanted.headers, timeout=wanted.timeout
        )
        outcome = outcome_of(config.kind, answer)
        # What it was told holds for the mails behind it, too.
        told = outcome.wait if outcome.verdict in ("delivered", "wait") else 0.0
        await self._parts.rows.noted(config.name, told, outcome.channel)
        if outcome.everybody or outcome.channel_wide:
            await self._parts.rows.hold_up(config.name, told, everybody=outcome.everybody)
        delivered = outcome.verdict == "delivered"
        return WebhookTested(
            config.name,
            one.mail.killmail_id,
            delivered,
            bool(passing),
            "delivered" if delivered else outcome.reason,
            fit(remedy_of_test(outcome, state)),
        )

    async def _pace(self, name: str, kind: str) -> None:
        until = self._clock.monotonic() + TEST_PATIENCE
        while (wait := await self._parts.rows.count_request(name, self._parts.pace_of(kind))) > 0.0:
            if self._clock.monotonic() + wait > until:
                raise Unavailable(
                    f"the other side takes nothing for another {wait:.0f} s", "try again after that"
                )
            await self._clock.sleep(wait)

    # -- helpers -----------------------------------------------------------------------------------

    async def _state(self, name: str) -> State:
        for each in await self._parts.rows.all():
            if each.name == name:
                return each
        raise Unavailable(f"webhook {name} has just begun", "try again in a moment")

    async def _filter(self, name: str) -> WebhookFilter:
        """Its filter; one that lets everything pass where its names cannot be resolved."""
        try:
            return await self._webhooks.deliverer(name).filter()
        except Unavailable:
            raise
        except KillsyncdError:
            return WebhookFilter(without_filter(self._webhooks.config(name)))

    async def _report(self, state: State, point: FeedPoint, last: int) -> WebhookReport:
        status, reason = self._status(state)
        tried = status in (WebhookStatus.FAILING, WebhookStatus.STOPPED)
        return WebhookReport(
            name=state.name,
            kind=state.kind,
            state=status,
            reason=reason,
            remedy=fit(remedy_of(status, state)),
            cursor=feed_cursor(point.epoch, state.position),
            waiting=max(0, state.feed_end - state.position),
            delivered=state.delivered,
            set_aside=state.set_aside,
            left_out=state.left_out,
            replaying=state.replaying,
            last_delivered_at=_moment(state.delivered_at),
            last_error=state.error,
            failing_since=_moment(state.failing_at),
            next_attempt_at=_moment(state.not_before) if tried and state.not_before > state.now else None,
            last=await self._last(state, last) if last else (),
            set_aside_last=await self._set_aside(state, last) if last and state.set_aside else (),
        )

    def _status(self, state: State) -> tuple[WebhookStatus, str]:
        return status_of(state, self._webhooks.deliverer(state.name).trouble)

    async def _set_aside(self, state: State, number: int) -> list[SetAsideMail]:
        return [
            SetAsideMail(each.killmail_id, utc(each.at), each.refused or "")
            for each in await self._parts.rows.set_aside(state.name, number)
        ]

    async def _last(self, state: State, number: int) -> list[MailVerdict]:
        """The last mails up to its place in the feed, and the next one where it waits for something."""
        ids = await self._parts.rows.last_settled(state.position, number)
        mails = await self._parts.reading.mails(ids)
        verdicts = await self._verdicts(state.name, state, [mails[each] for each in ids if each in mails])
        return [each for each, _ in verdicts]

    async def _verdicts(
        self, name: str, state: State, mails: Sequence[Mail]
    ) -> list[tuple[MailVerdict, Verdict]]:
        if not mails:
            return []
        conditions = await self._filter(name)
        ours = await self._parts.mails.our_side()
        deliveries = await self._parts.rows.deliveries(name, [each.killmail_id for each in mails])
        status, reason = self._status(state)
        found = []
        for one in await self._candidates.of(mails):
            settled = one.mail.feed_position <= state.position
            judged = conditions.judge(one, ours, patient=not settled)
            delivery = deliveries.get(one.mail.killmail_id)
            kept_for = one.mail.killmail_time.timestamp() + conditions.config.delay - state.now
            holds = "" if settled else why_waiting(state, status, reason, kept_for)
            found.append((_verdict(one.mail, judged, delivery, settled=settled, holds=holds), judged))
        return found


def _verdict(
    mail: Mail, judged: Verdict, delivery: Delivery | None, *, settled: bool, holds: str
) -> MailVerdict:
    """What became of a mail. holds: what keeps it, where it passes and still waits."""
    if judged.refused is not None:
        became, why = "left_out", judged.why
    else:
        became, why = (
            "waiting",
            holds or (judged.why if judged.open is not None else "its turn, or its names"),
        )
    if delivery is not None:
        became = "set_aside" if delivery.refused is not None else "delivered"
        why = delivery.refused or judged.why
    elif became == "waiting" and settled:
        # Today it would pass: it was settled under another configuration, or before the webhook began.
        became, why = "left_out", "it came before the webhook began, or its filter was another one then"
    return MailVerdict(
        mail.killmail_id,
        mail.killmail_time,
        became,
        why,
        _moment(delivery.at) if delivery is not None else None,
        delivery.message_id if delivery is not None else None,
    )


def _moment(seconds: float | None) -> datetime | None:
    return None if seconds is None else utc(seconds)


def selected(reports: Iterable[WebhookReport], name: str | None) -> list[WebhookReport]:
    """All, or the one of a name. Raises NotFound."""
    every = list(reports)
    if name is None:
        return every
    found = [each for each in every if each.name.lower() == name.lower()]
    if not found:
        known = ", ".join(each.name for each in every) or "none"
        raise NotFound(f"there is no webhook {name!r}", f"the configured ones are: {known}")
    return found
