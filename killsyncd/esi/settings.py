"""What configuration says of ESI."""

from __future__ import annotations

from dataclasses import dataclass

from killsyncd import user_agent


@dataclass(frozen=True, slots=True)
class EsiSettings:
    """What configuration says of ESI. timeout: seconds. client_id: of the EVE application."""

    base_url: str
    contact: str
    compatibility_date: str
    client_id: str
    requests_per_second: float = 50.0
    max_connections: int = 20
    timeout: float = 20.0
    egress: str = "default"

    @property
    def user_agent(self) -> str:
        """How every request introduces itself."""
        return user_agent(self.contact)
