"""The tasks that read zKillboard, on a clock that a test moves; zKillboard and rows are played by hand."""

from __future__ import annotations

import asyncio
import random
from collections.abc import Mapping, Sequence
from dataclasses import replace
from itertools import pairwise
from typing import Any

import pytest

from killsyncd.core.background import TaskState
from killsyncd.core.errors import BadInput
from killsyncd.zkillboard.answers import StreamFile
from killsyncd.zkillboard.client import NotNow
from killsyncd.zkillboard.lists import ALL_ALIKE, IDLE, NOBODY, TURN, ListsTask
from killsyncd.zkillboard.ports import Found, PageKept, StreamPosition
from killsyncd.zkillboard.settings import ZkillboardSettings
from killsyncd.zkillboard.stream import BATCH, HEAD_EVERY, NOT_YET, UNUSABLE, StreamTask
from killsyncd.zkillboard.walk import EntityKind, ListedPage, Reading, Subject
from tests.support.clocks import ManualClock

STATE = TaskState("zkillboard")


class PlayedBoard:
    """zKillboard. pages, files: what is there; an exception is raised. head: the stream's last number."""

    def __init__(self, clock: ManualClock) -> None:
        self._clock = clock
        self.pages: dict[tuple[int, int], ListedPage | Exception] = {}
        self.files: dict[int, StreamFile | Exception] = {}
        self.head = 100
        self.asked: list[tuple[float, Any]] = []

    async def list_page(self, entity: EntityKind, entity_id: int, page: int) -> ListedPage:
        self.asked.append((self._clock.monotonic(), (entity_id, page)))
        await self._clock.sleep(1.0)
        return self._give(self.pages.get((entity_id, page), ListedPage([])))

    async def sequence(self) -> int:
        self.asked.append((self._clock.monotonic(), "sequence"))
        return self.head

    async def stream_file(self, sequence: int) -> StreamFile | None:
        self.asked.append((self._clock.monotonic(), sequence))
        return self._give(self.files.get(sequence))

    def _give(self, answer: Any) -> Any:
        if isinstance(answer, Exception):
            raise answer
        return answer


class PlayedRows:
    """Rows, and background_tasks. subjects: in the order in which they are due."""

    def __init__(self) -> None:
        self.subjects: list[Subject] = []
        self.kept: list[tuple[int, int]] = []
        self.failures: list[tuple[int, float, str | None]] = []
        self.position = StreamPosition(None, None, None)
        self.found: list[int] = []
        self.gaps: list[int] = []
        self.ours: dict[int, int] = {90: 1, 98: 2}
        self.watches = 0

    async def watch(self, *, corporations: bool) -> None:
        self.watches += 1

    async def watched(self) -> Mapping[int, int]:
        return self.ours

    async def next_subject(self) -> Subject | None:
        return self.subjects[0] if self.subjects else None

    async def next_due(self) -> float | None:
        return None

    async def page_read(
        self, subject: Subject, page: ListedPage, at: float, *, streaming: bool
    ) -> PageKept | None:
        self.kept.append((subject.entity_id, subject.next_page))
        self.subjects.pop(0)
        if page.entries:
            self.subjects.append(replace(subject, next_page=subject.next_page + 1))
        return PageKept(not page.entries, len(page.entries), len(page.entries))

    async def subject_failed(self, source_id: int, wait: float, reason: str | None) -> None:
        self.failures.append((source_id, wait, reason))
        self.subjects.append(replace(self.subjects.pop(0), failures=1))

    async def stream_position(self) -> StreamPosition:
        return self.position

    async def stream_begins(self, sequence: int) -> None:
        self.position = StreamPosition(sequence, 0.0, None)
        self.gaps.append(sequence)

    async def stream_read(
        self, sequence: int, found: Sequence[Found], at: float, *, at_end: bool, gap: bool
    ) -> Sequence[int]:
        self.position = StreamPosition(sequence, 0.0, at)
        self.found += [each.killmail_id for each in found]
        if gap:
            self.gaps.append(sequence)
        return sorted({source for each in found for source in each.source_ids})


class World:
    def __init__(self, *, stream: bool = True) -> None:
        self.clock = ManualClock()
        self.board, self.rows = PlayedBoard(self.clock), PlayedRows()
        self.listed: list[int] = []
        self.paused = False
        settings = ZkillboardSettings("http://api", "http://stream", "tests", stream)
        board: Any = self.board
        tasks: Any = None
        reading = Reading(self.listed.append, lambda: self.paused)
        common = (self.rows, tasks, self.clock, random.Random(1), reading)
        self.lists = ListsTask(settings, board, *common)
        self.stream = StreamTask(board, *common)

    async def turn(self, task: ListsTask | StreamTask) -> Any:
        """A turn of a task, the clock going on whenever it sleeps."""
        working = asyncio.ensure_future(task.turn(STATE))
        while not working.done():
            await asyncio.sleep(0)
            if self.clock.next_wake is not None:
                await self.clock.advance(0.5)
        return await working


def subject(entity_id: int, **more: Any) -> Subject:
    return Subject(entity_id * 10, EntityKind.CHARACTER, entity_id, **more)


def mail(killmail_id: int, *involved: int) -> StreamFile:
    return StreamFile(killmail_id, "a" * 40, frozenset(involved))


class TestLists:
    async def test_pages_are_read_in_turn_until_nothing_is_due(self) -> None:
        world = World()
        world.rows.subjects = [subject(1), subject(2)]
        world.board.pages = {(1, 1): ListedPage([(9, "a")]), (2, 1): ListedPage([(8, "b")])}
        turn = await world.turn(world.lists)
        assert world.rows.kept == [(1, 1), (2, 1), (1, 2), (2, 2)]
        assert world.listed == [10, 20]
        assert turn.wait == NOBODY

    async def test_a_turn_lasts_a_minute(self) -> None:
        world = World()
        world.rows.subjects = [subject(1)]
        world.board.pages = {(1, page): ListedPage([(page, "a")]) for page in range(1, 101)}
        assert (await world.turn(world.lists)).wait == 0.0
        assert len(world.rows.kept) == TURN

    async def test_one_bad_list_does_not_hold_up_the_others(self) -> None:
        world = World()
        world.rows.subjects = [subject(1), subject(2)]
        world.board.pages[1, 1] = BadInput("it is no list")
        # These rows know no due times: in the end it is asked for again and again.
        with pytest.raises(NotNow):
            await world.turn(world.lists)
        assert (2, 1) in world.rows.kept
        assert world.rows.failures[0][0] == 10
        assert world.rows.failures[0][1] >= 3600.0, "no page twice within the hour, readable or not"
        assert world.rows.failures[0][2] is None, "once is no trouble"

    async def test_when_all_fail_alike_it_is_zkillboard(self) -> None:
        world = World()
        world.rows.subjects = [subject(number) for number in range(1, 9)]
        world.board.pages = {(number, 1): BadInput("HTML") for number in range(1, 9)}
        with pytest.raises(NotNow, match="none of"):
            await world.turn(world.lists)
        assert len(world.board.asked) == ALL_ALIKE

    async def test_when_it_does_not_answer_it_is_left_alone(self) -> None:
        world = World()
        world.rows.subjects = [subject(1), subject(2)]
        world.board.pages[1, 1] = NotNow("reinforced mode", 5.0)
        with pytest.raises(NotNow) as refused:
            await world.turn(world.lists)
        assert refused.value.until == 5.0
        assert len(world.board.asked) == 1
        assert world.rows.failures == [(10, 0.0, None)], "it is no failure of the subject's"

    async def test_an_empty_list_that_had_mails_is_doubted(self) -> None:
        world = World()
        world.rows.subjects = [subject(1, whole_at=1.0, listed=True)]
        with pytest.raises(NotNow):
            await world.turn(world.lists)
        assert world.rows.kept == []
        world = World()
        world.rows.subjects = [subject(1, whole_at=1.0)]
        await world.turn(world.lists)
        assert world.rows.kept == [(1, 1)]

    async def test_paused_it_asks_nothing(self) -> None:
        world = World()
        world.paused = True
        world.rows.subjects = [subject(1)]
        assert (await world.turn(world.lists)).wait == IDLE
        await world.turn(world.stream)
        assert [what for _, what in world.board.asked] == ["sequence"]


class TestStream:
    def world(self, position: int = 100, head: int = 100) -> World:
        world = World()
        world.rows.position = StreamPosition(position, 0.0, None)
        world.board.head = head
        return world

    async def test_it_begins_at_the_end(self) -> None:
        world = World()
        await world.turn(world.stream)
        assert world.rows.gaps == [100], "what was before the lists have"
        assert world.rows.position.sequence == 100

    async def test_it_takes_what_is_ours_and_goes_on_from_its_place(self) -> None:
        world = self.world(head=103)
        world.board.files = {101: mail(1, 90, 7), 102: mail(2, 7), 103: mail(3, 98, 90)}
        turn = await world.turn(world.stream)
        assert world.rows.found == [1, 3]
        assert turn.position == 103
        assert world.listed == [1, 2]
        assert world.rows.gaps == []

    async def test_a_file_that_is_not_there_yet_is_asked_for_every_few_seconds(self) -> None:
        world = self.world()
        await world.turn(world.stream)
        times = [at for at, what in world.board.asked if what == 101]
        assert len(times) > 5
        assert min(later - at for at, later in pairwise(times)) >= NOT_YET
        assert [what for _, what in world.board.asked].count("sequence") == 1

    async def test_after_a_restart_the_file_that_was_not_there_is_waited_for(self) -> None:
        world = World()
        world.rows.position = StreamPosition(100, 0.0, world.clock.now() - 2.0)
        begun = world.clock.monotonic()
        await world.turn(world.stream)
        assert world.board.asked[0][0] - begun == pytest.approx(NOT_YET - 2.0)

    async def test_a_long_way_is_kept_in_pieces(self) -> None:
        world = self.world(head=100 + 3 * BATCH)
        world.board.files = {number: mail(number, 90) for number in range(101, 101 + 3 * BATCH)}
        await world.turn(world.stream)
        assert len(world.rows.found) == 3 * BATCH

    async def test_what_a_day_has_taken_is_a_gap(self) -> None:
        world = self.world(head=5000)
        world.board.files = {number: mail(number, 90) for number in range(4000, 5001)}
        await world.turn(world.stream)
        assert world.rows.gaps == [5000]
        assert world.rows.position.sequence == 5000
        assert world.rows.found == []

    async def test_one_missing_file_is_passed_over_and_a_gap(self) -> None:
        world = self.world(head=103)
        world.board.files = {102: mail(2, 90), 103: mail(3, 90)}
        await world.turn(world.stream)
        assert world.rows.found == [2, 3]
        assert world.rows.gaps == [103]

    async def test_a_file_that_comes_just_after_its_number_is_no_gap(self) -> None:
        world = self.world(head=102)
        world.board.files = {102: mail(2, 90)}
        working = asyncio.ensure_future(world.turn(world.stream))
        while "sequence" not in [what for _, what in world.board.asked]:
            await asyncio.sleep(0)
        world.board.files[101] = mail(1, 90)
        await working
        assert world.rows.found == [1, 2]
        assert world.rows.gaps == []

    async def test_numbers_that_begin_anew_are_followed(self) -> None:
        world = self.world(position=5000, head=3)
        await world.turn(world.stream)
        assert world.rows.position.sequence == 3
        assert world.rows.gaps == [3]

    async def test_a_file_that_cannot_be_read_is_given_up_after_some_attempts(self) -> None:
        world = self.world(head=102)
        world.board.files = {101: BadInput("it is not what it should be"), 102: mail(2, 90)}
        for _ in range(UNUSABLE - 1):
            with pytest.raises(NotNow):
                await world.turn(world.stream)
            assert world.rows.position.sequence == 100
        await world.turn(world.stream)
        assert world.rows.found == [2]
        assert world.rows.gaps, "the lists tell what was on it"

    async def test_what_was_read_before_an_outage_is_kept(self) -> None:
        world = self.world(head=102)
        world.board.files = {101: mail(1, 90), 102: NotNow("503", 7.0)}
        with pytest.raises(NotNow) as refused:
            await world.turn(world.stream)
        assert refused.value.until == 7.0
        assert world.rows.position.sequence == 101
        assert world.rows.found == [1]

    async def test_the_last_number_is_looked_up_now_and_then(self) -> None:
        world = self.world()
        for _ in range(int(HEAD_EVERY / TURN) + 2):
            await world.turn(world.stream)
        assert [what for _, what in world.board.asked].count("sequence") == 2
