"""What waits, why, and until when: every wait for ESI has a reason and a time, wherever it is shown."""

from __future__ import annotations

from collections.abc import Sequence

from killsyncd.core.clock import utc
from killsyncd.core.model import DetailsWait, WaitsFor
from killsyncd.core.text import count
from killsyncd.service.health import WaitingList, list_reason
from killsyncd.service.results import Waiting


def details_reason(wait: DetailsWait, now: float) -> str:
    """Why killmails are not fetched just now, in one sentence with its time."""
    until = f"{utc(max(wait.until, now)):%H:%M:%S} UTC"
    if wait.waits_for is WaitsFor.BUDGET:
        who = "long lists of killmails wait" if wait.heavy else "killmails wait"
        left = "; its last part is kept for pilots with few" if wait.heavy else ""
        # At the latest: what a request may cost is booked before it leaves, at the worst price.
        return f"{who} for ESI's budget{left}: tokens come back at {until} at the latest"
    return f"killmails wait: {wait.reason}; asked again at {until}"


def waiting_details(
    wait: DetailsWait | None,
    *,
    pending: int,
    retrying: int,
    next_retry_at: float | None,
    now: float,
    monotonic: float,
) -> list[Waiting]:
    """The killmails that wait: for ESI, and for the next attempt of those that failed.

    pending: killmails wanted, of which `retrying` are not due. now: seconds since 1970.
    """
    found = []
    due = pending - retrying
    if due > 0 and wait is not None and wait.holds(monotonic):
        until = utc(max(wait.until, now))
        found.append(Waiting("details", wait.waits_for, details_reason(wait, now), until, due))
    if retrying and next_retry_at is not None:
        reason = (
            f"{count(retrying, 'killmail')} failed to come and {'is' if retrying == 1 else 'are'} tried again"
        )
        until = utc(max(next_retry_at, now))
        found.append(
            Waiting("details", WaitsFor.RETRY, f"{reason} from {until:%H:%M:%S} UTC", until, retrying)
        )
    return found


def waiting_lists(lists: Sequence[WaitingList]) -> list[Waiting]:
    """Pilots' lists that wait, in the order given."""
    return [
        Waiting(
            "list",
            each.waits_for,
            list_reason(each),
            utc(each.until),
            1,
            each.character_id,
            each.character_name,
        )
        for each in lists
    ]
