"""What the simulated world holds: pilots, corporations, killmails and their hash."""

from __future__ import annotations

import base64
import hashlib
from dataclasses import dataclass, field

from .fights import Cast
from .outsiders import Party


@dataclass(slots=True)
class Pilot:
    """One of our simulated characters."""

    character_id: int
    name: str
    corporation_id: int
    alliance_id: int | None
    director: bool = False
    owner_serial: int = 0
    """Goes up when the character is sold."""
    lost_scopes: frozenset[str] = frozenset()
    mails: list[int] = field(default_factory=list)
    """What is in this pilot's list: losses and final blows, and what a lever put there."""

    def owner_hash(self, seed: int) -> str:
        """The JWT's `owner`: opaque, the same until the character is sold."""
        digest = hashlib.sha1(
            f"{seed}/{self.character_id}/{self.owner_serial}".encode(), usedforsecurity=False
        ).digest()
        return base64.b64encode(digest).decode()

    def party(self) -> Party:
        return Party(self.character_id, self.corporation_id, self.alliance_id, None)


@dataclass(slots=True)
class Corporation:
    """A corporation of our pilots."""

    corporation_id: int
    name: str
    alliance_id: int | None
    members: list[int] = field(default_factory=list)
    mails: dict[int, None] = field(default_factory=dict)
    """What is in the corporation's list: what came into a member's while there, and lost structures."""


class WorldMail:
    """A killmail: either a recipe (seed, kind, who) or a given document."""

    __slots__ = ("body", "cast", "digest", "killmail_id", "kind", "pinned", "time")

    def __init__(self, killmail_id: int, time: int, cast: Cast, kind: str = "", pinned: bool = False) -> None:
        self.killmail_id = killmail_id
        self.time = time
        self.cast = cast
        self.kind = kind
        self.pinned = pinned
        """Listed whatever its age."""
        self.digest: str | None = None
        self.body: bytes | None = None


def killmail_hash(victim: int | None, final_blow: int | None, ship_type_id: int, when: int) -> str:
    """EVE's hash of a killmail; `when` in seconds since 1970 (formula: found by other killboards, not CCP's
    word)."""
    filetime = (when + 11_644_473_600) * 10_000_000
    return hashlib.sha1(
        f"{victim}{final_blow}{ship_type_id}{filetime}".encode(), usedforsecurity=False
    ).hexdigest()
