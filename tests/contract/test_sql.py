"""Every named query compiles on every database, and the hot ones find their rows by an index."""

from __future__ import annotations

import re

import pytest

from killsyncd.storage.migrations import Migratable
from killsyncd.storage.queries import load
from killsyncd.storage.transaction import Sql, Tx
from tests.support.postgres_faults import generic_plan, prepare

# What runs for every page, every mail, every job or every look of somebody: no scan of what grows.
HOT = {
    "wants.claim",
    "wants.claim_source",
    "wants.finish",
    "wants.unannounced",
    "ledger.sighted",
    "ledger.stored",
    "ledger.refs",
    "ledger.refs_gone",
    "ledger.ref_claim",
    "ledger.sources_wanting",
    "ledger.pending_of",
    "ledger.pending_count",
    "ledger.ripe_sources",
    "ledger.next_retry",
    "ledger.page",
    "ledger.start",
    "ledger.held",
    "ledger.walk_running",
    "ledger.derive_last_ids",
    "budgets.standing",
    "budgets.known",
    "budgets.spends",
    "grants.load",
    "users.by_id",
    "users.by_character",
    "names.unresolved",
    "reading.mails",
    "reading.victims",
    "reading.attackers",
    "reading.items",
    "reading.names",
}
GROWING = (
    "killmails killmail_documents victims attackers killmail_items sightings refs ref_sources names users"
    " walks pages wants spends"
).split()


def names() -> list[str]:
    return sorted(set(load("sqlite")) | set(load("postgres")))


def test_both_databases_know_the_same_queries() -> None:
    only_postgres = set(load("postgres")) - set(load("sqlite"))
    assert set(load("sqlite")) <= set(load("postgres"))
    assert only_postgres <= {"ledger.lock_users"}
    for name, query in load("sqlite").items():
        assert sorted(query.parameters) == sorted(load("postgres")[name].parameters), name


async def test_every_query_compiles(store: Migratable) -> None:
    faults = {}
    for name, query in load(store.dialect).items():
        try:
            if store.dialect == "sqlite":
                await store.read(explain, f"EXPLAIN {query.text}", len(query.parameters))
            else:
                await prepare(store, query.text)
        except Exception as error:
            faults[name] = str(error)
    assert faults == {}


def explain(text: str, parameters: int) -> Tx[str]:
    named = re.sub(r"[?$](\d+)", r":p\1", text)
    rows = yield Sql(named, {f"p{n}": None for n in range(1, parameters + 1)})
    return "\n".join(" ".join(str(cell) for cell in tuple(row)) for row in rows)


@pytest.mark.parametrize("name", sorted(HOT))
async def test_hot_queries_use_an_index(store: Migratable, name: str) -> None:
    query = load(store.dialect)[name]
    if store.dialect == "sqlite":
        plan = await store.read(explain, f"EXPLAIN QUERY PLAN {query.text}", len(query.parameters))
        scans = re.findall(r"SCAN (\w+)(?! USING)", plan)
        aliases = dict(re.findall(r"(?:FROM|JOIN|UPDATE)\s+(\w+)\s+(?:AS\s+)?(\w+)", query.text))
        tables = {alias: table for table, alias in aliases.items()}
        scanned = {tables.get(each, each) for each in scans} & set(GROWING)
    else:
        plan = await generic_plan(store, query.text, len(query.parameters))
        scanned = set(re.findall(r"Seq Scan on (\w+)", plan)) & set(GROWING)
    assert not scanned, plan
