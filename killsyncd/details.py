"""What the fetcher needs of others, and what it makes of a mail that did not come."""

from __future__ import annotations

import random
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Protocol, TypeVar

from killsyncd.answers import DetailAnswer, EsiError, EsiStatus, Malformed
from killsyncd.arrivals import Arrival, Stored
from killsyncd.backoff import full_jitter
from killsyncd.errors import KillsyncdError
from killsyncd.model import PendingOf, Ref

REFUSALS = 4
"""A wrong id and hash pair is tried so often: peers saw 422 under load for pairs that were right."""

MALFORMED = 6
"""An unreadable mail is tried so often before a person has to look."""

PATIENCE = 12
"""What may pass, but not for ever, is tried so often: that takes about an hour."""

_STATUSES = {422: REFUSALS, 400: PATIENCE, 404: PATIENCE}
"""Only these say something of the mail. 401, 403 and their like are about us, and 5xx about ESI's day:
they quarantine nothing, however long they last."""


class DetailLedger(Protocol):
    """The ledger, as the fetcher needs it."""

    async def pending_sources(self) -> list[int]: ...
    async def pending_of(self, source_id: int, limit: int) -> PendingOf: ...
    async def ripe_sources(self, after: float) -> tuple[list[int], float]: ...
    async def next_retry(self) -> float | None: ...
    async def claim_refs(self, ids: Sequence[int]) -> set[int]: ...
    async def release_refs(self, ids: Sequence[int]) -> None: ...
    async def ref_failed(
        self, ref: Ref, *, reason: str, not_before: float, attempts: int, refusals: int, quarantine: bool
    ) -> bool: ...


class MailStore(Protocol):
    """Where mails end."""

    async def store(self, arrivals: Sequence[Arrival], names: Sequence[int]) -> Stored:
        """Store what is wanted; one transaction. Raises RowRefused, Unavailable."""


class Permission(Protocol):
    """Leave to send one request, with the tokens for it."""

    def release(self) -> None:
        """It is not used: the tokens go back."""


Permit = TypeVar("Permit", bound=Permission)


class DetailDoor(Protocol[Permit]):
    """ESI's door, as far as details go."""

    async def detail_permits(self, count: int = 1, *, heavy: bool = False) -> list[Permit]:
        """One to `count` permits, without waiting for the window.

        Raises Waiting: RateLimited with the time when tokens come back (for heavy callers: above
        the share that is kept for the others), Downtime.
        """

    async def killmail(self, permit: Permit, killmail_id: int, killmail_hash: str) -> DetailAnswer:
        """Fetch one mail, using up the permit. Raises EsiError and what is below it."""


@dataclass(frozen=True, slots=True)
class Verdict:
    """What becomes of a mail that did not come. wait: seconds until it is tried again."""

    wait: float
    attempts: int
    refusals: int
    quarantine: bool


def judge(ref: Ref, error: KillsyncdError, rng: random.Random) -> Verdict:
    """When to try again, or whether a person has to look."""
    patience = _patience(error)
    attempts = ref.attempts + 1
    refusals = ref.refusals + int(patience is not None)
    if patience is not None and patience < PATIENCE:
        wait = full_jitter(refusals, first=4.0, cap=60.0, rng=rng)
    else:
        wait = full_jitter(attempts, first=5.0, cap=600.0, rng=rng)
    return Verdict(wait, attempts, refusals, patience is not None and refusals >= patience)


async def write_down(ledger: DetailLedger, ref: Ref, verdict: Verdict, reason: str, now: float) -> bool:
    """Put the verdict into the ledger; False where it does not stand. now: seconds since 1970.

    Raises Unavailable.
    """
    return await ledger.ref_failed(
        ref,
        reason=reason,
        not_before=now + verdict.wait,
        attempts=verdict.attempts,
        refusals=verdict.refusals,
        quarantine=verdict.quarantine,
    )


def _patience(error: KillsyncdError) -> int | None:
    """How many refusals of this kind are enough; None: it is tried for ever."""
    if isinstance(error, Malformed):
        return MALFORMED
    if isinstance(error, EsiStatus):
        return _STATUSES.get(error.status)
    return None if isinstance(error, EsiError) else PATIENCE  # an error of ours
