"""What tests of the consumer ask for, and look at afterwards."""

from __future__ import annotations

from killsyncd.core.model import SyncMode
from tests.support.storage_world import Pilot
from tests.support.sync_world import SyncWorld


async def wanted(core: SyncWorld, pilot: Pilot, mode: SyncMode = SyncMode.INCREMENTAL) -> None:
    await core.world.want(pilot, mode)


async def walks(core: SyncWorld, pilot: Pilot) -> list[str]:
    rows = await core.world.rows(
        "SELECT state FROM walks WHERE source_id = :id ORDER BY id", id=pilot.source_id
    )
    return [str(row[0]) for row in rows]


async def given_back(core: SyncWorld) -> int:
    """Jobs whose rows say why they wait."""
    return int(await core.world.value("SELECT COUNT(*) FROM wants WHERE last_error IS NOT NULL"))
