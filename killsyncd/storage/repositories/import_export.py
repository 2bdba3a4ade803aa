"""What exports read and imports write."""

from __future__ import annotations

from collections.abc import Sequence
from datetime import datetime

from killsyncd.core.model import Source, SourceKind
from killsyncd.service.ports import StoredDocument
from killsyncd.storage.documents import document_of
from killsyncd.storage.repositories.catalogue import CatalogueReads
from killsyncd.storage.repositories.killmails import KillmailWriter
from killsyncd.storage.repositories.users import source_id
from killsyncd.storage.repository import reads, writes
from killsyncd.storage.transaction import Ids, Rows, Run, Sql, Store, Tx, one
from killsyncd.sync.batch import Arrival, Stored

FILES = Source(SourceKind.IMPORT, 0)
"""The source of what came from files."""

_DOCUMENT = (
    "SELECT k.killmail_id, k.killmail_hash, d.document, d.size FROM killmails k "
    "JOIN killmail_documents d ON d.killmail_id = k.killmail_id "
)


def _documents(rows: Rows) -> list[StoredDocument]:
    return [
        StoredDocument(
            int(row["killmail_id"]),
            str(row["killmail_hash"]),
            document_of(int(row["killmail_id"]), bytes(row["document"]), row["size"]),
        )
        for row in rows
    ]


class ImportExportRepository(CatalogueReads):
    """See `service.ports.ImportExportRows`."""

    def __init__(self, store: Store, storing: KillmailWriter) -> None:
        super().__init__(store)
        self._storing = storing

    @reads
    def stored(self) -> Tx[int]:
        """How many killmails there are."""
        row = one((yield Run("reading.feed_position", {})))
        return 0 if row is None else int(row["position"])

    @reads
    def documents_after(
        self, killmail_id: int, limit: int, *, since: datetime | None
    ) -> Tx[list[StoredDocument]]:
        """Killmails with a higher id, in order of ids. since: those killed then or later."""
        conditions, params = ["k.killmail_id > :after"], dict[str, object](after=killmail_id, limit=limit)
        if since is not None:
            conditions.append("k.killmail_time >= :since")
            params["since"] = since
        text = f"{_DOCUMENT}WHERE {' AND '.join(conditions)} ORDER BY k.killmail_id LIMIT :limit"
        return _documents((yield Sql(text, params)))

    @reads
    def ids_of(self, character_id: int, after: int, limit: int) -> Tx[list[int]]:
        """Killmails with a higher id that a character is on, on either side, in order of ids.

        Each call looks at all of them, so ask for many at once.
        """
        of_each = " UNION ".join(
            f"SELECT killmail_id FROM {table} WHERE character_id = :character_id AND killmail_id > :after"
            for table in ("victims", "attackers")
        )
        rows = yield Sql(
            f"SELECT killmail_id FROM ({of_each}) AS mails ORDER BY killmail_id LIMIT :limit",
            {"character_id": character_id, "after": after, "limit": limit},
        )
        return [int(row["killmail_id"]) for row in rows]

    @reads
    def documents_of(self, ids: Sequence[int], since: datetime | None = None) -> Tx[list[StoredDocument]]:
        """These killmails, in order of ids. since: of them, those killed then or later."""
        condition, params = "", dict[str, object](ids=Ids(ids))
        if since is not None:
            condition, params["since"] = " AND k.killmail_time >= :since", since
        text = f"{_DOCUMENT}WHERE k.killmail_id {{in_ids}}{condition} ORDER BY k.killmail_id"
        return _documents((yield Sql(text, params)))

    @reads
    def names(self, ids: Sequence[int]) -> Tx[dict[int, str]]:
        """Names that are resolved."""
        rows = yield Run("operations.named", {"ids": Ids(ids)})
        return {int(row["id"]): str(row["name"]) for row in rows}

    @writes
    def import_source(self) -> Tx[int]:
        """The source that stands for files."""
        return (yield from source_id(FILES, None))

    async def import_mails(
        self, source_id: int, arrivals: Sequence[Arrival], names: Sequence[int], at: float
    ) -> Stored:
        """Store mails that are not stored; one transaction."""
        return await self._storing.import_mails(source_id, arrivals, names, at)
