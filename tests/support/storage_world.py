"""A daemon as the storage sees it, with pilots, jobs, pages and mails that a test names by number."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, Protocol

from killsyncd.auth.grant import NewGrant
from killsyncd.core import killmail as km
from killsyncd.core.clock import Clock, utc
from killsyncd.core.model import PRIORITY_PRODUCER, Job, Origin, SyncMode, UserState, Walk
from killsyncd.storage.repositories import sync_requests as wants
from killsyncd.storage.repositories.daemons import Membership
from killsyncd.storage.repositories.grants import GrantRepository
from killsyncd.storage.repositories.killmails import KillmailWriter
from killsyncd.storage.repositories.ledger import LedgerRepository
from killsyncd.storage.repositories.sync_requests import SyncRequests
from killsyncd.storage.repositories.users import UserRepository
from killsyncd.storage.transaction import Row, Rows, Run, Sql, Store, Tx, one
from killsyncd.sync.batch import Arrival, Stored
from killsyncd.sync.walk import PageNews, PageWritten


class Timed(Protocol):
    """What a world needs of a backend."""

    clock: Clock

    async def pass_time(self, seconds: float) -> None: ...


@dataclass(frozen=True)
class Pilot:
    """Somebody who logged in."""

    user_id: str
    source_id: int
    character_id: int


def hash_of(killmail_id: int, salt: str = "") -> str:
    """A hash that looks like one."""
    return hashlib.sha1(f"{killmail_id}{salt}".encode()).hexdigest()


def entries(*ids: int) -> list[tuple[int, str]]:
    """Entries of a list, as ESI has them."""
    return [(each, hash_of(each)) for each in ids]


class StorageWorld:
    """One daemon on one store."""

    def __init__(self, timed: Timed, store: Store, member: Membership) -> None:
        self.timed = timed
        self.store = store
        self.member = member
        self.holder = member.id
        self.wants = SyncRequests(store, "queue", self.holder)
        self.ledger = LedgerRepository(store, self.holder)
        self.storing = KillmailWriter(store, self.holder)
        self.users = UserRepository(store)
        self.grants = GrantRepository(store)

    @classmethod
    async def begin(cls, timed: Timed, store: Store) -> StorageWorld:
        member = await Membership.join(store, timed.clock, egress="default", version="0")
        return cls(timed, store, member)

    async def now(self) -> float:
        """The database's time."""
        return float((await self.row("SELECT {now} AS now"))["now"])

    async def rows(self, text: str, **params: Any) -> Rows:
        """The rows of any statement."""

        def ask() -> Tx[Rows]:
            return (yield Sql(text, params))

        return await self.store.write(ask)

    async def row(self, text: str, **params: Any) -> Row:
        """The first row of any statement."""
        rows = await self.rows(text, **params)
        assert rows, text
        return rows[0]

    async def value(self, text: str, **params: Any) -> Any:
        """The first value of the first row of any statement."""
        return (await self.row(text, **params))[0]

    async def pilot(self, character_id: int, name: str = "") -> Pilot:
        """Log a character in."""
        at = await self.now()
        registered = await self.grants.register(
            NewGrant(
                character_id=character_id,
                character_name=name or f"Pilot {character_id}",
                owner_hash="owner",
                scopes=frozenset({"esi-killmails.read_killmails.v1"}),
                state=UserState.OK,
                state_reason=None,
                access_token_enc=b"\x00access",
                refresh_token_enc=b"\xffrefresh",
                expires_at=at + 1200.0,
                renew_at=at + 900.0,
            )
        )
        source = await self.value(
            "SELECT id FROM sources WHERE kind = 'character' AND subject_id = :id", id=character_id
        )
        return Pilot(registered.user_id, int(source), character_id)

    async def want(
        self,
        pilot: Pilot,
        mode: SyncMode = SyncMode.INCREMENTAL,
        priority: int = PRIORITY_PRODUCER,
        origin: Origin = Origin.PRODUCER,
        not_before: float = 0.0,
    ) -> SyncMode:
        """Ask for a sync; answers how far it will walk."""
        return await self.store.write(wants.ask, pilot.source_id, mode, priority, origin, not_before)

    async def job(self, pilot: Pilot, mode: SyncMode = SyncMode.INCREMENTAL) -> Job:
        """Ask for a sync and claim it."""
        await self.want(pilot, mode)
        job = await self.wants.claim(pilot.source_id)
        assert job is not None
        return job

    async def page(
        self,
        job: Job,
        walk: Walk,
        ids: Sequence[int] | Sequence[tuple[int, str]] | None,
        *,
        pages: int | None = 1,
        modified: str | None = "monday",
        etag: str | None = "etag",
        max_pages: int = 50,
        unchanged: bool = False,
        **more: Any,
    ) -> PageWritten:
        """Write the walk's next page down. ids: None for 304, or say unchanged. more: of the news."""
        at = await self.now()
        ids = None if unchanged else ids
        listed = None if ids is None else [(e, hash_of(e)) if isinstance(e, int) else e for e in ids]
        news = PageNews(
            walk.next_page, listed, etag, modified, at + 300.0, pages, at, **{"made_at": at, **more}
        )
        return await self.ledger.write_page(job, walk, news, max_pages)

    async def listed(self, pilot: Pilot, *ids: int) -> PageWritten:
        """A whole sync of a list of one page."""
        job = await self.job(pilot)
        walk = await self.ledger.open_walk(pilot.source_id, SyncMode.INCREMENTAL)
        written = await self.page(job, walk, ids)
        assert written.acknowledged
        return written

    async def store_mails(self, *ids: int, names: Sequence[int] = ()) -> Stored:
        """Store mails that are wanted."""
        at = await self.now()
        return await self.storing.store([arrival(each, at) for each in ids], names)

    async def stored_ids(self) -> list[int]:
        """Every mail stored, in the order of the feed."""
        return [
            int(row[0]) for row in await self.rows("SELECT killmail_id FROM killmails ORDER BY feed_position")
        ]

    async def last_id(self, pilot: Pilot) -> int | None:
        """The user's last_killmail_id."""
        user = await self.users.get(pilot.user_id)
        assert user is not None
        return user.last_killmail_id

    async def refs(self) -> dict[int, str]:
        """Every mail wanted, and its state."""
        rows = await self.rows("SELECT killmail_id, state FROM refs")
        return {int(row[0]): str(row[1]) for row in rows}


def document(killmail_id: int, at: float, **changes: Any) -> dict[str, Any]:
    """A mail as ESI sends it, with something of everything."""
    found: dict[str, Any] = {
        "killmail_id": killmail_id,
        "killmail_time": utc(at).strftime("%Y-%m-%dT%H:%M:%SZ"),
        "solar_system_id": 30000142,
        "war_id": 5,
        "victim": {
            "damage_taken": 2**40,
            "ship_type_id": 587,
            "character_id": 90000001,
            "corporation_id": 98000001,
            "position": {"x": 1.5, "y": -2.25, "z": 3e11},
            "items": [
                {"item_type_id": 11, "flag": 5, "singleton": 0, "quantity_dropped": 2**33},
                {
                    "item_type_id": 12,
                    "flag": 5,
                    "singleton": 0,
                    "quantity_destroyed": 1,
                    "items": [{"item_type_id": 13, "flag": 0, "singleton": 2, "quantity_dropped": 1}],
                },
            ],
        },
        "attackers": [
            {"damage_done": 3, "final_blow": True, "security_status": -1.5, "character_id": 90000002},
            {"damage_done": 1, "final_blow": False, "security_status": 0.0, "faction_id": 500010},
            {"damage_done": 1, "final_blow": False, "security_status": 0.0, "faction_id": 500010},
        ],
    }
    found.update(changes)
    return found


def arrival(killmail_id: int, at: float, **changes: Any) -> Arrival:
    """A mail that came from ESI."""
    raw = json.dumps(document(killmail_id, at, **changes)).encode()
    return Arrival(km.decode(raw), hash_of(killmail_id), raw, at)


def first(rows: Rows) -> Row:
    """The first row, which must be there."""
    row = one(rows)
    assert row is not None
    return row


def run(name: str, /, **params: Any) -> Tx[Rows]:
    """A transaction of one named statement."""
    return (yield Run(name, params))
