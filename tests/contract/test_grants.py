"""What token care and logins are promised of a store, over the real ones and the tests' own in memory."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from dataclasses import dataclass, replace
from pathlib import Path

import pytest

from killsyncd.auth.grant import GrantRow, NewGrant
from killsyncd.auth.login_state import LoginOrigin, LoginRow, LoginState
from killsyncd.auth.ports import GrantStore, LoginStore
from killsyncd.core.model import UserState
from killsyncd.storage.postgres.store import PostgresStore
from killsyncd.storage.repositories.grants import GrantRepository, PendingLogins
from killsyncd.storage.transaction import Run, Store, Tx
from tests.support.clocks import START, ManualClock
from tests.support.grant_store import MemoryGrants, MemoryLogins
from tests.support.migrated_postgres import MigratedDatabases
from tests.support.new_database import open_migrated

OURS, THEIRS = "daemon-1", "daemon-2"


@dataclass
class Stores:
    grants: GrantStore
    logins: LoginStore


def _daemon(name: str) -> Tx[None]:
    yield Run(
        "meta.daemon_join",
        {"id": name, "host": "h", "pid": 1, "egress": "e", "version": "1", "seconds": 1e6},
    )


async def _with_daemons(store: Store) -> Stores:
    for name in (OURS, THEIRS):
        await store.write(_daemon, name)
    return Stores(GrantRepository(store), PendingLogins(store))


@pytest.fixture(params=["memory", "sqlite", pytest.param("postgres", marks=pytest.mark.postgres)])
async def stores(request: pytest.FixtureRequest, tmp_path: Path) -> AsyncIterator[Stores]:
    if request.param == "memory":
        yield Stores(MemoryGrants(), MemoryLogins())
    elif request.param == "sqlite":
        file = await open_migrated(tmp_path / "killsyncd.db", ManualClock())
        try:
            yield await _with_daemons(file)
        finally:
            await file.close()
    else:
        databases: MigratedDatabases = request.getfixturevalue("databases")
        url = await databases.take()
        server = await PostgresStore.open(url, connections=5)
        try:
            yield await _with_daemons(server)
        finally:
            await server.close()
            await databases.give_back(url)


def a_grant(**changes: object) -> NewGrant:
    grant = NewGrant(
        character_id=90000001,
        character_name="Some Pilot",
        owner_hash="owner-1",
        scopes=frozenset({"b", "a"}),
        state=UserState.OK,
        state_reason=None,
        access_token_enc=b"\x00access",
        refresh_token_enc=b"\xffrefresh",
        expires_at=START + 1200.5,
        renew_at=START + 900.25,
    )
    return replace(grant, **changes)  # type: ignore[arg-type]


async def loaded(stores: Stores, user_id: str) -> GrantRow:
    row = await stores.grants.load(user_id)
    assert row is not None
    return row


@pytest.fixture
async def row(stores: Stores) -> GrantRow:
    return await loaded(stores, (await stores.grants.register(a_grant())).user_id)


async def store_tokens(stores: Stores, row: GrantRow, *, holder: str = OURS) -> GrantRow | None:
    return await stores.grants.store_tokens(
        row.user_id,
        holder=holder,
        version=row.version,
        access_token_enc=b"access 2",
        refresh_token_enc=b"refresh 2",
        expires_at=START + 2400,
        renew_at=START + 2100,
    )


async def fail(stores: Stores, row: GrantRow, **changes: object) -> GrantRow:
    outcome = {"unanswered": True, "refused_at": None, "not_before": START + 60, "holder": OURS, **changes}
    version = outcome.pop("version", row.version)
    await stores.grants.record_failure(row.user_id, version=version, **outcome)  # type: ignore[arg-type]
    return await loaded(stores, row.user_id)


async def attempt(stores: Stores, row: GrantRow, holder: str = OURS) -> GrantRow:
    begun = await stores.grants.begin_attempt(row.user_id, holder=holder, version=row.version)
    assert begun is not None
    return begun


# -- registering -----------------------------------------------------------------------------------


async def test_what_was_registered_is_loaded(stores: Stores, row: GrantRow) -> None:
    assert (row.character_id, row.owner_hash, row.state) == (90000001, "owner-1", UserState.OK)
    assert (row.access_token_enc, row.refresh_token_enc) == (b"\x00access", b"\xffrefresh")
    assert (row.expires_at, row.renew_at) == (START + 1200.5, START + 900.25)
    assert (row.unanswered_attempts, row.refusals, row.failures) == (0, 0, 0)
    assert (row.not_before, row.holder) == (0.0, None)
    assert await stores.grants.load("nobody") is None


async def test_user_ids_are_not_the_characters(stores: Stores, row: GrantRow) -> None:
    assert "90000001" not in row.user_id
    other = await stores.grants.register(a_grant(character_id=90000002))
    assert other.created
    assert other.user_id != row.user_id


async def test_logging_in_again_starts_anew_under_the_same_id(stores: Stores, row: GrantRow) -> None:
    await attempt(stores, row)
    await fail(stores, row, refused_at=START)
    await stores.grants.mark(
        row.user_id, version=row.version, state=UserState.NEEDS_LOGIN, reason="gone", drop_tokens=True
    )
    again = await stores.grants.register(a_grant(owner_hash="owner-2", refresh_token_enc=b"new"))
    assert (again.user_id, again.created) == (row.user_id, False)
    now = await loaded(stores, row.user_id)
    assert (now.state, now.state_reason, now.owner_hash) == (UserState.OK, None, "owner-2")
    assert now.refresh_token_enc == b"new"
    assert (now.unanswered_attempts, now.refusals, now.failures) == (0, 0, 0)
    assert (now.not_before, now.holder) == (0.0, None)
    assert now.version > row.version + 1, "a version that was never there"


async def test_a_login_cannot_be_overwritten_by_a_refresh_that_was_under_way(
    stores: Stores, row: GrantRow
) -> None:
    begun = await attempt(stores, row)
    await stores.grants.register(a_grant(refresh_token_enc=b"new"))
    assert await store_tokens(stores, begun) is None
    await fail(stores, begun)
    assert not await stores.grants.mark(
        row.user_id, version=begun.version, state=UserState.NEEDS_LOGIN, reason="dead", drop_tokens=True
    )
    now = await loaded(stores, row.user_id)
    assert (now.refresh_token_enc, now.failures, now.state) == (b"new", 0, UserState.OK)


async def test_an_owner_is_taken_over_once(stores: Stores) -> None:
    user_id = (await stores.grants.register(a_grant(owner_hash=""))).user_id
    for owner in ("owner-1", "owner-2"):
        await stores.grants.own(user_id, owner)
        assert (await loaded(stores, user_id)).owner_hash == "owner-1"


async def test_a_new_name_changes_nothing_else(stores: Stores, row: GrantRow) -> None:
    await stores.grants.rename(row.user_id, "Another Name")
    assert await loaded(stores, row.user_id) == replace(row, character_name="Another Name")


# -- refreshing ------------------------------------------------------------------------------------


async def test_an_attempt_is_counted_and_leased(stores: Stores, row: GrantRow) -> None:
    begun = await attempt(stores, row)
    assert (begun.holder, begun.unanswered_attempts, begun.version) == (OURS, 1, row.version)
    assert begun == await loaded(stores, row.user_id)
    assert await stores.grants.begin_attempt(row.user_id, holder=THEIRS, version=row.version) is None
    assert (await attempt(stores, row)).unanswered_attempts == 2, "our own lease does not keep us out"


async def test_of_many_attempts_at_once_one_begins(stores: Stores, row: GrantRow) -> None:
    begun = await asyncio.gather(
        *(
            stores.grants.begin_attempt(row.user_id, holder=name, version=row.version)
            for name in (OURS, THEIRS)
        )
    )
    assert sum(each is not None for each in begun) == 1


async def test_no_attempt_on_what_changed_ended_or_is_not_there(stores: Stores, row: GrantRow) -> None:
    assert await stores.grants.begin_attempt("nobody", holder=OURS, version=1) is None
    assert await stores.grants.begin_attempt(row.user_id, holder=OURS, version=row.version + 1) is None
    await stores.grants.mark(row.user_id, version=row.version, state=UserState.OWNER_CHANGED, reason="r")
    now = await loaded(stores, row.user_id)
    assert now.unanswered_attempts == 0
    assert await stores.grants.begin_attempt(row.user_id, holder=OURS, version=now.version) is None


@pytest.mark.parametrize("state", [UserState.NEEDS_LOGIN, UserState.SCOPE_MISSING])
async def test_who_may_come_back_is_asked_for_when_the_time_has_come(
    stores: Stores, row: GrantRow, state: UserState
) -> None:
    later = START + 86400
    assert await stores.grants.mark(
        row.user_id, version=row.version, state=state, reason="refused", not_before=later
    )
    now = await loaded(stores, row.user_id)
    assert (now.refresh_token_enc, now.not_before) == (b"\xffrefresh", later)
    assert await stores.grants.due(later - 1, 10) == []
    assert await stores.grants.next_due() == later
    assert await stores.grants.due(later, 10) == [row.user_id]
    stored = await store_tokens(stores, await attempt(stores, now))
    assert stored is not None
    # Whether the scope is back, only the new token says.
    assert stored.state is (UserState.OK if state is UserState.NEEDS_LOGIN else state)
    assert stored.not_before == 0.0
    assert await stores.grants.mark(row.user_id, version=stored.version, state=UserState.OK, reason=None)
    back = await loaded(stores, row.user_id)
    assert (back.state, back.state_reason) == (UserState.OK, None)


async def test_refusals_are_counted_until_tokens_are_stored(stores: Stores, row: GrantRow) -> None:
    for n, at in enumerate((START + 10, START + 70), start=1):
        now = await fail(stores, await attempt(stores, row), unanswered=False, refused_at=at)
        assert (now.refusals, now.refused_since, now.failures) == (n, START + 10, n)
    now = await fail(stores, await attempt(stores, row), unanswered=False)
    assert (now.refusals, now.refused_since, now.failures) == (2, START + 10, 3), "the SSO was down"
    now = await fail(stores, await attempt(stores, row), unanswered=False, refused_at=START - 5)
    assert now.refused_since == START - 5, "the clock had been ahead"
    stored = await store_tokens(stores, await attempt(stores, now))
    assert stored is not None
    assert (stored.refusals, stored.refused_since) == (0, None)


async def test_refused_lists_are_counted_until_one_comes(stores: Stores, row: GrantRow) -> None:
    assert not row.list_refused
    assert await stores.grants.list_refused(row.user_id, 1, version=row.version + 1) is None
    heard = await stores.grants.list_refused(row.user_id, 1, version=row.version)
    assert heard is not None
    assert (heard.count, heard.believed) == (1, False)
    assert heard.wait == pytest.approx(60.0, abs=1.0)
    assert (await loaded(stores, row.user_id)).list_refused
    heard = await stores.grants.list_refused(row.user_id, 1, version=row.version)
    assert heard is not None
    assert heard.count == 1, "it was asked again at once"
    stored = await store_tokens(stores, await attempt(stores, row))
    assert stored is not None
    assert stored.list_refused, "a refresh proves nothing"
    await stores.grants.list_accepted(row.user_id, 1)
    assert not (await loaded(stores, row.user_id)).list_refused
    await stores.grants.list_refused(row.user_id, 1, version=stored.version)
    await stores.grants.register(a_grant())
    assert not (await loaded(stores, row.user_id)).list_refused, "a login begins anew"


async def test_an_answer_without_an_access_token_stores_the_refresh_token(
    stores: Stores, row: GrantRow
) -> None:
    await attempt(stores, row)
    stored = await stores.grants.store_tokens(
        row.user_id,
        holder=OURS,
        version=row.version,
        access_token_enc=None,
        refresh_token_enc=b"refresh 2",
        expires_at=START,
        renew_at=START,
    )
    assert stored is not None
    assert (stored.access_token_enc, stored.refresh_token_enc) == (None, b"refresh 2")
    assert await stores.grants.due(START, 10) == [row.user_id]


async def test_times_from_a_clock_that_was_wrong_hold_nobody_up(stores: Stores, row: GrantRow) -> None:
    await fail(stores, row, not_before=START + 30 * 86400)
    assert await stores.grants.due(START + 900.25, 10) == [row.user_id]
    await stores.grants.register(a_grant(renew_at=START + 30 * 86400))
    assert await stores.grants.due(START, 10) == [row.user_id]


async def test_stored_tokens_settle_everything(stores: Stores, row: GrantRow) -> None:
    await attempt(stores, row)
    begun = await attempt(stores, await fail(stores, row, refused_at=START))
    stored = await store_tokens(stores, begun)
    assert stored is not None
    assert stored == await loaded(stores, row.user_id)
    assert (stored.access_token_enc, stored.refresh_token_enc) == (b"access 2", b"refresh 2")
    assert (stored.expires_at, stored.renew_at) == (START + 2400, START + 2100)
    assert (stored.unanswered_attempts, stored.refusals, stored.failures) == (0, 0, 0)
    assert (stored.not_before, stored.holder) == (0.0, None)
    assert stored.version > begun.version
    assert await store_tokens(stores, begun) is None, "the same compare-and-swap holds once"


async def test_storing_after_the_lease_went_over_leaves_it_to_its_holder(
    stores: Stores, row: GrantRow
) -> None:
    begun = await attempt(stores, row)
    await stores.grants.release(row.user_id, holder=OURS)
    await attempt(stores, row, THEIRS)
    stored = await store_tokens(stores, begun)
    assert stored is not None
    assert stored.holder == THEIRS


async def test_failures_are_counted_by_their_kind(stores: Stores, row: GrantRow) -> None:
    await attempt(stores, row)
    now = await fail(stores, row, unanswered=True)
    assert (now.failures, now.unanswered_attempts, now.refusals) == (1, 1, 0)
    assert (now.not_before, now.holder, now.version) == (START + 60, None, row.version)
    await attempt(stores, row)
    now = await fail(stores, row, unanswered=False, refused_at=START, not_before=START + 99)
    assert (now.failures, now.unanswered_attempts, now.refusals) == (2, 1, 1)
    assert now.not_before == START + 99
    for _ in range(2):
        now = await fail(stores, row, unanswered=False)
    assert now.unanswered_attempts == 0, "never below zero"


async def test_a_failure_of_an_older_version_says_nothing(stores: Stores, row: GrantRow) -> None:
    assert await fail(stores, row, version=row.version - 1) == row


async def test_a_failure_leaves_another_daemons_lease(stores: Stores, row: GrantRow) -> None:
    await attempt(stores, row, THEIRS)
    assert (await fail(stores, row)).holder == THEIRS


async def test_releasing_gives_back_only_ones_own_lease(stores: Stores, row: GrantRow) -> None:
    await attempt(stores, row)
    await stores.grants.release(row.user_id, holder=THEIRS)
    assert (await loaded(stores, row.user_id)).holder == OURS
    await stores.grants.release(row.user_id, holder=OURS)
    now = await loaded(stores, row.user_id)
    assert (now.holder, now.unanswered_attempts, now.failures) == (None, 1, 0)


@pytest.mark.parametrize("drop", [True, False])
async def test_marking(stores: Stores, row: GrantRow, drop: bool) -> None:
    begun = await attempt(stores, row)
    marked = await stores.grants.mark(
        row.user_id, version=begun.version, state=UserState.OWNER_CHANGED, reason="sold", drop_tokens=drop
    )
    assert marked
    now = await loaded(stores, row.user_id)
    assert (now.state, now.state_reason, now.holder) == (UserState.OWNER_CHANGED, "sold", None)
    assert (now.access_token_enc is None, now.refresh_token_enc is None) == (drop, drop)
    assert now.version > begun.version
    assert not await stores.grants.mark(
        row.user_id, version=begun.version, state=UserState.NEEDS_LOGIN, reason="late", drop_tokens=True
    )


# -- who is due ------------------------------------------------------------------------------------


async def test_due_are_those_whose_time_has_come_the_longest_first(stores: Stores) -> None:
    ids = [
        (await stores.grants.register(a_grant(character_id=90000001 + n, renew_at=START + at))).user_id
        for n, at in enumerate([300, 100, 200, 400])
    ]
    assert await stores.grants.due(START + 99, 10) == []
    assert await stores.grants.due(START + 300, 10) == [ids[1], ids[2], ids[0]]
    assert await stores.grants.due(START + 300, 2) == [ids[1], ids[2]]
    assert await stores.grants.next_due() == START + 100


async def test_due_are_not_the_ended_the_held_and_those_who_wait(stores: Stores) -> None:
    rows = [
        await loaded(stores, (await stores.grants.register(a_grant(character_id=90000001 + n))).user_id)
        for n in range(5)
    ]
    ended, held, waits, dropped, due = rows
    await stores.grants.mark(ended.user_id, version=ended.version, state=UserState.OWNER_CHANGED, reason="r")
    await stores.grants.mark(
        dropped.user_id, version=dropped.version, state=UserState.OK, reason="", drop_tokens=True
    )
    await attempt(stores, held, THEIRS)
    await fail(stores, waits, not_before=START + 5000)
    assert await stores.grants.due(START + 4000, 10) == [due.user_id]
    assert set(await stores.grants.due(START + 5000, 10)) == {due.user_id, waits.user_id}


async def test_the_next_one_due_is_the_first_to_end_its_wait(stores: Stores, row: GrantRow) -> None:
    await fail(stores, row, not_before=START + 5000)
    assert await stores.grants.next_due() == START + 5000
    await stores.grants.mark(
        row.user_id, version=row.version, state=UserState.NEEDS_LOGIN, reason="r", drop_tokens=True
    )
    assert await stores.grants.next_due() is None


# -- pending logins --------------------------------------------------------------------------------


def a_login(**changes: object) -> LoginRow:
    row = LoginRow("ab" * 32, b"\x00verifier", LoginOrigin.BROWSER, "cd" * 32, START, START + 600)
    return replace(row, **changes)  # type: ignore[arg-type]


async def take(
    stores: Stores,
    *,
    origin: LoginOrigin = LoginOrigin.BROWSER,
    cookie: str | None = "cd" * 32,
    now: float = START,
) -> LoginRow | None:
    return await stores.logins.take("ab" * 32, origins={origin}, cookie_hash=cookie, now=now)


async def test_a_login_is_taken_once_and_its_verifier_wiped(stores: Stores) -> None:
    await stores.logins.put(a_login(), forget_before=0)
    assert await stores.logins.load("ab" * 32) == a_login()
    assert await take(stores) == a_login()
    now = await stores.logins.load("ab" * 32)
    assert now is not None
    assert (now.status, now.verifier_enc) == (LoginState.WORKING, b"")
    assert await take(stores) is None


async def test_of_many_takers_one_gets_it(stores: Stores) -> None:
    await stores.logins.put(a_login(), forget_before=0)
    taken = await asyncio.gather(*(take(stores) for _ in range(10)))
    assert sum(each is not None for each in taken) == 1


async def test_takers_without_the_right_change_nothing(stores: Stores) -> None:
    await stores.logins.put(a_login(), forget_before=0)
    assert await take(stores, origin=LoginOrigin.CLI) is None
    assert await take(stores, cookie=None) is None
    assert await take(stores, cookie="ef" * 32) is None
    assert await take(stores, now=START + 600) is None
    assert await stores.logins.take("ff" * 32, origins=set(LoginOrigin), cookie_hash=None, now=START) is None
    assert await take(stores, now=START + 599) is not None


async def test_a_login_without_a_cookie_needs_none(stores: Stores) -> None:
    await stores.logins.put(a_login(origin=LoginOrigin.CLI, cookie_hash=None), forget_before=0)
    assert await take(stores, origin=LoginOrigin.CLI, cookie="cd" * 32) is not None


async def test_only_what_is_working_is_finished_and_once(stores: Stores, row: GrantRow) -> None:
    await stores.logins.put(a_login(), forget_before=0)
    await stores.logins.finish("ab" * 32, status=LoginState.DONE, user_id=row.user_id, message="early")
    assert await stores.logins.load("ab" * 32) == a_login()
    await take(stores)
    await stores.logins.finish("ab" * 32, status=LoginState.DONE, user_id=row.user_id, message="welcome")
    await stores.logins.finish("ab" * 32, status=LoginState.FAILED, user_id=None, message="late")
    now = await stores.logins.load("ab" * 32)
    assert now is not None
    assert (now.status, now.user_id, now.message) == (LoginState.DONE, row.user_id, "welcome")


async def test_old_logins_go_when_a_new_one_comes(stores: Stores) -> None:
    await stores.logins.put(a_login(), forget_before=0)
    await stores.logins.put(a_login(state_hash="ef" * 32), forget_before=START + 600)
    assert await stores.logins.load("ab" * 32) is not None
    await stores.logins.put(a_login(state_hash="01" * 32), forget_before=START + 600.5)
    assert await stores.logins.load("ab" * 32) is None
