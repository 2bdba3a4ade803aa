"""Days of an ordinary life, faster than they pass: what grows, and what ESI is asked beyond the least.

Daemon and EVE live in libfaketime's time, so that each of ESI's and our own times is as it is in earnest:
windows of 15 minutes, tokens of 20, an hour's memory of what was spent. Pilots fight as people do, in the
evenings and at weekends; some take their grant back and log in again, Directors change.
"""

from __future__ import annotations

import os
import time
from dataclasses import dataclass, field
from pathlib import Path

import psutil

from bench.torture.rig import Outcome, Row, Scene, count_breaches
from killsyncd.simulator import SimulatorProcess
from tests.support import DaemonProcess, log_in, wait_for

LIBRARY = next(iter(sorted(Path("/usr/lib").glob("*/faketime/libfaketime.so.1"))), None)
SPEED = int(os.environ.get("KILLSYNCD_TORTURE_SPEED", "60"))
"""Simulated seconds a second."""

HOUR = 3600.0
SAMPLES_AN_HOUR = 4
FIRST_MOMENTS = 1.5
"""Simulated hours after which everything has happened once: tokens renewed, spends forgotten."""

OF_MAILS = frozenset(
    (
        *("killmails", "killmail_documents", "victims", "attackers", "killmail_items", "killmail_values"),
        *("sightings", "names", "name_words"),
    )
)
"""What is kept for good: killmails, who saw them, and what their ids are called."""

OF_CCP = frozenset(("types", "type_groups", "type_categories", "regions", "constellations", "solar_systems"))
OF_A_SOURCE = {"walks": 51}
"""Tables that keep so many rows of each list, however long it takes until these are there."""

MOST_MORE = 1.3
A_FEW = 30
"""By what factor, and by how many rows, a table may be greater than before."""

MOST_MEMORY = 8e6
"""Bytes that the process may have grown by in the last third of the time."""

MOST_TOKENS = 1.05


@dataclass
class Seen:
    """What was looked at, some times an hour. hours: simulated ones since the logins."""

    hours: list[float] = field(default_factory=list)
    rss: list[int] = field(default_factory=list)
    files: list[int] = field(default_factory=list)
    rows: dict[str, list[int]] = field(default_factory=dict)

    def look(self, hours: float, daemon: DaemonProcess) -> None:
        """Once more."""
        process = psutil.Process(daemon.pid)
        self.hours.append(hours)
        self.rss.append(process.memory_info().rss)
        self.files.append(process.num_fds())
        with daemon.rows() as rows:
            tables = [row[0] for row in rows.execute("SELECT name FROM sqlite_master WHERE type = 'table'")]
            for table in tables:
                count = rows.execute(f"SELECT COUNT(*) FROM {table}").fetchone()[0]
                self.rows.setdefault(table, []).append(count)

    def thirds(self, values: list[int]) -> tuple[int, int]:
        """The greatest before the last third of the time, and in it. Nights have less of everything."""
        part = max(1, len(values) // 3)
        return max(values[:-part] or values), max(values[-part:])

    def slope(self, values: list[int]) -> float:
        """By how much it grows in a simulated day: least squares, without the first moments."""
        pairs = [(at, n) for at, n in zip(self.hours, values, strict=True) if at >= FIRST_MOMENTS]
        if len(pairs) < 3:
            return 0.0
        middle = sum(at for at, _ in pairs) / len(pairs)
        spread = sum((at - middle) ** 2 for at, _ in pairs)
        return 24.0 * sum((at - middle) * n for at, n in pairs) / spread


def habit(hour: float) -> float:
    """How much is fought in this hour of a week that begins on a Monday: 1 on average, nearly."""
    of_day, day = hour % 24.0, int(hour // 24.0) % 7
    evening = 2.4 if 17.0 <= of_day < 23.0 else 0.3 if 3.0 <= of_day < 9.0 else 0.7
    return evening * (1.5 if day >= 5 else 0.8)


def days(scene: Scene) -> Outcome:
    """Everything of an ordinary life; long: 72 hours of 500 users, else 4 hours of 20."""
    users, corporations, hours = (500, 20, 72.0) if scene.long else (20, 4, 4.0)
    hours = float(os.environ.get("KILLSYNCD_TORTURE_HOURS", hours))
    users = int(os.environ.get("KILLSYNCD_TORTURE_USERS", users))
    began = time.time()
    eve = scene.stage.eve(
        pilots=users,
        history=3,
        pilots_per_corporation=-(-users // corporations),
        seed=scene.seed % 1000,
        environ=_faster(began),
    )
    settings = {
        "corporations": {"enabled": True},
        # A minute and more of simulated time is what a busy machine needs for an answer.
        "esi": {"timeout": "5m", "requests_per_second": 50},
        "log": {"level": "warning"},
    }
    daemon = scene.stage.daemon(eve, settings, start=False)
    daemon.environ |= _faster(began)
    daemon.start(timeout=120.0)
    for pilot in eve.pilots():
        log_in(daemon.url, eve.base_url, int(pilot["character_id"]))
    seen = _live(scene, daemon, eve, hours, began)
    return _told(daemon, eve, seen)


def _faster(began: float) -> dict[str, str]:
    """The environment of a process whose time runs since `began` as that of the others does."""
    ahead = (time.time() - began) * (SPEED - 1)
    return {"LD_PRELOAD": str(LIBRARY), "FAKETIME": f"+{ahead:.0f} x{SPEED}", "FAKETIME_NO_CACHE": "1"}


def _live(scene: Scene, daemon: DaemonProcess, eve: SimulatorProcess, hours: float, began: float) -> Seen:
    seen, pilots = Seen(), [int(each["character_id"]) for each in eve.pilots()]
    started, step, rounds = time.time(), HOUR / SAMPLES_AN_HOUR / SPEED, int(hours * SAMPLES_AN_HOUR)
    # The short form has one evening: what is remembered of an hour follows what is done in it.
    monday = 24.0 * scene.rng.randrange(7) + 17.0
    for number in range(rounds):
        at = number / SAMPLES_AN_HOUR
        eve.settings(rate=len(pilots) / 100.0 * habit(monday + at))
        if number % (6 * SAMPLES_AN_HOUR) == 2 * SAMPLES_AN_HOUR:
            _changes(scene, daemon, eve, pilots)
        time.sleep(max(0.0, started + (number + 1) * step - time.time()))
        seen.look((time.time() - started) * SPEED / HOUR, daemon)
    eve.settings(rate=0.0)
    everything = {each["killmail_id"] for each in eve.mails()}

    def home() -> bool:
        with daemon.rows() as rows:
            return everything <= {row[0] for row in rows.execute("SELECT killmail_id FROM killmails")}

    # Lists of quiet pilots are read every ten minutes, corporations' and budgets as they come.
    wait_for(home, max(60.0, 2 * HOUR / SPEED), lambda: f"{daemon.pending()} pending\n{daemon.tail()}", 1.0)
    return seen


def _changes(scene: Scene, daemon: DaemonProcess, eve: SimulatorProcess, pilots: list[int]) -> None:
    """Somebody takes the grant back and logs in again; a Director steps down for another one."""
    pilot = scene.rng.choice(pilots)
    eve.revoke(pilot)
    log_in(daemon.url, eve.base_url, pilot)
    people = eve.pilots()
    old = scene.rng.choice([each for each in people if each["director"]])
    new = next(
        each for each in people if each["corporation_id"] == old["corporation_id"] and not each["director"]
    )
    eve.director(int(new["character_id"]), True)
    eve.director(int(old["character_id"]), False)


def _told(daemon: DaemonProcess, eve: SimulatorProcess, seen: Seen) -> Outcome:
    found = Outcome(tried=len(seen.hours))
    mails = len(eve.mails())
    with daemon.rows() as rows:
        total, positions = rows.execute(
            "SELECT COUNT(*), COUNT(DISTINCT feed_position) FROM killmails"
        ).fetchone()
    found.lost, found.doubled = max(0, mails - total), total - positions
    found.figures = {
        "simulated": f"{seen.hours[-1]:.1f} h",
        "mails": f"{mails:,}",
        "RSS": f"{seen.rss[-1] / 1e6:.0f} MB, {seen.slope(seen.rss) / 1e6:+.1f} MB a day",
        "files": f"{seen.files[-1]}",
    }
    hourly = max(1, len(seen.rss) // 12)
    found.figures["RSS by time"] = " ".join(f"{each / 1e6:.0f}" for each in seen.rss[::hourly])
    before, after = seen.thirds(seen.rss)
    if after - before > MOST_MEMORY:
        found.wrong.append(f"memory grew by {(after - before) / 1e6:.1f} MB in the last third")
    before, after = seen.thirds(seen.files)
    if after > before + A_FEW:
        found.wrong.append(f"{after} files are open, {before} before")
    _judge_tables(seen, found)
    _judge_tokens(daemon, eve, seen, found)
    count_breaches(found, eve)
    return found


def _judge_tables(seen: Seen, found: Outcome) -> None:
    grown = []
    for table, counts in sorted(seen.rows.items()):
        if table in OF_MAILS | OF_CCP:
            continue
        before, after = seen.thirds(counts)
        allowed = MOST_MORE * before + A_FEW
        if after > max(allowed, OF_A_SOURCE.get(table, 0) * seen.rows["sources"][-1]):
            found.wrong.append(f"{table} has {after:,} rows, {before:,} before")
        if seen.slope(counts) >= 1.0:
            grown.append(f"{table} {after:,} ({seen.slope(counts):+,.0f} a day)")
    found.figures["tables"] = "; ".join(grown) or "none grows"


def _judge_tokens(daemon: DaemonProcess, eve: SimulatorProcess, seen: Seen, found: Outcome) -> None:
    """The least: 2 for each mail, 2 for a list with news and 1 for one without; and 5 a day for the word that
    a pilot has no role for the corporation's list."""
    counters = eve.counters()
    spent = sum(counters["tokens_spent"].values())
    least = 2 * len(eve.mails())
    with daemon.rows() as rows:
        news = rows.execute("SELECT COUNT(*) FROM sightings").fetchone()[0]
        lists = rows.execute("SELECT COUNT(*) FROM sources").fetchone()[0]
    with_list = 0
    for route in ("esi.character_killmails", "esi.corporation_killmails"):
        answers = counters["requests"].get(route, {})
        least += answers.get("304", 0)
        with_list += answers.get("200", 0)
    least += 2 * min(with_list, news + lists)
    refusals = counters["requests"].get("esi.corporation_killmails", {}).get("403", 0)
    least += 5 * min(refusals, len(eve.pilots()) * -(-int(seen.hours[-1]) // 24))
    found.figures["tokens"] = f"{spent:,} ({spent / least:.3f} of the least)"
    if spent > MOST_TOKENS * least:
        found.wrong.append(f"{spent:,} tokens where {least:,} are the least")


DAYS: dict[str, Row] = {"days": days} if LIBRARY else {}
