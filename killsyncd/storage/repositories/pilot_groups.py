"""Pilots that are one player's, as the operator says."""

from __future__ import annotations

from collections.abc import Sequence

from killsyncd.service.results import PilotGroup
from killsyncd.storage.repository import Repository, reads, writes
from killsyncd.storage.transaction import Many, Run, Tx


class PilotGroupRepository(Repository):
    """See `service.ports.PilotGroups`."""

    @reads
    def all(self) -> Tx[list[PilotGroup]]:
        """Every group, by name."""
        found: dict[str, list[str]] = {}
        for row in (yield Run("statistics.groups", {})):
            pilot = row["character_name"] or str(row["character_id"])
            found.setdefault(str(row["name"]), []).append(str(pilot))
        return [PilotGroup(name, tuple(pilots)) for name, pilots in found.items()]

    @writes
    def put(self, name: str, characters: Sequence[int]) -> Tx[None]:
        """Make a group of these pilots alone, who leave others. Nobody: the group ends."""
        yield Run("statistics.group_gone", {"name": name})
        if characters:
            yield Many("statistics.group_put", [{"character_id": each, "name": name} for each in characters])
