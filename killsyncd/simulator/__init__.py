"""EVE Online, simulated: SSO and ESI on a real port, with their limits, caches and moods.

`killsyncd simulate` and `killsyncd demo` run it for people; tests and benches use `Simulator` in their own
loop or `SimulatorProcess` beside them; zKillboard, EVE Ref's history and webhooks' receivers are there, too.
It knows ESI from CCP's documents alone and shares no code with killsyncd's clients; of killsyncd it knows
`core.errors` alone.
"""

from __future__ import annotations

from .config import (
    CLIENT_ID,
    CORPORATION_SCOPE,
    KILLMAIL_SCOPE,
    ROLES_SCOPE,
    SimulatorConfig,
)
from .process import RemoteLevers, SimulatorProcess
from .records import killmail_hash
from .server import Simulator

__all__ = [
    "CLIENT_ID",
    "CORPORATION_SCOPE",
    "KILLMAIL_SCOPE",
    "ROLES_SCOPE",
    "RemoteLevers",
    "Simulator",
    "SimulatorConfig",
    "SimulatorProcess",
    "killmail_hash",
]
