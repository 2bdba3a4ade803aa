"""Values, space, search and statistics on the dashboard."""

from __future__ import annotations

import pytest

from tests.support import Stage
from tests.support.browser_world import Open, running, until_all_rows

pytestmark = [pytest.mark.browser, pytest.mark.slow]

PHONE = {"viewport": {"width": 360, "height": 780}, "isMobile": True, "hasTouch": True}
LOOKS = [
    {"colorScheme": "dark", "viewport": {"width": 1280, "height": 900}},
    {"colorScheme": "light", "viewport": {"width": 1280, "height": 900}},
    PHONE,
]


def test_every_row_is_worth_something_and_lies_somewhere(stage: Stage, open_page: Open) -> None:
    eve, daemon = running(stage)
    stage.log_in(daemon, eve)
    page = open_page()
    page.goto(daemon.url)
    until_all_rows(page, r"/^[\d.]+[kmbt]? ISK$/.test(each.querySelector('.isk').textContent)")
    until_all_rows(page, "each.querySelector('.security') && each.querySelector('.mail-region').textContent")
    until_all_rows(page, "each.querySelector('.mail-class').textContent.length > 3")
    page.click(".mails a >> nth=0")
    page.see(".worth-fact .isk")
    page.see("text=Copy fit")
    assert page.js("document.querySelector('.report-facts .security').textContent.length") > 3
    page.click("text=Copy fit")
    page.see(".copied")


def test_filters_stand_in_the_address(stage: Stage, open_page: Open) -> None:
    eve, daemon = running(stage)
    stage.log_in(daemon, eve)
    page = open_page()
    page.goto(daemon.url)
    page.see(".mails a")
    until_all_rows(page, "each.querySelector('.security')")
    ship = page.js("document.querySelector('.mails .mail-what strong').textContent")
    page.click(".search input")
    page.call("keyboard.type", ship)
    page.see("#found [role=option]")
    page.press("Enter")
    page.until("location.hash.includes('ship=')")
    page.see(".chips .chip")
    until_all_rows(page, f"each.querySelector('.mail-what strong').textContent === {ship!r}")
    # Whoever opens the address sees the same.
    address = page.js("location.href")
    again = open_page()
    again.goto(address)
    again.see(".mails a")
    again.until(f"document.querySelector('.chips .chip').textContent.includes({ship!r})")
    until_all_rows(again, f"each.querySelector('.mail-what strong').textContent === {ship!r}")
    again.click(".chips .chip")
    again.until("location.hash === '#/'")
    again.call("selectOption", "select[aria-label='Value']", "1e10")
    again.until("location.hash.includes('worth=1e10')")
    again.until(
        "[...document.querySelectorAll('.mails > li[data-side] .isk')]"
        ".every((each) => /[bt] ISK$/.test(each.textContent))"
    )


def test_statistics_tell_of_the_pilots(stage: Stage, open_page: Open) -> None:
    eve, daemon = running(stage)
    stage.log_in(daemon, eve)
    page = open_page()
    page.goto(daemon.url)
    page.see(".mails a")
    page.click("text=Statistics")
    page.see(".sums")
    page.see("text=By month")
    assert page.js("document.activeElement.tagName") == "H1"
    page.click("text=A year")
    page.until("location.hash === '#/statistics?days=365'")
    page.see(".sums")
    page.press("Escape")
    page.see(".mails a")


@pytest.mark.parametrize("look", LOOKS, ids=["dark", "light", "phone"])
def test_axe_finds_nothing(stage: Stage, open_page: Open, look: dict[str, object]) -> None:
    eve, daemon = running(stage)
    stage.log_in(daemon, eve)
    page = open_page(**look)
    page.goto(f"{daemon.url}/#/?order=value&worth=1e7")
    page.see(".mails a")
    page.assert_accessible()
    page.assert_fits()
    page.goto(f"{daemon.url}/#/statistics")
    page.see(".sums")
    page.assert_accessible()
    page.assert_fits()
