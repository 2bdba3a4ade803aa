"""The simulated zKillboard: what it lists, and the manners that it asks for."""

from __future__ import annotations

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager

from killsyncd.simulator import Simulator, SimulatorConfig
from tests.support.simulator_caller import Caller, FakeClock, rules


@asynccontextmanager
async def universe(**options: object) -> AsyncIterator[tuple[Simulator, Caller, FakeClock]]:
    clock = FakeClock()
    config = SimulatorConfig(**{"pilots": 3, "history": 0, **options})  # type: ignore[arg-type]
    async with Simulator(config, clock) as simulator, Caller(simulator) as caller:
        yield simulator, caller, clock


async def test_a_list_has_what_a_pilot_took_part_in_newest_first() -> None:
    async with universe() as (sim, caller, clock):
        pilot, mate = (each["character_id"] for each in sim.pilots()[:2])
        made = sim.add_mails(205, [pilot, mate], shared=True, age=900)
        (young,) = sim.add_mails(1, [mate], assist=True)
        path = f"/zkillboard/api/characterID/{mate}/page"
        first = await caller.ask(f"{path}/1/")
        assert first.headers["Content-Encoding"] == "gzip"
        newest = sorted((each["killmail_id"] for each in made), reverse=True)
        assert [each["killmail_id"] for each in first.json()] == newest[:200]
        assert young["killmail_id"] not in newest, "mails below 300 s are hidden"
        hashes = {each["killmail_id"]: each["killmail_hash"] for each in made}
        assert all(each["zkb"]["hash"] == hashes[each["killmail_id"]] for each in first.json())
        clock.now += 1.0
        assert len((await caller.ask(f"{path}/2/")).json()) == 5
        clock.now += 1.0
        assert (await caller.ask(f"{path}/3/")).json() == []
        corporation = sim.pilots()[0]["corporation_id"]
        clock.now += 1.0
        answer = await caller.ask(f"/zkillboard/api/corporationID/{corporation}/page/1/")
        assert len(answer.json()) == 200
        assert rules(sim) == []


async def test_bad_manners_are_counted() -> None:
    async with universe() as (sim, caller, clock):
        pilot = sim.pilots()[0]["character_id"]
        path = f"/zkillboard/api/characterID/{pilot}/page/1/"
        assert (await caller.ask(path)).status == 200
        clock.now += 0.5
        await caller.ask(path.replace("page/1", "page/2"))
        clock.now += 5.0
        await caller.ask(path)
        clock.now += 5.0
        assert (await caller.ask(path.rstrip("/"))).status == 403
        assert (await caller.ask(f"{path}?x=1")).status == 403
        assert (await caller.ask(path, headers={"User-Agent": "curl"})).status == 403
        assert rules(sim) == [
            "third_party_pace",
            "third_party_early",
            "third_party_path",
            "third_party_path",
            "third_party_agent",
        ]


async def test_the_stream_has_what_is_posted_from_now_on() -> None:
    async with universe(history=5) as (sim, caller, clock):
        pilot = sim.pilots()[0]["character_id"]
        begun = (await caller.ask("/r2z2/ephemeral/sequence.json")).json()["sequence"]
        path = f"/r2z2/ephemeral/{begun + 1}.json"
        assert (await caller.ask(path)).status == 404
        (mail,) = sim.add_mails(1, [pilot])
        clock.now += 6.0
        told = (await caller.ask(path)).json()
        assert (told["killmail_id"], told["hash"]) == (mail["killmail_id"], mail["killmail_hash"])
        assert told["esi"] == sim.mail(mail["killmail_id"])
        assert sim.zkillboard(strangers=2)["sequence"] == begun + 3
        sim.zkillboard(forget=True)
        assert (await caller.ask(path)).status == 404
        assert rules(sim) == []
        await caller.ask(path)
        assert rules(sim) == ["third_party_early"]


async def test_the_days_history_wrong_hashes_and_what_nobody_posted() -> None:
    async with universe() as (sim, caller, _):
        pilot = sim.pilots()[0]["character_id"]
        one, two, three = (each["killmail_id"] for each in sim.add_mails(3, [pilot], age=600))
        sim.zkillboard(unposted=[two], wrong=[three])
        day = (await caller.ask("/r2z2/history/20270115.json")).json()
        right = {each["killmail_id"]: each["killmail_hash"] for each in sim.mails()}
        assert day == {str(one): right[one], str(three): right[three][::-1]}
        listed = (await caller.ask(f"/zkillboard/api/characterID/{pilot}/page/1/")).json()
        assert {each["killmail_id"] for each in listed} == {one, three}


async def test_faults_strike_it_like_everything_else() -> None:
    async with universe() as (sim, caller, _):
        sim.script("status", "zkb.*", status=503, body="Reinforced mode", count=1)
        answer = await caller.ask("/r2z2/ephemeral/sequence.json")
        assert (answer.status, answer.body) == (503, b"Reinforced mode")
        assert (await caller.ask("/r2z2/ephemeral/sequence.json")).status == 200
