"""Who is served next: start-time fair queueing of killmail details across sources. Pure, no clock.

A source is a character's or a corporation's list; its weight comes from the job's priority. Weights share
out the service, they do not rank: a source of weight 8 gets 8 mails for 3 of another's of weight 3, and
nobody waits for ever. Within a source the newest mail (highest id) goes first.

Method: Goyal, Vin, Cheng, "Start-time Fair Queuing" (SIGCOMM 1996). Every source carries the virtual time
at which its next mail starts; the lowest is served, and costs its source 1/weight.
"""

from __future__ import annotations

import heapq
from collections.abc import Iterable
from itertools import count

from killsyncd.core.model import HEAVY_PENDING

WINDOW = 2000
"""Ids held of one source; the rest stays in the ledger until the source is refilled."""

HELD_IN_ALL = 50_000
"""Ids held of all sources together: with many sources each holds fewer."""

_SMALLEST_WINDOW = 8
_TIDY_ABOVE = 1024


class _Source:
    __slots__ = (
        "always_heavy",
        "beyond",
        "entry",
        "filled",
        "finish",
        "floor",
        "held",
        "key",
        "newest",
        "start",
        "weight",
    )

    def __init__(self, key: int, weight: float, finish: float) -> None:
        self.key = key
        self.weight = weight
        self.always_heavy = False
        self.finish = finish
        self.start = finish
        self.entry = -1  # number of the one heap entry that is valid
        self.held: set[int] = set()
        self.newest: list[int] = []  # heap of negated ids; those no longer in `held` are skipped
        self.beyond = 0  # pending in the ledger, not held here
        self.filled = 0  # most ids held since the last refill
        self.floor = 0  # while something is beyond: ids below this one are not in our order

    @property
    def pending(self) -> int:
        return len(self.held) + self.beyond


class FairQueue:
    """Pending killmails of all sources, in the order in which they should be fetched.

    An id pending for several sources is handed out once and charged to the source that it was handed out
    for; the others drop it. From `next` until `done` or `remove` it is in flight and can't be added.
    Not thread-safe; every call is O(log n) in what is held, apart from `refill`.
    """

    def __init__(
        self, *, window: int = WINDOW, heavy_above: int = HEAVY_PENDING, held_in_all: int = HELD_IN_ALL
    ) -> None:
        """window: ids held of one source; heavy_above: more pending than this makes a source heavy;
        held_in_all: ids held of all sources together."""
        self._window = window
        self._heavy_above = heavy_above
        self._held_in_all = held_in_all
        self._sources: dict[int, _Source] = {}
        self._owners: dict[int, list[_Source]] = {}
        self._in_flight: set[int] = set()
        self._idle: dict[int, float] = {}  # finish tags of sources with nothing left
        self._light: list[tuple[float, int, _Source]] = []
        self._heavy: list[tuple[float, int, _Source]] = []
        self._entries = count()
        self._now = 0.0  # virtual time: never goes back
        self._hungry: dict[int, None] = {}

    def __len__(self) -> int:
        """Different ids that are held and not in flight."""
        return len(self._owners)

    @property
    def in_flight(self) -> int:
        """Ids handed out and not yet given back."""
        return len(self._in_flight)

    def sources(self) -> set[int]:
        """Sources that wait for something."""
        return set(self._sources)

    def pending(self, source: int) -> int:
        """Mails this source waits for, as far as the queue was told."""
        found = self._sources.get(source)
        return found.pending if found else 0

    @property
    def light_waiting(self) -> bool:
        """Whether `next(allow_heavy=False)` would hand out something."""
        return self._top(self._light, heavy=False) is not None

    @property
    def heavy_waiting(self) -> bool:
        """Whether a heavy source has something to hand out."""
        return self._top(self._heavy, heavy=True) is not None

    @property
    def waiting(self) -> bool:
        """Whether anybody has something to hand out."""
        return self.heavy_waiting or self.light_waiting

    def add(self, source: int, weight: float, ids: Iterable[int]) -> None:
        """Ids that were just listed, or that are to be tried again; weight > 0, from now on.

        Ids older than what is held, while more is waiting in the ledger, are only counted: the next
        refill brings them in their place.
        """
        found = self._source(source, weight)
        for killmail_id in ids:
            if killmail_id in self._in_flight or killmail_id in found.held:
                continue
            if found.beyond and killmail_id < found.floor:
                found.beyond += 1
            else:
                self._hold(found, killmail_id)
        self._shrink(found)
        found.filled = max(found.filled, len(found.held))
        self._place(found)

    def refill(
        self, source: int, weight: float, ids: Iterable[int], *, beyond: int, heavy: bool = False
    ) -> None:
        """Replace what is held of this source by what the ledger says.

        ids: its newest pending ones that can be fetched now, `room` of them if there are so many.
        beyond: how many more wait in the ledger, those whose next attempt is not due included (at
        least; 0 is exact).
        heavy: it counts as heavy however little is pending.
        """
        found = self._source(source, weight)
        found.always_heavy = heavy
        told = set(ids)
        fetchable = told - self._in_flight
        for killmail_id in found.held - fetchable:
            self._let_go(found, killmail_id)
        for killmail_id in fetchable - found.held:
            self._hold(found, killmail_id)
        found.beyond = max(0, beyond)
        # Fewer than asked for: what else the ledger has is not due, and nothing stands below.
        found.floor = min(told) if found.beyond and len(told) >= self.room else 0
        self._hungry.pop(source, None)
        self._shrink(found)
        found.filled = len(found.held)
        self._place(found)

    def next(self, allow_heavy: bool) -> tuple[int, int] | None:
        """(source, id) to fetch now, or None. allow_heavy: False serves only sources with little pending."""
        light = self._top(self._light, heavy=False)
        heavy = self._top(self._heavy, heavy=True) if allow_heavy else None
        top = heavy if light is None or (heavy is not None and heavy[:2] < light[:2]) else light
        if top is None:
            return None
        source = top[2]
        killmail_id = self._take_newest(source)
        # A source that had to stay behind (heavy, while the window was nearly dry) must not
        # make up for it at the others' cost: it starts now, not then.
        self._now = max(self._now, source.start)
        source.finish = self._now + 1.0 / source.weight
        source.start = source.finish
        source.entry = -1
        self._in_flight.add(killmail_id)
        for owner in self._owners.pop(killmail_id):
            owner.held.discard(killmail_id)
            self._place(owner)
        return source.key, killmail_id

    def done(self, killmail_id: int) -> None:
        """It is no longer in flight: stored, or waiting in the ledger for its next attempt."""
        self._in_flight.discard(killmail_id)

    def remove(self, killmail_id: int) -> None:
        """It is pending no more, in flight or not."""
        self._in_flight.discard(killmail_id)
        for owner in self._owners.pop(killmail_id, ()):
            owner.held.discard(killmail_id)
            self._place(owner)

    def drop_source(self, source: int) -> None:
        """Forget a source: erased, or paused. What is in flight for it stays in flight."""
        found = self._sources.get(source)
        if found is None:
            return
        for killmail_id in list(found.held):
            self._let_go(found, killmail_id)
        found.beyond = 0
        self._place(found)

    def hungry(self) -> list[int]:
        """Sources that have more waiting in the ledger and little left of what was held. Call `refill`.

        A source whose refill brought nothing (all of it waits for a next attempt) is not hungry again
        until something is added.
        """
        return list(self._hungry)

    @property
    def room(self) -> int:
        """How many ids of one source are held at most just now: what `refill` should bring."""
        share = self._held_in_all // max(1, len(self._sources))
        return min(self._window, max(_SMALLEST_WINDOW, share))

    # Inside

    def _source(self, key: int, weight: float) -> _Source:
        if weight <= 0:
            raise ValueError("a source's weight must be above zero")
        found = self._sources.get(key)
        if found is None:
            # A source that comes back starts where it stopped, or now: emptying its list must
            # not buy it a place in front.
            found = _Source(key, weight, max(self._now, self._idle.pop(key, 0.0)))
            self._sources[key] = found
        found.weight = weight
        return found

    def _hold(self, source: _Source, killmail_id: int) -> None:
        source.held.add(killmail_id)
        heapq.heappush(source.newest, -killmail_id)
        self._owners.setdefault(killmail_id, []).append(source)

    def _let_go(self, source: _Source, killmail_id: int) -> None:
        source.held.discard(killmail_id)
        owners = self._owners[killmail_id]
        owners.remove(source)
        if not owners:
            del self._owners[killmail_id]

    def _shrink(self, source: _Source) -> None:
        """Keep the newest that there is room for; and a heap of no more than twice what is held."""
        room = self.room
        if len(source.held) > room:
            kept = sorted(source.held, reverse=True)
            for killmail_id in kept[room:]:
                self._let_go(source, killmail_id)
            source.beyond += len(kept) - room
            source.floor = kept[room - 1]
        if len(source.newest) > 2 * len(source.held) + 16:
            source.newest = [-each for each in source.held]
            heapq.heapify(source.newest)

    def _place(self, source: _Source) -> None:
        """Put a source where its count belongs: light, heavy, hungry, idle or forgotten."""
        if source.beyond and len(source.held) * 4 <= source.filled and len(source.held) < source.filled:
            self._hungry[source.key] = None
        elif not source.beyond:
            self._hungry.pop(source.key, None)
        if not source.held:
            source.entry = -1
            if not source.beyond:
                self._forget(source)
            return
        heavy = source.always_heavy or source.pending > self._heavy_above
        # Even numbers are light entries, odd ones heavy: a source that changed sides needs a new one.
        if source.entry >= 0 and source.entry % 2 == heavy:
            return
        source.entry = next(self._entries) * 2 + heavy
        heap = self._heavy if heavy else self._light
        heapq.heappush(heap, (source.start, source.entry, source))
        if len(heap) > 2 * len(self._sources) + _TIDY_ABOVE:
            heap[:] = [each for each in heap if each[1] == each[2].entry]
            heapq.heapify(heap)

    def _forget(self, source: _Source) -> None:
        self._sources.pop(source.key, None)
        if source.finish > self._now:
            self._idle[source.key] = source.finish
        if len(self._idle) > _TIDY_ABOVE:
            self._idle = {key: finish for key, finish in self._idle.items() if finish > self._now}

    def _top(
        self, heap: list[tuple[float, int, _Source]], *, heavy: bool
    ) -> tuple[float, int, _Source] | None:
        while heap:
            top = heap[0]
            if top[1] == top[2].entry and top[2].held:
                return top
            heapq.heappop(heap)
        return None

    def _take_newest(self, source: _Source) -> int:
        while True:
            killmail_id = -heapq.heappop(source.newest)
            if killmail_id in source.held:
                return killmail_id
