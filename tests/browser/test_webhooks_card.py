"""The card of webhooks: how each is, what it delivered, and why something did not go out."""

from __future__ import annotations

from pathlib import Path

import pytest

from tests.support import QUICK, Stage
from tests.support.browser_world import QUICK_EVE, Open
from tests.support.webhook_world import secret_file

pytestmark = [pytest.mark.browser, pytest.mark.slow]


def test_state_last_delivery_and_why_not(stage: Stage, open_page: Open, tmp_path: Path) -> None:
    eve = stage.eve(pilots=1, history=4, **QUICK_EVE)
    url = secret_file(tmp_path / "url", f"{eve.base_url}/api/webhooks/1/very-secret")
    hook = {"name": "corp-kills", "kind": "discord", "url_file": str(url), "exclude_npc": False}
    daemon = stage.daemon(eve, QUICK, webhooks=[hook, {**hook, "name": "odd", "pilots": ["Nobody At All"]}])
    stage.log_in(daemon, eve)
    daemon.wait_stored(4)
    eve.add_mails(1, [eve.pilots()[0]["character_id"]])
    page = open_page()
    page.goto(daemon.url)
    page.see("#webhooks >> text=Delivers")
    page.see("#webhooks >> text=the last")
    page.see("#webhooks >> text=Its filter cannot be used")
    page.see("#webhooks >> text=no pilot is called 'Nobody At All'")
    page.click("#webhooks >> text=The last killmails, and why each went out or not")
    page.see("#webhooks >> text=went out")
    page.see("#webhooks >> text=left out: fresh_only")
    page.assert_accessible()
    page.shot("webhooks-dark")
    assert "very-secret" not in page.js("document.body.textContent")
    assert page.complaints() == []
