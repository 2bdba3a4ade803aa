"""What a simulated EVE consists of, apart from the port on which it answers."""

from __future__ import annotations

import asyncio

from .clock import SimClock
from .config import SimulatorConfig
from .esi import EsiRoutes
from .everef import EverefRoutes
from .exports import ExportFiles
from .faults import Fault, Faults
from .gate import Gate
from .grants import SimulatedGrants
from .ledger import RequestLedger
from .listing import Lists
from .sso import SsoRoutes
from .tokens import Keys
from .webhooks import WebhookTargets
from .world import World
from .zkillboard import ZkillboardRoutes


class SimulatorState:
    """The world and the rules over it; the levers change it, the server answers from it."""

    def __init__(self, config: SimulatorConfig, clock: SimClock) -> None:
        self.config = config
        self.clock = clock
        self.ledger = RequestLedger(self.clock)
        self.world = World(self.config, self.clock)
        self.keys = Keys()
        self.grants = SimulatedGrants(self.config, self.clock, self.world, self.keys, self.ledger)
        self.lists = Lists(self.world, self.clock, self.config.page_size, self.config.cache)
        self.lists.empty_404 = self.config.empty_404
        self.gate = Gate(self.config, self.clock, self.world, self.keys, self.ledger)
        self.esi = EsiRoutes(self.config, self.clock, self.world, self.lists, self.ledger)
        self.files = ExportFiles(self.config, self.clock, self.world.universe)
        self.sso = SsoRoutes(self.config, self.world, self.grants, self.ledger)
        self.board = ZkillboardRoutes(self.clock, self.world, self.ledger)
        self.archive = EverefRoutes(self.world, self.ledger, self.board.unposted)
        self.trouble = Faults(self.config.seed)
        for raw in self.config.faults:
            self.trouble.add(Fault.from_json(raw), self.clock.monotonic())
        self.targets = WebhookTargets(self.clock)
        self.latency = self.config.latency
        self.rate = self.config.rate
        self.late = self.config.late
        self.outage: tuple[int, float, bool] | None = None
        """Status, monotonic end, whether the SSO is down too."""
        self.port = 0
        self.rate_changed = asyncio.Event()

    @property
    def base_url(self) -> str:
        """`http://127.0.0.1:PORT`: base of the SSO and of ESI."""
        host = "127.0.0.1" if self.config.host in ("", "0.0.0.0") else self.config.host  # noqa: S104  only named
        return f"http://{host}:{self.port}"

    def set_rate(self, rate: float) -> None:
        """New mails a minute from now on."""
        self.rate = rate
        self.rate_changed.set()
