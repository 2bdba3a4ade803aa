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
from killsyncd.storage.transaction import Ids, Run, Sql, Store, Tx
from killsyncd.sync.batch import Arrival, Stored

FILES = Source(SourceKind.IMPORT, 0)
"""The source of what came from files."""

_INVOLVED = (
    "k.killmail_id IN (SELECT killmail_id FROM victims WHERE character_id = :character_id "
    "UNION SELECT killmail_id FROM attackers WHERE character_id = :character_id)"
)


class ImportExportRepository(CatalogueReads):
    """See `service.ports.ImportExportRows`."""

    def __init__(self, store: Store, storing: KillmailWriter) -> None:
        super().__init__(store)
        self._storing = storing

    @reads
    def documents_after(
        self, killmail_id: int, limit: int, *, since: datetime | None, character_id: int | None
    ) -> Tx[list[StoredDocument]]:
        """Killmails with a higher id, in order of ids.

        since: those killed then or later. character_id: those with this victim or attacker.
        """
        conditions, params = ["k.killmail_id > :after"], dict[str, object](after=killmail_id, limit=limit)
        if since is not None:
            conditions.append("k.killmail_time >= :since")
            params["since"] = since
        if character_id is not None:
            conditions.append(_INVOLVED)
            params["character_id"] = character_id
        text = (
            "SELECT k.killmail_id, k.killmail_hash, d.document, d.size FROM killmails k "
            "JOIN killmail_documents d ON d.killmail_id = k.killmail_id "
            f"WHERE {' AND '.join(conditions)} ORDER BY k.killmail_id LIMIT :limit"
        )
        rows = yield Sql(text, params)
        return [
            StoredDocument(
                int(row["killmail_id"]),
                str(row["killmail_hash"]),
                document_of(int(row["killmail_id"]), bytes(row["document"]), row["size"]),
            )
            for row in rows
        ]

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
