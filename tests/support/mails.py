"""What is in the database, against ESI's JSON: every document, every column, every row."""

from __future__ import annotations

import json
import sqlite3
from collections import Counter
from collections.abc import Iterable, Mapping
from typing import Any

from killsyncd.simulator import RemoteLevers
from killsyncd.storage.documents import unpack
from tests.support.daemon import DaemonProcess, wait_for

KILLMAIL = ("killmail_id", "solar_system_id", "war_id", "moon_id")
PARTY = ("character_id", "corporation_id", "alliance_id", "faction_id")
VICTIM = (*PARTY, "ship_type_id", "damage_taken")
ATTACKER = (*PARTY, "ship_type_id", "weapon_type_id", "damage_done", "final_blow", "security_status")
ITEM = ("item_type_id", "flag", "quantity_dropped", "quantity_destroyed", "singleton")


def assert_stored_as_sent(rows: sqlite3.Connection, sent: Mapping[str, Any], killmail_hash: str) -> None:
    """One mail: its document and every column of every table are what ESI sent."""
    rows.row_factory = sqlite3.Row
    killmail_id = sent["killmail_id"]

    def of(table: str) -> list[sqlite3.Row]:
        order = "position" if table in ("attackers", "killmail_items") else "killmail_id"
        return rows.execute(
            f"SELECT * FROM {table} WHERE killmail_id = ? ORDER BY {order}", (killmail_id,)
        ).fetchall()

    (document,) = of("killmail_documents")
    assert json.loads(unpack(document["document"], document["size"])) == sent
    (mail,) = of("killmails")
    assert {name: mail[name] for name in KILLMAIL} == {name: sent.get(name) for name in KILLMAIL}
    assert mail["killmail_hash"] == killmail_hash
    assert mail["killmail_time"].replace(" ", "T") + "Z" == sent["killmail_time"]
    assert mail["attacker_count"] == len(sent["attackers"])
    (victim,) = of("victims")
    assert {name: victim[name] for name in VICTIM} == {name: sent["victim"].get(name) for name in VICTIM}
    position = sent["victim"].get("position") or {}
    assert {axis: victim[f"position_{axis}"] for axis in "xyz"} == {
        axis: position.get(axis) for axis in "xyz"
    }
    attackers = of("attackers")
    assert [row["position"] for row in attackers] == list(range(len(sent["attackers"])))
    for row, attacker in zip(attackers, sent["attackers"], strict=True):
        assert {name: row[name] for name in ATTACKER} == {name: attacker.get(name) for name in ATTACKER}
    assert _nested(of("killmail_items"), None) == _plain(sent["victim"].get("items") or [])


def _nested(rows: list[sqlite3.Row], parent: int | None) -> list[tuple[Any, ...]]:
    return [
        (*(row[name] for name in ITEM), _nested(rows, row["position"]))
        for row in rows
        if row["parent"] == parent
    ]


def _plain(items: Iterable[Mapping[str, Any]]) -> list[tuple[Any, ...]]:
    return [(*(item.get(name) for name in ITEM), _plain(item.get("items") or [])) for item in items]


def stored_ids(daemon: DaemonProcess) -> set[int]:
    """The ids in killmails."""
    with daemon.rows() as rows:
        return {int(row[0]) for row in rows.execute("SELECT killmail_id FROM killmails")}


def listed_ids(eve: RemoteLevers, pilots: Iterable[int], *, took_part: bool = False) -> set[int]:
    """The ids that these pilots' lists show, whatever the caches still say.

    took_part: of all mails that they are on, also those that ESI shows to others alone.
    """
    return {int(mail["killmail_id"]) for pilot in pilots for mail in eve.mails(pilot, took_part=took_part)}


def wait_home(daemon: DaemonProcess, eve: RemoteLevers, pilots: Iterable[int], timeout: float = 60.0) -> None:
    """Until everything that the pilots' lists show now is stored."""
    wanted = listed_ids(eve, pilots)
    wait_for(
        lambda: wanted <= stored_ids(daemon),
        timeout,
        lambda: (
            f"{len(wanted - stored_ids(daemon))} of {len(wanted)} mails are missing, "
            f"{daemon.pending()} pending:\n{daemon.tail()}"
        ),
        every=0.1,
    )


def assert_whole(
    daemon: DaemonProcess, eve: RemoteLevers, pilots: Iterable[int], *, took_part: bool = False
) -> None:
    """The stored set is EVE's; every mail stands in the feed once, and its parts belong to it."""
    assert stored_ids(daemon) == listed_ids(eve, pilots, took_part=took_part)
    with daemon.rows() as rows:
        positions = [row[0] for row in rows.execute("SELECT feed_position FROM killmails ORDER BY 1")]
        assert positions == list(range(1, len(positions) + 1)), "the feed has a gap or a double"
        assert rows.execute("SELECT position FROM feed").fetchone()[0] == len(positions)
        for table in ("killmail_documents", "victims", "attackers", "killmail_items"):
            strays = (
                f"SELECT COUNT(*) FROM {table} WHERE killmail_id NOT IN (SELECT killmail_id FROM killmails)"
            )
            assert rows.execute(strays).fetchone()[0] == 0, f"{table} has rows of no mail"
        for table in ("killmail_documents", "victims"):
            assert rows.execute(f"SELECT COUNT(*) FROM {table}").fetchone()[0] == len(positions)
        counted = "SELECT k.attacker_count, COUNT(a.position) FROM killmails k LEFT JOIN attackers a "
        counted += "ON a.killmail_id = k.killmail_id GROUP BY k.killmail_id"
        assert all(told == there for told, there in rows.execute(counted))
        assert rows.execute("SELECT COUNT(*) FROM refs").fetchone()[0] == 0
        assert rows.execute("PRAGMA integrity_check").fetchone()[0] == "ok"


HALF_DONE = {
    "sightings of mails that are neither stored nor wanted": (
        "SELECT COUNT(*) FROM sightings WHERE killmail_id NOT IN (SELECT killmail_id FROM killmails) "
        "AND killmail_id NOT IN (SELECT killmail_id FROM refs)"
    ),
    "mails stored and still wanted": (
        "SELECT COUNT(*) FROM refs WHERE killmail_id IN (SELECT killmail_id FROM killmails)"
    ),
    "mails without all of their attackers": (
        "SELECT COUNT(*) FROM killmails k WHERE k.attacker_count <> "
        "(SELECT COUNT(*) FROM attackers a WHERE a.killmail_id = k.killmail_id)"
    ),
    "mails without their document": (
        "SELECT COUNT(*) FROM killmails WHERE killmail_id NOT IN (SELECT killmail_id FROM killmail_documents)"
    ),
}
"""What no crash may leave behind, and what counts it."""


def half_done(rows: sqlite3.Connection, *, erased: bool = False) -> list[str]:
    """What a crash has left that it must not, in words; nothing where the database was never set up.

    erased: mails may have been, which leaves gaps in the feed.
    """
    tables = {row[0] for row in rows.execute("SELECT name FROM sqlite_master")}
    if not {"feed", "refs", "sightings"} <= tables:
        return []
    found = []
    positions = [row[0] for row in rows.execute("SELECT feed_position FROM killmails ORDER BY 1")]
    last = rows.execute("SELECT position FROM feed").fetchone()[0]
    if erased and (len(set(positions)) != len(positions) or last < max(positions, default=0)):
        found.append("the feed has a double, or its counter is behind it")
    if not erased and positions != list(range(1, last + 1)):
        found.append("the feed has a gap or a double, or its counter is not its last position")
    for what, counting in HALF_DONE.items():
        if count := rows.execute(counting).fetchone()[0]:
            found.append(f"{count} {what}")
    return found


def breaches(eve: RemoteLevers) -> list[str]:
    """Broken rules of ESI's, in short."""
    found = Counter(f"{each['rule']} on {each['route']}: {each['detail']}" for each in eve.breaches())
    return [f"{text} ({count} times)" for text, count in found.items()]
