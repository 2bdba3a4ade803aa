"""The card of sources: what is covered, and a corporation's list with reason and remedy."""

from __future__ import annotations

import pytest

from tests.support import QUICK, Stage, pilots_of
from tests.support.browser_world import Open

pytestmark = [pytest.mark.browser, pytest.mark.slow]


def test_a_corporations_list_is_there_with_what_it_needs(stage: Stage, open_page: Open) -> None:
    eve = stage.eve(pilots=2, history=3, cache=2)
    daemon = stage.daemon(eve, {**QUICK, "corporations": {"enabled": True}})
    stage.log_in(daemon, eve)
    page = open_page()
    page.goto(daemon.url)
    page.see("#sources >> text=those of all members of 1 corporation")
    page.see("#sources >> text=Read")
    page.see("#esi >> text=(corporation)")  # whoever's login reads it has a budget for each
    page.assert_accessible()
    (corporation,) = daemon.ctl("sources", "--kind", "corporation")["sources"]
    daemon.ctl("pause", "--corporation", str(corporation["subject"]["id"]))
    page.see("#sources >> text=Paused", patience=40_000)
    page.see("#sources >> text=resume --corporation")


def test_a_killmail_says_through_whose_lists_it_came(stage: Stage, open_page: Open) -> None:
    eve = stage.eve(pilots=1, history=1, cache=2)
    daemon = stage.daemon(eve, QUICK)
    stage.log_in(daemon, eve)
    daemon.wait_stored(1)
    (pilot,) = pilots_of(eve)
    page = open_page()
    page.goto(f"{daemon.url}/#/killmail/{eve.mails(pilot)[0]['killmail_id']}")
    page.see("text=Came through")
    page.see("text=’s list")
