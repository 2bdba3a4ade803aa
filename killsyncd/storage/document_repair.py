"""Stored documents that are no JSON: an older release took them in; each database is looked through once.

Killmails are never changed. What is mended here is only what nobody could read: a document that is no
UTF-8, or holds what JSON does not know, in a field that killsyncd itself passes over.
"""

from __future__ import annotations

import asyncio
from collections.abc import Sequence

from killsyncd.core.clock import Clock
from killsyncd.core.errors import Unavailable
from killsyncd.core.killmail import is_json, repaired
from killsyncd.core.logging import get_logger
from killsyncd.core.retry import retry
from killsyncd.storage.transaction import Run, Sql, Store, Tx, one

CHECKED_TO = "documents_checked_to"
"""Key of `meta`: the highest killmail id that was looked at, or `ALL`. What is stored since is JSON."""

ALL = "all"
BATCH = 250
RETRY_SECONDS = 60.0

Document = tuple[int, bytes]
"""A killmail's id and its JSON."""

log = get_logger(__name__)


def checked_to() -> Tx[int | None]:
    """Up to which killmail id documents were looked at; None when all were."""
    row = one((yield Run("meta.get", {"key": CHECKED_TO})))
    if row is None:
        return 0
    return None if row["value"] == ALL else int(row["value"])


def documents_after(killmail_id: int, limit: int) -> Tx[list[Document]]:
    """The next documents, in order of ids."""
    rows = yield Sql(
        "SELECT killmail_id, document FROM killmail_documents WHERE killmail_id > :after "
        "ORDER BY killmail_id LIMIT :limit",
        {"after": killmail_id, "limit": limit},
    )
    return [(int(row["killmail_id"]), bytes(row["document"])) for row in rows]


def broken(documents: Sequence[Document]) -> list[int]:
    """The killmails among these whose document is no JSON."""
    return [killmail_id for killmail_id, document in documents if not is_json(document)]


def _mend(documents: Sequence[Document], reached: str) -> Tx[None]:
    for killmail_id, document in documents:
        yield Sql(
            "UPDATE killmail_documents SET document = :document WHERE killmail_id = :killmail_id",
            {"killmail_id": killmail_id, "document": document},
        )
    yield Run("meta.put", {"key": CHECKED_TO, "value": reached})


async def repair_documents(store: Store, clock: Clock) -> None:
    """Look through every document once and mend what is no JSON. Goes on where it was interrupted."""

    async def go_on() -> None:
        after = await store.read(checked_to)
        while after is not None:
            after = await _batch(store, after)

    await retry(go_on, on=Unavailable, wait=RETRY_SECONDS, sleep=clock.sleep)


async def _batch(store: Store, after: int) -> int | None:
    documents = await store.read(documents_after, after, BATCH)
    if not documents:
        await store.write(_mend, [], ALL)
        return None
    found = set(await asyncio.to_thread(broken, documents))
    mended = [(number, repaired(document)) for number, document in documents if number in found]
    reached = documents[-1][0]
    await store.write(_mend, mended, str(reached))
    if mended:
        log.warning("mended stored killmails whose text was no JSON", killmails=[each[0] for each in mended])
    return reached
