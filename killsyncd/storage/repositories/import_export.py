"""The database, for exports and imports of killmails."""

from __future__ import annotations

from collections.abc import Sequence
from datetime import datetime

from killsyncd.core.killmail import readable
from killsyncd.service.ports import StoredDocument
from killsyncd.storage.repositories.killmails import KillmailWriter
from killsyncd.storage.transaction import Run, Sql, Store, Tx, ids_parameter, one
from killsyncd.sync.batch import Arrival, Stored

_INVOLVED = (
    "k.killmail_id IN (SELECT killmail_id FROM victims WHERE character_id = :character_id "
    "UNION SELECT killmail_id FROM attackers WHERE character_id = :character_id)"
)


def _documents(
    after: int, limit: int, since: datetime | None, character_id: int | None
) -> Tx[list[StoredDocument]]:
    conditions, params = ["k.killmail_id > :after"], dict[str, object](after=after, limit=limit)
    if since is not None:
        conditions.append("k.killmail_time >= :since")
        params["since"] = since
    if character_id is not None:
        conditions.append(_INVOLVED)
        params["character_id"] = character_id
    text = (
        "SELECT k.killmail_id, k.killmail_hash, d.document FROM killmails k "
        "JOIN killmail_documents d ON d.killmail_id = k.killmail_id "
        f"WHERE {' AND '.join(conditions)} ORDER BY k.killmail_id LIMIT :limit"
    )
    rows = yield Sql(text, params)
    return [
        StoredDocument(int(row["killmail_id"]), str(row["killmail_hash"]), readable(bytes(row["document"])))
        for row in rows
    ]


def _names(dialect: str, ids: Sequence[int]) -> Tx[dict[int, str]]:
    rows = yield Run("operations.named", {"ids": ids_parameter(dialect, ids)})
    return {int(row["id"]): str(row["name"]) for row in rows}


def _import_source() -> Tx[int]:
    row = one((yield Run("users.source", {"kind": "import", "subject_id": 0, "user_id": None})))
    assert row is not None, "INSERT ... RETURNING answers its row"
    return int(row["id"])


class ImportExportRepository:
    """See `exchange.ExchangeRows`."""

    def __init__(self, store: Store, storing: KillmailWriter) -> None:
        self._store = store
        self._storing = storing

    async def documents_after(
        self, killmail_id: int, limit: int, *, since: datetime | None, character_id: int | None
    ) -> list[StoredDocument]:
        """Mails with a higher id, in order of ids. since: of the kill; character_id: on either side."""
        return await self._store.read(_documents, killmail_id, limit, since, character_id)

    async def names(self, ids: Sequence[int]) -> dict[int, str]:
        """Names that are resolved."""
        return await self._store.read(_names, self._store.dialect, ids)

    async def import_source(self) -> int:
        """The source that stands for files."""
        return await self._store.write(_import_source)

    async def import_mails(
        self, source_id: int, arrivals: Sequence[Arrival], names: Sequence[int], at: float
    ) -> Stored:
        """Store mails that are not stored; one transaction."""
        return await self._storing.import_mails(source_id, arrivals, names, at)
