"""The names task: bisecting, few errors, and no poison that stops it."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Sequence
from contextlib import suppress
from pathlib import Path

import pytest

from killsyncd.core.errors import RowRefused
from killsyncd.esi.responses import EsiStatus, RateLimited, ResolvedName
from killsyncd.storage.repositories.names import NameRepository
from killsyncd.sync.name_resolver import ERRORS_A_MINUTE, REFUSED_IN_A_ROW, UNKNOWN_AGAIN, NameResolver
from tests.support.sync_world import SyncWorld, eventually


class PlayedNames:
    """Knows every id but `unknown`."""

    def __init__(self) -> None:
        self.unknown: set[int] = set()
        self.asked: list[list[int]] = []
        self.errors = 0
        self.fault: Exception | None = None

    async def names(self, ids: Sequence[int]) -> list[ResolvedName]:
        self.asked.append(list(ids))
        if self.fault is not None:
            fault, self.fault = self.fault, None
            raise fault
        if self.unknown & set(ids):
            self.errors += 1
            raise EsiStatus(404, "Ensure all IDs are valid before resolving.")
        return [ResolvedName(each, "character", f"Name {each}") for each in ids]


@pytest.fixture
async def core(tmp_path: Path) -> AsyncIterator[SyncWorld]:
    async with SyncWorld.begin(tmp_path) as core:
        yield core


async def unnamed(core: SyncWorld) -> int:
    return int(await core.world.value("SELECT COUNT(*) FROM names WHERE name IS NULL"))


async def want(core: SyncWorld, *ids: int) -> None:
    for each in ids:
        await core.world.rows("INSERT INTO names (id) VALUES (:id)", id=each)


class Running:
    """The task, and time that goes by."""

    def __init__(self, core: SyncWorld, esi: PlayedNames, book: NameRepository | None = None) -> None:
        self.core = core
        self.task = NameResolver(
            esi=esi, rows=book or NameRepository(core.world.store), events=core.events, clock=core.clock
        )

    async def __aenter__(self) -> Running:
        self._run = asyncio.ensure_future(self.task.run())
        return self

    async def __aexit__(self, *args: object) -> None:
        self._run.cancel()
        with suppress(asyncio.CancelledError):
            await self._run

    async def until_unnamed(self, left: int) -> None:
        async def reached() -> bool:
            self.core.clock.tick(0.5)
            assert not self._run.done(), "the task died"
            return await unnamed(self.core) == left

        await eventually(reached)


async def test_all_at_once_and_told(core: SyncWorld) -> None:
    esi, told = PlayedNames(), []
    core.events.on("named", lambda: told.append(1))
    await want(core, *range(1, 50))
    async with Running(core, esi) as running:
        await running.until_unnamed(0)
    assert (len(esi.asked), len(told)) == (1, 1)


async def test_one_unknown_id_is_found_by_halving_and_remembered(core: SyncWorld) -> None:
    esi = PlayedNames()
    esi.unknown = {7}
    await want(core, *range(1, 33))
    async with Running(core, esi) as running:
        await running.until_unnamed(1)
        await eventually(lambda: [7] in esi.asked)
        count = len(esi.asked)
        await core.clock.advance(300)
        assert len(esi.asked) == count, "not asked for again and again"
    assert esi.errors <= 6


async def test_unknown_ids_are_asked_for_again_and_ever_more_rarely(core: SyncWorld) -> None:
    """For minutes ESI refuses names that it knows: 10 minutes, an hour, six, a day, then every week."""
    esi = PlayedNames()
    esi.unknown = {7}
    await want(core, 7)
    waited = []
    async with Running(core, esi):
        for _ in range(6):
            seen = len(esi.asked)
            began = core.clock.now()
            step = max(0.5, waited[-1] / 50 if waited else 0.5)
            while len(esi.asked) == seen:
                core.clock.tick(step)
                await asyncio.sleep(0.002)
            waited.append(core.clock.now() - began)
            await eventually(lambda: attempts(core, 7, len(esi.asked)))
    for found, told in zip(waited[1:], UNKNOWN_AGAIN, strict=True):
        assert told <= found + 5.0 <= 1.3 * told + 400.0


async def attempts(core: SyncWorld, id: int, count: int) -> bool:
    return int(await core.world.value("SELECT attempts FROM names WHERE id = :id", id=id)) == count


async def test_names_refused_for_a_moment_come_when_it_is_over(core: SyncWorld) -> None:
    esi = PlayedNames()
    esi.unknown = set(range(1, 1001))
    await want(core, *range(1, 1001))
    async with Running(core, esi) as running:
        await eventually(lambda: esi.errors >= REFUSED_IN_A_ROW)
        for _ in range(100):
            core.clock.tick(5.0)
            await asyncio.sleep(0.001)
        assert esi.errors == REFUSED_IN_A_ROW, "ESI is ill, and not a thousand ids"
        esi.unknown = set()
        await running.until_unnamed(0)
    assert len(esi.asked) <= REFUSED_IN_A_ROW + 5


async def test_somebody_who_says_so_does_not_wait_for_the_end_of_it(core: SyncWorld) -> None:
    esi, rows = PlayedNames(), NameRepository(core.world.store)
    esi.unknown = set(range(1, 1001))
    await want(core, *range(1, 1001))
    async with Running(core, esi):
        await eventually(lambda: esi.errors >= REFUSED_IN_A_ROW)
        for _ in range(30):
            core.clock.tick(4.0)  # less than the pause
            await asyncio.sleep(0.002)
        esi.unknown = set()
        await rows.retry()
        core.events.tell("names-again")
        for _ in range(30):
            core.clock.tick(1.0)
            await asyncio.sleep(0.002)
        assert await unnamed(core) == 0


async def test_names_are_asked_for_again_when_somebody_says_so(core: SyncWorld) -> None:
    esi, rows = PlayedNames(), NameRepository(core.world.store)
    esi.unknown = {7, 8}
    await want(core, 7, 8)
    async with Running(core, esi) as running:
        await eventually(lambda: attempts(core, 8, 1))
        esi.unknown = set()
        assert await rows.retry() == 2
        core.events.tell("names")
        await running.until_unnamed(0)
    assert await rows.retry() == 0


async def test_ids_that_were_refused_do_not_fail_the_batch_of_new_ones(core: SyncWorld) -> None:
    esi = PlayedNames()
    esi.unknown = {7}
    await want(core, 7)
    await core.world.rows("UPDATE names SET attempts = 1")
    await want(core, *range(100, 200))
    async with Running(core, esi) as running:
        await running.until_unnamed(1)
        await eventually(lambda: esi.errors == 1)
    assert sorted(esi.asked[0]) == list(range(100, 200))


async def test_no_more_errors_a_minute_than_are_harmless(core: SyncWorld) -> None:
    esi = PlayedNames()
    esi.unknown = set(range(1, 65))
    await want(core, *range(1, 65))
    began = core.clock.monotonic()
    async with Running(core, esi):
        while esi.errors < 2 * ERRORS_A_MINUTE:
            core.clock.tick(0.25)
            await asyncio.sleep(0.001)
    assert core.clock.monotonic() - began >= 60.0


@pytest.mark.parametrize("fault", [EsiStatus(500, "oops"), RateLimited("420", 0.0, group="error-limit")])
async def test_trouble_is_waited_out(core: SyncWorld, fault: Exception) -> None:
    esi = PlayedNames()
    esi.fault = fault
    await want(core, 1)
    async with Running(core, esi) as running:
        await running.until_unnamed(0)


async def test_a_name_the_database_refuses_stops_no_other(core: SyncWorld) -> None:
    class Picky(NameRepository):
        async def resolved(self, names: Sequence[ResolvedName], unknown: Sequence[int], wait: float) -> None:
            if any(each.id == 3 for each in names):
                raise RowRefused("the database refuses a row")
            await super().resolved(names, unknown, wait)

    await want(core, 1, 2, 3, 4)
    async with Running(core, PlayedNames(), Picky(core.world.store)) as running:
        await running.until_unnamed(1)


async def test_a_retry_is_not_undone_by_a_refusal_of_before(core: SyncWorld) -> None:
    """The last error that a minute affords is a verdict on one id, and a wait follows it."""
    esi = PlayedNames()
    esi.unknown = {1}
    await want(core, 1)
    rows = NameRepository(core.world.store)
    async with Running(core, esi) as running:
        for _ in range(ERRORS_A_MINUTE - 1):
            running.task._errors.append(core.clock.monotonic())  # a minute's errors but one
        await eventually(lambda: esi.errors == 1)
        await asyncio.sleep(0.2)  # the task waits for the minute to pass
        esi.unknown = set()
        assert await rows.retry() == 1
        core.events.tell("names-again")
        began = core.clock.monotonic()
        await running.until_unnamed(0)
    assert core.clock.monotonic() - began < UNKNOWN_AGAIN[0] / 2
