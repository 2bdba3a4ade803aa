"""What ctl, GraphQL and the health model say of webhooks."""

from __future__ import annotations

from collections.abc import AsyncIterator
from datetime import timedelta
from pathlib import Path

import orjson
import pytest

from killsyncd.cli.ctl.webhooks import lines
from killsyncd.core.clock import SystemClock, utc
from killsyncd.core.errors import NotFound, UsageError
from killsyncd.service.health import Health
from killsyncd.service.result_json import jsonable
from killsyncd.service.webhook_reports import WebhookStatus
from killsyncd.service.webhooks import WebhookOperations
from killsyncd.storage.migrations import migrate
from killsyncd.storage.sqlite.store import SqliteStore
from killsyncd.storage.transaction import Sql, Tx
from tests.support.api_world import ApiWorld
from tests.support.webhook_world import WebhookWorld

JSON = {"name": "tool", "kind": "json"}


@pytest.fixture
async def hooks(tmp_path: Path) -> AsyncIterator[WebhookWorld]:
    clock = SystemClock()
    store = await SqliteStore.open(tmp_path / "killsyncd.db", clock)
    await migrate(store)
    api = ApiWorld(store, clock)
    await api.pilot()
    async with WebhookWorld.begin(store, api, tmp_path) as world:
        yield world
    await store.close()


async def test_reports_and_explanations(hooks: WebhookWorld) -> None:
    async with hooks.running({**JSON, "exclude_npc": False}) as webhooks:
        operations = WebhookOperations(webhooks, hooks.api.reading, hooks.api.health, hooks.api.clock)
        (old,) = await hooks.api.add_some(1)
        (fresh,) = await hooks.add_fresh(1)
        await hooks.settled("tool")
        (report,) = await operations.all()
        assert (report.state, report.reason, report.remedy) == (WebhookStatus.OK, "", "")
        assert (report.delivered, report.waiting) == (1, 0)
        assert [(each.killmail_id, each.became, each.why) for each in report.last] == [
            (fresh, "delivered", "passes every condition"),
            (old.killmail_id, "left_out", "fresh_only: more than an hour old when listed"),
        ]
        why = await operations.explain("TOOL", old.killmail_id)
        assert [(each.name, each.passed) for each in why.conditions] == [("fresh_only", False)]
        with pytest.raises(NotFound, match="is not stored"):
            await operations.explain("tool", 5)
        with pytest.raises(NotFound, match="no webhook 'nobody'"):
            await operations.pause("nobody")


async def test_problems_come_and_go(hooks: WebhookWorld) -> None:
    health = Health(hooks.api.clock)
    hooks.targets.trouble(["404"])
    async with hooks.running(JSON, {**JSON, "name": "odd", "systems": ["Jito"]}) as webhooks:
        operations = WebhookOperations(webhooks, hooks.api.reading, health, hooks.api.clock)
        await hooks.add_fresh(1)

        async def both() -> bool:
            await operations.look()
            return {each.code for each in health.problems()} == {"webhook_stopped", "webhook_refused"}

        await hooks.until(both)
        stopped, refused = sorted(health.problems(), key=lambda each: each.code, reverse=True)
        assert stopped.reason == "webhook tool: the receiver answers 404"
        assert "killsyncd ctl webhooks resume tool" in stopped.remedy
        assert "no solar system is called 'Jito'" in refused.reason
        assert (await operations.resume("tool")).changed
        await hooks.settled("tool")
        await operations.look()
        assert [each.code for each in health.problems()] == ["webhook_refused"]


async def test_one_that_fails_is_a_problem_after_a_while(hooks: WebhookWorld) -> None:
    health = Health(hooks.api.clock)
    hooks.targets.trouble(["500"])

    def long_ago() -> Tx[None]:
        yield Sql("UPDATE webhooks SET failing_at = failing_at - 400", {})

    async with hooks.running(JSON) as webhooks:
        operations = WebhookOperations(webhooks, hooks.api.reading, health, hooks.api.clock)
        await hooks.add_fresh(1)

        async def failing() -> bool:
            return (await operations.all())[0].state is WebhookStatus.FAILING

        await hooks.until(failing)
        await operations.look()
        assert health.problems() == []
        await hooks.api.store.write(long_ago)
        await operations.look()
        assert [each.code for each in health.problems()] == ["webhook_failing"]


async def test_what_a_test_was_told_holds_for_what_comes_behind_it(hooks: WebhookWorld) -> None:
    hooks.targets.retry_after = 0.6
    async with hooks.running({**JSON, "name": "corp", "kind": "discord"}) as webhooks:
        operations = WebhookOperations(webhooks, hooks.api.reading, hooks.api.health, hooks.api.clock)
        await hooks.api.add_some(1)
        await hooks.settled("corp")
        hooks.targets.trouble(["429"])
        told = await operations.test("corp")
        assert (told.delivered, told.message) == (False, "asked us to wait 0.6 s (429)")
        ids = await hooks.add_fresh(1)
        await hooks.settled("corp")
        hooks.targets.trouble(["429"])
        assert not (await operations.test("corp")).delivered
        assert (await operations.test("corp")).delivered  # after the pause that it was asked for
    assert hooks.taken("100")[0] == ids[0]
    assert hooks.targets.breaches == []


async def test_mails_that_were_set_aside_are_a_problem_until_they_came(hooks: WebhookWorld) -> None:
    health = Health(hooks.api.clock)
    hooks.targets.trouble(["400", "400"])
    async with hooks.running(JSON) as webhooks:
        operations = WebhookOperations(webhooks, hooks.api.reading, health, hooks.api.clock)
        since = utc(hooks.api.clock.now()) - timedelta(hours=2)
        ids = await hooks.add_fresh(3)
        await hooks.settled("tool")
        await operations.look()
        (problem,) = health.problems()
        assert (problem.code, problem.reason) == (
            "webhook_set_aside",
            "webhook tool: 2 mails set aside in the last day (the receiver answers 400)",
        )
        assert "replay" in problem.remedy
        await hooks.api.add_some(10)
        await hooks.settled("tool")
        (report,) = await operations.all()
        assert {each.became for each in report.last} == {"left_out"}
        assert {each.killmail_id for each in report.set_aside_last} == set(ids[:2])
        shown = lines(orjson.loads(orjson.dumps(jsonable(report))))
        assert sum("the receiver answers 400" in line for line in shown) == 2
        assert (await operations.replay("tool", since)).mails == len(ids) + 10
        await hooks.settled("tool")
        await operations.look()
        assert health.problems() == []
    assert set(hooks.taken("tool")) >= set(ids)


async def test_a_mail_that_waits_says_for_what(hooks: WebhookWorld) -> None:
    hooks.targets.trouble(["404"])
    slow = {**JSON, "name": "slow", "delay": "1d"}
    async with hooks.running(JSON, slow, {**JSON, "name": "odd", "systems": ["Jito"]}) as webhooks:
        operations = WebhookOperations(webhooks, hooks.api.reading, hooks.api.health, hooks.api.clock)
        (killmail_id,) = await hooks.add_fresh(1)

        async def all_said() -> bool:
            said = {
                each: (await operations.explain(each, killmail_id)).why for each in ("tool", "slow", "odd")
            }
            return (
                said["tool"].startswith("the webhook is stopped: the receiver answers 404")
                and said["slow"].startswith("delay: ")
                and said["odd"].startswith("the webhook is refused: systems of [[webhooks]] odd")
            )

        await hooks.until(all_said)


async def test_a_test_and_a_replay(hooks: WebhookWorld) -> None:
    zkb = {"name": "zkb", "kind": "zkillboard"}
    async with hooks.running({**JSON, "name": "corp", "kind": "discord"}, zkb) as webhooks:
        operations = WebhookOperations(webhooks, hooks.api.reading, hooks.api.health, hooks.api.clock)
        with pytest.raises(NotFound, match="no killmail yet"):
            await operations.test("corp")
        await hooks.api.add_some(3)
        done = await operations.test("corp")
        assert (done.delivered, done.passes) == (True, True)
        assert "this is a test" in hooks.targets.taken[-1].body["embeds"][0]["footer"]["text"]
        hooks.targets.trouble(["404"])
        failed = await operations.test("corp")
        assert (failed.delivered, failed.message) == (False, "Discord answers 404 (Unknown Webhook)")
        with pytest.raises(UsageError, match="cannot be taken back"):
            await operations.test("zkb")
        nothing = await operations.replay("corp", utc(hooks.api.clock.now()) + timedelta(days=1))
        assert (nothing.changed, nothing.mails) == (False, 0)
