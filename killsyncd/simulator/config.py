"""What a simulated EVE is like: everything that can be set when it starts."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Literal

CLIENT_ID = "5b9d1c8e7a3f4f60a2c4e6d8f0b1a3c5"  # looks like CCP's: 32 hex digits; means nothing
KILLMAIL_SCOPE = "esi-killmails.read_killmails.v1"
CORPORATION_SCOPE = "esi-killmails.read_corporation_killmails.v1"
ROLES_SCOPE = "esi-characters.read_corporation_roles.v1"

Rotation = Literal["always", "never", "sometimes"]
Order = Literal["newest", "oldest", "shuffled"]


@dataclass(frozen=True, slots=True, kw_only=True)
class SimulatorConfig:
    """Times are seconds, probabilities 0..1. The defaults are ESI's own figures (CCP's ESI documentation)."""

    host: str = "127.0.0.1"
    port: int = 0
    """0: any free one."""
    seed: int = 1
    """The same seed and sizes give the same pilots and fights (times count back from the start)."""

    # The universe
    pilots: int = 5
    history: int = 40
    """Killmails of each pilot at the start, over the last 90 days."""
    history_hours: float = 24.0 * 90 - 2
    pilots_per_corporation: int = 10
    sharing: float = 0.3
    """How many of the mails have several of our pilots (of one corporation) on them. One of them struck the
    final blow and lists it; in some, another one died and lists it too; the rest only helped."""
    assists: float = 0.0
    """Mails that no list shows, because our pilot on it only helped: so many for each mail in a list."""
    rate: float = 0.0
    """New mails a minute while it runs."""
    late: float = 0.02
    """How many of the new mails surface with an id below the newest one."""
    killmails: Path | None = None
    """JSON lines of killmails in ESI's format; they stand in the pilots' lists whatever their age."""
    names: Path | None = None
    """CSV `id,category,name` that goes before the built-in names."""
    spread: bool = False
    """Deal the file's mails out among the pilots; else every pilot lists them all."""
    bad_ids: frozenset[int] = frozenset()
    """Ids that `/universe/names` does not know: one of them fails its whole batch."""

    # ESI
    page_size: int = 1000
    order: Order = "newest"
    empty_404: bool = False
    """A list without any killmail is answered 404 and not `[]`, as some have seen it."""
    limits: bool = True
    """False: nothing is ever refused; the headers then tell of a budget without bottom."""
    window: float = 900.0
    """Length of every floating window."""
    group_limits: Mapping[str, int] = field(default_factory=dict)
    """Tokens a window, where they differ from ESI's (`{"killmail": 20}`)."""
    error_limit: int = 100
    error_window: float = 60.0
    cache: float = 300.0
    """Life of a killmail list."""
    status_cache: float = 30.0
    latency: float = 0.0
    """Added to every answer of ESI and SSO."""
    compatibility_date: str = "2026-08-18"
    inflight_grace: float = 0.25
    """A request that arrives this soon after a 429 or 420 was already under way: no breach."""
    expires_grace: float = 0.05
    """How much too early a request may come by two clocks' rounding before it is a breach."""
    body_cache: int = 4096
    """Encoded killmails that are kept."""
    prebuild: int = 0
    """Encode that many killmails at the start, so that answering them costs nothing."""

    # SSO
    client_id: str = CLIENT_ID
    client_secret: str | None = None
    """Set: a confidential client, HTTP Basic is required. None: a public one."""
    redirect_uris: tuple[str, ...] = ()
    """Registered callbacks; empty: any."""
    any_client: bool = False
    """Accept client ids that are not registered (as public clients)."""
    auto_approve: bool = False
    """Authorize without a page, taking the pilots in turn."""
    token_life: float = 1200.0
    rotation: Rotation = "always"
    rotation_grace: float = 0.0
    """How long a refresh token that was replaced is still good."""
    issuer: str | None = None
    """`iss` of the tokens and of the metadata; None: the simulator's own address."""

    # Behaviour
    faults: tuple[Mapping[str, Any], ...] = ()
    """Scripted faults, as `POST /_sim/faults` takes them."""
