"""Pilots, fights and names: plausible, and the same from the same seed."""

from __future__ import annotations

import csv
from collections import Counter
from pathlib import Path
from typing import Any

import orjson
import pytest

from killsyncd.core.errors import BadInput
from killsyncd.simulator import SimulatorConfig, killmail_hash
from killsyncd.simulator.clock import SimClock
from killsyncd.simulator.fights import KINDS
from killsyncd.simulator.world import DAY, World
from tests.support.simulator_caller import SHARED, FakeClock


def world(**options: Any) -> World:
    return World(SimulatorConfig(**options), SimClock(FakeClock()))


def documents(of: World) -> list[dict[str, Any]]:
    return [orjson.loads(of.body_of(mail)) for mail in of.mails.values()]


def ours_on(of: World, document: dict[str, Any]) -> int:
    rows = (document["victim"], *document["attackers"])
    return sum(row.get("character_id") in of.pilots for row in rows)


def entitled(document: dict[str, Any]) -> set[int | None]:
    """Who lists a mail, read off it: victim and final blow; where an NPC struck it, one of the players."""
    (final,) = [row for row in document["attackers"] if row["final_blow"]]
    players = [row["character_id"] for row in document["attackers"] if "character_id" in row]
    last = final.get("character_id") or (players[0] if players else None)
    return {document["victim"].get("character_id"), last} - {None}


class TestPilots:
    def test_every_pilot_has_the_wanted_history(self) -> None:
        made = world(pilots=25, history=30)
        assert {len(pilot.mails) for pilot in made.pilots.values()} == {30}
        assert len({pilot.name for pilot in made.pilots.values()}) == 25

    def test_nobody_bears_anothers_name(self) -> None:
        assert len({pilot.name for pilot in world(pilots=5000, history=0).pilots.values()}) == 5000

    def test_corporations_hold_ten_with_one_director(self) -> None:
        made = world(pilots=25)
        assert [len(corporation.members) for corporation in made.corporations.values()] == [10, 10, 5]
        assert sum(pilot.director for pilot in made.pilots.values()) == 3

    def test_ids_lie_in_ccps_ranges(self) -> None:
        for pilot in world(pilots=40, history=0).pilots.values():
            assert 90_000_000 <= pilot.character_id < 98_000_000 or pilot.character_id > 2_100_000_000
            assert pilot.character_id < 2**31

    def test_a_sold_character_has_another_owner_hash(self) -> None:
        pilot = next(iter(world().pilots.values()))
        before = pilot.owner_hash(1)
        pilot.owner_serial += 1
        assert pilot.owner_hash(1) != before


class TestMails:
    def test_the_same_seed_makes_the_same_universe(self) -> None:
        assert documents(world(seed=7)) == documents(world(seed=7))
        assert documents(world(seed=7)) != documents(world(seed=8))

    def test_sharing_puts_pilots_of_one_corporation_on_one_mail(self) -> None:
        alone, together = world(pilots=20, sharing=0.0), world(pilots=20, sharing=0.9)
        assert len(alone.mails) == 20 * 40
        assert max(ours_on(alone, document) for document in documents(alone)) == 1
        shared = [document for document in documents(together) if ours_on(together, document) > 1]
        assert len(shared) > 0.6 * len(together.mails)
        assert len(together.mails) < len(alone.mails), "some of them stand in two lists"

    def test_lists_are_losses_and_final_blows(self) -> None:
        """CCP's rule; who only helped has the mail in no list. The corporation has what its members have."""
        made = world(pilots=20, history=60, sharing=0.5, assists=0.2)
        bodies = {document["killmail_id"]: document for document in documents(made)}
        for pilot in made.pilots.values():
            for killmail_id, document in bodies.items():
                assert (killmail_id in pilot.mails) == (pilot.character_id in entitled(document)), document
        for corporation in made.corporations.values():
            members = [made.pilots[member].mails for member in corporation.members]
            assert set(corporation.mails) == {key for mails in members for key in mails}

    def test_an_npcs_final_blow_is_listed_for_the_last_player_who_did_damage(self) -> None:
        made = world(pilots=3, history=0)
        last, helper, third = made.pilots.values()
        mail = made.new_mail([last, helper], kind="npc")
        document = orjson.loads(made.body_of(mail))
        (final,) = [row for row in document["attackers"] if row["final_blow"]]
        assert "character_id" not in final
        assert ours_on(made, document) == 2
        assert [pilot.mails for pilot in (last, helper, third)] == [[mail.killmail_id], [], []]

    def test_a_duel_is_on_two_lists_and_an_assist_on_none(self) -> None:
        made = world(pilots=3, history=0)
        victim, winner, helper = made.pilots.values()
        duel = made.new_mail([victim, winner, helper], loss=True)
        assist = made.new_mail([helper], assist=True)
        assert [pilot.mails for pilot in (victim, winner, helper)] == [[duel.killmail_id]] * 2 + [[]]
        assert list(made.took_part[helper.character_id]) == [duel.killmail_id, assist.killmail_id]
        assert ours_on(made, orjson.loads(made.body_of(assist))) == 1
        tower = made.new_mail([victim], kind="structure", loss=True)
        assert tower.killmail_id not in victim.mails, "a structure has no pilot"
        assert tower.killmail_id in made.corporations[victim.corporation_id].mails

    def test_what_a_list_says_is_what_the_mail_is(self) -> None:
        made = world(pilots=10, history=60)
        for mail, document in zip(made.mails.values(), documents(made), strict=True):
            final = [row for row in document["attackers"] if row["final_blow"]]
            assert len(final) == 1
            victim = document["victim"]
            assert made.hash_of(mail) == killmail_hash(
                victim.get("character_id"), final[0].get("character_id"), victim["ship_type_id"], mail.time
            )

    def test_pilots_are_on_the_mails_that_they_list(self) -> None:
        made = world(pilots=10, history=60)
        bodies = {document["killmail_id"]: document for document in documents(made)}
        for pilot in made.pilots.values():
            for killmail_id in pilot.mails:
                document = bodies[killmail_id]
                there = {row.get("character_id") for row in (document["victim"], *document["attackers"])}
                assert pilot.character_id in there

    def test_everything_odd_occurs(self) -> None:
        made = documents(world(pilots=20, history=200))
        victims = [document["victim"] for document in made]
        items = [item for victim in victims for item in victim.get("items", ())]
        assert any("character_id" not in victim for victim in victims)
        assert any("war_id" in document for document in made)
        assert any("moon_id" in document for document in made)
        assert any("position" not in victim for victim in victims)
        assert any("faction_id" in victim for victim in victims)
        assert any("items" in item for item in items)
        assert any(item["singleton"] == 2 for item in items)
        assert any(item.get("quantity_destroyed", 0) > 2**31 for item in items)
        rats = [d["attackers"] for d in made if all("character_id" not in row for row in d["attackers"])]
        assert any(max(Counter(orjson.dumps(row) for row in rows).values()) > 1 for rows in rats)
        assert any(len(document["attackers"]) > 20 for document in made)
        assert any(len(document["attackers"]) == 1 for document in made)

    @pytest.mark.parametrize("kind", KINDS)
    def test_every_kind_can_be_had(self, kind: str) -> None:
        made = world(history=0)
        mail = made.new_mail(list(made.pilots.values())[:1], kind=kind)
        document = orjson.loads(made.body_of(mail))
        assert document["killmail_id"] == mail.killmail_id
        assert ("character_id" not in document["victim"]) == (kind == "structure")

    def test_ids_grow_with_time_and_late_ones_do_not(self) -> None:
        made = world(history=100)
        newest = made.newest_id
        crew = list(made.pilots.values())[:2]
        assert made.new_mail(crew).killmail_id > newest
        newest = made.newest_id
        late = made.new_mail(crew, late=True)
        assert late.killmail_id < newest
        assert made.newest_id == newest

    def test_lists_show_ninety_days(self) -> None:
        made = world(pilots=1, history=0)
        pilot = next(iter(made.pilots.values()))
        young = made.new_mail([pilot], age=89 * DAY)
        made.new_mail([pilot], age=91 * DAY)
        assert made.listed(pilot.mails) == [young.killmail_id]

    def test_lists_can_be_in_any_order(self) -> None:
        for order in ("newest", "oldest", "shuffled"):
            made = world(pilots=1, order=order)
            ids = made.listed(next(iter(made.pilots.values())).mails)
            assert (ids == sorted(ids, reverse=True)) == (order == "newest")
            assert (ids == sorted(ids)) == (order == "oldest")

    def test_an_unknown_kind_says_which_there_are(self) -> None:
        made = world()
        with pytest.raises(BadInput, match="solo"):
            made.fight(kind="duel")


class TestDocuments:
    MAIL = (
        b'{"killmail_id":5,"killmail_time":"2020-01-02T03:04:05Z","solar_system_id":30000142,'
        b'"attackers":[{"damage_done":1,"final_blow":true,"security_status":0.0,"alliance_id":150000001}],'
        b'"victim":{"damage_taken":1,"ship_type_id":670}}'
    )

    def test_a_file_of_mails_stands_in_every_list_however_old(self, tmp_path: Path) -> None:
        file = tmp_path / "mails.jsonl"
        file.write_bytes(self.MAIL + b"\n")
        made = world(pilots=2, history=0, killmails=file)
        for pilot in made.pilots.values():
            assert made.listed(pilot.mails) == [5]
        assert made.body_of(made.mails[5]) == self.MAIL
        assert made.hash_of(made.mails[5]) == killmail_hash(None, None, 670, 1_577_934_245)

    def test_the_hash_may_stand_in_the_mail_and_is_not_sent(self) -> None:
        made = world(history=0)
        mail = made.add_document({**orjson.loads(self.MAIL), "killmail_hash": "ab"}, made.pilots.values())
        assert made.hash_of(mail) == "ab"
        assert b"killmail_hash" not in made.body_of(mail)

    @pytest.mark.parametrize("line", [b"{", b"[]", b'{"killmail_id":1}', b'"x"'])
    def test_what_is_no_killmail_is_refused(self, tmp_path: Path, line: bytes) -> None:
        file = tmp_path / "mails.jsonl"
        file.write_bytes(self.MAIL + b"\n\n" + line)
        with pytest.raises(BadInput, match="line 3 of"):
            world(killmails=file)

    def test_fields_tell_what_an_old_id_is(self) -> None:
        made = world(history=0)
        made.add_document(orjson.loads(self.MAIL), ())
        named = made.name(150000001)
        assert named is not None
        assert named.category == "alliance"


class TestNames:
    @pytest.mark.parametrize(
        ("entity_id", "category", "name"),
        [
            (587, "inventory_type", "Rifter"),
            (670, "inventory_type", "Capsule"),
            (30000142, "solar_system", "Jita"),
            (500001, "faction", "Caldari State"),
            (1000125, "corporation", "CONCORD"),
            (10000002, "region", "The Forge"),
        ],
    )
    def test_eves_own(self, entity_id: int, category: str, name: str) -> None:
        assert world(history=0).name(entity_id) == (category, name)

    def test_every_id_of_generated_mails_has_one(self) -> None:
        made = world(pilots=10, history=50)
        for document in documents(made):
            for row in (document["victim"], *document["attackers"]):
                for key, value in row.items():
                    if key.endswith("_id"):
                        assert made.name(value) is not None, key

    def test_bad_ids_and_nonsense_have_none(self) -> None:
        made = world(bad_ids=frozenset({587}))
        for entity_id in (587, 0, -1, 2**40):
            assert made.name(entity_id) is None

    def test_a_file_of_names_goes_first(self, tmp_path: Path) -> None:
        file = tmp_path / "names.csv"
        file.write_text("id,category,name\n587,inventory_type,Rostrifter\n")
        assert world(names=file).name(587) == ("inventory_type", "Rostrifter")

    @pytest.mark.parametrize(
        "text", ["id,name\n1,x\n", "id,category,name\n1,ship,x\n", "id,category,name\nx,alliance,y\n"]
    )
    def test_a_file_that_is_none_is_refused(self, tmp_path: Path, text: str) -> None:
        file = tmp_path / "names.csv"
        file.write_text(text)
        with pytest.raises(BadInput, match="id,category,name"):
            world(names=file)


REAL = SHARED / "killmails/killmails.jsonl"


@pytest.mark.skipif(not REAL.exists(), reason="the file of real killmails is not beside the project")
class TestRealMails:
    def test_hashes_and_bodies_are_eves(self) -> None:
        made = world(history=0, killmails=REAL)
        with (SHARED / "killmails/hashes.csv").open() as lines:
            hashes = {int(row["killmail_id"]): row["killmail_hash"] for row in csv.DictReader(lines)}
        assert {key: made.hash_of(mail) for key, mail in made.mails.items()} == hashes
        bodies = {orjson.loads(line)["killmail_id"]: line for line in REAL.read_bytes().splitlines()}
        assert {key: made.body_of(mail) for key, mail in made.mails.items()} == bodies

    def test_the_built_in_names_are_eves(self) -> None:
        made = world(history=0)
        with (SHARED / "killmails/names.csv").open(newline="") as lines:
            for row in csv.DictReader(lines):
                if (named := made.universe.names.get(int(row["id"]))) is not None:
                    assert (row["category"], row["name"]) == named

    def test_every_id_gets_a_name_of_the_right_category(self) -> None:
        made = world(history=0, killmails=REAL)
        for mail in made.mails.values():
            document = orjson.loads(made.body_of(mail))
            for row in (document["victim"], *document["attackers"]):
                for category in ("character", "corporation", "alliance", "faction"):
                    if (entity_id := row.get(f"{category}_id")) is not None:
                        named = made.name(entity_id)
                        assert named is not None
                        assert named.category == category
