"""ESI's client as the use cases see it."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from datetime import UTC, datetime

from killsyncd.core.model import DetailsWait
from killsyncd.esi.client import EsiClient
from killsyncd.service.results import Budget


class EsiView:
    """What `Operations` asks of ESI's client; it sends nothing. details: why killmails last had to wait."""

    def __init__(self, esi: EsiClient, details: Callable[[], DetailsWait | None]) -> None:
        self._esi = esi
        self._details = details

    def details_wait(self) -> DetailsWait | None:
        """Why killmails that could be fetched are not."""
        return self._details()

    async def budgets(self) -> Sequence[Budget]:
        """Every budget in use, the address's first."""
        views = await self._esi.budgets()
        found = [
            Budget(
                each.group,
                each.character_id,
                each.limit,
                each.remaining,
                round(each.window_seconds),
                datetime.fromtimestamp(each.next_tokens_at, UTC) if each.next_tokens_at else None,
            )
            for each in views
        ]
        return sorted(
            found, key=lambda each: (each.character_id is not None, each.group, each.character_id or 0)
        )

    async def eta(self, details: int) -> float | None:
        """Seconds until that many mails can have been fetched under the budget."""
        return await self._esi.eta(details)

    def downtime(self) -> bool:
        """Whether ESI or the game is known to be down."""
        return self._esi.downtime is not None
