"""What the rate limits need of a database."""

from __future__ import annotations

from collections.abc import Callable, Generator, Mapping, Sequence
from typing import Any, Protocol

from killsyncd.esi.ratelimit.windows import (
    Bucket,
    Observation,
    Reservation,
    ReservationRequest,
    ReservationResult,
    RouteLimit,
    Usage,
)

Alongside = Callable[[float], Generator[Any, Any, None]]
"""A part of a transaction, made by the storage that runs it, given ESI's time at which tokens are spent."""


class BudgetStore(Protocol):
    """The authority on what is spent: a database that all daemons of one address share.

    Every method raises Unavailable where the database does not answer; then nothing may be spent.
    """

    async def reserve(self, ask: ReservationRequest, alongside: Alongside | None = None) -> ReservationResult:
        """Write bills and observations, then take tokens, in one transaction.

        alongside: where tokens are granted, written in the same; what it raises undoes all of it.
        """

    async def settle(self, bills: Sequence[Reservation], observations: Sequence[Observation]) -> None:
        """Write what reservations really used. Twice the same bill is the same as once."""

    async def block(self, bucket: Bucket, until: float) -> None:
        """Grant nothing from this bucket before then. Never shortens a block."""

    async def shut(self, gate: str, until: float) -> None:
        """Shut a gate until then. Never shortens."""

    async def stamp(self, name: str, at: float) -> None:
        """Keep a moment under this name, in place of the one before."""

    async def gates(self) -> Mapping[str, float]:
        """All gates and until when they are shut, past ones perhaps included."""

    async def routes(self) -> Sequence[RouteLimit]:
        """What was learnt of routes."""

    async def learn(self, limit: RouteLimit, window_before: float) -> None:
        """Remember what a route's headers said. A longer window keeps what is spent out longer, too."""

    async def usage(self, now: float) -> Sequence[Usage]:
        """All buckets with something spent or blocked."""

    async def tidy(self, now: float) -> None:
        """Forget what came back long ago."""
