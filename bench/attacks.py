"""What clients can do to the daemon: how long their queries hold its loop, and what memory they take.

Every attack is bounded in time, and every answer waited for with a limit: a daemon that turns clients
away must not hold the bench up.
"""

from __future__ import annotations

import asyncio
import json
import random
import resource
import statistics
import sys
import time
from collections.abc import Awaitable, Callable, Iterator, Sequence
from contextlib import contextmanager
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

import aiohttp
import psutil

from bench.bystander import Seen, bystander
from bench.rig import Figure, RowFailed, daemon, eve, log_all_in, measured
from tests.support import DaemonProcess
from tests.support.api_world import mail_json

PROTOCOL = "graphql-transport-ws"
PILOTS = 30
PATIENCE = 10.0
"""Seconds that one answer may take."""
ATTACK_SECONDS = 90.0
LARGEST = 20_000
"""Attackers of the largest mail that is taken in."""

ENTITY = "{ id name }"
WHO = f"character {ENTITY} corporation {ENTITY} alliance {ENTITY} faction {ENTITY} shipType {ENTITY}"
ATTACKER = f"{WHO} weaponType {ENTITY} damageDone finalBlow securityStatus"
MAIL = f"""id feedCursor fresh killmailTime createdAt attackerCount solo npc warId solarSystem {ENTITY}
  victim {{ {WHO} }} finalBlow {{ {WHO} }} users {{ role user {{ characterId characterName }} }}"""
EVERYTHING = f"""{MAIL} attackers {{ {ATTACKER} }}
  items {{ itemType {ENTITY} flag quantityDropped quantityDestroyed items {{ itemType {ENTITY} }} }}"""


def _aliases(count: int, field: str) -> str:
    """The same field so many times. N: its number."""
    return " ".join(field.replace("N", str(number)) for number in range(count))


_BY_ID = "query($id: ID!) { killmail(id: $id) { INSIDE } }"
_PAGE = "killmails(first: 100) { edges { node { INSIDE } } }"
_INLINE = "... on Killmail { victim { character { id } } fN: id }"

QUERIES = {
    "aliases inside attackers": _BY_ID.replace(
        "INSIDE", "attackers { %s }" % _aliases(28, "aN: character { id name }")
    ),
    "everything of a mail": _BY_ID.replace("INSIDE", EVERYTHING),
    "everything of a hundred mails": "{ %s }" % _PAGE.replace("INSIDE", EVERYTHING),
    "fifteen pages of a hundred": "{ %s } fragment m on Killmail { %s }"
    % (_aliases(15, "aN: " + _PAGE.replace("INSIDE", "...m")), MAIL),
    "pages in pages": """{ users { killmails(first: 100) { edges { node {
      users { user { killmails(first: 100) { edges { node { id } } } } } } } } } }""",
    "raw, again and again": "{ %s }" % _aliases(29, "aN: " + _PAGE.replace("INSIDE", "raw")),
    "statuses": "{ %s }"
    % _aliases(15, "aN: status { problems { code } budgets { group } } bN: users { id }"),
    "a query with many mistakes": "{ %s }" % _aliases(110, "killmialsN(x: {y: 1})"),
    "a query that is hard to validate": "{ killmails { edges { node { %s } } } }" % _aliases(28, _INLINE),
}


@contextmanager
def besieged(folder: Path, quick: bool) -> Iterator[tuple[DaemonProcess, int]]:
    """A daemon with pilots and mails of all sizes; and the id of the largest there can be."""
    with eve("--pilots", str(PILOTS), "--history", "2", "--cache", "60") as simulator:  # noqa: SIM117
        with daemon(folder, simulator) as running:
            pilots = log_all_in(running, simulator)
            now = datetime.now(UTC).replace(microsecond=0)
            rng = random.Random(1)
            mails = [
                mail_json(
                    900_000_000 + number,
                    now - timedelta(minutes=number),
                    attackers=[
                        *rng.sample(pilots, 3),
                        *(95_000_000 + rng.randrange(30_000) for _ in range(count)),
                    ],
                    items=min(count, 250),
                )
                for number, count in enumerate(
                    [LARGEST - 3, 4_000, *[150] * (60 if quick else 98), *[5] * 300]
                )
            ]
            file = folder / "mails.jsonl"
            file.write_text("".join(json.dumps(each) + "\n" for each in mails))
            done = running.command("import", str(file), timeout=300.0)
            if done.returncode:
                raise RowFailed(f"the import failed: {done.stderr}")
            yield running, 900_000_000


def ask_all(url: str, queries: Sequence[tuple[str, dict[str, Any]]]) -> list[tuple[int, int, str]]:
    """Ask at once; status, size and code of each answer."""

    async def one(
        session: aiohttp.ClientSession, query: str, variables: dict[str, Any]
    ) -> tuple[int, int, str]:
        async with session.post(url, json={"query": query, "variables": variables}) as answer:
            body = await answer.read()
        head = body[:400].decode("utf-8", "replace")
        code = head.partition('"code":"')[2].partition('"')[0] if head.startswith('{"errors"') else ""
        return answer.status, len(body), code

    async def run() -> list[tuple[int, int, str]]:
        async with aiohttp.ClientSession(
            connector=aiohttp.TCPConnector(limit=0), timeout=aiohttp.ClientTimeout(total=ATTACK_SECONDS)
        ) as session:
            return await asyncio.gather(*(one(session, *each) for each in queries))

    return asyncio.run(run())


def loop_hold(folder: Path, quick: bool) -> list[Figure]:
    """The slowest `/healthz` beside each query, alone and three at once, and beside costly subscriptions."""
    figures: list[Figure] = []
    with besieged(folder, quick) as (running, largest):
        url = f"{running.url}/graphql"
        with bystander(running.url, running.pid) as calm:
            time.sleep(5.0)
        ids = {"the largest": largest, "4,000 attackers": largest + 1}
        for name, query in QUERIES.items():
            for which, id_ in ids.items() if "$id" in query else [("", 0)]:
                variables = {"id": str(id_)} if id_ else {}
                answers: list[tuple[int, int, str]] = []
                with bystander(running.url, running.pid) as seen:
                    for count in (1, 3):
                        answers += ask_all(url, [(query, variables)] * count)
                what = ", ".join(sorted({code or f"{size / 1e6:.1f} MB" for _, size, code in answers}))
                label = f"{name}{f' ({which})' if which else ''}: {what}"
                figures.append(_figure(label, seen, calm))
                print(figures[-1].row, figures[-1].value, file=sys.stderr, flush=True)
        with bystander(running.url, running.pid) as seen:
            told = asyncio.run(_within(_costly_subscriptions(running, folder)))
        figures.append(_figure(f"a mail to 200 costly subscriptions{told}", seen, calm))
    return figures


def _figure(label: str, seen: Seen, calm: Seen) -> Figure:
    worst = max(seen.cpu)
    return Figure(
        f"slowest /healthz beside: {label}",
        f"{worst * 1e3:.0f} ms CPU of the loop, {max(seen.wall) * 1e3:.0f} ms by the clock "
        f"(median {statistics.median(seen.wall) * 1e3:.1f} ms)",
        f"{max(calm.cpu) * 1e3:.0f} ms and {max(calm.wall) * 1e3:.0f} ms (nobody asks)",
        "≤ 50 ms CPU",
        None,
        worst <= 0.05,
    )


async def _within(attack: Awaitable[None], seconds: float = ATTACK_SECONDS) -> str:
    """Let an attack run for so long at most; answers what to add to its name."""
    try:
        async with asyncio.timeout(seconds):
            await attack
    except TimeoutError:
        return f" (ended after {seconds:g} s)"
    return ""


async def _open(session: aiohttp.ClientSession, url: str) -> aiohttp.ClientWebSocketResponse:
    """A socket that was let in. Raises aiohttp.ClientError, TimeoutError, TypeError: it was not."""
    async with asyncio.timeout(PATIENCE):
        socket = await session.ws_connect(url, protocols=(PROTOCOL,), max_msg_size=0)
        await socket.send_json({"type": "connection_init"})
        await socket.receive_json()
    return socket


async def _subscribe(socket: aiohttp.ClientWebSocketResponse, id_: str, query: str, **variables: Any) -> None:
    payload = {"query": query, "variables": variables}
    await socket.send_json({"id": id_, "type": "subscribe", "payload": payload})


async def _costly_subscriptions(running: DaemonProcess, folder: Path) -> None:
    """Ten sockets with twenty different subscriptions each, and a mail with many attackers."""
    connector = aiohttp.TCPConnector(limit=0)
    async with aiohttp.ClientSession(connector=connector) as session:
        sockets = [await _open(session, f"{running.url}/graphql") for _ in range(10)]
        for number, socket in enumerate(sockets):
            for each in range(20):
                inside = "users { user { killmails(first: 100) { edges { node { id } } } } }"
                query = f"subscription {{ newKillmail {{ x{number}_{each}: id {EVERYTHING} p: {inside} }} }}"
                await _subscribe(socket, str(each), query)
        await asyncio.sleep(1.0)
        mail = mail_json(910_000_000, datetime.now(UTC), attackers=[None] * 1_000, items=100)
        file = folder / "one.jsonl"
        file.write_text(json.dumps(mail) + "\n")
        await asyncio.to_thread(running.command, "import", str(file))

        async def answered(socket: aiohttp.ClientWebSocketResponse) -> None:
            for _ in range(20):
                await socket.receive(timeout=120.0)

        await asyncio.gather(*map(answered, sockets))


# --- memory ---------------------------------------------------------------------------------------


def memory(folder: Path, quick: bool) -> list[Figure]:
    """The most that the daemon grows under clients who ask for much and read nothing."""
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    if soft != resource.RLIM_INFINITY and soft < 8000:
        resource.setrlimit(resource.RLIMIT_NOFILE, (min(8000, hard), hard))
    attacks: dict[str, Callable[[DaemonProcess, int], Awaitable[None]]] = {
        "40 answers of raw unread": _unread_raw,
        "1,200 sockets replay and do not read": _unread_replays,
        "30 large queries at once": _large_queries,
        "300 different long queries": _long_queries,
        "2,000 subscriptions with 1,000 ids each": _long_variables,
    }
    figures = []
    with besieged(folder, quick) as (running, largest):
        time.sleep(2.0)
        before = psutil.Process(running.pid).memory_info().rss
        for name, attack in attacks.items():
            with measured(running.pid) as cost:
                told = asyncio.run(_within(attack(running, largest)))
            figures.append(_taken(name + told, cost.rss - before))
            print(figures[-1].row, figures[-1].value, file=sys.stderr, flush=True)

        async def all_at_once() -> str:
            found = await asyncio.gather(*(_within(each(running, largest)) for each in attacks.values()))
            return max(found)

        with measured(running.pid) as cost:
            told = asyncio.run(all_at_once())
        figures.append(_taken(f"all of these at once{told}", cost.rss - before))
    return figures


def _taken(name: str, size: int) -> Figure:
    return Figure(f"memory taken: {name}", f"{size / 1e6:.0f} MB", "0 MB", "≤ 150 MB", None, size <= 150e6)


async def _post_unread(
    running: DaemonProcess, query: str, count: int, seconds: float, **variables: Any
) -> None:
    """Ask, and do not read."""
    address = urlsplit(running.url)
    body = json.dumps({"query": query, "variables": variables}).encode()
    head = (
        f"POST /graphql HTTP/1.1\r\nHost: {address.netloc}\r\nContent-Type: application/json\r\n"
        f"Content-Length: {len(body)}\r\n\r\n"
    )
    writers = []
    for _ in range(count):
        reader, writer = await asyncio.open_connection(address.hostname, address.port, limit=1024)
        reader._transport.pause_reading()  # type: ignore[attr-defined]
        writer.write(head.encode() + body)
        writers.append(writer)
    await asyncio.sleep(seconds)
    for writer in writers:
        writer.transport.abort()


async def _unread_raw(running: DaemonProcess, _largest: int) -> None:
    query = "{ %s }" % _PAGE.replace("INSIDE", _aliases(4, "rN: raw"))
    await _post_unread(running, query, 20, 15.0)
    await _post_unread(running, QUERIES["raw, again and again"], 20, 10.0)


async def _unread_replays(running: DaemonProcess, _largest: int) -> None:
    connector = aiohttp.TCPConnector(limit=0)
    async with aiohttp.ClientSession(connector=connector) as session:
        start = running.graphql("{ status { feedCursor } }")["status"]["feedCursor"].partition(":")[0] + ":0"
        for number in range(1200):
            try:
                socket = await _open(session, f"{running.url}/graphql")
            except (aiohttp.ClientError, TimeoutError, TypeError):
                break
            fields = f"x{number % 50}: id {EVERYTHING} raw"
            query = f"subscription($a: String) {{ newKillmail(after: $a) {{ {fields} }} }}"
            await _subscribe(socket, "1", query, a=start)
            transport = socket._conn.transport if socket._conn is not None else None
            if transport is not None:
                transport.pause_reading()
        await asyncio.sleep(15.0)


async def _large_queries(running: DaemonProcess, largest: int) -> None:
    query = QUERIES["everything of a mail"]
    await _post_unread(running, query, 20, 5.0, id=str(largest + 1))
    await _post_unread(running, QUERIES["fifteen pages of a hundred"], 10, 15.0)


async def _long_queries(running: DaemonProcess, _largest: int) -> None:
    async with aiohttp.ClientSession() as session:
        for number in range(300):
            fields = _aliases(29, f"f{number}_N: id")
            page = _PAGE.replace("100", "1").replace("INSIDE", f"{fields} {EVERYTHING}")
            text = f"{{ {page} }} # {'x' * 40_000}"
            async with session.post(f"{running.url}/graphql", json={"query": text}) as answer:
                await answer.read()


async def _long_variables(running: DaemonProcess, _largest: int) -> None:
    query = "subscription($c: [ID!]) { newKillmail(characterIds: $c) { id } }"
    async with aiohttp.ClientSession(connector=aiohttp.TCPConnector(limit=0)) as session:
        for start in range(100):
            try:
                socket = await _open(session, f"{running.url}/graphql")
                for each in range(20):
                    ids = [str(90_000_000 + start * 20_000 + each * 1000 + n) for n in range(1000)]
                    await _subscribe(socket, str(each), query, c=ids)
            except (aiohttp.ClientError, TimeoutError, TypeError):
                break
        await asyncio.sleep(5.0)
