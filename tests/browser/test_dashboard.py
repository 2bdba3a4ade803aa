"""The dashboard as people use it: a real browser, a real daemon, a simulated EVE."""

from __future__ import annotations

import json

import pytest

from killsyncd.simulator import CLIENT_ID
from tests.support import QUICK, Stage, pilots_of
from tests.support.browser_world import QUICK_EVE, SYNCING, Open, mail, running
from tests.support.stopped_daemon import ask_the_sso_again

pytestmark = [pytest.mark.browser, pytest.mark.slow]


class TestFromTheFirstLogin:
    def test_log_in_by_clicking_and_watch_mails_arrive(self, stage: Stage, open_page: Open) -> None:
        eve, daemon = running(stage)
        stage.provoked |= {"compatibility_date", "user_agent"}  # the browser asks EVE for a favicon
        pilot = eve.pilots()[0]
        page = open_page()
        page.goto(daemon.url)
        page.see("text=Welcome, capsuleer")
        page.assert_accessible()
        page.shot("first-run-dark")

        page.click("main >> text=Log in with EVE Online")
        page.see("text=simulated EVE login")
        page.click(f'button:has-text("{pilot["name"]}")')
        page.see(f'h1:has-text("{pilot["name"]}")')
        assert [each for each in page.complaints() if eve.base_url not in each] == []  # EVE has no favicon
        page.assert_accessible()
        page.shot("logged-in-dark")
        page.click("text=To the dashboard")

        page.see(SYNCING)
        page.see(f"#pilots >> text={pilot['name']}")
        page.until("document.querySelectorAll('.mails > li.mail[data-side]').length === 12")
        page.js("window.stillTheSamePage = true")

        (new,) = eve.add_mails(1, [pilot["character_id"]], kind="solo", loss=True)
        page.see(mail(new["killmail_id"]))
        row = f"li:has(> .mail-words a[href='#/killmail/{new['killmail_id']}'])"
        assert page.js(f"document.querySelector({json.dumps(row)}).dataset.side") == "loss"
        page.see(f"{row} >> text=Loss")
        page.see(f"{row} >> text={pilot['name']}")
        assert page.js("window.stillTheSamePage") is True

    def test_nothing_but_the_daemon_is_asked(self, stage: Stage, open_page: Open) -> None:
        eve, daemon = running(stage)
        stage.log_in(daemon, eve)
        page = open_page()
        page.goto(daemon.url)
        page.see(".mails a")
        page.click(".mails a")
        page.see("article h1")
        assert {each.split("/")[2] for each in page.asked()} == {f"127.0.0.1:{daemon.port}"}


class TestOutage:
    def test_it_recovers_and_misses_nothing(self, stage: Stage, open_page: Open) -> None:
        eve, daemon = running(stage)
        stage.log_in(daemon, eve)
        pilots = pilots_of(eve)
        page = open_page()
        page.goto(daemon.url)
        page.see(SYNCING)
        page.see(".mails a")
        assert page.complaints() == []

        daemon.kill()
        page.see("text=The daemon does not answer")
        page.see("text=Reconnecting")
        page.click("text=Try now")  # which changes nothing yet
        page.see("text=Reconnecting in")
        page.see("h1:text-is('Out of touch')")
        page.assert_accessible()
        page.shot("outage-dark")
        before = daemon.stored()
        missed = eve.add_mails(2, pilots, shared=True, loss=True)
        daemon.start()
        daemon.wait_stored(before + 2)
        page.miss("text=The daemon does not answer", 30_000)
        for each in missed:
            page.see(mail(each["killmail_id"]))
        (new,) = eve.add_mails(1, pilots[:1])
        page.see(mail(new["killmail_id"]))
        ids = page.js("[...document.querySelectorAll('.mails > li a')].map((each) => each.hash)")
        assert len(ids) == len(set(ids))
        # What the browser itself says of refused connections is all that may stand in the console.
        others = [
            each
            for each in page.complaints()
            if "ERR_CONNECTION" not in each and "WebSocket connection" not in each
        ]
        assert others == []

    def test_a_feed_that_began_anew_is_followed_anew(self, stage: Stage, open_page: Open) -> None:
        eve, daemon = running(stage)
        stage.log_in(daemon, eve)
        page = open_page()
        page.goto(daemon.url)
        page.see(".mails a")
        backup = daemon.folder / "backup.db"
        assert daemon.command("backup", "--output", str(backup)).returncode == 0
        daemon.stop()
        restored = daemon.command("restore", str(backup))
        assert restored.returncode == 0, restored.stderr
        page.see("text=The daemon does not answer")
        daemon.start()
        page.miss("text=The daemon does not answer", 30_000)
        (new,) = eve.add_mails(1, pilots_of(eve)[:1])
        page.see(mail(new["killmail_id"]))
        page.complaints()


class TestProblems:
    def test_reason_and_remedy_stand_there(self, stage: Stage, open_page: Open) -> None:
        eve, daemon = running(stage)
        stage.log_in(daemon, eve)
        page = open_page(permissions=["clipboard-read", "clipboard-write"])
        page.goto(daemon.url)
        page.see(SYNCING)
        daemon.ctl("pause")
        page.see("h1:text-is('Paused')")
        typed = f"killsyncd ctl --config {daemon.config} resume"
        page.see(f".problem >> text={typed}")
        page.click(".problem button[aria-label^='Copy the command']")
        page.until(f"navigator.clipboard.readText().then((text) => text === '{typed}')")
        page.assert_accessible()
        page.shot("paused-dark")
        daemon.ctl("resume")
        page.see(SYNCING)

    def test_a_lost_login_shows_with_a_way_back(self, stage: Stage, open_page: Open) -> None:
        eve, daemon = running(stage, token_life=10)
        stage.log_in(daemon, eve)
        lost, _ = pilots_of(eve)
        page = open_page(colorScheme="light")
        page.goto(daemon.url)
        page.see(SYNCING)
        eve.revoke(lost)
        ask_the_sso_again(daemon)
        page.see("#pilots >> text=Login needed", 60_000)
        page.complaints()  # of the daemon that was away
        page.see(".problem >> text=killsyncd login")
        assert page.js("document.querySelector('#pilots .who-remedy a').pathname") == "/auth/login"
        page.assert_accessible()
        page.shot("login-needed-light")

    def test_a_pilot_whose_budget_is_spent_is_not_up_to_date(self, stage: Stage, open_page: Open) -> None:
        eve, daemon = running(stage)
        stage.log_in(daemon, eve)
        stage.provoked |= {"budget"}  # another program spent it: ESI alone knows
        spent = pilots_of(eve)[0]
        daemon.ctl("queue", "--force")
        eve.spend("char-killmail", f"{CLIENT_ID}:{spent}", 30)
        page = open_page()
        page.goto(daemon.url)
        page.click("#pilots button:has-text('Sync now')")
        page.see("#pilots >> text=Waits for ESI", 60_000)
        page.see("#pilots .who-remedy >> text=this pilot's list")  # spent, or a 429 that told so
        page.see("text=1 waits for ESI")
        page.assert_accessible()
        page.shot("budget-spent-dark")

    def test_an_error_of_the_daemon_shows_and_goes(self, stage: Stage, open_page: Open) -> None:
        eve, daemon = running(stage)
        stage.log_in(daemon, eve)
        page = open_page()
        page.goto(daemon.url)
        page.see(SYNCING)
        error = {"message": "the database does not answer", "extensions": {"remedy": "killsyncd check"}}
        address = f"{daemon.url}/graphql"
        page.answer(address, contentType="application/json", body=json.dumps({"errors": [error]}))
        page.see(".stale >> text=The database does not answer")
        page.see(".stale >> text=killsyncd check")
        page.assert_accessible()
        page.answer(address)
        page.miss(".stale")


class TestLocked:
    def test_the_token_opens_it(self, stage: Stage, open_page: Open) -> None:
        eve = stage.eve(pilots=1, history=5, **QUICK_EVE)
        stage.folder.mkdir(exist_ok=True)
        token = stage.folder / "token"
        token.write_text("a token of forty characters, or nearly so\n")
        token.chmod(0o600)
        daemon = stage.daemon(eve, {**QUICK, "api": {"token_file": str(token)}})
        stage.log_in(daemon, eve)
        page = open_page()
        page.goto(daemon.url)
        page.see("text=This daemon asks for its token")
        assert page.complaints() == []
        page.assert_accessible()
        page.shot("locked-dark")
        page.call("fill", "#token", "wrong")
        page.press("Enter")
        page.see("[role=alert]:not(:empty)")
        assert [each for each in page.complaints() if "401" not in each] == []
        page.call("fill", "#token", token.read_text().strip())
        page.press("Enter")
        page.see(SYNCING)
        page.see(".mails a")
        (new,) = eve.add_mails(1, pilots_of(eve))
        page.see(mail(new["killmail_id"]))
        page.call("reload")
        page.see(SYNCING)
        page.click("button[title^='Forget the token']")
        page.see("text=This daemon asks for its token")
