"""Ten thousand pilots in one daemon, beside half of everything: costs grow with the work.

In real time and at ESI's own limits: an hour of each size, one after the other. `--quick`: a tenth of it
and twelve minutes, in which six rounds of all lists are read, since all times are five times as short. Other
sizes and times, and both sizes at once, are chosen by variables of the environment:

    KILLSYNCD_BENCH_PART=4     a quarter of the size
    KILLSYNCD_BENCH_MINUTES=9  so long; less than two rounds of lists (20 minutes) say little
    KILLSYNCD_BENCH_SPEED=5    ESI's times and ours divided by five
    KILLSYNCD_BENCH_BESIDE=1   both sizes at once, sharing what the machine has
"""

from __future__ import annotations

import asyncio
import os
import resource
import sys
import time
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import aiohttp
import psutil
import uvloop
from prometheus_client.parser import text_string_to_metric_families

from bench.feed import PROTOCOL, QUERY
from bench.rig import Cost, Figure, RowFailed, measured
from bench.scale_seed import fill
from killsyncd.simulator import SimulatorConfig, SimulatorProcess
from tests.support import DaemonProcess, wait_for
from tests.support.mails import breaches
from tests.support.webhook_world import SECRET, secret_file

SPEED = float(os.environ.get("KILLSYNCD_BENCH_SPEED", "5" if "--quick" in sys.argv else "1"))
MOST_GROWTH = 2.3
"""Times what half of the work costs: 2 is in step with it."""


@dataclass(frozen=True)
class Size:
    """rate: new killmails a minute. All else: how many there are."""

    pilots: int
    corporations: int
    mails: int
    subscribers: int
    webhooks: int
    rate: float

    def part(self, by: int) -> Size:
        """So many times less of everything."""
        counts = (self.pilots, self.corporations, self.mails, self.subscribers, self.webhooks)
        return Size(*(each // by for each in counts), self.rate / by)


FULL = Size(10_000, 300, 1_000_000, 1_000, 50, 90.0)
"""90 a minute are three quarters of what ESI gives to one address."""


@dataclass
class Found:
    """What a size cost. lag: of the event loop, seconds at most for 99 of 100 looks. sync: seconds that lists
    may have had news for, median and most. events: killmails that subscribers were told of."""

    size: Size
    cost: Cost
    stored: int
    lists: int
    tokens: dict[str, int]
    lag: float
    sync: tuple[float, float]
    delivered: int
    waiting: int
    events: int
    writes: float
    wrong: list[str]


class Listeners:
    """Sockets that follow the feed: one in two all of it, the others one pilot's killmails."""

    def __init__(self, url: str, count: int, pilots: list[int]) -> None:
        self.url = url
        self.count = count
        self.ready = 0
        self.events = 0
        self._pilots = pilots

    async def run(self, until: asyncio.Event) -> None:
        """Listen until told to end."""
        async with aiohttp.ClientSession(connector=aiohttp.TCPConnector(limit=0)) as session:
            tasks = [asyncio.create_task(self._one(session, number)) for number in range(self.count)]
            await until.wait()
            for task in tasks:
                task.cancel()
            ended = await asyncio.gather(*tasks, return_exceptions=True)
        for each in ended:
            if not isinstance(each, asyncio.CancelledError):
                raise RowFailed(f"a subscriber ended: {each!r}")

    async def _one(self, session: aiohttp.ClientSession, number: int) -> None:
        await asyncio.sleep(number / 50)
        query = QUERY
        if number % 2:
            query = QUERY.replace("newKillmail", f'newKillmail(characterIds: ["{self._pilots[number]}"])', 1)
        async with session.ws_connect(self.url, protocols=(PROTOCOL,)) as socket:
            await socket.send_json({"type": "connection_init"})
            await socket.receive_json()
            await socket.send_json({"id": "1", "type": "subscribe", "payload": {"query": query}})
            self.ready += 1
            async for message in socket:
                if b'"next"' in message.data.encode():
                    self.events += 1
                elif b'"ping"' in message.data.encode():
                    await socket.send_json({"type": "pong"})


def scale(folder: Path, quick: bool) -> list[Figure]:
    """Both sizes, and what they cost beside each other."""
    full = FULL.part(int(os.environ.get("KILLSYNCD_BENCH_PART", "10" if quick else "1")))
    minutes = float(os.environ.get("KILLSYNCD_BENCH_MINUTES", "12" if quick else "60"))
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    if soft < 8 * full.subscribers:
        resource.setrlimit(resource.RLIMIT_NOFILE, (8 * full.subscribers, hard))
    sizes = (full.part(2), full)
    with ThreadPoolExecutor(2 if os.environ.get("KILLSYNCD_BENCH_BESIDE") else 1) as pool:
        half, whole = pool.map(lambda each: run(folder / str(each.pilots), each, minutes), sizes)
    return [*_figures(half, whole, minutes), *_checks(half, whole)]


def run(folder: Path, size: Size, minutes: float) -> Found:
    """A daemon that has this much to do, for so long."""
    config = SimulatorConfig(
        pilots=size.pilots, history=0, pilots_per_corporation=-(-size.pilots // size.corporations)
    )
    words = {"pilots": size.pilots, "history": 0, "pilots_per_corporation": config.pilots_per_corporation}
    times = {"cache": 300.0 / SPEED, "window": 900.0 / SPEED, "token_life": 1200.0 / SPEED}
    with SimulatorProcess(**words, **times, start_timeout=600.0) as eve:
        home = _home(folder, eve, size)
        with _started(home):
            pass  # makes the tables and the key
        fill(home, eve, config, size.mails)
        _say(size, "filled")
        with _started(home):
            return uvloop.run(_hour(home, eve, size, minutes))


@contextmanager
def _started(home: DaemonProcess) -> Iterator[None]:
    """However busy the machine is with the other size."""
    home.start(timeout=600.0)
    try:
        yield
    finally:
        home.stop(timeout=120.0)


def _home(folder: Path, eve: SimulatorProcess, size: Size) -> DaemonProcess:
    """Each webhook wants the killmails of some corporations."""
    corporations = list(dict.fromkeys(int(each["corporation_id"]) for each in eve.pilots()))
    hooks: list[dict[str, Any]] = []
    folder.mkdir(parents=True)
    for number in range(size.webhooks):
        url = secret_file(folder / f"{number}.url", f"{eve.base_url}/webhook-receiver/w{number}")
        secret = secret_file(folder / "secret", SECRET)
        mine = corporations[number :: size.webhooks]
        hooks.append(
            {
                "name": f"w{number}",
                "kind": "json",
                "url_file": str(url),
                "secret_file": str(secret),
                "corporations": mine,
            }
        )
    # What killmails are worth has a row of its own (`values`).
    settings: dict[str, dict[str, Any]] = {
        "corporations": {"enabled": True},
        "producer": {
            "interval": 600.0 / SPEED,
            "min_age": 480.0 / SPEED,
            "active_for": 3600.0 / SPEED,
        },
        "refresher": {"margin": 300.0 / SPEED},
        "prices": {"enabled": False},
        "static_data": {"enabled": False},
        "log": {"level": "warning"},
    }
    return DaemonProcess(folder, eve.base_url, settings=settings, webhooks=hooks)


async def _hour(home: DaemonProcess, eve: SimulatorProcess, size: Size, minutes: float) -> Found:
    pilots = [int(each["character_id"]) for each in eve.pilots()]
    unread = (
        "SELECT COUNT(*) FROM sources WHERE kind IN ('character', 'corporation') AND last_sync_at IS NULL"
    )
    lists = size.pilots + size.corporations

    def all_read() -> bool:
        known = home.value("SELECT COUNT(*) FROM sources WHERE kind IN ('character', 'corporation')")
        return bool(known >= lists and not home.value(unread))

    await asyncio.to_thread(wait_for, all_read, 3600.0, home.tail, 2.0)
    _say(size, "every list was read once")
    listeners, over = Listeners(f"{home.url}/graphql", size.subscribers, pilots), asyncio.Event()
    listening = asyncio.create_task(listeners.run(over))
    while listeners.ready < size.subscribers and not listening.done():
        await asyncio.sleep(0.5)
    await asyncio.to_thread(eve.settings, rate=size.rate * SPEED)
    await asyncio.sleep(60.0)  # whatever the start brings with it is over
    await asyncio.to_thread(eve.reset_counters)
    before, stored, events = await _metrics(home), home.stored(), listeners.events
    with measured(home.pid) as cost:
        await asyncio.wait([listening], timeout=60.0 * minutes)
    after, events = await _metrics(home), listeners.events - events
    counters = await asyncio.to_thread(eve.counters)
    new = home.stored() - stored
    over.set()
    await listening
    return _found(home, eve, size, cost, (before, after), counters, new, events)


def _found(
    home: DaemonProcess,
    eve: SimulatorProcess,
    size: Size,
    cost: Cost,
    metrics: tuple[dict[tuple[str, str], float], dict[tuple[str, str], float]],
    counters: dict[str, Any],
    stored: int,
    events: int,
) -> Found:
    before, after = metrics

    def grown(name: str, label: str = "") -> float:
        return after.get((name, label), 0.0) - before.get((name, label), 0.0)

    requests = counters["requests"]
    lists = sum(
        sum(requests.get(route, {}).values())
        for route in ("esi.character_killmails", "esi.corporation_killmails")
    )
    lag_name = "killsyncd_event_loop_lag_seconds_bucket"
    seen = grown(lag_name, "+Inf")
    bounds = sorted((float(label), grown(lag_name, label)) for name, label in after if name == lag_name)
    lag = next(bound for bound, number in bounds if number >= 0.99 * seen)
    wrong = [*breaches(eve), *eve.perform("webhooks", {"limit": 1})["breaches"]]
    if not stored:
        wrong.append("no killmail was stored")
    sync = "killsyncd_sync_lag_seconds"
    return Found(
        size,
        cost,
        stored,
        lists,
        counters["tokens_spent"],
        lag,
        (after[(sync, "0.5")], after[(sync, "1")]),
        int(home.value("SELECT SUM(delivered) FROM webhooks")),
        int(sum(value for (name, _), value in after.items() if name == "killsyncd_webhook_waiting")),
        events,
        grown("killsyncd_database_transactions_total", "write"),
        wrong,
    )


def _say(size: Size, what: str) -> None:
    """How far it is: hours without a word look like a hang."""
    print(f"{time.strftime('%H:%M:%S')} {size.pilots:,} pilots: {what}", file=sys.stderr, flush=True)


async def _metrics(home: DaemonProcess) -> dict[tuple[str, str], float]:
    """Every sample by its name and its (only) label."""
    status, text = await asyncio.to_thread(home.get, "/metrics")
    if status != 200:
        raise RowFailed(f"/metrics: {status}")
    return {
        (sample.name, next(iter(sample.labels.values()), "")): sample.value
        for family in text_string_to_metric_families(text)
        for sample in family.samples
    }


def _figures(half: Found, whole: Found, minutes: float) -> list[Figure]:
    """What grows, beside what half of the work needs. Per hour."""
    hour = 60.0 / minutes / SPEED

    def row(name: str, of: Any, unit: str, *, most: float = MOST_GROWTH, digits: int = 0) -> Figure:
        mine, theirs = of(whole), of(half)
        ratio = mine / theirs if theirs else float("nan")
        return Figure(
            name,
            f"{mine:,.{digits}f} {unit}",
            f"{theirs:,.{digits}f} {unit} (half of everything)",
            f"≤ {most:g} times",
            ratio,
            ratio <= most,
        )

    size = whole.size
    head = (
        f"{size.pilots:,} pilots, {size.corporations} corporations, {size.mails:,} mails, "
        f"{size.subscribers:,} subscribers, {size.webhooks} webhooks, {minutes * SPEED:g} min of ESI's: "
    )
    return [
        row(head + "CPU an hour", lambda each: each.cost.cpu * hour, "s"),
        row("memory at most", lambda each: each.cost.rss / 1e6, "MB", most=2.0),
        row("lists read an hour", lambda each: each.lists * hour, ""),
        row("killmails stored an hour", lambda each: each.stored * hour, ""),
        row(
            "tokens of lists, a list",
            lambda each: _list_tokens(each) / max(1, each.lists),
            "",
            most=1.1,
            digits=2,
        ),
        row("tokens of details, a mail", _detail_tokens, "", most=1.1, digits=2),
        row("write transactions an hour", lambda each: each.writes * hour, ""),
        row("killmails told to subscribers an hour", lambda each: each.events * hour, "", most=4.6),
        row("deliveries of webhooks", lambda each: each.delivered, ""),
    ]


def _list_tokens(found: Found) -> int:
    return sum(tokens for group, tokens in found.tokens.items() if group not in ("killmail",))


def _detail_tokens(found: Found) -> float:
    return found.tokens.get("killmail", 0) / max(1, found.stored)


def _checks(half: Found, whole: Found) -> list[Figure]:
    rows = []
    for name, each in (("half", half), ("whole", whole)):
        rows.append(
            Figure(
                f"{name}: loop's lag p99; how late lists are, median and most; waiting for webhooks",
                f"{each.lag * 1e3:g} ms; {each.sync[0]:.0f} s, {each.sync[1]:.0f} s; {each.waiting}",
                f"load {psutil.getloadavg()[1]:.1f}",
                "ESI's rules kept",
                None,
                not each.wrong,
            )
        )
        if each.wrong:
            print(f"{name}: {each.wrong[:5]}", flush=True)
    return rows
