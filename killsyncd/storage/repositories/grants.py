"""Grants and pending logins in the database; tokens come and go here as ciphertext only."""

from __future__ import annotations

import secrets
from collections.abc import Collection
from dataclasses import replace

from killsyncd.auth.grant import GrantRow, NewGrant, Registered
from killsyncd.auth.login_state import LoginOrigin, LoginRow, LoginState
from killsyncd.auth.refusals import LONGEST_LIFE, LONGEST_PAUSE, HeardRefusal, ListRefusals
from killsyncd.core.clock import utc
from killsyncd.core.model import PRIORITY_PRODUCER, Origin, Source, SourceKind, UserState
from killsyncd.storage.repositories.corporations import forgive
from killsyncd.storage.repositories.users import mark as mark_user
from killsyncd.storage.repositories.users import queue_user, source_id
from killsyncd.storage.repository import Repository, reads, writes
from killsyncd.storage.transaction import Row, Run, Tx, one

NEVER = 0.0


def _want(user_id: str) -> Tx[None]:
    """Whoever can be synced again is, without waiting for the producer."""
    yield from queue_user(user_id, PRIORITY_PRODUCER, Origin.PRODUCER, skip_within=None, full=False)


def _grant(row: Row) -> GrantRow:
    none = row["version"] is None
    not_before = NEVER if none else float(row["not_before"])
    return GrantRow(
        user_id=str(row["user_id"]),
        character_id=int(row["character_id"]),
        character_name=str(row["character_name"]),
        owner_hash=str(row["owner_hash"] or ""),
        state=UserState(row["state"]),
        state_reason=row["state_reason"],
        access_token_enc=row["access_token"],
        refresh_token_enc=row["refresh_token"],
        expires_at=0.0 if none else float(row["expires_at"]),
        renew_at=0.0 if none else float(row["renew_at"]),
        version=0 if none else int(row["version"]),
        unanswered_attempts=0 if none else int(row["unanswered"]),
        refusals=0 if none else int(row["doubtful"]),
        refused_since=None if row["refused_since"] is None else float(row["refused_since"]),
        list_refused=bool(row["list_refused"]),
        failures=0 if none else int(row["failures"]),
        not_before=not_before,
        holder=row["holder"],
    )


class GrantRepository(Repository):
    """Grants as the token manager sees them; see `auth.ports.GrantStore`."""

    @reads
    def load(self, user_id: str) -> Tx[GrantRow | None]:
        """The grant as it is now; None for an unknown user."""
        row = one((yield Run("grants.load", {"user_id": user_id})))
        return _grant(row) if row is not None else None

    @writes
    def begin_attempt(self, user_id: str, *, holder: str, version: int) -> Tx[GrantRow | None]:
        """Lease and attempt in one transaction; None where the version or the lease is another's."""
        begun = yield Run("grants.begin_attempt", {"user_id": user_id, "holder": holder, "version": version})
        return (yield from self.load.tx(user_id)) if begun else None

    @writes
    def store_tokens(
        self,
        user_id: str,
        *,
        holder: str,
        version: int,
        access_token_enc: bytes | None,
        refresh_token_enc: bytes,
        expires_at: float,
        renew_at: float,
    ) -> Tx[GrantRow | None]:
        """Compare and swap; None for another version."""
        stored = yield Run(
            "grants.store_tokens",
            {
                "user_id": user_id,
                "holder": holder,
                "version": version,
                "access_token": access_token_enc,
                "refresh_token": refresh_token_enc,
                "expires_at": expires_at,
                "renew_at": renew_at,
            },
        )
        if not stored:
            return None
        yield Run("grants.user_expiry", {"user_id": user_id, "expires_at": utc(expires_at)})
        if (yield Run("grants.works_again", {"user_id": user_id})):
            yield from _want(user_id)
        return (yield from self.load.tx(user_id))

    @writes
    def record_failure(
        self,
        user_id: str,
        *,
        holder: str,
        version: int,
        unanswered: bool,
        refused_at: float | None,
        not_before: float,
    ) -> Tx[bool]:
        """The attempt brought no tokens."""
        values = {
            "user_id": user_id,
            "holder": holder,
            "version": version,
            "unanswered": int(unanswered),
            "refused": int(refused_at is not None),
            "at": refused_at or NEVER,
            "not_before": not_before,
        }
        return bool((yield Run("grants.record_failure", values)))

    @writes
    def release(self, user_id: str, *, holder: str) -> Tx[None]:
        """Give back the lease and nothing else."""
        yield Run("grants.release", {"user_id": user_id, "holder": holder})

    @writes
    def mark(
        self,
        user_id: str,
        *,
        version: int,
        state: UserState,
        reason: str | None,
        drop_tokens: bool = False,
        not_before: float = NEVER,
    ) -> Tx[bool]:
        """Put the grant into another state where `version` still holds."""
        values = {"user_id": user_id, "version": version, "not_before": not_before}
        if not (yield Run("grants.mark", values)):
            return False
        if drop_tokens:
            yield Run("grants.drop_tokens", {"user_id": user_id})
            yield Run("grants.user_expiry", {"user_id": user_id, "expires_at": None})
        changed = yield from mark_user(user_id, state, reason)
        if changed and state is UserState.OK:
            yield from _want(user_id)
        return True

    @writes
    def list_refused(self, user_id: str, source_id: int, *, version: int) -> Tx[HeardRefusal | None]:
        """Count a 403 on this list; None for another version."""
        key = {"user_id": user_id, "source_id": source_id}
        row = one((yield Run("grants.list_refusals", {**key, "version": version})))
        if row is None:
            return None
        now = float(row["now"])
        before = ListRefusals(int(row["refusals"]), float(row["first_refused_at"]), float(row["refused_at"]))
        after = before.heard(now)
        values = {"refusals": after.count, "since": after.since, "refused_at": after.at}
        yield Run("grants.list_refused", {**key, **values})
        since = {"source_id": source_id, "since": after.since, "last": before.at if before.count else now}
        others = one((yield Run("grants.other_lists", since)))
        assert others is not None, "EXISTS answers its row"
        heard = replace(
            after, others_accepted=bool(others["accepted"]), others_refused=bool(others["refused"])
        )
        return heard.verdict(now)

    @writes
    def list_accepted(self, user_id: str, source_id: int) -> Tx[None]:
        """The list came: what was refused before counts no more."""
        yield Run("grants.list_accepted", {"user_id": user_id, "source_id": source_id})

    @writes
    def rename(self, user_id: str, name: str) -> Tx[None]:
        """The character has another name."""
        yield Run("grants.rename", {"user_id": user_id, "name": name})

    @writes
    def own(self, user_id: str, owner_hash: str) -> Tx[None]:
        """Whose the character is, where that was not known."""
        yield Run("grants.own", {"user_id": user_id, "owner_hash": owner_hash})

    @writes
    def keep_revocation(self, character_id: int, refresh_token_enc: bytes) -> Tx[None]:
        """A grant that is still to be revoked at the SSO."""
        yield Run("revocations.insert", {"character_id": character_id, "refresh_token": refresh_token_enc})

    @reads
    def due(self, now: float, limit: int) -> Tx[list[str]]:
        """Whose tokens are to be renewed, the longest due first."""
        values = {"now": now, "longest_life": LONGEST_LIFE, "longest_wait": LONGEST_PAUSE, "limit": limit}
        return [str(row[0]) for row in (yield Run("grants.due", values))]

    @reads
    def next_due(self) -> Tx[float | None]:
        """When the next one is due, in seconds since 1970."""
        row = one((yield Run("grants.next_due", {})))
        return None if row is None or row["due"] is None else float(row["due"])

    @writes
    def register(self, grant: NewGrant) -> Tx[Registered]:
        """User, source and tokens of a finished login, in one transaction."""
        known = one((yield Run("users.by_character", {"character_id": grant.character_id})))
        row = one(
            (
                yield Run(
                    "users.insert",
                    {
                        "user_id": secrets.token_hex(8),
                        "character_id": grant.character_id,
                        "character_name": grant.character_name,
                        "owner_hash": grant.owner_hash,
                        "scopes": " ".join(sorted(grant.scopes)),
                        "state": grant.state.value,
                        "reason": grant.state_reason,
                        "expires_at": utc(grant.expires_at),
                    },
                )
            )
        )
        assert row is not None, "INSERT ... RETURNING answers its row"
        user_id = str(row["id"])
        yield from forgive(user_id)
        yield from source_id(Source(SourceKind.CHARACTER, grant.character_id), user_id)
        yield Run(
            "grants.register",
            {
                "user_id": user_id,
                "access_token": grant.access_token_enc,
                "refresh_token": grant.refresh_token_enc,
                "expires_at": grant.expires_at,
                "renew_at": grant.renew_at,
            },
        )
        yield Run("grants.lists_anew", {"user_id": user_id})
        return Registered(user_id, known is None)


class PendingLogins(Repository):
    """Logins that wait for their pilot; see `auth.ports.LoginStore`."""

    @writes
    def put(self, row: LoginRow, *, forget_before: float) -> Tx[None]:
        """Keep a new login and drop old ones."""
        yield Run("grants.login_forget", {"before": forget_before})
        yield Run(
            "grants.login_put",
            {
                "state_hash": row.state_hash,
                "door": row.origin.value,
                "verifier": row.verifier_enc,
                "cookie_hash": row.cookie_hash,
                "created_at": row.created_at,
                "expires_at": row.expires_at,
            },
        )

    @writes
    def take(
        self, state_hash: str, *, origins: Collection[LoginOrigin], cookie_hash: str | None, now: float
    ) -> Tx[LoginRow | None]:
        """The pending login, for one caller only."""
        row = yield from self.load.tx(state_hash)
        if (
            row is None
            or row.status is not LoginState.PENDING
            or row.origin not in origins
            or now >= row.expires_at
            or (
                row.cookie_hash is not None and not secrets.compare_digest(row.cookie_hash, cookie_hash or "")
            )
        ):
            return None
        taken = yield Run("grants.login_take", {"state_hash": state_hash, "nothing": b""})
        return row if taken else None

    @writes
    def finish(self, state_hash: str, *, status: LoginState, user_id: str | None, message: str) -> Tx[None]:
        """Write down the outcome of a login that is working."""
        yield Run(
            "grants.login_finish",
            {"state_hash": state_hash, "status": status.value, "user_id": user_id, "message": message},
        )

    @writes
    def load(self, state_hash: str) -> Tx[LoginRow | None]:
        """The login as it stands."""
        row = one((yield Run("grants.login_load", {"state_hash": state_hash})))
        if row is None:
            return None
        return LoginRow(
            state_hash=str(row["state_hash"]),
            verifier_enc=bytes(row["verifier"]),
            origin=LoginOrigin(row["door"]),
            cookie_hash=row["cookie_hash"],
            created_at=float(row["created_at"]),
            expires_at=float(row["expires_at"]),
            status=LoginState(row["status"]),
            user_id=row["user_id"],
            message=str(row["message"] or ""),
        )
