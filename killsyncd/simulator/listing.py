"""Killmail lists as ESI caches them: all pages of one moment, until Expires."""

from __future__ import annotations

import hashlib
import math
from dataclasses import dataclass, field

import orjson

from .clock import SimClock, http_date
from .world import World

CLOCK_ROUNDING = 0.02  # seconds: who waits until Expires and arrives early by a timer's rounding gets news


@dataclass(slots=True)
class Snapshot:
    """A list as it was at one moment. `dies` is monotonic, the dates are HTTP dates."""

    ids: list[int]
    dies: float
    expires: str
    modified: int
    last_modified: str
    pages: int
    etags: dict[int, str] = field(default_factory=dict)


class Lists:
    """The cache of all lists, keyed by (kind, id)."""

    def __init__(self, world: World, clock: SimClock, page_size: int, life: float) -> None:
        self._world = world
        self._clock = clock
        self.page_size = page_size
        self.life = life
        self.empty_404 = False
        self._cached: dict[tuple[str, int], Snapshot] = {}

    def snapshot(self, kind: str, subject: int) -> Snapshot:
        """The list of a `character`, `corporation` or `war`, from the cache while it lives."""
        now = self._clock.monotonic()
        old = self._cached.get((kind, subject))
        if old is not None and now < old.dies - CLOCK_ROUNDING:
            return old
        wall = self._clock.wall()
        # Expires has whole seconds: the list dies at exactly the moment that the header says, not a
        # fraction later.
        expires = math.floor(wall + self.life)
        modified = int(wall)
        ids = self._ids(kind, subject)
        if old is not None and modified <= old.modified and ids != old.ids:
            modified = old.modified + 1  # lives below a second: two lists must not look like one
        made = Snapshot(
            ids,
            now + max(0.0, expires - wall),
            http_date(expires),
            modified,
            http_date(modified),
            max(1, math.ceil(len(ids) / self.page_size)),
        )
        self._cached[kind, subject] = made
        return made

    def expire(self, subject: int | None = None) -> None:
        """Make the next request see news, whatever was promised: how a walk gets torn."""
        for key in list(self._cached):
            if subject is None or key[1] == subject:
                self._cached[key].dies = 0.0

    def _ids(self, kind: str, subject: int) -> list[int]:
        world = self._world
        if kind == "character":
            return world.listed(world.pilots[subject].mails)
        if kind == "corporation":
            return world.listed(world.corporations[subject].mails)
        return []

    def page(self, snapshot: Snapshot, page: int) -> bytes:
        """One page's JSON; the page must exist."""
        world = self._world
        start = (page - 1) * self.page_size
        return orjson.dumps(
            [
                {"killmail_hash": world.hash_of(world.mails[key]), "killmail_id": key}
                for key in snapshot.ids[start : start + self.page_size]
            ]
        )

    def etag(self, snapshot: Snapshot, page: int) -> str:
        """The page's ETag; kept, so that a 304 costs nothing."""
        if page not in snapshot.etags:
            snapshot.etags[page] = etag_of(self.page(snapshot, page))
        return snapshot.etags[page]


def etag_of(body: bytes) -> str:
    """A strong ETag of a body."""
    return f'"{hashlib.blake2b(body, digest_size=16).hexdigest()}"'


def unchanged(if_none_match: str | None, etag: str) -> bool:
    """Whether the client's If-None-Match holds this ETag (weak comparison, RFC 9110, 13.1.2)."""
    if if_none_match is None:
        return False
    bare = etag.strip('"')
    return any(
        candidate.strip().removeprefix("W/").strip('"') in (bare, "*")
        for candidate in if_none_match.split(",")
    )
