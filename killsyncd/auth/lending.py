"""Who lends a token to a corporation's list, and what a refusal of it means. Rules alone: no network, no
database.

ESI gives a corporation's list to its Directors (GET /corporations/{corporation_id}/killmails/recent), and
the SSO goes on granting the scope after the role is lost. A refusal costs 5 of the 30 tokens that the pilot
has for such lists in 15 minutes, and a pilot without the role is refused for ever: so what ESI said is
remembered by corporation and pilot, and asked again once a day. What it says of somebody who read the list
within the last day is doubted first: roles and ESI "can briefly disagree".
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from killsyncd.auth.refusals import DAY, MINUTE, ListRefusals
from killsyncd.core.sources import Member, Refusal

REFUSED_PAUSE = DAY
"""Seconds until a pilot who was refused a corporation's list is asked again, where that is believed."""

PROVEN_FOR = DAY
"""Seconds after reading a list for which a pilot counts as its Director, so that a refusal is doubted."""

DOUBT_PAUSE = 15 * MINUTE
"""Seconds until a Director who is refused all at once is asked again; a second refusal then is believed."""


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


def heard(
    refusal: Refusal,
    now: float,
    *,
    before: ListRefusals,
    accepted_at: float | None,
) -> RefusalMemory:
    """What to remember after one more refusal. before: those in a row until now; accepted_at: when ESI last
    gave the list to this pilot."""
    after = before.heard(now)
    proven = accepted_at is not None and 0.0 <= now - accepted_at < PROVEN_FOR
    if refusal is Refusal.OTHER:
        verdict = after.verdict(now)
        believed, pause = verdict.believed, REFUSED_PAUSE if verdict.believed else verdict.wait
    elif proven and refusal is not Refusal.SCOPE:
        believed = now - after.since >= DOUBT_PAUSE
        pause = REFUSED_PAUSE if believed else max(MINUTE, after.since + DOUBT_PAUSE - now)
    else:
        believed, pause = True, REFUSED_PAUSE
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
