"""Webhooks along the feed: delivery, order, pace, trouble, pauses, replays; on both databases."""

from __future__ import annotations

from collections.abc import AsyncIterator
from pathlib import Path

import pytest

from killsyncd.config import Secret
from killsyncd.config.webhooks import signing_keys
from killsyncd.core.clock import SystemClock
from killsyncd.simulator.clock import SimClock
from killsyncd.simulator.webhooks import WebhookTargets
from killsyncd.storage.repositories.webhooks import WebhookRepository
from killsyncd.storage.transaction import Sql, Tx
from killsyncd.webhooks.embed import AGAIN
from killsyncd.webhooks.model import PaceWindow
from killsyncd.webhooks.ports import LEASE_SECONDS
from tests.contract.conftest import Backend, Sqlite
from tests.support.api_world import PILOT, ApiWorld
from tests.support.storage_world import StorageWorld
from tests.support.webhook_world import FAST, SECRET, WebhookWorld

DISCORD = {"name": "corp", "kind": "discord"}
JSON = {"name": "tool", "kind": "json", "signed": True}


@pytest.fixture
async def hooks(backend: Backend, tmp_path: Path) -> AsyncIterator[WebhookWorld]:
    clock = SystemClock()
    if isinstance(backend, Sqlite):  # real sockets need real time, and so does the pace in the database
        backend = await backend.with_clock(clock)
    api = ApiWorld(await backend.open(), clock)
    await api.pilot()
    (key,) = signing_keys(Secret(SECRET)) or ()
    targets = WebhookTargets(SimClock(), FAST, secret=key)
    async with WebhookWorld.begin(api.store, api, tmp_path, targets) as world:
        yield world


async def test_each_mail_once_and_in_order(hooks: WebhookWorld) -> None:
    await hooks.add_fresh(3)  # before the webhooks: no news to them
    async with hooks.running(DISCORD, JSON):
        ids = await hooks.add_fresh(12)
        await hooks.settled("corp")
        await hooks.settled("tool")
    assert hooks.taken("100") == ids
    assert hooks.taken("tool") == ids
    assert hooks.targets.breaches == []
    corp, tool = await hooks.rows.all()
    assert (corp.delivered, tool.delivered, corp.set_aside) == (12, 12, 0)
    kept = await hooks.rows.deliveries("corp", ids)
    assert [kept[each].message_id for each in ids] == [m.id for m in hooks.targets.taken if m.hook == "100"]


async def test_what_is_no_news_is_left_out_and_a_replay_sends_it(hooks: WebhookWorld) -> None:
    async with hooks.running(JSON):
        old = [each.killmail_id for each in await hooks.api.add_some(120)]
        await hooks.settled("tool")
        assert hooks.taken("tool") == []
        since = hooks.api.clock.now() - 30.5 * 60.0
        assert await hooks.rows.replay("tool", since) == 31
        hooks.api.events.tell("webhooks")
        await hooks.settled("tool")
        fresh = await hooks.add_fresh(2)
        await hooks.settled("tool")
    assert hooks.taken("tool") == [*old[-31:], *fresh]
    (state,) = await hooks.rows.all()
    assert (state.delivered, state.left_out) == (33, 120)


async def test_a_receiver_that_fails_is_asked_again_and_nothing_is_lost(hooks: WebhookWorld) -> None:
    hooks.targets.trouble(["500", "", "429", "", "400", "", "drop"])
    hooks.targets.retry_after = 0.3
    async with hooks.running(JSON):
        ids = await hooks.add_fresh(6)
        await _quick(hooks)
        await hooks.settled("tool")
    taken = hooks.taken("tool")
    assert list(dict.fromkeys(taken)) == [each for each in ids if each != ids[2]]
    assert len(taken) == len(set(taken)) + 1  # the one that was dropped after it was taken
    (state,) = await hooks.rows.all()
    assert (state.delivered, state.set_aside, state.error) == (5, 1, None)
    (aside,) = await hooks.rows.set_aside("tool", 10)
    assert aside.killmail_id == ids[2]
    assert aside.refused == "the receiver answers 400"
    double = next(m for m in hooks.targets.taken if taken.count(int(m.body["data"]["id"])) == 2)
    assert [m.body["id"] for m in hooks.targets.taken].count(double.body["id"]) == 2


async def _quick(hooks: WebhookWorld, name: str = "") -> None:
    """Failures are tried again at once: their pauses are looked at elsewhere."""

    def hurry() -> Tx[None]:
        yield Sql("UPDATE webhooks SET not_before = 0 WHERE failing_at IS NOT NULL", {})

    async def through() -> bool:
        await hooks.api.store.write(hurry)
        hooks.api.events.tell("webhooks")
        states = await hooks.rows.all()
        return all(each.position >= each.feed_end for each in states if not name or each.name == name)

    await hooks.until(through)


async def test_discord_asks_to_wait_and_nothing_comes_early(hooks: WebhookWorld) -> None:
    hooks.targets.trouble(["429", "", "429", "429"])
    hooks.targets.retry_after = 0.4
    async with hooks.running(DISCORD, {**DISCORD, "name": "other"}):
        hooks.targets.channels = {"100": "7", "101": "7"}
        ids = await hooks.add_fresh(25)
        await hooks.settled("corp")
        await hooks.settled("other")
    assert hooks.targets.breaches == []
    assert hooks.taken("100") == hooks.taken("101") == ids


async def test_a_webhook_that_is_gone_stops_and_goes_on_with_another_address(hooks: WebhookWorld) -> None:
    hooks.targets.trouble(["404"])
    async with hooks.running(DISCORD) as webhooks:
        ids = await hooks.add_fresh(2)

        async def stopped() -> bool:
            return (await hooks.rows.all())[0].stopped_at is not None

        await hooks.until(stopped)
        (state,) = await hooks.rows.all()
        assert state.error == "Discord answers 404 (Unknown Webhook)"
        assert hooks.taken("100") == []
        webhooks.reconfigure(hooks.configs({**DISCORD, "path": "/api/webhooks/555/new"}))
        await hooks.settled("corp")
    assert hooks.taken("555") == ids


async def test_one_that_may_be_back_is_tried_once_more_and_one_that_is_gone_is_not(
    hooks: WebhookWorld,
) -> None:
    hooks.targets.trouble(["404", "gone"])
    async with hooks.running(DISCORD):
        ids = await hooks.add_fresh(1)

        async def stopped(for_good: bool) -> bool:
            (state,) = await hooks.rows.all()
            return state.stopped_at is not None and state.stopped_for_good is for_good

        def an_hour_later() -> Tx[None]:
            yield Sql("UPDATE webhooks SET not_before = 1 WHERE not_before > 0", {})

        await hooks.until(lambda: stopped(False))
        await hooks.api.store.write(an_hour_later)
        hooks.api.events.tell("webhooks")
        await hooks.until(lambda: stopped(True))
        requests = hooks.targets.requests
        await hooks.api.store.write(an_hour_later)
        hooks.api.events.tell("webhooks")
        assert await hooks.rows.resume("corp")
        hooks.api.events.tell("webhooks")
        await hooks.settled("corp")
    assert hooks.taken("100") == ids
    assert hooks.targets.requests == requests + 1


async def test_another_address_is_noticed_across_a_restart(hooks: WebhookWorld) -> None:
    hooks.targets.trouble(["gone"])
    async with hooks.running(DISCORD):
        ids = await hooks.add_fresh(1)

        async def stopped() -> bool:
            return (await hooks.rows.all())[0].stopped_at is not None

        await hooks.until(stopped)
    async with hooks.running(DISCORD):
        assert (await hooks.rows.all())[0].stopped_at is not None
    async with hooks.running({**DISCORD, "path": "/api/webhooks/555/new"}):
        await hooks.settled("corp")
    assert hooks.taken("555") == ids


async def test_pause_and_resume(hooks: WebhookWorld) -> None:
    async with hooks.running(JSON):
        assert await hooks.rows.pause("tool")
        assert not await hooks.rows.pause("tool")
        ids = await hooks.add_fresh(2)
        hooks.api.events.tell("webhooks")
        assert hooks.taken("tool") == []
        assert await hooks.rows.resume("tool")
        hooks.api.events.tell("webhooks")
        await hooks.settled("tool")
    assert hooks.taken("tool") == ids


async def test_new_and_removed_ones(hooks: WebhookWorld) -> None:
    async with hooks.running(JSON) as webhooks:
        first = await hooks.add_fresh(1)
        await hooks.settled("tool")
        webhooks.reconfigure(hooks.configs({**JSON, "name": "second"}))

        async def changed() -> bool:
            names = [each.name for each in await hooks.rows.all()]
            # Another daemon of a shared database may still have the one that was removed here.
            return names == (["second"] if hooks.api.store.exclusive else ["second", "tool"])

        await hooks.until(changed)
        second = await hooks.add_fresh(1)
        await hooks.settled("second")
    assert (hooks.taken("tool"), hooks.taken("second")) == (first, second)


async def test_one_that_hangs_holds_up_no_other_at_a_reload(hooks: WebhookWorld) -> None:
    hooks.targets.trouble(["hang"])
    async with hooks.running(JSON) as webhooks:
        ids = await hooks.add_fresh(1)
        await hooks.until(lambda: hooks.targets.requests == 1)
        changed = {**JSON, "exclude_pods": True}
        webhooks.reconfigure(hooks.configs(changed, {**JSON, "name": "second", "fresh_only": False}))

        async def begun() -> bool:
            return "second" in {each.name for each in await hooks.rows.all()}

        await hooks.until(begun)
        second = await hooks.add_fresh(1)
        await hooks.settled("second")
        assert hooks.taken("tool") == []  # still hangs
        hooks.targets.closing.set()
        await _quick(hooks, "tool")
    assert hooks.taken("second") == second
    assert hooks.taken("tool") == ids + second


async def test_filters_of_who_and_where(hooks: WebhookWorld) -> None:
    async with hooks.running(
        {**JSON, "name": "losses", "outcome": "loss"},
        {**JSON, "name": "kills", "outcome": "kill", "pilots": ["aldo abrakov"]},
        {**JSON, "name": "somebody", "pilots": [95_999_999]},
    ):
        ids = await hooks.add_fresh(3)
        for name in ("losses", "kills", "somebody"):
            await hooks.settled(name)
    assert hooks.taken("losses") == hooks.taken("somebody") == []
    assert hooks.taken("kills") == ids
    assert PILOT


async def test_a_name_that_nobody_knows_is_told_with_the_nearest(hooks: WebhookWorld) -> None:
    async with hooks.running({**JSON, "pilots": ["Aldo Abrakof"]}) as webhooks:
        await hooks.until(lambda: webhooks.deliverer("tool").trouble is not None)
        trouble = webhooks.deliverer("tool").trouble
    assert trouble is not None
    assert "no pilot is called 'Aldo Abrakof'; did you mean 'Aldo Abrakov'?" in trouble.message


async def test_zkillboard_gets_id_and_hash_and_is_waited_for(hooks: WebhookWorld) -> None:
    hooks.targets.script.extend(["422", "", "408"])
    async with hooks.running({"name": "zkb", "kind": "zkillboard", "zkillboard_delay": "3h"}):
        ids = await hooks.add_fresh(3)
        await _quick(hooks)
    assert hooks.taken("zkillboard") == ids[1:]
    assert {each.body["delay"] for each in hooks.targets.taken} == {2}
    (state,) = await hooks.rows.all()
    assert (state.delivered, state.set_aside) == (2, 1)


async def test_a_first_sync_and_an_import_are_no_news(hooks: WebhookWorld) -> None:
    """Thousands that are no news: nothing is sent, and it takes no time."""
    async with hooks.running(DISCORD, {**JSON, "fresh_only": False, "outcome": "loss"}):
        # Before they are made, so that however long it takes, 21 of these are asked for, and the fresh one.
        since = float(int(hooks.api.clock.now()) - 20)
        await hooks.api.add_some(2500, attackers=1, items=0, apart=1.0)
        fresh = await hooks.add_fresh(1)
        await hooks.settled("corp")
        await hooks.settled("tool")
        assert hooks.taken("100") == fresh
        assert hooks.taken("tool") == []
        asked = await hooks.rows.replay("corp", since)
        assert 20 <= asked <= 22  # fewer where a second ended before their times were taken
        hooks.api.events.tell("webhooks")
        await hooks.settled("corp")
    assert len(hooks.taken("100")) == 1 + asked
    assert hooks.targets.breaches == []


async def test_what_was_in_doubt_once_says_so_however_many_attempts_follow(hooks: WebhookWorld) -> None:
    hooks.targets.trouble(["drop", "429", "500"])
    hooks.targets.retry_after = 0.1
    async with hooks.running(DISCORD):
        (killmail_id,) = await hooks.add_fresh(1)
        await _quick(hooks)
    assert hooks.taken("100") == [killmail_id] * 2
    first, again = (each.body["embeds"][0]["footer"]["text"] for each in hooks.targets.taken)
    assert AGAIN not in first
    assert AGAIN in again


async def test_another_daemon_takes_over_when_the_lease_has_ended(worlds: list[StorageWorld]) -> None:
    one, two = (WebhookRepository(each.store, each.holder) for each in worlds)
    await one.register("tool", "json", 1)
    assert await one.claim("tool", LEASE_SECONDS)
    assert await two.claim("tool", LEASE_SECONDS) is None
    await worlds[0].timed.pass_time(LEASE_SECONDS - 2.0)
    await one.renew()
    await worlds[0].timed.pass_time(LEASE_SECONDS - 2.0)
    assert await two.claim("tool", LEASE_SECONDS) is None
    assert await one.begin("tool", 5, 0, 0, ()) == 0.0
    await worlds[0].timed.pass_time(LEASE_SECONDS + 0.5)  # with a look every two seconds: within 15
    state = await two.claim("tool", LEASE_SECONDS)
    assert state is not None
    assert state.sending_id == 5
    assert await one.claim("tool", LEASE_SECONDS) is None
    assert await one.begin("tool", 6, 0, 0, ()) is None
    # What the first hears after all is not lost: the second finds it, and sends nothing twice.
    await one.settle("tool", 5, 0, 1, message_id="77")
    assert (await two.deliveries("tool", [5]))[5].message_id == "77"
    (state,) = await two.all()
    assert (state.position, state.holder) == (0, worlds[1].holder)


async def test_a_pause_of_the_channel_outlives_an_answer_that_came_meanwhile(hooks: WebhookWorld) -> None:
    for name in ("one", "two"):
        await hooks.rows.register(name, "discord", 1)
        assert await hooks.rows.claim(name, LEASE_SECONDS)
        assert await hooks.rows.begin(name, 1, 0, 0, ()) == 0.0
    await hooks.rows.failed("one", "slow down", 60.0, counts=False, doubtful=False)
    await hooks.rows.hold_up("one", 60.0, everybody=False)
    await hooks.rows.settle("two", 1, 0, 1, message_id="5", channel="7")
    assert (await hooks.rows.begin("two", 2, 1, 1, ()) or 0.0) > 50.0
    await hooks.rows.failed("two", "500", 1.0, counts=True, doubtful=False)
    assert (await hooks.rows.begin("two", 2, 1, 1, ()) or 0.0) > 50.0


async def test_what_a_request_beside_the_deliveries_was_told(hooks: WebhookWorld) -> None:
    pace = (PaceWindow(5, 2.0),)
    for name in ("one", "two"):
        await hooks.rows.register(name, "discord", 1)
        assert await hooks.rows.claim(name, LEASE_SECONDS)
    assert await hooks.rows.count_request("one", pace) == 0.0
    await hooks.rows.noted("one", 60.0, "7")
    assert await hooks.rows.count_request("one", pace) > 50.0
    assert (await hooks.rows.begin("one", 1, 0, 0, pace) or 0.0) > 50.0
    assert await hooks.rows.count_request("two", pace) == 0.0
    one, _ = await hooks.rows.all()
    assert (one.channel, one.asked_to_wait > 50.0) == ("7", True)
    await hooks.rows.register("one", "discord", 2)  # another address: nothing of that is its own
    one, _ = await hooks.rows.all()
    assert (one.channel, one.asked_to_wait) == (None, 0.0)


async def test_what_was_set_aside_of_late_is_counted_by_webhook(hooks: WebhookWorld) -> None:
    for name in ("one", "two"):
        await hooks.rows.register(name, "json", 1)
        assert await hooks.rows.claim(name, LEASE_SECONDS)
    for killmail_id, refused in ((1, "the receiver answers 400"), (2, None), (3, "the receiver answers 422")):
        assert await hooks.rows.begin("one", killmail_id, killmail_id - 1, killmail_id - 1, ()) == 0.0
        await hooks.rows.settle("one", killmail_id, killmail_id - 1, killmail_id, refused=refused)
    found = await hooks.rows.set_aside_since(60.0)
    assert {name: (each.mails, each.reason) for name, each in found.items()} == {
        "one": (2, "the receiver answers 422")
    }


async def test_the_pace_outlives_whoever_kept_it(hooks: WebhookWorld) -> None:
    pace = (PaceWindow(5, 30.0), PaceWindow(7, 60.0, shared=True))
    for name in ("one", "two"):
        await hooks.rows.register(name, "discord", 1)
        assert await hooks.rows.claim(name, LEASE_SECONDS)
    for number in range(5):
        assert await hooks.rows.begin("one", number, 0, 0, pace) == 0.0
        await hooks.rows.failed("one", "x", 0.0, counts=False, doubtful=False)
    other = WebhookRepository(
        hooks.api.store, "nobody"
    )  # as after a restart: all it knows is in the database
    assert 25.0 < await other.count_request("one", pace) <= 30.1
    assert await other.count_request("two", pace) == 0.0
    assert await other.count_request("two", pace) == 0.0
    assert 50.0 < await other.count_request("two", pace) <= 60.1  # the channel's seven
