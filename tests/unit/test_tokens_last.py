"""Refresh tokens that were not used for some 30 days die: each is used, whatever state its pilot is in."""

from __future__ import annotations

import random
from collections.abc import AsyncIterator
from contextlib import suppress
from itertools import pairwise
from pathlib import Path

import pytest

from killsyncd.auth.encryption import Vault, token_aad
from killsyncd.auth.grant import GrantUnusable, ListRefused, SsoUnavailable
from killsyncd.auth.key_file import new_key
from killsyncd.auth.refusals import DAY, HOUR
from killsyncd.auth.token_manager import TokenManager
from killsyncd.core.errors import GrantDead, TokenRefused
from killsyncd.core.model import UserState
from killsyncd.storage.migrations import migrate
from killsyncd.storage.repositories.grants import GrantRepository
from killsyncd.storage.sqlite.store import SqliteStore
from tests.support.clocks import ManualClock
from tests.support.storage_world import Pilot, StorageWorld
from tests.support.sync_world import Timed
from tests.support.token_world import MARGIN, ScriptedSso

LONGEST = 20 * DAY


class Month:
    """A real database, an SSO that is scripted, and the refresher's rounds for as long as a test wants."""

    def __init__(self, clock: ManualClock, world: StorageWorld) -> None:
        self.clock = clock
        self.world = world
        self.sso = ScriptedSso(clock, character=1)
        self.vault = Vault([new_key()])
        self.grants = GrantRepository(world.store)
        self.tokens = TokenManager(
            self.grants, self.sso, self.vault, clock, world.holder, MARGIN, rng=random.Random(1)
        )
        self.used: list[float] = []
        self._asked = 0

    async def pilot(self) -> Pilot:
        pilot = await self.world.pilot(1)
        sealed = self.vault.encrypt(self.sso.current, aad=token_aad(1, "refresh"))
        await self.world.rows(
            "UPDATE grants SET refresh_token = :token, access_token = NULL, renew_at = 0 WHERE user_id = :id",
            token=sealed,
            id=pilot.user_id,
        )
        await self.world.rows("UPDATE users SET owner_hash = :owner", owner=self.sso.owner)
        return pilot

    async def passes(self, days: float, step: float = 6 * HOUR) -> None:
        """The refresher comes round; when it used the refresh token is in `used`."""
        end = self.clock.now() + days * DAY
        while self.clock.now() < end:
            for user_id in await self.grants.due(self.clock.now(), 10):
                with suppress(SsoUnavailable, GrantUnusable, TokenRefused):
                    await self.tokens.renew(user_id)
            if len(self.sso.asked) > self._asked:
                self._asked = len(self.sso.asked)
                self.used.append(self.clock.now())
            self.clock.tick(step)

    def longest_gap(self) -> float:
        moments = [*self.used, self.clock.now()]
        return max(second - first for first, second in pairwise(moments))


@pytest.fixture
async def month(tmp_path: Path) -> AsyncIterator[Month]:
    clock = ManualClock()
    store = await SqliteStore.open(tmp_path / "killsyncd.db", clock)
    try:
        await migrate(store)
        yield Month(clock, await StorageWorld.begin(Timed(clock), store))
    finally:
        await store.close()


async def state_of(month: Month, pilot: Pilot) -> UserState:
    row = await month.grants.load(pilot.user_id)
    assert row is not None
    return row.state


async def test_of_a_paused_pilot(month: Month) -> None:
    pilot = await month.pilot()
    await month.world.rows("UPDATE users SET paused = 1 WHERE id = :id", id=pilot.user_id)
    await month.passes(40)
    assert month.longest_gap() < DAY


async def test_of_a_pilot_without_the_scope(month: Month) -> None:
    pilot = await month.pilot()
    month.sso.scopes = frozenset({"publicData"})
    await month.passes(40)
    assert await state_of(month, pilot) is UserState.SCOPE_MISSING
    assert month.longest_gap() < 2 * DAY


async def test_of_a_pilot_whose_list_is_refused_for_ever(month: Month) -> None:
    """The token has the scope: asked hourly, called missing, and asked on."""
    pilot = await month.pilot()
    for _ in range(160):
        await month.passes(0.25)
        with suppress(GrantUnusable, ListRefused):
            token = await month.tokens.access_token(pilot.user_id)
            await month.tokens.list_refused(pilot.user_id, pilot.source_id, token, "Forbidden")
    assert month.longest_gap() < DAY


async def test_of_a_pilot_whose_owner_nobody_knows(month: Month) -> None:
    pilot = await month.pilot()
    await month.world.rows("UPDATE users SET owner_hash = NULL")
    month.sso.verify_faults = [TokenRefused("no owner in it")] * 100
    await month.passes(40)
    assert await state_of(month, pilot) is UserState.OK
    assert month.longest_gap() < DAY


async def test_of_a_pilot_whom_the_sso_refused_for_some_days(month: Month) -> None:
    """`needs_login` comes back by itself, for a week; then the refresh token is dead and forgotten."""
    pilot = await month.pilot()
    month.sso.faults = [GrantDead("invalid_grant") for _ in range(5)]
    await month.passes(40)
    assert await state_of(month, pilot) is UserState.OK
    assert month.longest_gap() < 3 * DAY < LONGEST
