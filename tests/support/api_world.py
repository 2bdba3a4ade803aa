"""A daemon's API over a real store, with mails in it that look like EVE's. For tests of GraphQL."""

from __future__ import annotations

import random
from collections.abc import Callable, Sequence
from contextlib import AbstractAsyncContextManager
from dataclasses import dataclass, field
from datetime import datetime
from typing import Any, ParamSpec, TypeVar

import orjson

from killsyncd.auth.grant import NewGrant
from killsyncd.auth.login import Logins
from killsyncd.core.clock import Clock, utc
from killsyncd.core.events import Events
from killsyncd.core.killmail import compute_hash, decode
from killsyncd.core.killmail_rows import entity_ids
from killsyncd.core.model import StoredMail, UserState
from killsyncd.service import rfc3339
from killsyncd.service.health import Health
from killsyncd.service.operations import Operations
from killsyncd.service.ports import OperationsStorage
from killsyncd.service.status import OperationsSettings
from killsyncd.storage.migrations import Migratable
from killsyncd.storage.repositories.grants import GrantRepository
from killsyncd.storage.repositories.killmails import Arrival, KillmailWriter
from killsyncd.storage.repositories.ledger import LedgerRepository
from killsyncd.storage.repositories.names import NameRepository
from killsyncd.storage.repositories.search import KillmailSearch
from killsyncd.storage.repositories.sources import SourceRepository
from killsyncd.storage.repositories.status import StatusRepository
from killsyncd.storage.repositories.sync_requests import SyncRequests
from killsyncd.storage.repositories.users import UserRepository
from killsyncd.storage.transaction import Bulk, Many, Run, Sql, Store, Tx
from killsyncd.sync.batch import Stored

P = ParamSpec("P")
T = TypeVar("T")

PILOT = 90_000_001
SYSTEMS = range(30_000_001, 30_000_051)
SHIPS = range(587, 687)
MODULES = range(2_000, 2_200)


class CountingStore:
    """A store that counts statements, to see that no page costs one per mail."""

    def __init__(self, store: Store) -> None:
        self._store = store
        self.dialect = store.dialect
        self.exclusive = store.exclusive
        self.statements: list[str] = []

    def reset(self) -> None:
        """Begin to count again."""
        self.statements.clear()

    async def read(self, tx: Callable[P, Tx[T]], *args: P.args, **kwargs: P.kwargs) -> T:
        return await self._store.read(self._counted(tx), *args, **kwargs)

    async def write(self, tx: Callable[P, Tx[T]], *args: P.args, **kwargs: P.kwargs) -> T:
        return await self._store.write(self._counted(tx), *args, **kwargs)

    def listen(self, callback: Callable[[str], None]) -> AbstractAsyncContextManager[None]:
        return self._store.listen(callback)

    async def notify(self, channel: str) -> None:
        await self._store.notify(channel)

    async def close(self) -> None:
        await self._store.close()

    def _counted(self, tx: Callable[P, Tx[T]]) -> Callable[P, Tx[T]]:
        def counted(*args: P.args, **kwargs: P.kwargs) -> Tx[T]:
            inner = tx(*args, **kwargs)
            try:
                step = next(inner)
                while True:
                    if isinstance(step, Run | Many):
                        self.statements.append(step.name)
                    elif isinstance(step, Bulk):
                        self.statements.append(step.table)
                    elif isinstance(step, Sql):
                        self.statements.append(step.text.split("FROM")[0][:40])
                    rows = yield step
                    step = inner.send(rows)
            except StopIteration as stop:
                result: T = stop.value
                return result

        return counted


def mail_json(
    killmail_id: int,
    at: datetime,
    *,
    victim: int | None = None,
    attackers: Sequence[int | None] = (None,),
    items: int = 3,
    system: int | None = None,
    seed: int | None = None,
) -> dict[str, Any]:
    """A killmail as ESI sends it. attackers: characters; None is an NPC. The first strikes the final blow."""
    rng = random.Random(killmail_id if seed is None else seed)
    loot: list[dict[str, Any]] = [
        {
            "item_type_id": rng.choice(MODULES),
            "flag": rng.choice((5, 11, 19, 27, 92)),
            "singleton": 0,
            rng.choice(("quantity_dropped", "quantity_destroyed")): rng.randint(1, 5_000_000_000),
        }
        for _ in range(items)
    ]
    if loot:
        loot[0]["items"] = [{"item_type_id": 34, "flag": 0, "singleton": 0, "quantity_dropped": 7}]
    return {
        "killmail_id": killmail_id,
        "killmail_time": rfc3339(at),
        "solar_system_id": system or rng.choice(SYSTEMS),
        "victim": {
            "character_id": victim or 95_000_000 + rng.randint(1, 500),
            "corporation_id": 98_000_000 + rng.randint(1, 50),
            "alliance_id": 99_000_000 + rng.randint(1, 10),
            "damage_taken": rng.randint(1, 1_000_000),
            "ship_type_id": rng.choice(SHIPS),
            "items": loot,
            "position": {"x": rng.uniform(-1e12, 1e12), "y": rng.uniform(-1e12, 1e12), "z": 0.25},
        },
        "attackers": [
            {
                **({} if each is None else {"character_id": each, "alliance_id": 99_000_001}),
                "corporation_id": 98_000_000 + rng.randint(1, 50) if each is not None else 1_000_125,
                "damage_done": rng.randint(0, 5_000),
                "final_blow": position == 0,
                "security_status": round(rng.uniform(-10, 5), 1),
                "ship_type_id": rng.choice(SHIPS),
                "weapon_type_id": rng.choice(MODULES),
            }
            for position, each in enumerate(attackers)
        ],
    }


@dataclass
class ApiWorld:
    """A store with users and mails, and what the API needs of it."""

    store: Migratable
    clock: Clock
    events: Events = field(default_factory=Events)
    logins: Logins | None = None
    import_source: int = 0
    next_id: int = 100_000_000

    def __post_init__(self) -> None:
        self.counting = CountingStore(self.store)
        self.health = Health(self.clock)
        self.reading = KillmailSearch(self.counting)
        self.storing = KillmailWriter(self.counting, "test")
        self.operations = Operations(
            OperationsStorage(
                rows=StatusRepository(self.counting),
                users=UserRepository(self.counting),
                sources=SourceRepository(self.counting),
                ledger=LedgerRepository(self.counting, "test"),
                names=NameRepository(self.counting),
                queue=SyncRequests(self.counting, "esi_user_killmails_queue", "test"),
            ),
            OperationsSettings(
                skip_within=900.0, producer_enabled=True, version="0.0.0", started_at=self.clock.now()
            ),
            self.events,
            self.health,
            self.clock,
            logins=self.logins,
        )

    async def pilot(self, character_id: int = PILOT, name: str = "Aldo Abrakov") -> str:
        """Somebody who logged in; answers our id."""
        registered = await GrantRepository(self.counting).register(
            NewGrant(
                character_id=character_id,
                character_name=name,
                owner_hash="owner",
                scopes=frozenset({"esi-killmails.read_killmails.v1"}),
                state=UserState.OK,
                state_reason=None,
                access_token_enc=b"a",
                refresh_token_enc=b"r",
                expires_at=self.clock.now() + 1200,
                renew_at=self.clock.now() + 900,
            )
        )
        return registered.user_id

    async def add(self, *mails: dict[str, Any], named: bool = True, fresh: bool = False) -> list[StoredMail]:
        """Store mails in one commit, as an import does, and say so. fresh: as if ESI's lists brought them."""
        if not self.import_source:
            self.import_source = await self.store.write(_import_source)
        arrivals, ids = [], set()
        for each in mails:
            raw = orjson.dumps(each)
            mail = decode(raw)
            ids |= entity_ids(mail)
            arrivals.append(Arrival(mail, compute_hash(mail), raw, self.clock.now()))
        importing = self.storing.import_mails.tx

        def put() -> Tx[Stored]:
            done = yield from importing(self.import_source, arrivals, sorted(ids), self.clock.now())
            if named:
                yield from _name(sorted(ids))
            if fresh:
                for each in done.mails:
                    yield from _fresh(each.killmail_id)
            return done

        stored = await self.counting.write(put)
        self.events.tell("feed")
        return stored.mails

    async def add_some(
        self,
        count: int,
        *,
        pilot: int | None = PILOT,
        attackers: int = 3,
        items: int = 4,
        apart: float = 60.0,
        fresh: bool = False,
    ) -> list[StoredMail]:
        """Store mails, a minute apart, the last of them now; the pilot shoots in each."""
        now = self.clock.now()
        mails = []
        for each in range(count):
            self.next_id += 1
            others = [95_000_000 + (self.next_id * 7 + n) % 500 for n in range(attackers - 1)]
            mails.append(
                mail_json(
                    self.next_id,
                    utc(int(now - (count - 1 - each) * apart)),
                    attackers=[pilot, *others],
                    items=items,
                )
            )
        return await self.add(*mails, fresh=fresh)

    async def make_fresh(self, *killmail_ids: int) -> None:
        """Mark mails as fresh: only those from ESI's lists are by themselves."""
        for each in killmail_ids:
            await self.store.write(_fresh, each)


def _import_source() -> Tx[int]:
    rows = yield Run("users.source", {"kind": "import", "subject_id": 0, "user_id": None})
    return int(rows[0]["id"])


def _name(ids: Sequence[int]) -> Tx[None]:
    for each in ids:
        yield Sql("UPDATE names SET name = :name WHERE id = :id", {"id": each, "name": f"Name {each}"})


def _fresh(killmail_id: int) -> Tx[None]:
    yield Sql(
        "UPDATE killmails SET fresh = :fresh WHERE killmail_id = :id", {"id": killmail_id, "fresh": True}
    )
