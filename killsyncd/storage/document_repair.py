"""Documents that an older release stored: each database is gone through once, and they are packed.

Killmails are never changed, and a packed document is the same text. Mended is only what nobody could read: an
older release took in documents that are no UTF-8, or hold what JSON does not know, in a field that killsyncd
itself passes over.
"""

from __future__ import annotations

import asyncio
from collections.abc import Sequence

from killsyncd.core.clock import Clock
from killsyncd.core.errors import Unavailable
from killsyncd.core.killmail import is_json, repaired
from killsyncd.core.logging import get_logger
from killsyncd.core.retry import retry
from killsyncd.storage.documents import pack
from killsyncd.storage.transaction import Ids, Run, Sql, Store, Tx, one

CHECKED_TO = "documents_checked_to"
"""Key of `meta`: the highest killmail id that was looked at, or `ALL`. What came since was packed at once."""

ALL = "all"
BATCH = 250
BATCH_BYTES = 8_000_000
RETRY_SECONDS = 60.0

Document = tuple[int, bytes]
"""A killmail's id and its JSON."""

Packed = tuple[int, bytes, int]
"""A killmail's id, what is stored of its JSON, and the JSON's length in bytes."""

log = get_logger(__name__)


def checked_to() -> Tx[int | None]:
    """Up to which killmail id documents were looked at; None when all were."""
    row = one((yield Run("meta.get", {"key": CHECKED_TO})))
    if row is None:
        return 0
    return None if row["value"] == ALL else int(row["value"])


def documents_after(killmail_id: int, limit: int) -> Tx[list[Document]]:
    """The next documents that stand as they are, in order of ids: as many as fit into BATCH_BYTES, and one at
    least."""
    sizes = yield Sql(
        "SELECT killmail_id, LENGTH(document) AS bytes FROM killmail_documents "
        "WHERE killmail_id > :after AND size IS NULL ORDER BY killmail_id LIMIT :limit",
        {"after": killmail_id, "limit": limit},
    )
    ids, total = list[int](), 0
    for row in sizes:
        total += int(row["bytes"])
        if ids and total > BATCH_BYTES:
            break
        ids.append(int(row["killmail_id"]))
    if not ids:
        return []
    rows = yield Sql(
        "SELECT killmail_id, document FROM killmail_documents "
        "WHERE killmail_id {in_ids} ORDER BY killmail_id",
        {"ids": Ids(ids)},
    )
    return [(int(row["killmail_id"]), bytes(row["document"])) for row in rows]


def broken(documents: Sequence[Document]) -> list[int]:
    """The killmails among these whose document is no JSON."""
    return [killmail_id for killmail_id, document in documents if not is_json(document)]


def _put(documents: Sequence[Packed], reached: str) -> Tx[None]:
    for killmail_id, stored, size in documents:
        yield Sql(
            "UPDATE killmail_documents SET document = :stored, size = :size WHERE killmail_id = :killmail_id",
            {"killmail_id": killmail_id, "stored": stored, "size": size},
        )
    yield Run("meta.put", {"key": CHECKED_TO, "value": reached})


def _mended(documents: Sequence[Document]) -> tuple[list[Packed], list[int]]:
    """Those documents packed, and the killmails whose document had to be mended."""
    found = broken(documents)
    return [
        (number, *pack(repaired(document) if number in found else document)) for number, document in documents
    ], found


async def repair_documents(store: Store, clock: Clock) -> None:
    """Go through every document once: mend it where it is no JSON, pack it. Goes on where it was cut off."""

    async def go_on() -> None:
        after = await store.read(checked_to)
        while after is not None:
            began = clock.monotonic()
            after = await _batch(store, after)
            # At least half of the time belongs to mails that arrive.
            await clock.sleep(clock.monotonic() - began)

    await retry(go_on, on=Unavailable, wait=RETRY_SECONDS, sleep=clock.sleep)


async def _batch(store: Store, after: int) -> int | None:
    documents = await store.read(documents_after, after, BATCH)
    if not documents:
        await store.write(_put, [], ALL)
        return None
    packed, mended = await asyncio.to_thread(_mended, documents)
    reached = documents[-1][0]
    await store.write(_put, packed, str(reached))
    if mended:
        log.warning("mended stored killmails whose text was no JSON", killmails=mended)
    return reached
