"""The rate limits for people: what is spent, what is left, and how long so many killmails take."""

from __future__ import annotations

from killsyncd.core.server_clock import ServerTime
from killsyncd.esi.ratelimit.permits import PermitOffice
from killsyncd.esi.ratelimit.ports import BudgetStore
from killsyncd.esi.ratelimit.route_limits import RouteLimits
from killsyncd.esi.ratelimit.windows import Usage, character_of, eta
from killsyncd.esi.responses import BudgetView
from killsyncd.esi.routes import DETAIL, ERROR_WINDOW, ERRORS_A_MINUTE


class BudgetReport:
    """Reads what all daemons of this address have spent. per_second: requests a second at most."""

    def __init__(
        self,
        store: BudgetStore,
        permits: PermitOffice,
        limits: RouteLimits,
        time: ServerTime,
        *,
        per_second: float,
    ) -> None:
        self._store = store
        self._permits = permits
        self._limits = limits
        self._time = time
        self._per_second = per_second

    async def budgets(self) -> list[BudgetView]:
        """Every bucket with something spent, the address's first, the details' always. Raises Unavailable."""
        now = self._time.not_after()
        usages = {usage.bucket: usage for usage in await self._store.usage(now)}
        detail = self._permits.bucket(DETAIL, None)
        usages.setdefault(detail, Usage(detail, (), 0.0))
        views = [self._view(usage, now) for usage in usages.values()]
        return sorted(views, key=lambda view: (view.character_id or 0, view.group))

    def _view(self, usage: Usage, now: float) -> BudgetView:
        known = self._limits.of_group(usage.bucket.group)
        limit, window = (known.tokens, known.window) if known else (ERRORS_A_MINUTE, ERROR_WINDOW)
        blocked = usage.blocked_until > now
        next_at = usage.spends[0][0] if usage.spends else None
        if blocked:  # what was not spent is there again when the block ends
            next_at = max(usage.blocked_until, 0.0 if usage.used < limit else next_at or 0.0)
        return BudgetView(
            usage.bucket.group,
            character_of(usage.bucket.subject),
            limit,
            0 if blocked else max(0, limit - usage.used),
            window,
            None if next_at is None else self._time.to_wall(next_at),
        )

    async def eta(self, details: int) -> float:
        """Seconds until so many killmails can have been fetched, if all goes well. Raises Unavailable."""
        now = self._time.not_after()
        bucket = self._permits.bucket(DETAIL, None)
        found = [usage for usage in await self._store.usage(now) if usage.bucket == bucket]
        known = self._limits.of(DETAIL)
        usage = found[0] if found else Usage(bucket, (), 0.0)
        return eta(usage, known.tokens, known.window, details, now, self._per_second)
