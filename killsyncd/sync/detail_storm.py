"""When every killmail fails, ESI is at fault and not the killmail: pure rules, no network, no database.

Fifteen failures in a row without a success are a storm. Then one mail is asked for at a growing pause, no
attempt counts for any of them, and the first that comes ends it.
"""

from __future__ import annotations

import random
from collections.abc import Collection

IN_A_ROW = 15
"""Failures without a success between them, from which on it is no mail's fault. With the probes of its first
minute a storm costs less than 20 requests."""

FIRST_PAUSE = 5.0
LONGEST_PAUSE = 300.0
"""Seconds between two probes of a storm: after an hour it has cost some 20 requests."""


MOST_EXCUSED = 10_000
"""Mails that are remembered to have been put back; they are tried again daily in any case."""


class DetailStorm:
    """Counts what came and what did not. Times are monotonic seconds."""

    def __init__(self, rng: random.Random) -> None:
        self._rng = rng
        self._pause = FIRST_PAUSE
        self._given_up: set[int] = set()
        self._excused: set[int] = set()
        self.in_a_row = 0
        self.probe_at = 0.0
        """When the next mail may be asked for, during a storm."""
        self.reason = ""
        """What the last failure said."""

    @property
    def on(self) -> bool:
        """Whether there is a storm."""
        return self.in_a_row >= IN_A_ROW

    def may_fly(self, slots: int, undecided: int, now: float) -> int:
        """How many more mails may be asked for now, of `slots`.

        undecided: mails asked for of which nobody knows yet whether they came. While failures
        mount, requests under way are limited so that no more of them are wasted than make a storm.
        """
        if not self.in_a_row:
            return slots
        if not self.on:
            return max(0, min(slots, IN_A_ROW - self.in_a_row - undecided))
        return int(not undecided and now >= self.probe_at)

    def failed(self, reason: str, now: float) -> bool:
        """A mail did not come. Answers whether that began the storm."""
        self.in_a_row += 1
        self.reason = reason
        if not self.on:
            return False
        began = self.in_a_row == IN_A_ROW
        if began:
            self._pause = FIRST_PAUSE
        elif now < self.probe_at:
            return False  # asked for before the storm was known: it says nothing of the last pause
        self.probe_at = now + self._pause * self._rng.uniform(1.0, 1.2)
        self._pause = min(LONGEST_PAUSE, 2 * self._pause)
        return began

    def rest(self) -> float:
        """Seconds for which a mail that failed is left alone, so that the next probe is another."""
        return self._pause * self._rng.uniform(1.0, 1.5)

    def gave_up(self, killmail_id: int) -> None:
        """A mail was quarantined while nothing succeeded: perhaps ESI was to blame. That excuses it once."""
        if killmail_id not in self._excused:
            self._given_up.add(killmail_id)

    def came(self) -> Collection[int] | None:
        """A mail came. Where that ends a storm: those given up in it, which deserve another try."""
        ended, given_up = self.on, self._given_up
        self.in_a_row = 0
        self._given_up = set()
        if not ended:
            return None
        if len(self._excused) > MOST_EXCUSED:
            self._excused.clear()
        self._excused |= given_up
        return given_up
