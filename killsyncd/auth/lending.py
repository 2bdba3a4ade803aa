"""Who lends a token to a corporation's list, and what a refusal of it means. Rules alone: no network, no
database.

ESI gives a corporation's list to its Directors (GET /corporations/{corporation_id}/killmails/recent), and
the SSO goes on granting the scope after the role is lost. A refusal costs 5 of the 30 tokens that the pilot
has for such lists in 15 minutes, and a pilot without the role is refused for ever: so what ESI said is
remembered by corporation and pilot, and asked again once a day. That may be wrong for once (roles and ESI
"can briefly disagree"); then another pilot reads on, or the list, which holds 90 days, is a day late.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from killsyncd.auth.refusals import DAY, HOUR, LIST_PAUSES, ListRefusals
from killsyncd.core.sources import Member, Refusal

REFUSED_PAUSE = DAY
"""Seconds until a pilot who was refused a corporation's list is asked again."""

UNCLEAR_PAUSES = (*LIST_PAUSES, 6 * HOUR, REFUSED_PAUSE)
"""The same where ESI's words give no reason: after each such refusal in a row, then always the last."""


def refusal_of(words: str) -> Refusal:
    """What ESI's words (the `error` of a 403) say."""
    said = words.lower()
    if "required role" in said:
        return Refusal.ROLE
    if "not in the corporation" in said or "not a member" in said:
        return Refusal.MEMBERSHIP
    if "scope" in said:
        return Refusal.SCOPE
    return Refusal.OTHER


@dataclass(frozen=True, slots=True)
class RefusalMemory:
    """What is remembered of a pilot whom ESI refuses a corporation's list. Seconds by the database's clock.

    count: refusals in a row that count. since: when the first was heard, at: when the last that counts was.
    believed: it is this pilot who may not read it. not_before: until when the pilot is passed over.
    """

    refusal: Refusal
    count: int
    since: float
    at: float
    believed: bool
    not_before: float


def heard(refusal: Refusal, now: float, *, before: ListRefusals) -> RefusalMemory:
    """What to remember after one more refusal. before: those in a row until now."""
    after = before.heard(now)
    believed, pause = True, REFUSED_PAUSE
    if refusal is Refusal.OTHER and not (believed := after.verdict(now).believed):
        pause = UNCLEAR_PAUSES[min(after.count, len(UNCLEAR_PAUSES)) - 1]
    return RefusalMemory(refusal, after.count, after.since, after.at, believed, now + pause)


def choose(members: Sequence[Member], current: str | None, now: float) -> Member | None:
    """Whose token reads the list; None where nobody's can just now.

    Whoever reads it goes on (current: a user's id), so that others are not asked without need; then those
    who read it before, the last one first; then those who were never asked; then those whose refusal is a
    day old.
    """
    able = [each for each in members if each.usable and each.scoped and each.not_before <= now]

    def rank(member: Member) -> tuple[bool, bool, float, float, str]:
        return (
            member.lender.user_id != current,
            member.refusal is not None,
            -(member.accepted_at or 0.0),
            member.not_before,
            member.lender.user_id,
        )

    return min(able, key=rank, default=None)


def next_question(members: Sequence[Member], now: float) -> float | None:
    """When the first of those who are passed over may be asked again; None where none ever may."""
    times = [each.not_before for each in members if each.usable and each.scoped and each.not_before > now]
    return min(times, default=None)
