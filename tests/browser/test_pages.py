"""The pages beside the dashboard: after a login, refusals, and the explorer of the schema."""

from __future__ import annotations

import pytest

from tests.support import Stage
from tests.support.browser_world import Open, running

pytestmark = [pytest.mark.browser, pytest.mark.slow]

PHONE = {"viewport": {"width": 390, "height": 844}, "isMobile": True, "hasTouch": True}


class TestAfterTheLogin:
    @pytest.mark.parametrize("scheme", ["light", "dark"])
    def test_a_login_that_did_not_work_offers_another(
        self, stage: Stage, open_page: Open, scheme: str
    ) -> None:
        _, daemon = running(stage)
        page = open_page(colorScheme=scheme, **PHONE)
        page.goto(f"{daemon.url}/auth/callback?state=unknown&code=unknown")
        page.see("h1:text-is('This login did not work')")
        page.assert_accessible()
        page.assert_fits()
        page.shot(f"login-failed-{scheme}")
        (refused,) = page.complaints()  # Chromium's own line about the status 400
        assert "status of 400" in refused
        assert page.js("document.querySelector('.ways a').pathname") == "/auth/login"
        assert page.text(".ways a") == "Log in again"

    def test_it_keeps_the_colours_that_were_chosen(self, stage: Stage, open_page: Open) -> None:
        _, daemon = running(stage)
        page = open_page(colorScheme="dark")
        page.goto(daemon.url)
        page.js("localStorage.setItem('killsyncd.theme', 'light')")
        for path in ("/auth/callback?error=access_denied&state=unknown", "/graphql"):
            page.goto(daemon.url + path)
            assert page.js("getComputedStyle(document.documentElement).colorScheme") == "light"
        page.complaints()  # the status 400


class TestExplorer:
    @pytest.mark.parametrize("scheme", ["light", "dark"])
    def test_it_asks_and_shows_the_schema(self, stage: Stage, open_page: Open, scheme: str) -> None:
        eve, daemon = running(stage)
        stage.log_in(daemon, eve)
        page = open_page(colorScheme=scheme)
        page.goto(f"{daemon.url}/graphql")
        page.see("summary:has-text('Query')")
        page.click("#run")
        page.until('document.getElementById("answer").textContent.includes("\\"syncing\\": true")')
        page.assert_accessible()
        page.assert_fits()
        page.shot(f"explorer-{scheme}")
        page.call("selectOption", "#example", "Live feed")
        page.click("#run")
        page.see("text=Subscribed")
        (new,) = eve.add_mails(1)
        page.until("document.getElementById('answer').textContent.includes('newKillmail')", 60_000)
        assert new

    def test_on_a_phone(self, stage: Stage, open_page: Open) -> None:
        _, daemon = running(stage)
        page = open_page(**PHONE)
        page.goto(f"{daemon.url}/graphql")
        page.see("summary:has-text('Query')")
        page.assert_accessible()
        page.assert_fits()
        page.shot("explorer-phone")

    def test_it_asks_for_the_token_where_one_is_needed(self, stage: Stage, open_page: Open) -> None:
        token = stage.folder / "token"
        token.write_text("a-token-of-the-browser-tests-that-is-long\n")
        token.chmod(0o600)
        eve = stage.eve(pilots=1)
        daemon = stage.daemon(eve, {"api": {"token_file": str(token)}})
        page = open_page()
        page.goto(f"{daemon.url}/graphql")
        page.see("text=The daemon's token")
        page.call("fill", "#token", "a-token-of-the-browser-tests-that-is-long")
        page.press("Enter")
        page.see("summary:has-text('Query')")
        page.miss("#door")
