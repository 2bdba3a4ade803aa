"""How a webhook is, in words: its state, why something waits, and what to do. Pure."""

from __future__ import annotations

from killsyncd.service.webhook_reports import WebhookStatus
from killsyncd.webhooks.answers import Outcome
from killsyncd.webhooks.deliverer import Trouble
from killsyncd.webhooks.model import WebhookState
from killsyncd.webhooks.names import NotYetKnown

LONG_WAIT = 60.0
"""Seconds: a shorter pause that the other side asks for (429) is ordinary."""


def status_of(state: WebhookState, trouble: Trouble | None) -> tuple[WebhookStatus, str]:
    """How it is, and why it is not ok. trouble: of its filter."""
    if state.stopped_at is not None:
        return WebhookStatus.STOPPED, state.error or "the other side refuses everything"
    if state.paused_at is not None:
        return WebhookStatus.PAUSED, "somebody paused it"
    if isinstance(trouble, NotYetKnown):
        return WebhookStatus.WAITING, trouble.message
    if trouble is not None:
        return WebhookStatus.REFUSED, trouble.message
    waits = state.attempts or state.asked_to_wait >= LONG_WAIT
    if state.failing_at is not None and waits:
        return WebhookStatus.FAILING, state.error or "the last attempt failed"
    return WebhookStatus.OK, ""


def remedy_of(status: WebhookStatus, state: WebhookState) -> str:
    """What to do; empty where it is ok."""
    resume = f"killsyncd ctl webhooks resume {state.name}"
    if status is WebhookStatus.FAILING and not state.attempts:
        return "nothing to do: it goes on by itself when that time is over; asking earlier would be refused"
    if status is WebhookStatus.STOPPED:
        again = "" if state.stopped_for_good else " (it is also tried every hour by itself)"
        return (
            "put an address that exists into the file of its url_file and reload (SIGHUP); or, where the "
            f"other side was wrong: {resume}{again}"
        )
    return {
        WebhookStatus.OK: "",
        WebhookStatus.WAITING: "nothing to do: it begins as soon as the static data is there",
        WebhookStatus.FAILING: "look at whether the other side is up; it is tried again by itself, "
        f"every hour at least, or at once: {resume}",
        WebhookStatus.PAUSED: resume,
        WebhookStatus.REFUSED: "put the name right, or give its id, and reload the configuration (SIGHUP)",
    }[status]


def why_waiting(state: WebhookState, status: WebhookStatus, reason: str, kept_for: float) -> str:
    """Why a mail that passes has not gone out yet. kept_for: seconds that its delay still keeps it; empty
    where nothing holds it up.
    """
    if status is not WebhookStatus.OK:
        return f"the webhook is {status.value}: {reason}"
    if kept_for > 0.0:
        return f"delay: {kept_for:.0f} s more"
    if state.asked_to_wait > 0.0:
        return f"the other side asks to wait for {state.asked_to_wait:.0f} s"
    return ""


def remedy_of_test(outcome: Outcome, state: WebhookState) -> str:
    """What to do after a test that did not arrive, or that arrived where nothing else is sent."""
    resume = f"killsyncd ctl webhooks resume {state.name}"
    match outcome.verdict:
        case "delivered" if state.stopped_at is not None:
            return f"the webhook itself has stopped, and goes on with: {resume}"
        case "delivered" if state.paused_at is not None:
            return f"the webhook itself is paused, and goes on with: {resume}"
        case "delivered":
            return ""
        case "stopped":
            return "put an address that exists into the file of its url_file and reload (SIGHUP)"
        case "refused":
            return "the other side's log says what it does not like; for JSON look at the secret, too"
        case "wait":
            return f"try again in {outcome.wait:.0f} s"
        case _:
            return "look at whether the other side is up, and reachable from here"
