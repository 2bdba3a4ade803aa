"""The pauses that people turn on and off: of everything (`daemon`), of the producer alone (`producer`)."""

from __future__ import annotations

from killsyncd.storage.repository import Repository, reads
from killsyncd.storage.transaction import Run, Tx


class SwitchRepository(Repository):
    """Which pauses are on."""

    @reads
    def on(self) -> Tx[dict[str, float]]:
        """The pauses that are on, and since when, in seconds since 1970."""
        return {str(row["name"]): float(row["since"]) for row in (yield Run("meta.switches", {}))}
