"""Documents that an older release took in although they are no JSON."""

from __future__ import annotations

import json

import pytest

from killsyncd.storage import document_repair
from killsyncd.storage.document_repair import checked_to, repair_documents
from killsyncd.storage.documents import unpack
from killsyncd.storage.repositories.search import KillmailSearch
from tests.support.storage_world import StorageWorld, arrival

SPOILT = b'{"killmail_id":2,"note":"\xff"}'


async def stored(world: StorageWorld) -> None:
    at = await world.now()
    source = await world.value(
        "INSERT INTO sources (kind, subject_id, created_at) VALUES ('import', 0, 0) RETURNING id"
    )
    await world.storing.import_mails(int(source), [arrival(each, at) for each in (1, 2, 3, 4, 5)], [], at)
    await world.rows(
        "UPDATE killmail_documents SET document = :spoilt, size = NULL WHERE killmail_id = 2", spoilt=SPOILT
    )
    await world.rows(
        "UPDATE killmail_documents SET document = :spoilt, size = NULL WHERE killmail_id = 4",
        spoilt=b'{"killmail_id":4,"x":1e999}',
    )


async def documents(world: StorageWorld) -> dict[int, bytes]:
    rows = await world.rows("SELECT killmail_id, document, size FROM killmail_documents")
    return {int(row[0]): unpack(bytes(row[1]), row[2]) for row in rows}


async def test_they_are_found_once_and_mended(world: StorageWorld, monkeypatch: pytest.MonkeyPatch) -> None:
    await stored(world)
    before = await documents(world)
    monkeypatch.setattr(document_repair, "BATCH", 2)
    await repair_documents(world.store, world.timed.clock)
    after = await documents(world)
    assert json.loads(after[2]) == {"killmail_id": 2, "note": "\ufffd"}
    assert json.loads(after[4]) == {"killmail_id": 4, "x": None}
    assert {each: after[each] for each in (1, 3, 5)} == {each: before[each] for each in (1, 3, 5)}
    assert await world.store.read(checked_to) is None


async def test_what_is_not_mended_yet_can_be_shown(world: StorageWorld) -> None:
    await stored(world)
    found = await KillmailSearch(world.store).documents([1, 2])
    assert json.loads(found[2]) == {"killmail_id": 2, "note": "\ufffd"}
