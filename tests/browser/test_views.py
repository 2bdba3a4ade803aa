"""What the dashboard shows, and how it looks: the list, a killmail, pictures, wide and narrow."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest

from tests.support import QUICK, Stage, pilots_of
from tests.support.browser_world import QUICK_EVE, Open, mail, running, until_all_rows

pytestmark = [pytest.mark.browser, pytest.mark.slow]

PICTURE = '<svg xmlns="http://www.w3.org/2000/svg" width="8" height="8"/>'
PHONE = {
    "viewport": {"width": 360, "height": 780},
    "isMobile": True,
    "hasTouch": True,
    "deviceScaleFactor": 2,
}


class TestKillmail:
    def test_with_the_keyboard_alone_there_and_back(self, stage: Stage, open_page: Open) -> None:
        eve, daemon = running(stage)
        stage.log_in(daemon, eve)
        page = open_page()
        page.goto(daemon.url)
        page.see(".mails a")
        page.press("Tab")
        assert page.js("document.activeElement.textContent") == "Skip to content"
        page.press("Enter")
        assert page.js("document.activeElement.id") == "content"
        for _ in range(60):
            page.press("Tab")
            if page.js("document.activeElement.matches('.mails a')"):
                break
        where = page.js("document.activeElement.hash")
        page.press("Enter")
        page.see("article h1:not(.unseen)")
        assert page.js("location.hash") == where
        assert page.js("document.activeElement.tagName") == "H1"
        page.press("Escape")
        page.miss("article.report")
        assert page.js("document.activeElement.hash") == where

    def test_everything_of_a_mail_is_there(self, stage: Stage, open_page: Open) -> None:
        eve, daemon = running(stage, history=0)
        pilot = pilots_of(eve)[0]
        document = big_mail(pilot)
        eve.add_documents([document], [pilot])
        stage.log_in(daemon, eve, pilot)
        daemon.wait_stored(1)
        page = open_page(colorScheme="light")
        page.goto(f"{daemon.url}/#/killmail/{document['killmail_id']}")
        page.see("text=In the wreck")
        shown = page.text("article")
        for words in (
            "High slots 2",
            "Mid slots 1",
            "Rigs 1",
            "Drone bay 1",
            "Cargo hold 2",
            "Fleet hangar 1",
            "Implants 1",
            "BPC",
            "×5,000,000,000",
            "Final blow",
            "War 700001",
            "Moon 40000001",
            "Other (location 222)",
            "2008.01.06 00:44:00",
            "NPC",
            "Ours",
        ):
            assert words in shown, f"{words!r} is not in {shown!r}"
        page.click(".opener >> nth=0")
        damage = page.js(
            "[...document.querySelectorAll('.attacker-damage strong')].map((each) => each.textContent)"
        )
        assert damage == ["900", "80", "20"]
        page.assert_accessible()
        page.shot("killmail-light", whole=True)

    def test_one_that_is_not_here(self, stage: Stage, open_page: Open) -> None:
        _, daemon = running(stage)
        page = open_page()
        page.goto(f"{daemon.url}/#/killmail/4711")
        page.see("text=Killmail 4711 is not stored here")
        page.see("text=killsyncd ctl explain 4711")
        page.assert_accessible()

    def test_hostile_names_are_only_text(self, stage: Stage, open_page: Open, tmp_path: Path) -> None:
        names = tmp_path / "names.csv"
        evil = "<img src=x onerror=alert(1)>"
        names.write_text(
            f"id,category,name\n95000001,character,{evil}\n98000001,corporation,<script>alert(2)</script>\n"
        )
        eve, daemon = running(stage, history=0, names=names)
        pilot = pilots_of(eve)[0]
        document = big_mail(pilot)
        eve.add_documents([document], [pilot])
        stage.log_in(daemon, eve, pilot)
        page = open_page()
        page.goto(daemon.url)
        page.see(f".mails >> text={evil}")
        page.click(mail(document["killmail_id"]))
        page.see(f".attackers >> text={evil}")
        assert page.count("img, main script") == 0


class TestFeed:
    def test_filters_and_older_ones(self, stage: Stage, open_page: Open) -> None:
        eve, daemon = running(stage, history=50, sharing=0)
        stage.log_in(daemon, eve)
        one, other = eve.pilots()
        daemon.wait_stored(len(eve.mails()))
        page = open_page()
        page.goto(daemon.url)
        page.see(".mails a")
        assert page.count(".mails > li[data-side]") == 30
        page.click("text=Load older")
        page.until("document.querySelectorAll('.mails > li[data-side]').length === 60")
        page.click("#feed .segment >> text=Losses")
        until_all_rows(page, "each.dataset.side === 'loss'")
        page.click("#feed .segment >> text=Kills")
        until_all_rows(page, "each.dataset.side === 'kill'")
        page.call("selectOption", "#feed select", str(one["character_id"]))
        page.until(f"location.hash === '#/?pilot={one['character_id']}&show=kills'")
        until_all_rows(page, f"each.textContent.includes({json.dumps(one['name'])})")
        page.goto(f"{daemon.url}/#/?pilot={other['character_id']}")
        until_all_rows(page, f"each.textContent.includes({json.dumps(other['name'])})")

    def test_it_can_be_held_still(self, stage: Stage, open_page: Open) -> None:
        eve, daemon = running(stage)
        stage.log_in(daemon, eve)
        page = open_page()
        page.goto(daemon.url)
        page.see(".mails a")
        page.click("button[aria-label='Hold the killmails still']")
        (new,) = eve.add_mails(1, pilots_of(eve)[:1])
        page.see("text=1 new killmail")
        assert page.count(mail(new["killmail_id"])) == 0
        page.click("text=1 new killmail")
        page.see(mail(new["killmail_id"]))


class TestPictures:
    def test_ships_and_pilots_come_from_ccp_where_that_is_wanted(self, stage: Stage, open_page: Open) -> None:
        eve = stage.eve(pilots=1, history=5, **QUICK_EVE)
        daemon = stage.daemon(eve, {**QUICK, "api": {"images": True}})
        stage.log_in(daemon, eve)
        daemon.wait_stored(5)
        page = open_page()
        page.answer("https://images.evetech.net/", contentType="image/svg+xml", body=PICTURE)
        page.goto(daemon.url)
        page.see(".mails img.glyph[src^='https://images.evetech.net/types/']")
        page.see(
            f"#pilots img[src='https://images.evetech.net/characters/{pilots_of(eve)[0]}/portrait?size=128']"
        )
        assert all(each == "" for each in page.js("[...document.images].map((each) => each.alt)"))

    def test_our_own_take_their_place_where_ccp_has_none(self, stage: Stage, open_page: Open) -> None:
        eve = stage.eve(pilots=1, history=5, **QUICK_EVE)
        daemon = stage.daemon(eve, {**QUICK, "api": {"images": True}})
        stage.log_in(daemon, eve)
        daemon.wait_stored(5)
        page = open_page()
        page.answer("https://images.evetech.net/", status=404)
        page.goto(daemon.url)
        page.see(".mails svg.glyph")
        page.see("#pilots span.initials")
        assert [each for each in page.complaints() if "404" not in each] == []


class TestLooks:
    @pytest.mark.parametrize("scheme", ["dark", "light"])
    def test_wide(self, stage: Stage, open_page: Open, scheme: str) -> None:
        eve, daemon = running(stage, pilots=5, history=30, sharing=0.4)
        stage.log_in(daemon, eve)
        daemon.wait_stored(len(eve.mails()))
        page = open_page(colorScheme=scheme, viewport={"width": 1440, "height": 960})
        page.goto(daemon.url)
        page.see(".mails a")
        page.see(".gauge")
        page.until("!document.querySelector('.mails .unnamed')")
        page.assert_accessible()
        page.assert_fits()
        # Ship and pilot are cut only where the corporation has gone already, to a second line that hides.
        names = "[...each.querySelectorAll('strong, .mail-victim')]"
        cut = f"{names}.some((one) => one.scrollWidth > one.clientWidth)"
        below = "each.querySelector('.mail-what').offsetTop + 12"
        gone = f"!(each.querySelector('.mail-corp')?.offsetTop < {below})"
        until_all_rows(page, f"!{cut} || {gone}")
        page.shot(f"dashboard-{scheme}")
        page.click(".mails li:nth-child(3) a")
        page.see("article h1:not(.unseen)")
        page.assert_accessible()
        page.assert_fits()
        page.shot(f"killmail-{scheme}")

    def test_phone(self, stage: Stage, open_page: Open) -> None:
        eve, daemon = running(stage, pilots=5, history=30, sharing=0.4)
        stage.log_in(daemon, eve)
        page = open_page(**PHONE)
        page.goto(daemon.url)
        page.see(".mails a")
        page.see(".gauge")
        page.assert_accessible()
        page.assert_fits()
        page.shot("dashboard-phone")
        page.shot("dashboard-phone-whole", whole=True)
        page.click(".mails li:nth-child(3) a")
        page.see("article h1:not(.unseen)")
        page.assert_accessible()
        page.assert_fits()
        page.shot("killmail-phone", whole=True)

    def test_the_choice_of_colours_is_kept(self, stage: Stage, open_page: Open) -> None:
        _, daemon = running(stage)
        page = open_page(colorScheme="dark")
        page.goto(daemon.url)
        page.see("text=Welcome, capsuleer")
        dark = page.js("getComputedStyle(document.documentElement).backgroundColor")
        page.click(".theme")
        light = page.js("getComputedStyle(document.documentElement).backgroundColor")
        assert light != dark
        page.call("reload")
        page.see("text=Welcome, capsuleer")
        assert page.js("getComputedStyle(document.documentElement).backgroundColor") == light
        assert page.js("document.querySelector('.theme').getAttribute('aria-label')") == "Colours: light"

    def test_reduced_motion_is_kept_still(self, stage: Stage, open_page: Open) -> None:
        eve, daemon = running(stage)
        stage.log_in(daemon, eve)
        page = open_page(reducedMotion="reduce")
        page.goto(daemon.url)
        page.see(".mails a")
        assert page.js("document.getAnimations().length") == 0


def big_mail(pilot: int) -> dict[str, Any]:
    """A killmail with something of everything."""

    def item(
        type_id: int, flag: int, *, dropped: int = 0, destroyed: int = 0, singleton: int = 0, **more: Any
    ) -> dict[str, Any]:
        return {
            "item_type_id": type_id,
            "flag": flag,
            "singleton": singleton,
            **({"quantity_dropped": dropped} if dropped else {}),
            **({"quantity_destroyed": destroyed} if destroyed else {}),
            **more,
        }

    within = [item(34, 0, dropped=700 + each) for each in range(8)]
    return {
        "killmail_id": 435_341,
        "killmail_time": "2008-01-06T00:44:00Z",
        "solar_system_id": 30_000_142,
        "war_id": 700_001,
        "moon_id": 40_000_001,
        "victim": {
            "character_id": 95_000_001,
            "corporation_id": 98_000_001,
            "damage_taken": 1000,
            "ship_type_id": 19720,
            "position": {"x": 1.5, "y": -2.0, "z": 3e11},
            "items": [
                item(2929, 27, destroyed=1),
                item(185, 27, dropped=120),
                item(2961, 28, dropped=1),
                item(438, 19, destroyed=1),
                item(31057, 92, destroyed=1),
                item(2185, 87, dropped=5),
                item(34, 5, dropped=5_000_000_000),
                item(3465, 5, destroyed=1, items=within),
                item(691, 155, destroyed=1, singleton=2),
                item(2048, 89, destroyed=1),
                item(35, 222, dropped=3),
            ],
        },
        "attackers": [
            {
                "character_id": 95_000_001,
                "corporation_id": 98_000_001,
                "damage_done": 80,
                "final_blow": False,
                "security_status": -9.9,
                "ship_type_id": 587,
                "weapon_type_id": 2873,
            },
            {
                "character_id": pilot,
                "corporation_id": 98_000_001,
                "damage_done": 900,
                "final_blow": False,
                "security_status": 5.0,
                "ship_type_id": 645,
                "weapon_type_id": 2185,
            },
            {
                "faction_id": 500_020,
                "damage_done": 20,
                "final_blow": True,
                "security_status": 0.0,
                "ship_type_id": 11045,
            },
        ],
    }
