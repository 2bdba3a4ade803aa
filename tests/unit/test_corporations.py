"""Corporations over a real store: where pilots are, who reads a list, and what a job does when ESI refuses
it."""

from __future__ import annotations

from collections.abc import AsyncIterator, Sequence
from pathlib import Path
from typing import Any

import pytest

from killsyncd.auth.grant import GrantUnusable
from killsyncd.core.errors import Unavailable
from killsyncd.core.model import Affiliation, Origin, SourceKind, UserState
from killsyncd.core.sources import SourceState
from killsyncd.esi.responses import Affiliations, EsiError, EsiStatus, RateLimited
from killsyncd.storage.repositories.corporations import CorporationRepository
from killsyncd.storage.repositories.sources import SourceRepository
from killsyncd.sync.corporations import AGAIN, LOOK_AGAIN, REFUSED_IN_A_ROW, UNANSWERED_AGAIN, Corporations
from tests.support.storage_world import Pilot
from tests.support.sync_world import SyncWorld

CORPORATION, OTHER = 98_000_001, 98_000_002
SCOPES = "esi-killmails.read_corporation_killmails.v1 esi-killmails.read_killmails.v1"
ROLE = "Character does not have required role(s)"


class PlayedAffiliations:
    """ESI's `/characters/affiliation`. where: corporation by character. ill: what every question is answered.

    unknown: characters that fail the whole batch.
    """

    def __init__(self) -> None:
        self.where: dict[int, int] = {}
        self.unknown: set[int] = set()
        self.closed: set[int] = set()
        self.ill: EsiError | None = None
        self.asked: list[list[int]] = []
        self.asked_closed: list[int] = []

    async def affiliations(self, ids: Sequence[int]) -> Affiliations:
        self.asked.append(list(ids))
        if self.ill is not None:
            raise self.ill
        if self.unknown & set(ids):
            raise EsiStatus(404, "Invalid character ID")
        found = [Affiliation(each, self.where[each]) for each in ids if each in self.where]
        return Affiliations(found, 3600.0)

    async def corporation_closed(self, corporation_id: int) -> bool:
        self.asked_closed.append(corporation_id)
        if corporation_id == OTHER:
            raise EsiStatus(404, "Corporation not found")
        return corporation_id in self.closed


class Played:
    """A store, ESI, and the task between them."""

    def __init__(self, core: SyncWorld) -> None:
        self.core = core
        self.esi = PlayedAffiliations()
        self.rows = CorporationRepository(core.world.store)
        self.task = Corporations(
            esi=self.esi,  # type: ignore[arg-type]
            rows=self.rows,
            sources=SourceRepository(core.world.store),
            events=core.events,
            clock=core.clock,
            skip_within=900.0,
        )

    async def logged_in(self, *characters: int, into: int = CORPORATION) -> list[Pilot]:
        """Pilots who lend a token; ESI says that they are in this corporation."""
        pilots = [await self.core.world.pilot(each) for each in characters]
        await self.core.world.rows("UPDATE users SET scopes = :scopes", scopes=SCOPES)
        self.esi.where |= dict.fromkeys(characters, into)
        return pilots

    async def list_of(self, corporation: int = CORPORATION) -> Pilot:
        """The corporation's list, as what a job is claimed for."""
        row = await self.core.world.row(
            "SELECT id, via_user_id FROM sources WHERE kind = 'corporation' AND subject_id = :id",
            id=corporation,
        )
        return Pilot(str(row["via_user_id"]), int(row["id"]), corporation)


@pytest.fixture
async def played(tmp_path: Path) -> AsyncIterator[Played]:
    async with SyncWorld.begin(tmp_path) as core:
        yield Played(core)


# -- where pilots are ----------------------------------------------------------------------------


async def test_everybody_is_asked_for_at_once_and_again_after_an_hour(played: Played) -> None:
    await played.logged_in(1, 2, 3)
    assert await played.task.round() == LOOK_AGAIN
    assert played.esi.asked == [[1, 2, 3]]
    played.core.clock.tick(3599.0)
    await played.task.round()
    assert len(played.esi.asked) == 1
    played.core.clock.tick(2.0)
    await played.task.round()
    assert played.esi.asked[1:] == [[1, 2, 3]]


async def test_a_corporation_is_queued_like_a_login_when_it_gets_a_reader(played: Played) -> None:
    await played.logged_in(1)
    await played.task.round()
    rows = await played.core.world.rows("SELECT priority, origin FROM wants")
    assert [tuple(each) for each in rows] == [(8, "login")]


async def test_one_id_that_esi_refuses_hides_nobody(played: Played) -> None:
    await played.logged_in(*range(1, 9))
    played.esi.unknown = {3}
    await played.task.round()
    known = await played.core.world.value("SELECT COUNT(*) FROM users WHERE corporation_id IS NOT NULL")
    assert known == 7
    assert [3] in played.esi.asked
    played.core.clock.tick(AGAIN - 10.0)
    played.esi.asked.clear()
    await played.task.round()
    assert played.esi.asked == [], "nobody is asked for sooner because of it"


@pytest.mark.parametrize("how", ["refused", "left out"])
async def test_who_is_missing_in_an_answer_is_where_he_was_for_some_days(played: Played, how: str) -> None:
    """Nothing said is no word: one such answer took every corporation's reader away."""
    await played.logged_in(1, 2)
    await played.task.round()
    assert (await played.list_of()).user_id != "None"
    if how == "refused":
        played.esi.unknown = {1, 2}
    else:
        played.esi.where = {}
    there = "SELECT COUNT(*) FROM users WHERE corporation_id IS NOT NULL"
    for _ in range(6 * 24):
        played.core.clock.tick(AGAIN + 1.0)
        await played.task.round()
    assert await played.core.world.value(there) == 2
    for _ in range(2 * 24):
        played.core.clock.tick(AGAIN + 1.0)
        await played.task.round()
    assert await played.core.world.value(there) == 0, "biomassed, or erased"


async def test_where_every_question_is_refused_few_are_asked(played: Played) -> None:
    """Each counts on the error limit that stops every route."""
    await played.logged_in(*range(1, 31))
    played.esi.ill = EsiStatus(400, "something else")
    await played.task.round()
    assert len(played.esi.asked) <= REFUSED_IN_A_ROW
    asked = len(played.esi.asked)
    await played.task.round()
    assert len(played.esi.asked) == asked, "not again at once"
    played.esi.ill = None
    played.core.clock.tick(UNANSWERED_AGAIN + 1.0)
    await played.task.round()
    known = await played.core.world.value("SELECT COUNT(*) FROM users WHERE corporation_id IS NOT NULL")
    assert known >= 19, "those that stood alone when it was refused wait for their hour"


async def test_whether_a_corporation_that_all_have_left_was_closed_is_asked_once_a_day(
    played: Played,
) -> None:
    sources = SourceRepository(played.core.world.store)
    await played.logged_in(1)
    await played.task.round()
    assert played.esi.asked_closed == [], "somebody of ours is in it"
    played.esi.where = {1: 1_000_167}
    played.core.clock.tick(3601.0)
    for _ in range(3):
        await played.task.round()
    assert played.esi.asked_closed == [CORPORATION]
    (left,) = await sources.all(SourceKind.CORPORATION)
    assert (left.state, "any more" in (left.reason or "")) == (SourceState.NO_TOKEN, True)
    played.esi.closed = {CORPORATION}
    played.core.clock.tick(86_401.0)
    for _ in range(3):
        await played.task.round()
    assert played.esi.asked_closed == [CORPORATION] * 2
    (closed,) = await sources.all(SourceKind.CORPORATION)
    assert (closed.state, closed.reason) == (SourceState.NO_TOKEN, "the corporation was closed")
    (npc,) = await sources.npc_corporations()
    assert (npc.state, npc.source.subject_id) == (SourceState.UNAVAILABLE, 1_000_167)
    played.core.clock.tick(86_401.0)
    await played.task.round()
    assert len(played.esi.asked_closed) == 2, "that is for good"


async def test_a_corporation_that_esi_does_not_know_is_no_trouble_of_the_others(played: Played) -> None:
    await played.logged_in(1, into=OTHER)
    await played.task.round()
    await played.logged_in(1)
    played.core.clock.tick(3601.0)
    await played.task.round()
    assert played.esi.asked_closed == [OTHER]
    assert (await played.list_of()).user_id != "None"


@pytest.mark.parametrize(
    "trouble",
    [EsiStatus(503, ""), RateLimited("420", 1_800_000_000.0, group="error-limit")],
    ids=["outage", "error limit"],
)
async def test_while_esi_says_nothing_everybody_stays_where_they_were(
    played: Played, trouble: EsiError
) -> None:
    await played.logged_in(1)
    await played.task.round()
    played.esi.ill = trouble
    played.core.clock.tick(3601.0)
    assert 1.0 <= await played.task.round() <= LOOK_AGAIN
    assert (await played.list_of()).user_id != "None", "the reader goes on"
    asked = len(played.esi.asked)
    await played.task.round()
    assert len(played.esi.asked) == asked, "not asked again at once"
    played.core.clock.tick(301.0)
    await played.task.round()
    assert len(played.esi.asked) == asked + 1


async def test_a_database_that_is_away_ends_nothing(played: Played) -> None:
    await played.logged_in(1)
    played.core.store.failing = {"unplaced"}
    assert await played.task.round() > 0.0
    played.core.store.failing = set()
    await played.task.round()
    assert (await played.list_of()).user_id != "None"


# -- what a job does -----------------------------------------------------------------------------


def refused(played: Played, words: str = ROLE) -> EsiStatus:
    """ESI's own words. Answered, so that nothing of it is cached: later than any question of the test."""
    return EsiStatus(403, words, at=played.core.clock.now() + 100 * 86_400.0)


async def work(played: Played) -> Any:
    """Work the corporation's job off, once; answers its row."""
    target = await played.list_of()
    await played.core.work(target)
    return await played.core.want_row(target)


async def test_who_is_refused_is_followed_by_another_at_once_and_nothing_counts_as_a_failure(
    played: Played,
) -> None:
    await played.logged_in(1, 2)
    await played.task.round()
    first = (await played.list_of()).user_id
    played.core.lists.script = {1: [refused(played), played.core.lists.page(7)]}
    row = await work(played)
    assert (row["attempts"], row["holder"]) == (0, None)
    assert row["not_before"] - played.core.clock.now() <= 1.5
    assert (await played.list_of()).user_id != first
    played.core.clock.tick(2.0)
    assert await work(played) is None
    assert set(await played.core.world.refs()) == {7}
    assert {each.state for each in await played.core.world.users.all()} == {UserState.OK}
    assert played.core.tokens.refused == [], "the pilots' own lists hear nothing of it"


async def test_without_anybody_else_the_job_is_done_and_the_day_is_waited_for(played: Played) -> None:
    """Never in a loop: in 30 days that is 30 refusals, of a pilot who never was a Director."""
    await played.logged_in(1)
    await played.task.round()
    played.core.lists.script = {1: [refused(played)]}
    for day in range(30):
        for _ in range(24):
            await played.task.round()
            target = await played.list_of()
            if (job := await played.core.claim(target)) is not None:
                await played.core.consumer._work(job)
            played.core.clock.tick(3600.0)
        assert len(played.core.lists.asked) in (day, day + 1)
    assert 29 <= len(played.core.lists.asked) <= 30


async def test_a_sole_director_who_is_refused_for_once_reads_on_a_day_later(played: Played) -> None:
    """At most one refusal a day, also of who has the list alone; and one is no verdict for ever."""
    (pilot,) = await played.logged_in(1)
    await played.task.round()
    played.core.lists.script = {
        1: [played.core.lists.page(7), refused(played), played.core.lists.page(8, 7, expires=2000.0)]
    }
    assert await work(played) is None
    target = Pilot(pilot.user_id, (await played.list_of()).source_id, CORPORATION)
    played.core.clock.tick(400.0)
    await played.core.world.want(target, origin=Origin.MANUAL)
    row = await work(played)
    assert row["not_before"] - played.core.clock.now() == pytest.approx(86_400.0, abs=2.0)
    assert await played.core.claim(target) is None
    played.core.clock.tick(86_403.0)
    await played.task.round()
    assert await work(played) is None
    assert set(await played.core.world.refs()) == {7, 8}


async def test_a_reader_without_a_token_is_followed_by_another(played: Played) -> None:
    await played.logged_in(1, 2)
    await played.task.round()
    first = await played.list_of()
    played.core.tokens.fault = GrantUnusable("the login has ended", "log in", state=UserState.NEEDS_LOGIN)
    await played.core.world.users.mark(first.user_id, UserState.NEEDS_LOGIN, "the login has ended")
    job = await played.core.claim(first)
    assert job is None, "its reader cannot be claimed for"
    await played.task.round()
    assert (await played.list_of()).user_id != first.user_id
    row = await work(played)
    assert row is not None
    assert row["attempts"] == 0


async def test_an_outage_is_a_failure_of_the_list_and_no_refusal(played: Played) -> None:
    await played.logged_in(1, 2)
    await played.task.round()
    first = (await played.list_of()).user_id
    played.core.lists.script = {1: [EsiStatus(500, "")]}
    row = await work(played)
    assert row["attempts"] == 1
    assert (await played.list_of()).user_id == first
    assert await played.core.world.value("SELECT COUNT(*) FROM lenders") == 0


async def test_a_gateway_s_403_in_html_says_nothing_of_the_role(played: Played) -> None:
    await played.logged_in(1)
    await played.task.round()
    played.core.lists.script = {1: [EsiStatus(403, "")]}
    row = await work(played)
    assert row["attempts"] == 1
    assert await played.core.world.value("SELECT COUNT(*) FROM lenders") == 0


async def test_the_database_that_is_away_when_esi_refuses_loses_no_job(played: Played) -> None:
    await played.logged_in(1, 2)
    await played.task.round()
    played.core.store.failing = {"refused"}
    played.core.lists.script = {1: [refused(played)]}
    row = await work(played)
    assert row is not None
    assert row["holder"] is None
    with pytest.raises(Unavailable):
        await played.rows.refused(1, "x", None, "")  # type: ignore[arg-type]
