"""What the rows share: a stage, a source of chance that can be told again, and what a row found."""

from __future__ import annotations

import json
import random
import time
from collections.abc import Callable, Collection, Iterator
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass, field
from pathlib import Path

from killsyncd.simulator import SimulatorProcess
from tests.support import DaemonProcess, Stage
from tests.support.daemon import PATIENCE
from tests.support.mails import breaches, listed_ids, stored_ids
from tests.support.stopped_daemon import let_waiting_pass

LIST_LIFE = 3.0
"""Seconds that lists live in the rows' simulators."""


@dataclass
class Outcome:
    """What a row found. tried: faults provoked. early: breaches of ESI's rules. recovery: seconds, each."""

    tried: int = 0
    lost: int = 0
    doubled: int = 0
    early: int = 0
    recovery: list[float] = field(default_factory=list)
    figures: dict[str, str] = field(default_factory=dict)
    wrong: list[str] = field(default_factory=list)
    """What must hold and did not, in a sentence each."""

    @property
    def ok(self) -> bool:
        """Whether everything held."""
        return not (self.lost or self.doubled or self.early or self.wrong)

    @property
    def recovery_p99(self) -> float | None:
        """Seconds; None where nothing had to recover."""
        if not self.recovery:
            return None
        return sorted(self.recovery)[min(len(self.recovery) - 1, int(len(self.recovery) * 0.99))]


@dataclass
class Scene:
    """Where a row plays. long: by hand and thorough; otherwise what CI has time for."""

    folder: Path
    stage: Stage
    rng: random.Random
    seed: int
    long: bool

    def times(self, short: int, long: int) -> int:
        """How often a fault is provoked."""
        return long if self.long else short


Row = Callable[[Scene], Outcome]


@contextmanager
def scene(folder: Path, seed: int, long: bool) -> Iterator[Scene]:
    """A stage whose processes end with it, whatever the row found."""
    with ExitStack() as stack:
        stage = Stage(folder, stack)
        stack.callback(stage.abandon)
        yield Scene(folder, stage, random.Random(seed), seed, long)


def foreign_mails(eve: SimulatorProcess, lines: Path, times: int, first: int = 10**9) -> set[int]:
    """A file for `killsyncd import`: EVE's mails so many times, by ids from first on, which are answered."""
    mails = [eve.mail(each["killmail_id"]) for each in eve.mails()] * times
    made = [{**each, "killmail_id": first + number} for number, each in enumerate(mails)]
    lines.write_text("".join(json.dumps(each) + "\n" for each in made))
    return {each["killmail_id"] for each in made}


def count_mails(
    found: Outcome,
    daemon: DaemonProcess,
    eve: SimulatorProcess,
    pilots: list[int],
    provoked: Collection[str] = (),
) -> None:
    """Adds what is missing, what stands twice in the feed or in parts, and the breaches that EVE counted.

    provoked: rules that the row itself makes the daemon break.
    """
    found.lost += len(listed_ids(eve, pilots) - stored_ids(daemon))
    with daemon.rows() as rows:
        total, different = rows.execute(
            "SELECT COUNT(*), COUNT(DISTINCT feed_position) FROM killmails"
        ).fetchone()
        found.doubled += total - different
        for part in ("victims", "killmail_documents"):
            there = rows.execute(f"SELECT COUNT(*) FROM {part}").fetchone()[0]
            if there != total:
                found.wrong.append(f"{there} rows of {part} for {total} mails")
        if rows.execute("PRAGMA integrity_check").fetchone()[0] != "ok":
            found.wrong.append("SQLite's integrity_check finds faults")
    count_breaches(found, eve, provoked)


def count_breaches(found: Outcome, eve: SimulatorProcess, provoked: Collection[str] = ()) -> None:
    """Adds the breaches that EVE counted, but for those of rules that were provoked."""
    told = [each for each in breaches(eve) if each.split(" ")[0] not in provoked]
    found.early += len(told)
    if told:
        found.wrong.append(f"breaches: {told[:3]}")


def all_home(daemon: DaemonProcess, eve: SimulatorProcess, pilots: list[int], within: float = 60.0) -> float:
    """Seconds until every listed mail is stored; `within` (more on a busy machine) where one never is."""
    began = time.monotonic()
    while time.monotonic() - began < within * PATIENCE:
        if listed_ids(eve, pilots) <= stored_ids(daemon):  # imports bring others
            break
        time.sleep(0.1)
    return time.monotonic() - began


def settle(daemon: DaemonProcess, eve: SimulatorProcess, pilots: list[int]) -> None:
    """Everything home; what waits for hours without ESI's word does not have to."""
    for _ in range(5):
        if all_home(daemon, eve, pilots, 10.0) < 10.0 * PATIENCE:
            return
        daemon.stop()
        let_waiting_pass(daemon, longest_cache=LIST_LIFE)
        daemon.start()


def let_settle(daemon: DaemonProcess, eve: SimulatorProcess, pilots: list[int]) -> None:
    """New mails of everybody come home: every token works."""
    eve.add_mails(1, pilots)
    settle(daemon, eve, pilots)


def count_logged_out(found: Outcome, daemon: DaemonProcess) -> None:
    """Adds the pilots who would have to log in again."""
    away = [each["state"] for each in daemon.ctl("users")["users"] if each["state"] != "ok"]
    found.lost += len(away)
    if away:
        found.wrong.append(f"pilots are {away}")
