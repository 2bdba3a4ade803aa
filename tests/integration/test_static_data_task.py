"""The static data's task against the simulator's files: taken over whole, or nothing changes."""

from __future__ import annotations

import random
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest

from killsyncd.core.background import STATIC_DATA, TaskState
from killsyncd.core.clock import SystemClock
from killsyncd.simulator import Simulator, SimulatorConfig
from killsyncd.static_data.records import TABLES
from killsyncd.static_data.task import BELIEVED, StaticDataSettings, StaticDataTask
from killsyncd.storage.migrations import migrate
from killsyncd.storage.repositories.background import BackgroundTasks, all_tasks
from killsyncd.storage.repositories.daemons import Membership
from killsyncd.storage.repositories.static_data import StaticDataRepository
from killsyncd.storage.sqlite.store import SqliteStore
from killsyncd.storage.transaction import Sql, Tx


@dataclass
class World:
    eve: Simulator
    store: SqliteStore
    rows: BackgroundTasks
    tables: StaticDataRepository
    task: StaticDataTask
    folder: Path
    told: list[str]

    async def turn(self) -> TaskState:
        """Have it do what is due now; answers its row."""
        await self.store.write(_now_due)
        await self.task._once()
        found = {each.name: each for each in await self.store.read(all_tasks)}
        return found[STATIC_DATA]

    async def names(self) -> dict[int, str]:
        return {int(row[0]): str(row[-1]) for row in await self.tables.rows(TABLES[2], 0, 10_000)}

    def asked(self, route: str) -> int:
        return sum(count for (name, _), count in self.eve.ledger.requests.items() if name == f"files.{route}")


def _now_due() -> Tx[None]:
    yield Sql("UPDATE background_tasks SET next_at = 0", {})


@asynccontextmanager
async def world(folder: Path) -> AsyncIterator[World]:
    clock = SystemClock()
    store = await SqliteStore.open(folder / "k.db", clock)
    try:
        await migrate(store)
        member = await Membership.join(store, clock, egress="default", version="0")
        async with Simulator(SimulatorConfig(pilots=1, history=0)) as eve:
            rows, tables, told = BackgroundTasks(store, member.id), StaticDataRepository(store), list[str]()
            task = StaticDataTask(
                StaticDataSettings(
                    f"{eve.base_url}/static-data/tranquility", folder / "state", "test (a@b.c)"
                ),
                tables,
                rows,
                clock,
                random.Random(1),
                lambda: told.append("static"),
            )
            yield World(eve, store, rows, tables, task, folder / "state", told)
    finally:
        await store.close()


async def test_the_newest_build_comes_by_ranges_and_once(tmp_path: Path) -> None:
    async with world(tmp_path) as it:
        state = await it.turn()
        assert (state.failures, state.problem, state.position) == (0, None, it.eve.files.build)
        assert await it.tables.build() == it.eve.files.build
        assert (await it.names())[587] == "Rifter"
        assert it.told == ["static"]
        assert 86_400 - 5 < await it.rows.due_in(STATIC_DATA) < 90_000
        assert await it.rows.claim(STATIC_DATA) is None
        archives = it.asked("static_archive")
        await it.turn()
        assert it.eve.ledger.requests["files.static_latest", 304] == 0, "nothing old is believed at first"
        await it.turn()
        assert it.eve.ledger.requests["files.static_latest", 304] == 1
        assert it.asked("static_archive") == archives
        assert it.told == ["static"]
        assert list(it.folder.iterdir()) == []


async def test_a_node_that_answers_304_for_ever_keeps_no_old_build(tmp_path: Path) -> None:
    async with world(tmp_path) as it:
        await it.turn()
        for _ in range(3 * (BELIEVED + 1)):
            await it.turn()
        plain = it.eve.ledger.requests["files.static_latest", 200]
        assert (plain, it.eve.ledger.requests["files.static_latest", 304]) == (4, 3 * BELIEVED)


async def test_a_new_build_changes_what_differs(tmp_path: Path) -> None:
    async with world(tmp_path) as it:
        await it.turn()
        build = it.eve.publish_static_data(types=[(990_001, 25, "Prototype"), (587, 25, "Rifter II")])
        await it.turn()
        names = await it.names()
        assert (names[990_001], names[587], names[603]) == ("Prototype", "Rifter II", "Merlin")
        assert await it.tables.build() == build
        changed = await it.store.read(_changed)
        assert changed[build] == 2


def _changed() -> Tx[dict[int, int]]:
    rows = yield Sql("SELECT build, changed FROM static_builds", {})
    return {int(row[0]): int(row[1]) for row in rows}


@pytest.mark.parametrize(
    ("fault", "says"),
    [
        ({"kind": "status", "status": 503, "route": "files.static_latest"}, "answered 503"),
        ({"kind": "html", "route": "files.static_latest"}, "no JSON"),
        ({"kind": "truncate", "route": "files.static_archive", "skip": 1}, "as it should"),
        ({"kind": "malformed", "route": "files.static_archive", "skip": 1}, "too early"),
        ({"kind": "reset", "route": "files.static_archive"}, "as it should"),
        ({"kind": "html", "route": "files.static_archive"}, "no ZIP archive"),
        (
            {
                "kind": "status",
                "status": 302,
                "route": "files.static_latest",
                "headers": {"Location": "http://127.0.0.2:9/latest.jsonl"},
            },
            "another host",
        ),
    ],
)
async def test_what_breaks_changes_nothing_and_is_said(
    tmp_path: Path, fault: dict[str, Any], says: str
) -> None:
    async with world(tmp_path) as it:
        await it.turn()
        had = it.eve.files.build
        it.eve.publish_static_data(types=[(990_001, 25, "Prototype")])
        it.eve.script(**fault)
        state = await it.turn()
        assert says in (state.problem or ""), state.problem
        assert state.remedy
        assert state.failures >= 1
        assert state.position == had
        assert await it.tables.build() == had
        assert 990_001 not in await it.names()
        assert list(it.folder.iterdir()) == []
        it.eve.clear_faults()
        state = await it.turn()
        assert (state.failures, state.problem) == (0, None)
        assert 990_001 in await it.names()


async def test_an_older_build_is_refused(tmp_path: Path) -> None:
    async with world(tmp_path) as it:
        await it.turn()
        had = it.eve.files.build
        it.eve.publish_static_data(build=had - 5)
        state = await it.turn()
        assert f"older than ours ({had})" in (state.problem or "")
        assert await it.tables.build() == had


async def test_what_a_killed_process_left_is_removed_and_no_space_is_no_download(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    async with world(tmp_path) as it:
        it.folder.mkdir()
        (it.folder / "static-data-abc.zip.part").write_bytes(b"x" * 1000)
        with monkeypatch.context() as patch:
            patch.setattr("killsyncd.static_data.archive.SPARE", 1 << 60)
            state = await it.turn()
        assert "are free at" in (state.problem or "")
        assert list(it.folder.iterdir()) == []
        assert await it.tables.build() == 0
