"""Killmails out to files and in from files, over every store."""

from __future__ import annotations

import csv
import io
import json
from collections.abc import AsyncIterator
from typing import Any

import pytest

from killsyncd.core import killmail as km
from killsyncd.core.errors import BadInput, RowRefused
from killsyncd.service.import_export import ImportExport, ImportReport, parse_since
from killsyncd.storage.documents import unpack
from killsyncd.storage.repositories import import_export, killmails
from killsyncd.storage.repositories.import_export import ImportExportRepository
from killsyncd.storage.transaction import Tx
from tests.support.catalogue import fill_catalogue, put_values
from tests.support.storage_world import StorageWorld, arrival, document


@pytest.fixture
def exchange(world: StorageWorld) -> ImportExport:
    return ImportExport(ImportExportRepository(world.store, world.storing), world.timed.clock)


async def chunks(*parts: bytes) -> AsyncIterator[bytes]:
    for each in parts:
        yield each


def line(killmail_id: int, at: float, **changes: Any) -> bytes:
    return json.dumps(document(killmail_id, at, **changes), separators=(",", ":")).encode()


async def exported(exchange: ImportExport, *words: Any, **given: Any) -> bytes:
    return b"".join([chunk async for chunk in exchange.export(*words, **given)])


async def test_what_goes_out_comes_back_byte_for_byte(world: StorageWorld, exchange: ImportExport) -> None:
    at = await world.now()
    lines = [line(each, at) for each in (11, 12)]
    report = await exchange.import_lines(chunks(b"\n".join(lines)))
    assert (report.lines, report.stored, report.known, report.bad) == (2, 2, 0, 0)
    first = await exported(exchange)
    assert [json.loads(each)["killmail_id"] for each in first.splitlines()] == [11, 12]
    hashes = [json.loads(each)["killmail_hash"] for each in first.splitlines()]
    assert hashes == [km.compute_hash(km.decode(each)) for each in lines]
    again = await exchange.import_lines(chunks(first))
    assert (again.stored, again.known, again.bad) == (0, 2, 0)
    await world.rows("DELETE FROM killmails")
    await world.rows("DELETE FROM killmail_documents")
    for table in ("victims", "attackers", "killmail_items"):
        await world.rows(f"DELETE FROM {table}")
    await exchange.import_lines(chunks(first))
    assert await exported(exchange) == first
    documents = await world.rows("SELECT document, size FROM killmail_documents ORDER BY killmail_id")
    assert [unpack(bytes(each[0]), each[1]) for each in documents] == lines


async def test_imported_mails_are_numbered_and_not_fresh(world: StorageWorld, exchange: ImportExport) -> None:
    at = await world.now()
    await exchange.import_lines(chunks(line(11, at)))
    row = await world.row("SELECT fresh, origin, feed_position FROM killmails")
    assert (bool(row["fresh"]), row["origin"], row["feed_position"]) == (False, "import", 1)
    named = {int(row[0]) for row in await world.rows("SELECT id FROM names")}
    assert {587, 30000142, 90000001} <= named


async def test_an_import_settles_what_was_wanted(world: StorageWorld, exchange: ImportExport) -> None:
    pilot = await world.pilot(1)
    await world.listed(pilot, 11, 12)
    await exchange.import_lines(chunks(line(11, await world.now())))
    assert await world.refs() == {12: "pending"}


async def test_bad_lines_are_told_by_number_and_passed_over(
    world: StorageWorld, exchange: ImportExport
) -> None:
    at = await world.now()
    bad_hash = json.loads(line(14, at)) | {"killmail_hash": "0" * 40}
    no_hash = json.loads(line(15, at)) | {"killmail_hash": 7}
    text_id = json.loads(line(16, at)) | {"killmail_id": "16"}
    parts = [
        line(11, at),
        b"",
        b"{broken",
        json.dumps(bad_hash).encode(),
        json.dumps(no_hash).encode(),
        json.dumps(text_id).encode(),
        b"[" + line(17, at) + b"]",
        line(11, at),
        line(12, at),
    ]
    report = await exchange.import_lines(chunks(b"\n".join(parts) + b"\n"))
    assert (report.lines, report.stored, report.known, report.bad) == (9, 2, 1, 5)
    assert [each.line for each in report.errors] == [3, 4, 5, 6, 7]
    reasons = [each.reason for each in report.errors]
    assert "no JSON" in reasons[0]
    assert "does not belong" in reasons[1]
    assert "40 hexadecimal" in reasons[2]
    assert "killmail_id" in reasons[3]
    assert "jq" in reasons[4]
    assert not any("0000" in each for each in reasons)
    assert await world.stored_ids() == [11, 12]


async def test_a_row_that_the_database_refuses_is_a_bad_line(
    world: StorageWorld, exchange: ImportExport
) -> None:
    at = await world.now()
    refused = line(12, at, solar_system_id=30000142, killmail_time="0001-01-01T00:00:00Z")
    good = line(11, at)
    report = await exchange.import_lines(chunks(good + b"\n" + refused))
    assert report.stored + report.bad == 2
    assert 11 in await world.stored_ids()


async def test_filters_and_csv(world: StorageWorld, exchange: ImportExport) -> None:
    at = await world.now()
    old = line(11, at, killmail_time="2015-01-31T12:00:00Z")
    other = document(12, at)
    other["victim"]["character_id"] = 90000009
    other["attackers"][0]["character_id"] = 90000001
    third = document(13, at)
    third["victim"]["character_id"] = 90000009
    await exchange.import_lines(
        chunks(b"\n".join([old, json.dumps(other).encode(), json.dumps(third).encode()]))
    )
    await world.rows("UPDATE names SET name = 'Rifter' WHERE id = 587")
    since = await exported(exchange, since=parse_since("2015-02-01"))
    assert [json.loads(each)["killmail_id"] for each in since.splitlines()] == [12, 13]
    by = await exported(exchange, character_id=90000001)
    assert [json.loads(each)["killmail_id"] for each in by.splitlines()] == [11, 12]
    head, *rows = (await exported(exchange, "csv")).decode().split("\r\n")
    assert head.startswith("killmail_id,killmail_hash,killmail_time,solar_system_id,solar_system_name,")
    assert len(rows) == 4  # the last one is empty
    first = dict(zip(head.split(","), rows[0].split(","), strict=True))
    assert first["killmail_time"] == "2015-01-31T12:00:00Z"
    assert first["victim_ship_name"] == "Rifter"
    assert first["victim_character_name"] == ""
    assert first["final_blow_character_id"] == "90000002"
    assert (first["attacker_count"], first["damage_taken"], first["solo"]) == ("3", str(2**40), "true")
    # What came later stands at the end; nothing of it is known here.
    assert head.endswith(
        ",npc,value,value_dropped,priced_on,price_method,security,security_class,region_id,region_name,"
        "constellation_id,constellation_name,victim_ship_group_id,victim_ship_group"
    )
    assert {first[each] for each in head.split(",")[30:]} == {""}
    with pytest.raises(BadInput, match="no export format"):
        await exported(exchange, "xml")


async def test_progress_is_told_and_a_report_outlives_a_failure(
    world: StorageWorld, exchange: ImportExport
) -> None:
    at = await world.now()
    seen: list[int] = []
    text = b"\n".join(line(each, at) for each in range(1, 451))
    cut = [text[begin : begin + 7919] for begin in range(0, len(text), 7919)]
    report = ImportReport()
    await exchange.import_lines(chunks(*cut), lambda each: seen.append(each.stored), report)
    assert seen[-1] == 450
    assert seen[0] == 200
    assert report.stored == 450
    assert len(await world.stored_ids()) == 450


async def test_whoever_waits_for_the_feed_is_told(world: StorageWorld) -> None:
    rung: list[int] = []
    rows = ImportExportRepository(world.store, world.storing)
    exchange = ImportExport(rows, world.timed.clock, stored=lambda: rung.append(1))
    mail = arrival(11, await world.now())
    await exchange.import_lines(chunks(mail.raw))
    await exchange.import_lines(chunks(mail.raw))
    assert rung == [1]


def tainted(killmail_id: int, at: float) -> bytes:
    """A mail with bytes that are no UTF-8 where nothing is read."""
    return line(killmail_id, at)[:-1] + b',"note":"\xff"}'


async def test_a_line_that_is_no_utf8_throughout_is_refused_alone(
    world: StorageWorld, exchange: ImportExport
) -> None:
    at = await world.now()
    report = await exchange.import_lines(chunks(b"\n".join([line(1, at), tainted(2, at), line(3, at)])))
    assert (report.stored, report.bad) == (2, 1)
    assert "UTF-8" in report.errors[0].reason
    assert await world.stored_ids() == [1, 3]


async def test_a_stored_document_that_is_no_json_does_not_spoil_an_export(
    world: StorageWorld, exchange: ImportExport
) -> None:
    at = await world.now()
    await exchange.import_lines(chunks(b"\n".join(line(each, at) for each in (1, 2, 3, 4))))
    await spoil(world, 2, tainted(2, at))
    await spoil(world, 3, b"\xff rubbish")
    found = [json.loads(each) for each in (await exported(exchange)).splitlines()]
    assert [each.get("killmail_id") for each in found] == [1, 2, None, 4]
    assert found[1]["note"] == "\ufffd"
    assert [each.split(",")[0] for each in (await exported(exchange, "csv")).decode().splitlines()[1:]] == [
        "1",
        "2",
        "4",
    ]


async def spoil(world: StorageWorld, killmail_id: int, document: bytes) -> None:
    await world.rows(
        "UPDATE killmail_documents SET document = :document, size = NULL WHERE killmail_id = :id",
        document=document,
        id=killmail_id,
    )


async def test_csv_has_values_and_what_the_static_data_say(
    world: StorageWorld, exchange: ImportExport
) -> None:
    await exchange.import_lines(chunks(line(1, await world.now(), solar_system_id=30_000_002)))
    await fill_catalogue(world.store, range(580, 600))
    await put_values(world.store, {1: 123_456_789_012})
    (row,) = csv.DictReader(io.StringIO((await exported(exchange, "csv")).decode()))
    assert (row["value"], row["value_dropped"]) == ("1234567890.12", "0.00")
    assert (row["priced_on"], row["price_method"]) == ("2026-11-30", "ESI_AVERAGE")
    assert (row["security"], row["security_class"], row["region_name"]) == ("0.1", "LOW", "Delve")
    assert row["victim_ship_group"] == "Frigate"


async def test_a_name_is_no_formula_in_a_spreadsheet(world: StorageWorld, exchange: ImportExport) -> None:
    await exchange.import_lines(chunks(line(1, await world.now())))
    await world.rows("UPDATE names SET name = '=cmd|''/C calc''!A0' WHERE id = 90000001")
    await world.rows("UPDATE names SET name = '-Sanctuary-' WHERE id = 98000001")
    await world.rows("UPDATE names SET name = ' \uff1d1+1' WHERE id = 587")
    await world.rows("UPDATE names SET name = 'Plain = fine' WHERE id = 30000142")
    text = (await exported(exchange, "csv")).decode()
    (row,) = csv.DictReader(io.StringIO(text))
    assert row["victim_character_name"] == "'=cmd|'/C calc'!A0"
    assert row["victim_corporation_name"] == "'-Sanctuary-"
    assert row["victim_ship_name"] == "' \uff1d1+1"
    assert row["solar_system_name"] == "Plain = fine"


async def test_a_mail_that_is_refused_does_not_hide_a_good_one_with_its_id(
    world: StorageWorld, exchange: ImportExport, monkeypatch: pytest.MonkeyPatch
) -> None:
    at = await world.now()
    honest = killmails._insert_rows

    def picky(arrivals: Any) -> Tx[None]:
        if any(each.killmail.war_id == 666 for each in arrivals):
            raise RowRefused("not that one")
        yield from honest(arrivals)

    monkeypatch.setattr(killmails, "_insert_rows", picky)
    report = await exchange.import_lines(
        chunks(b"\n".join([line(1, at, war_id=666), line(1, at), line(2, at)]))
    )
    assert (report.stored, report.bad, [each.line for each in report.errors]) == (2, 1, [1])
    assert await world.stored_ids() == [1, 2]


async def test_documents_are_read_by_their_bytes_and_not_by_their_number(
    world: StorageWorld, exchange: ImportExport, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Two hundred of the largest fights' would be gigabytes."""
    at = await world.now()
    pilot = await world.pilot(1)
    attackers = [{"character_id": 1, "damage_done": 1, "final_blow": True, "security_status": 0.0}]
    lines = [line(each, at, attackers=attackers) for each in range(11, 31)]
    await exchange.import_lines(chunks(b"\n".join(lines)))
    monkeypatch.setattr(import_export, "PAGE_BYTES", 3 * len(lines[0]))
    pages = [page async for page in exchange._all(None)]
    assert [len(page) for page in pages] == [3] * 6 + [2]
    of_one = [page async for page in exchange._of(1, None)]
    ids = [each.killmail_id for page in of_one for each in page]
    assert ids == list(range(11, 31)), pilot
    assert max(map(len, of_one)) == 3
    monkeypatch.setattr(import_export, "PAGE_BYTES", 1)
    assert len([page async for page in exchange._all(None)]) == 20, "one at least"
