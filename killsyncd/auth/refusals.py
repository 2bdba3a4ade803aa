"""How often a "no" of the SSO or of ESI is heard before it is believed. Rules alone: no network, no database.

One answer is no verdict. Public reports have a 403 for a token that holds the scope, and `invalid_grant` for
a refresh token that is alive; both passed. So a refused token is kept, encrypted, and asked with again.
"""

from __future__ import annotations

from dataclasses import dataclass, replace

from killsyncd.core.model import UserState

MINUTE, HOUR, DAY = 60.0, 3600.0, 86400.0

LOGIN_PAUSES = (MINUTE, 15 * MINUTE, HOUR, 6 * HOUR, DAY, 2 * DAY)
"""Seconds from one `invalid_grant` to the next question; after the last of them always the last."""

BELIEVED_AFTER = 2
"""From so many `invalid_grant` in a row on the pilot is told to log in; the SSO is asked on."""

FORGOTTEN_AFTER = 7 * DAY
"""Seconds for which the SSO must have gone on refusing before the refresh token is forgotten."""

LIST_PAUSES = (MINUTE, 5 * MINUTE, 15 * MINUTE, 30 * MINUTE, HOUR)
"""Seconds from one 403 on a list to the next question, where the token has the scope; after the last of them
always the last. Each costs 5 of the 30 tokens that a pilot has in 15 minutes."""

LIST_BELIEVED_AFTER = 5
"""So many 403 in a row may be believed, where ESI gave somebody else's list meanwhile."""

ALONE_BELIEVED_AFTER = 6 * HOUR
"""Seconds of refusals that are believed where no other list was asked for, which could show an outage."""

SCOPE_PAUSE = DAY
"""Seconds until the token of a pilot without the scope is renewed and looked at again."""

LONGEST_PAUSE = 3 * DAY
"""Longer than any pause of ours. A time further ahead was written while the clock stood wrong."""

LONGEST_LIFE = 2 * DAY
"""Longer than any access token lives (`sso.client` believes one day)."""

REVOCATION_BELIEVED_AFTER = 3
"""So often in a row the SSO must say that it does not know a token before that counts as revoked."""

COME_BACK = frozenset({UserState.OK, UserState.NEEDS_LOGIN, UserState.SCOPE_MISSING})
"""States in which the refresh token, where it is still kept, goes on being used."""


def next_login_question(refusals: int, refused_for: float) -> float | None:
    """Seconds until the SSO is asked again; None: the refresh token is to be forgotten.

    refusals: how many in a row, this one included. refused_for: seconds since the first of them.
    """
    if refusals >= len(LOGIN_PAUSES) and refused_for >= FORGOTTEN_AFTER:
        return None
    return LOGIN_PAUSES[min(refusals, len(LOGIN_PAUSES)) - 1]


@dataclass(frozen=True, slots=True)
class HeardRefusal:
    """What is to be made of a 403 on a list.

    count: how many in a row count. wait: seconds until the list should be asked for again.
    believed: it is this pilot who may not read it, and not ESI that refuses everybody.
    """

    count: int
    wait: float
    believed: bool


@dataclass(frozen=True, slots=True)
class ListRefusals:
    """403s in a row on one list, with one pilot's token that has the scope. Seconds by the database's clock.

    count: those that count. since: when the first was heard, at: when the last that counts was.
    others_accepted: whether ESI gave another list of that kind since the refusal before this one.
    others_refused: whether it refused another since the first.
    """

    count: int = 0
    since: float = 0.0
    at: float = 0.0
    others_accepted: bool = False
    others_refused: bool = False

    def heard(self, now: float) -> ListRefusals:
        """With one more. It counts only where the pause after the one before it has passed: whoever has the
        list asked for again and again (`ctl queue --force`, restarts) learns nothing new by it."""
        if not self.count:
            return replace(self, count=1, since=now, at=now)
        if now < self.at:  # written while the clock stood ahead
            return replace(self, since=min(self.since, now), at=now)
        if now - self.at < self._pause:
            return self
        return replace(self, count=self.count + 1, at=now)

    def verdict(self, now: float) -> HeardRefusal:
        """What to make of them."""
        alone = not self.others_refused and now - self.since >= ALONE_BELIEVED_AFTER
        believed = self.count >= LIST_BELIEVED_AFTER and (self.others_accepted or alone)
        return HeardRefusal(self.count, max(LIST_PAUSES[0], self.at + self._pause - now), believed)

    @property
    def _pause(self) -> float:
        return LIST_PAUSES[min(self.count, len(LIST_PAUSES)) - 1]


def longest_wait(state: UserState) -> float:
    """Seconds that a refresh waits at most in this state."""
    return 2 * HOUR if state is UserState.OK else LONGEST_PAUSE
