"""A page of a list walks the index that has its mails in order, whatever the filter; on every store."""

from __future__ import annotations

from datetime import datetime
from typing import Any

import pytest

from killsyncd.core.clock import utc
from killsyncd.core.read_model import MailFilter, Order, Role
from killsyncd.core.security import SecurityClass
from killsyncd.storage.migrations import Migratable
from killsyncd.storage.transaction import Sql, Step, Tx
from tests.contract.conftest import Backend
from tests.support.api_world import PILOT, ApiWorld, mail_json
from tests.support.catalogue import FRIGATES, REGION, fill_catalogue

NOW = datetime.fromisoformat("2026-06-01T00:00:00+00:00")

FILTERS = {
    "none": (MailFilter(), ["killmails_by_time"]),
    "character": (MailFilter(character_id=PILOT), ["victims_by_character", "attackers_by_character"]),
    "losses": (MailFilter(corporation_id=98_000_001, role=Role.VICTIM), ["victims_by_corporation"]),
    "kills": (MailFilter(corporation_id=98_000_001, role=Role.ATTACKER), ["attackers_by_corporation"]),
    "alliance": (MailFilter(alliance_id=99_000_001), ["victims_by_alliance", "attackers_by_alliance"]),
    "ship lost": (MailFilter(ship_type_id=600), ["victims_by_ship"]),
    "ship that shot": (MailFilter(attacker_ship_type_id=600), ["attackers_by_ship"]),
    "final blow": (MailFilter(final_blow_character_id=PILOT), ["attackers_by_blow"]),
    "system": (MailFilter(solar_system_id=30_000_001), ["killmails_by_system"]),
    "war": (MailFilter(war_id=5), ["killmails_by_war"]),
    "solo": (MailFilter(solo=True), ["killmails_by_solo"]),
    "npc": (MailFilter(npc=True), ["killmails_by_npc"]),
    "two": (MailFilter(min_attackers=2), ["killmails_of_2"]),
    "a fleet": (MailFilter(min_attackers=120), ["killmails_of_100"]),
    "region": (MailFilter(region_id=REGION), ["killmails_by_system"]),
    "class": (MailFilter(security_class=SecurityClass.LOW), ["killmails_by_system"]),
    "group": (MailFilter(ship_group_id=FRIGATES), ["victims_by_ship"]),
    "worth": (MailFilter(min_value=150_000_000_000), ["killmail_values_of_1b"]),
    "worth little": (MailFilter(max_value=100), ["killmail_values_by_total"]),
    "any": (
        MailFilter(any_of=(MailFilter(character_id=PILOT), MailFilter(war_id=5))),
        ["victims_by_character", "attackers_by_character", "killmails_by_war"],
    ),
    "within times": (
        MailFilter(corporation_id=98_000_001, role=Role.ATTACKER, since=NOW, until=NOW),
        ["attackers_by_corporation"],
    ),
    "the rarer of two": (MailFilter(solo=False, war_id=5), ["killmails_by_war"]),
    "with others to test": (
        MailFilter(attacker_ship_type_id=600, npc=False, since=NOW),
        ["attackers_by_ship"],
    ),
}


async def statements(api: ApiWorld, given: MailFilter, order: Order, after: str | None) -> list[Sql]:
    """What is asked of the database for a page and for its total."""
    seen: list[Sql] = []

    def recorded(inner: Tx[Any]) -> Tx[None]:
        try:
            step: Step = next(inner)
            while True:
                if isinstance(step, Sql):
                    seen.append(step)
                step = inner.send((yield step))
        except StopIteration:
            pass

    page = await api.reading.page(MailFilter(), order, 5)
    after = page.edges[-1].cursor if after else None
    from killsyncd.storage.repositories import paging

    key = paging.decode_cursor(after, order) if after else None
    await api.store.read(lambda: recorded(api.reading._list.tx(given, order, 51, key)))
    await api.store.read(lambda: recorded(api.reading.count.tx(given)))
    return [each for each in seen if " AS c0" not in each.text and ":sample" not in each.text]


async def plan(store: Migratable, statement: Sql) -> str:
    """How the database would work."""

    def explain() -> Tx[str]:
        if store.dialect == "sqlite":
            rows = yield Sql(f"EXPLAIN QUERY PLAN {statement.text}", statement.params)
            return "\n".join(str(row["detail"]) for row in rows)
        # There is too little here for an index to be worth it, and too little for sorting not to be.
        for method in ("seqscan", "bitmapscan", "sort", "hashagg"):
            yield Sql(f"SET LOCAL enable_{method} = off", {})
        rows = yield Sql(f"EXPLAIN {statement.text}", statement.params)
        return "\n".join(str(row[0]) for row in rows)

    return await store.read(explain)


@pytest.fixture
async def api(backend: Backend, store: Migratable) -> ApiWorld:
    world = ApiWorld(store, backend.clock)
    now = int(backend.clock.now())
    mails = [
        mail_json(1000 + each, utc(now - 60 * each), attackers=[PILOT] * (1 + each % 3)) for each in range(60)
    ]
    for mail in mails[::20]:
        mail["war_id"] = 5
    await world.add(*mails)
    await fill_catalogue(store)
    return world


@pytest.mark.parametrize("name", FILTERS)
async def test_a_page_walks_its_index(api: ApiWorld, store: Migratable, name: str) -> None:
    given, indexes = FILTERS[name]
    for order in (Order.TIME_DESC, Order.TIME_ASC):
        for after in (None, "a cursor"):
            for statement in await statements(api, given, order, after):
                found = await plan(store, statement)
                assert [each for each in indexes if each not in found] == [], found
                if store.dialect == "sqlite":
                    # Only the page itself is sorted; nothing is gone through that is not shown.
                    assert "DISTINCT" not in found, found
                    assert found.count("FOR ORDER BY") <= (0 if "COUNT(*)" in statement.text else 1), found
                    assert "AUTOMATIC" not in found, found


@pytest.mark.parametrize("order", [Order.STORED_ASC, Order.STORED_DESC])
async def test_a_list_in_order_of_storage_takes_few_mails_out_of_their_index(
    api: ApiWorld, store: Migratable, order: Order
) -> None:
    page, _ = await statements(api, MailFilter(war_id=5), order, None)
    assert "killmails_by_war" in await plan(store, page)
