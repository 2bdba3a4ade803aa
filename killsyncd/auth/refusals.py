"""How often a "no" of the SSO or of ESI is heard before it is believed. Rules alone: no network, no database.

One answer is no verdict. Public reports have a 403 for a token that holds the scope, and `invalid_grant` for
a refresh token that is alive; both passed. So a refused token is kept, encrypted, and asked with again.
"""

from __future__ import annotations

from killsyncd.core.model import UserState

MINUTE, HOUR, DAY = 60.0, 3600.0, 86400.0

LOGIN_PAUSES = (MINUTE, 15 * MINUTE, HOUR, 6 * HOUR, DAY, 2 * DAY)
"""Seconds from one `invalid_grant` to the next question; after the last of them always the last."""

BELIEVED_AFTER = 2
"""From so many `invalid_grant` in a row on the pilot is told to log in; the SSO is asked on."""

FORGOTTEN_AFTER = 7 * DAY
"""Seconds for which the SSO must have gone on refusing before the refresh token is forgotten."""

LIST_PAUSES = (MINUTE, 5 * MINUTE, 15 * MINUTE, 30 * MINUTE)
"""Seconds from one 403 on a list to the next question, where the token has the scope: each costs 5 of the 30
tokens that a pilot has in 15 minutes."""

LIST_BELIEVED_AFTER = len(LIST_PAUSES) + 1
"""So many 403 in a row, and the scope counts as missing; the list is asked for again daily."""

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


def next_list_question(refusals: int) -> float | None:
    """Seconds until a refused list is asked for again; None: the scope is to be called missing."""
    return LIST_PAUSES[refusals - 1] if refusals < LIST_BELIEVED_AFTER else None


def longest_wait(state: UserState) -> float:
    """Seconds that a refresh waits at most in this state."""
    return 2 * HOUR if state is UserState.OK else LONGEST_PAUSE
