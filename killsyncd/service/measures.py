"""What is measured of the database, as plain values: the store fills them, the metrics show them."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field


@dataclass(frozen=True, slots=True)
class Measures:
    """One snapshot of the database. Times in seconds since 1970, by the database's clock (`now`).

    jobs: by (state, priority). States: `waiting` (may be taken), `postponed` (waits for a moment: Expires,
    a budget, a back-off), `working`, and `held` (its pilot is paused or has to log in again).
    oldest_job_at: since when the longest `waiting` job could have been taken. readable_since: for each
    pilot that can be synced, since when ESI may have a newer list than the one we read (its `Expires`, or
    the first login); in the future while what we have is the newest possible; corporations_readable_since:
    the same for each corporation's list that somebody reads. access_tokens: by state:
    `valid`, `due` (to be renewed), `expired`, `none` (no grant). valued_position: up to where in the feed
    killmails were valued. static_build: CCP's build, 0 for none. static_unknown: `types` and `systems` on
    stored killmails that the static data do not know. task_ages: seconds since a task that one daemon does
    for all last did well, by its name. corporations: their lists by state.
    last_day: `kills` and `losses` of our pilots within 24 hours, how many and ISK. last_backup_at: None where
    none was ever made. size_bytes: of the database, None where it does not say.
    """

    now: float
    jobs: Mapping[tuple[str, int], int]
    oldest_job_at: float | None
    readable_since: Sequence[float]
    access_tokens: Mapping[str, int]
    feed_position: int
    last_backup_at: float | None
    size_bytes: int | None
    valued_position: int = 0
    static_build: int = 0
    static_unknown: Mapping[str, int] = field(default_factory=dict)
    task_ages: Mapping[str, float] = field(default_factory=dict)
    corporations: Mapping[str, int] = field(default_factory=dict)
    corporations_readable_since: Sequence[float] = ()
    last_day: Mapping[str, tuple[int, float]] = field(default_factory=dict)
