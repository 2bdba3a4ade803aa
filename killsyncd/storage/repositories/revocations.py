"""Logouts: the tokens go, a pending revocation stays until the SSO has confirmed; erase takes the history.

Erasing is one transaction. What it must not leave behind is a mail that nobody else vouches for,
and what it must not take is a mail that somebody else's list (or an import) has as well:

- when ESI may be asked for the list again stays, by the character's id, until that moment is past;
- refs go before mails. A store in flight either has committed (then its mail is seen here and
  goes), or finds its ref gone and stores nothing;
- on PostgreSQL the table of sightings is kept quiet meanwhile. Another daemon may still have
  looked ("stored already") before us and write its sighting after us: such orphans are wanted
  again right afterwards.
"""

from __future__ import annotations

from collections.abc import Sequence

from killsyncd.auth.grant import PendingRevocation
from killsyncd.service import LoggedOutUser
from killsyncd.storage.repositories.corporations import left, lend
from killsyncd.storage.repository import Repository, reads, writes
from killsyncd.storage.transaction import Bulk, Ids, Row, Run, Store, Tx, one

_TABLES = ("documents", "victims", "attackers", "items", "deliveries")


async def logout(store: Store, user_id: str, *, erase: bool) -> LoggedOutUser | None:
    """Log a user out; None where there is no such user."""
    if not erase:
        return await store.write(_logout, user_id)
    done = await store.write(_erase, user_id)
    if done is None:
        return None
    logged_out, erased = done
    if erased and not store.exclusive:
        await store.write(_want_orphans, erased)
    return logged_out


def _keep_revocation(user_id: str) -> Tx[tuple[bool, int | None]]:
    """Move the refresh token, as it is encrypted, from the grant to a pending revocation.

    Answers whether the user exists, and the revocation's id.
    """
    row = one((yield Run("revocations.grant", {"user_id": user_id})))
    if row is None:
        return False, None
    revocation = None
    if row["refresh_token"] is not None:
        parameters = {"character_id": int(row["character_id"]), "refresh_token": row["refresh_token"]}
        inserted = one((yield Run("revocations.insert", parameters)))
        assert inserted is not None, "INSERT ... RETURNING answers its row"
        revocation = int(inserted["id"])
    yield Run("revocations.grant_gone", {"user_id": user_id})
    return True, revocation


def _logout(user_id: str) -> Tx[LoggedOutUser | None]:
    exists, revocation = yield from _keep_revocation(user_id)
    if not exists:
        return None
    yield Run("revocations.wants_gone", {"user_id": user_id})
    yield Run("revocations.logged_out", {"user_id": user_id})
    yield from left(user_id)
    return LoggedOutUser(revocation, 0, 0)


def _erase(user_id: str) -> Tx[tuple[LoggedOutUser, list[int]] | None]:
    yield Run("revocations.quiet_sightings", {})
    exists, revocation = yield from _keep_revocation(user_id)
    if not exists:
        return None
    pending, mails, erased = 0, 0, []
    for source in (yield Run("revocations.sources", {"user_id": user_id})):
        key = {"source_id": int(source["id"])}
        wanted = [int(row[0]) for row in (yield Run("revocations.wanted", key))]
        only_here = [int(row[0]) for row in (yield Run("revocations.only_here", key))]
        yield Run("revocations.keep_asked", key)
        yield Run("revocations.source_gone", key)
        pending += len((yield Run("revocations.refs_gone", {"ids": Ids(wanted)})))
        ids = {"ids": Ids(only_here)}
        mails += len((yield Run("revocations.killmails_gone", ids)))
        for table in _TABLES:
            yield Run(f"revocations.{table}_gone", ids)
        erased += only_here
    yield Run("revocations.logins_gone", {"user_id": user_id})
    lent = [int(row[0]) for row in (yield Run("corporations.read_by", {"user_id": user_id}))]
    yield Run("revocations.user_gone", {"user_id": user_id})
    for source_id in lent:
        yield from lend(source_id)
    return LoggedOutUser(revocation, mails, pending), erased


def _want_orphans(ids: Sequence[int]) -> Tx[int]:
    """Want again what another source listed while it was erased."""
    rows = yield Run("revocations.orphans", {"ids": Ids(ids)})
    first: dict[int, Row] = {}
    for row in rows:
        first.setdefault(int(row["killmail_id"]), row)
    if first:
        yield Bulk(
            "refs",
            ("killmail_id", "killmail_hash", "first_listed_at", "changed_at"),
            [(each, row["killmail_hash"], row["listed_at"], row["listed_at"]) for each, row in first.items()],
        )
        pairs = [(int(row["source_id"]), int(row["killmail_id"])) for row in rows]
        yield Bulk("ref_sources", ("source_id", "killmail_id"), pairs)
    return len(first)


def _revocation(row: Row) -> PendingRevocation:
    return PendingRevocation(
        int(row["id"]),
        int(row["character_id"]),
        bytes(row["refresh_token"]),
        int(row["attempts"]),
        float(row["not_before"]),
        int(row["refusals"]),
    )


class Revocations(Repository):
    """Grants still to be taken back, as the revoker sees them."""

    @reads
    def get(self, revocation_id: int) -> Tx[PendingRevocation | None]:
        """A pending revocation; None once the SSO has confirmed it."""
        row = one((yield Run("revocations.by_id", {"id": revocation_id})))
        return _revocation(row) if row is not None else None

    @reads
    def due(self, limit: int) -> Tx[list[PendingRevocation]]:
        """Revocations that may be tried now, the longest due first."""
        return [_revocation(row) for row in (yield Run("revocations.due", {"limit": limit}))]

    @reads
    def next_due(self) -> Tx[float | None]:
        """When the next one is due, in seconds since 1970; None without one."""
        row = one((yield Run("revocations.next_due", {})))
        return None if row is None or row["due"] is None else float(row["due"])

    @writes
    def done(self, revocation_id: int) -> Tx[None]:
        """The SSO has confirmed: the token goes for good."""
        yield Run("revocations.done", {"id": revocation_id})

    @writes
    def failed(self, revocation_id: int, not_before: float, *, refused: bool) -> Tx[None]:
        """Try again later. refused: the SSO said that it does not know the token."""
        values = {"id": revocation_id, "not_before": not_before, "refused": int(refused)}
        yield Run("revocations.failed", values)
