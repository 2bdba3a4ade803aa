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

_FROM = "FROM killmails k JOIN killmail_documents d ON d.killmail_id = k.killmail_id "
_SIZES = f"SELECT k.killmail_id, COALESCE(d.size, LENGTH(d.document)) AS bytes {_FROM}"
_DOCUMENTS = (
    f"SELECT k.killmail_id, k.killmail_hash, d.document, d.size {_FROM}"
    "WHERE k.killmail_id {in_ids} ORDER BY k.killmail_id"
)

PAGE_BYTES = 8_000_000
"""Of documents that are read at once: most have some 5 KB, those of the largest fights two million."""


def _within(rows: Rows) -> Tx[list[StoredDocument]]:
    """Documents of the first of these mails, as many as fit, and one at least."""
    ids, total = list[int](), 0
    for row in rows:
        total += int(row["bytes"])
        if ids and total > PAGE_BYTES:
            break
        ids.append(int(row["killmail_id"]))
    if not ids:
        return []
    return _documents((yield Sql(_DOCUMENTS, {"ids": Ids(ids)})))


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
        """The next killmails with a higher id, in order of ids: as many as fit into PAGE_BYTES, one at least.

        since: those killed then or later.
        """
        conditions, params = ["k.killmail_id > :after"], dict[str, object](after=killmail_id, limit=limit)
        if since is not None:
            conditions.append("k.killmail_time >= :since")
            params["since"] = since
        text = f"{_SIZES}WHERE {' AND '.join(conditions)} ORDER BY k.killmail_id LIMIT :limit"
        return (yield from _within((yield Sql(text, params))))

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
        """The first of these killmails, in order of ids: as many as fit into PAGE_BYTES, and one at least.

        since: of them, those killed then or later. Empty: there are none.
        """
        condition, params = "", dict[str, object](ids=Ids(ids))
        if since is not None:
            condition, params["since"] = " AND k.killmail_time >= :since", since
        text = f"{_SIZES}WHERE k.killmail_id {{in_ids}}{condition} ORDER BY k.killmail_id"
        return (yield from _within((yield Sql(text, params))))

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
