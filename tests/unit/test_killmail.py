"""The killmail: decoding, hash, rows."""

from __future__ import annotations

import csv
import json
import os
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import pytest

from killsyncd.core import killmail as km
from killsyncd.core import killmail_rows as rows
from killsyncd.core.errors import BadInput


def mail(**changes: Any) -> dict[str, Any]:
    document: dict[str, Any] = {
        "killmail_id": 1000,
        "killmail_time": "2026-02-03T04:05:06Z",
        "solar_system_id": 30000142,
        "victim": {"damage_taken": 10, "ship_type_id": 587, "character_id": 90000001},
        "attackers": [
            {"damage_done": 10, "final_blow": True, "security_status": -1.5, "character_id": 90000002},
        ],
    }
    document.update(changes)
    return document


def decode(document: Any) -> km.Killmail:
    return km.decode(json.dumps(document).encode())


def test_optional_fields_may_be_absent_and_unknown_ones_are_ignored() -> None:
    found = decode(mail(brand_new={"a": [1]}))
    assert found.war_id is None
    assert found.victim.items is None
    assert found.killmail_time == datetime(2026, 2, 3, 4, 5, 6, tzinfo=UTC)


@pytest.mark.parametrize(
    ("document", "path"),
    [
        (mail(killmail_id="1000"), "$.killmail_id"),
        (mail(killmail_id=0), "$.killmail_id"),
        (mail(killmail_id=2**63), "$.killmail_id"),
        (mail(killmail_id=10**30), "$.killmail_id"),
        (mail(killmail_id=True), "$.killmail_id"),
        (mail(killmail_time="yesterday"), "$.killmail_time"),
        (mail(killmail_time="2026-02-03T04:05:06"), "$.killmail_time"),
        (mail(victim={"damage_taken": 1}), "$.victim"),
        (mail(attackers=[{"damage_done": 1, "final_blow": 1, "security_status": 0}]), "$.attackers[0]"),
        ([], "array"),
        ("x", "str"),
    ],
)
def test_what_is_not_a_killmail_is_named_by_its_path(document: Any, path: str) -> None:
    with pytest.raises(BadInput) as caught:
        decode(document)
    assert path in caught.value.message


@pytest.mark.parametrize(
    "raw", [b"", b"{", b"<html>", b"\xff\xfe", b'{"killmail_id": "\xff"}', b"[" * 100_000]
)
def test_bytes_that_are_no_json(raw: bytes) -> None:
    with pytest.raises(BadInput):
        km.decode(raw)


def nested(depth: int) -> list[dict[str, Any]]:
    items: list[dict[str, Any]] = [{"item_type_id": 1, "flag": 5, "singleton": 0}]
    for _ in range(depth - 1):
        items = [{"item_type_id": 2, "flag": 5, "singleton": 0, "items": items}]
    return items


def test_containers_without_end_are_refused() -> None:
    victim = {"damage_taken": 1, "ship_type_id": 587}
    decode(mail(victim={**victim, "items": nested(km.MAX_DEPTH)}))
    for depth in (km.MAX_DEPTH + 1, 5_000):
        text = (
            json.dumps(mail(victim={**victim, "items": "ITEMS"}))
            .replace(
                '"ITEMS"', '[{"item_type_id":2,"flag":5,"singleton":0,"items":' * depth + "[]" + "}]" * depth
            )
            .encode()
        )
        with pytest.raises(BadInput):
            km.decode(text)


@pytest.mark.parametrize("when", ["0001-01-01T00:00:00+14:00", "9999-12-31T23:59:59-14:00"])
def test_a_time_that_is_none_in_utc_is_refused(when: str) -> None:
    with pytest.raises(BadInput, match="killmail_time"):
        decode(mail(killmail_time=when))


def test_too_many_items_in_sum_are_refused() -> None:
    box = {"item_type_id": 2, "flag": 5, "singleton": 0, "items": nested(1) * 10_000}
    with pytest.raises(BadInput):
        decode(mail(victim={"damage_taken": 1, "ship_type_id": 587, "items": [box, box]}))


def test_quantities_above_two_to_the_31() -> None:
    item = {"item_type_id": 34, "flag": 5, "singleton": 0, "quantity_dropped": 2**62}
    found = decode(mail(victim={"damage_taken": 2**40, "ship_type_id": 587, "items": [item]}))
    assert rows.item_rows(found) == [(1000, 0, None, 34, 5, 2**62, None, 0)]
    assert rows.victim_row(found)[6] == 2**40


def test_items_are_flattened_depth_first() -> None:
    def item(number: int, *inside: dict[str, Any]) -> dict[str, Any]:
        found: dict[str, Any] = {"item_type_id": number, "flag": 5, "singleton": 0}
        return {**found, "items": list(inside)} if inside else found

    items = [item(1), item(2, item(3), item(4, item(5))), item(6)]
    found = decode(mail(victim={"damage_taken": 1, "ship_type_id": 587, "items": items}))
    assert [row[1:4] for row in rows.item_rows(found)] == [
        (0, None, 1),
        (1, None, 2),
        (2, 1, 3),
        (3, 1, 4),
        (4, 3, 5),
        (5, None, 6),
    ]


def test_identical_npc_attackers_stay_apart() -> None:
    rat = {"damage_done": 5, "final_blow": False, "security_status": 0, "faction_id": 500021}
    found = decode(mail(attackers=[rat, rat, {**rat, "final_blow": True}]))
    assert [row[1] for row in rows.attacker_rows(found)] == [0, 1, 2]
    assert km.is_npc(found)
    assert not km.is_solo(found)


def attackers(*who: dict[str, int]) -> list[dict[str, Any]]:
    return [{"damage_done": 1, "final_blow": False, "security_status": 0, **each} for each in who]


@pytest.mark.parametrize(
    ("who", "solo"),
    [
        ([{"character_id": 9}], True),
        ([{"character_id": 9}, {"character_id": 8}], False),
        ([{"character_id": 9}, {"faction_id": 500021}, {"corporation_id": 1_000_125}], True),
        ([{"character_id": 9}, {"corporation_id": 98_000_001}], False),
        ([], False),
    ],
)
def test_solo(who: list[dict[str, int]], solo: bool) -> None:
    assert km.is_solo(decode(mail(attackers=attackers(*who)))) is solo
    without_pilot = mail(attackers=attackers(*who), victim={"damage_taken": 1, "ship_type_id": 35832})
    assert not km.is_solo(decode(without_pilot))


def test_time_is_stored_in_utc() -> None:
    found = decode(mail(killmail_time="2026-02-03T06:05:06+02:00"))
    row = rows.killmail_row(found, "0" * 40)
    assert row[2] == datetime(2026, 2, 3, 4, 5, 6, tzinfo=UTC)
    assert row[2].tzinfo is UTC


def test_entity_ids_leave_out_wars_and_moons() -> None:
    found = decode(
        mail(
            war_id=77,
            moon_id=40000001,
            victim={
                "damage_taken": 1,
                "ship_type_id": 587,
                "faction_id": 500001,
                "items": [{"item_type_id": 3, "flag": 5, "singleton": 0, "items": nested(1)}],
            },
        )
    )
    assert rows.entity_ids(found) == {30000142, 587, 500001, 3, 1, 90000002}


def test_is_hash() -> None:
    assert km.is_hash("0123456789abcdef0123456789abcdef01234567")
    assert not km.is_hash("0123456789ABCDEF0123456789abcdef01234567")
    assert not km.is_hash("0123456789abcdef")
    assert not km.is_hash("é" * 40)


def test_hash_without_final_blow_or_characters() -> None:
    lone = decode(mail(attackers=[], victim={"damage_taken": 1, "ship_type_id": 35832}))
    assert km.is_hash(km.compute_hash(lone))


REAL = Path(os.environ.get("KILLSYNCD_TEST_KILLMAILS", Path(__file__).parents[3] / "shared" / "killmails"))


@pytest.mark.skipif(not (REAL / "hashes.csv").exists(), reason="the folder of real killmails is not here")
def test_real_killmails() -> None:
    with (REAL / "hashes.csv").open() as file:
        hashes = {int(row["killmail_id"]): row["killmail_hash"] for row in csv.DictReader(file)}
    seen = set()
    for line in (REAL / "killmails.jsonl").read_bytes().splitlines():
        found = km.decode(line)
        document = json.loads(line)
        seen.add(found.killmail_id)
        assert km.compute_hash(found) == hashes[found.killmail_id]
        assert len(rows.attacker_rows(found)) == len(document["attackers"])
        assert len(rows.item_rows(found)) == count(document["victim"].get("items", []))
        assert rows.victim_row(found)[5] == document["victim"]["ship_type_id"]
    assert seen == set(hashes)


def count(items: list[dict[str, Any]]) -> int:
    return sum(1 + count(item.get("items", [])) for item in items)


def unread(value: bytes) -> bytes:
    """A mail with a key that we do not know, which has this value."""
    return json.dumps(mail()).encode()[:-1] + b',"unknown":' + value + b"}"


@pytest.mark.parametrize(
    "value", [b'"\xff"', b'"\xed\xa0\x80"', b"1e999", b"-1e999", b'{"\xff":1}', b'"\\ud800"', b"01", b"NaN"]
)
def test_what_is_no_json_is_refused_where_nothing_is_read_too(value: bytes) -> None:
    with pytest.raises(BadInput):
        km.decode(unread(value))


@pytest.mark.parametrize(
    ("value", "saved"),
    [
        (b'"a\xffb"', "a\ufffdb"),
        (b"1e999", None),
        (b'["\\ud800", 1.5, 2e999]', ["?", 1.5, None]),
        (b'{"\xff": [7]}', {"\ufffd": [7]}),
    ],
)
def test_what_an_older_release_took_in_is_mended(value: bytes, saved: Any) -> None:
    found = km.repaired(unread(value))
    assert km.is_json(found)
    assert json.loads(found) == {**mail(), "unknown": saved}
    km.decode(found)


def test_a_document_that_is_fine_stays_byte_for_byte() -> None:
    raw = unread(b'"fine"')
    assert km.repaired(raw) is raw
    assert km.readable(raw) is raw


def test_of_a_document_beyond_mending_what_we_read_is_kept() -> None:
    raw = unread(b"1e999")[:-1] + b',"deep":' + b"[" * 500 + b'"\xff"' + b"]" * 500 + b"}"
    assert km.is_json(km.repaired(raw))
    assert km.repaired(b"\xff no JSON at all") == b"{}"


@pytest.mark.parametrize(
    ("who", "npc"),
    [
        ([{"faction_id": 500021}], True),
        ([{"corporation_id": 1_000_125}], True),
        ([{"corporation_id": 1_999_999}], True),
        ([{"corporation_id": 2_000_000}], False),
        ([{"faction_id": 500021}, {"corporation_id": 98_000_001, "ship_type_id": 35832}], False),
        ([{"character_id": 90_000_001}], False),
        ([], True),
    ],
)
def test_npc_is_nothing_of_players(who: list[dict[str, int]], npc: bool) -> None:
    assert km.is_npc(decode(mail(attackers=attackers(*who)))) is npc
