"""Lists by every filter, search and statistics: at a million mails they cost what they do at ten thousand."""

from __future__ import annotations

import asyncio
import random
import sqlite3
import statistics
import time
from collections.abc import Awaitable, Callable, Iterator
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

from bench.rig import Figure
from killsyncd.core.clock import SystemClock
from killsyncd.core.names import words_of
from killsyncd.core.read_model import MailFilter, Order, Role
from killsyncd.core.security import SecurityClass
from killsyncd.core.statistics import Kind, Subject
from killsyncd.storage.migrations import migrate
from killsyncd.storage.repositories.killmails import ATTACKERS, VICTIMS
from killsyncd.storage.repositories.search import KillmailSearch
from killsyncd.storage.sqlite.store import SqliteStore

PILOT, CORPORATION, ALLIANCE = 90_000_001, 98_000_001, 99_000_001
"""On every mail, on one side: whose database it is."""

RIFTER, TITAN = 587, 11567
SINCE = datetime(2012, 1, 1, tzinfo=UTC)
DAYS = 5000

MAILS = (
    "killmail_id",
    "killmail_hash",
    "killmail_time",
    "solar_system_id",
    "war_id",
    "attacker_count",
    "feed_position",
    "fresh",
    "solo",
    "npc",
    "origin",
    "created_at",
)


def _rows(count: int) -> Iterator[tuple[tuple[Any, ...], tuple[Any, ...], list[tuple[Any, ...]]]]:
    """Mails of one corporation, spread over years: row of killmails, of victims, rows of attackers."""
    rng = random.Random(5)
    apart = DAYS * 86_400 / count
    for number in range(count):
        at = SINCE + timedelta(seconds=int(number * apart))
        epoch = int(at.timestamp())
        killmail_id = 1_000_000 + number
        loss = rng.random() < 0.2
        shooters = 1500 if number % 250_000 == 17 else min(300, int(rng.paretovariate(0.9)))
        npc = loss and rng.random() < 0.3
        others = [
            (95_000_000 + rng.randrange(20_000), 98_000_002 + rng.randrange(2_000)) for _ in range(shooters)
        ]
        ours = (PILOT + int(rng.paretovariate(0.7)) % 300, CORPORATION)
        victim = ours if loss else others[0]
        attackers = others if loss else [ours, *others[1:]]
        text = at.isoformat(" ")[:19]
        war = 700_000 + rng.randrange(300) if rng.random() < 0.05 else None
        system = 30_000_001 + int(rng.paretovariate(0.5)) % 5_000
        yield (
            (
                killmail_id,
                "0" * 40,
                text,
                system,
                war,
                shooters,
                number + 1,
                0,
                shooters == 1,
                npc,
                "esi",
                text,
            ),
            (killmail_id, *victim, _alliance(victim[1]), None, _ship(rng), 1000, 0.0, 0.0, 0.0, epoch),
            [
                (
                    killmail_id,
                    place,
                    None if npc else pilot,
                    1_000_125 if npc else corporation,
                    None if npc else _alliance(corporation),
                    None,
                    _ship(rng),
                    2456,
                    100,
                    place == 0,
                    0.5,
                    epoch,
                )
                for place, (pilot, corporation) in enumerate(attackers)
            ],
        )


def _beside(connection: sqlite3.Connection, count: int) -> None:
    """Values, names and static data."""
    rng = random.Random(7)
    connection.execute(
        "INSERT INTO killmail_values (killmail_id, killed_at, total, destroyed, dropped, ship, fitted, cargo,"
        " method, priced_on, valued_at)"
        " SELECT killmail_id, killed_at, t, t, 0, t, 0, 0, 'ESI_AVERAGE', 20261130, 0"
        " FROM (SELECT killmail_id, killed_at,"
        " CAST(100000000 * exp(ln(10) * 5 * (abs(random()) % 1000) / 1000.0) AS INTEGER) AS t FROM victims)"
    )
    connection.executemany(
        "INSERT INTO solar_systems (system_id, constellation_id, region_id, security, name)"
        " VALUES (?, ?, ?, ?, ?)",
        [
            (
                30_000_001 + each,
                20_000_000 + each // 8,
                10_000_000 + each // 80,
                rng.uniform(-1, 1),
                f"S{each}",
            )
            for each in range(5_000)
        ],
    )
    connection.executemany(
        "INSERT INTO types (type_id, group_id, name) VALUES (?, ?, ?)",
        [(RIFTER + each, 25 + each // 20, f"Ship {each}") for each in range(400)],
    )
    names = [(95_000_000 + each, _name(rng)) for each in range(count // 2)]
    connection.executemany("INSERT INTO names (id, category, name) VALUES (?, 'character', ?)", names)
    words = ((id_, word) for id_, name in names for word in words_of(name))
    connection.executemany("INSERT OR IGNORE INTO name_words (id, word) VALUES (?, ?)", words)


def _name(rng: random.Random) -> str:
    return " ".join("".join(rng.choices("abdeiklmnorstu", k=rng.randint(4, 9))).title() for _ in range(2))


def _alliance(corporation: int) -> int:
    return ALLIANCE + (corporation - CORPORATION) % 200


def _ship(rng: random.Random) -> int:
    return TITAN if rng.random() < 0.0001 else RIFTER + int(rng.paretovariate(0.6)) % 400


def fill(path: Path, count: int) -> None:
    """Mails, straight into the tables; the indexes are made when all are there."""
    connection = sqlite3.connect(path, isolation_level=None)
    connection.execute("PRAGMA synchronous = OFF")
    connection.execute("PRAGMA cache_size = -200000")
    indexes = connection.execute(
        "SELECT name, sql FROM sqlite_master WHERE type = 'index' AND sql IS NOT NULL"
        " AND tbl_name IN ('killmails', 'victims', 'attackers')"
    ).fetchall()
    connection.execute("BEGIN")
    for name, _ in indexes:
        connection.execute(f"DROP INDEX {name}")
    into = [
        f"INSERT INTO {table} ({', '.join(columns)}) VALUES ({', '.join('?' * len(columns))})"
        for table, columns in (("killmails", MAILS), ("victims", VICTIMS), ("attackers", ATTACKERS))
    ]
    for mail, victim, attackers in _rows(count):
        connection.execute(into[0], mail)
        connection.execute(into[1], victim)
        connection.executemany(into[2], attackers)
    connection.execute("UPDATE feed SET position = ?", (count,))
    _beside(connection, count)
    for _, sql in indexes:
        connection.execute(sql)
    connection.execute("COMMIT")
    connection.close()


FILTERS = {
    "none": MailFilter(),
    "character": MailFilter(character_id=PILOT + 1),
    "corporation": MailFilter(corporation_id=CORPORATION),
    "corporation's losses": MailFilter(corporation_id=CORPORATION, role=Role.VICTIM),
    "alliance": MailFilter(alliance_id=ALLIANCE + 5),
    "ship lost": MailFilter(ship_type_id=RIFTER + 1),
    "ship that shot": MailFilter(attacker_ship_type_id=RIFTER + 1),
    "rare ship": MailFilter(attacker_ship_type_id=TITAN),
    "final blow": MailFilter(final_blow_character_id=PILOT + 1),
    "system": MailFilter(solar_system_id=30_000_002),
    "war": MailFilter(war_id=700_005),
    "solo": MailFilter(solo=True),
    "npc": MailFilter(npc=True),
    "5 attackers": MailFilter(min_attackers=5),
    "120 attackers": MailFilter(min_attackers=120),
    "1200 attackers": MailFilter(min_attackers=1200),
    "region": MailFilter(region_id=10_000_001),
    "kind of space": MailFilter(security_class=SecurityClass.LOW),
    "class of hull": MailFilter(ship_group_id=26),
    "worth 1b": MailFilter(min_value=100_000_000_000),
    "month": MailFilter(
        corporation_id=CORPORATION,
        since=SINCE + timedelta(days=DAYS // 2),
        until=SINCE + timedelta(days=DAYS // 2 + 30),
    ),
    "worth little": MailFilter(max_value=100_100_000),
    "worth between": MailFilter(min_value=9_900_000_000_000, max_value=9_950_000_000_000),
    "region, worth 1b, class of hull": MailFilter(
        region_id=10_000_003, min_value=100_000_000_000, ship_group_id=40
    ),
    "corporation, solo": MailFilter(corporation_id=CORPORATION, solo=True),
    "pilot and ship": MailFilter(character_id=PILOT + 1, attacker_ship_type_id=TITAN),
    "any of pilots": MailFilter(
        any_of=(
            MailFilter(character_id=PILOT + 1),
            MailFilter(character_id=PILOT + 2, role=Role.VICTIM),
            MailFilter(final_blow_character_id=PILOT + 3),
        )
    ),
}


async def _seconds(ask: Callable[[], Awaitable[Any]], rounds: int = 7) -> float:
    """The median of some rounds, after one that warms the cache."""
    await ask()
    taken = []
    for _ in range(rounds):
        began = time.perf_counter()
        await ask()
        taken.append(time.perf_counter() - began)
    return statistics.median(taken)


async def _measure(path: Path, count: int) -> dict[str, float]:
    store = await SqliteStore.open(path, SystemClock())
    try:
        await migrate(store)
        await asyncio.to_thread(fill, path, count)
        search = KillmailSearch(store)
        found = {}
        for name, given in FILTERS.items():
            found[f"filter: {name}"] = await _seconds(
                lambda given=given: search.page(given, Order.TIME_DESC, 50)
            )
            found[f"total: {name}"] = await _seconds(lambda given=given: search.count(given))
        for order in (Order.STORED_DESC, Order.TIME_ASC, Order.VALUE_DESC):
            for name in ("none", "corporation", "ship that shot", "120 attackers", "region"):
                found[f"{order}: {name}"] = await _seconds(
                    lambda name=name, order=order: search.page(FILTERS[name], order, 50)
                )
        for text in ("bar", "s", "nobody is called so"):
            found[f"search: {text}"] = await _seconds(lambda text=text: search.search(text, None, 10))
        # So many mails, whatever else is stored.
        mails = 10_000
        subject = Subject(corporations=(CORPORATION,))
        until = SINCE + timedelta(days=DAYS + 1)
        since = until - timedelta(days=DAYS * min(1.0, mails / count))

        async def page() -> None:
            await search.months(subject, since, until)
            for kind in Kind:
                await search.most(kind, subject, since, until, 8)

        found["statistics of 10,000 mails"] = await _seconds(page)
        return found
    finally:
        await store.close()


def lists(folder: Path, quick: bool) -> list[Figure]:
    """The first page of every filter."""
    many = 100_000 if quick else 1_000_000
    few = asyncio.run(_measure(folder / "few.db", 10_000))
    full = asyncio.run(_measure(folder / "many.db", many))
    return [
        Figure(
            f"{name}, {many:,} mails",
            f"{full[name] * 1e3:.1f} ms",
            f"{few[name] * 1e3:.1f} ms (10,000 mails)",
            f"≤ 1.5 times, or {_noticed(name) * 1e3:.0f} ms",
            full[name] / few[name],
            full[name] <= max(1.5 * few[name], _noticed(name)),
        )
        for name in few
    ]


def _noticed(name: str) -> float:
    """What is below this is no matter: a total is counted up to 10,000, a page of nothing costs nothing.

    In another order than that of time up to 5,000 mails are sorted, or 10,000 looked through.
    """
    if name.startswith(("total", "VALUE", "STORED")):
        return 0.06
    return 0.015 if name.startswith(("filter: region", "filter: kind", "search")) else 0.005
