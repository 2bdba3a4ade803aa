"""What is no news: a first sync and an import of thousands, through a whole daemon.

The long form (issue 14: a first sync of 2,500 and an import of 100,000):

    KILLSYNCD_TEST_WEBHOOK_HISTORY=2500:100000 make test TEST_ARGS="-k webhooks_history" WORKERS=0
"""

from __future__ import annotations

import json
import os
from collections.abc import Iterator
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import pytest

from tests.acceptance.test_webhooks import TOKEN, states, table
from tests.support import DaemonProcess, wait_for
from tests.support.stage import QUICK, Stage

FIRST, IMPORTED = (
    int(each) for each in os.environ.get("KILLSYNCD_TEST_WEBHOOK_HISTORY", "2500:2000").split(":")
)
LONG = IMPORTED > 10_000
ASKED_FOR = 40
"""Mails that a replay is asked for."""


def documents(number: int, like: dict[str, Any], newest: datetime) -> Iterator[bytes]:
    """Killmails in ESI's form, an hour apart, the newest last, with ids that nobody else has."""
    for each in range(number):
        at = newest - timedelta(hours=number - 1 - each)
        mail = {**like, "killmail_id": 1_000_000 + each, "killmail_time": f"{at:%Y-%m-%dT%H:%M:%SZ}"}
        mail.pop("killmail_hash", None)
        yield json.dumps(mail).encode() + b"\n"


@pytest.mark.slow
@pytest.mark.timeout(300 if not LONG else 3600)
def test_webhooks_history(stage: Stage, tmp_path: Path) -> None:
    eve = stage.eve(pilots=1, history=FIRST, cache=1, no_limits=True)
    tables = [
        table(tmp_path, eve.base_url, "corp", "discord"),
        table(tmp_path, eve.base_url, "tool", "json", exclude_npc=False),
    ]
    daemon = stage.daemon(eve, QUICK, webhooks=tables)
    stage.log_in(daemon, eve)
    daemon.wait_stored(FIRST, timeout=240 if not LONG else 600)
    _quiet(daemon)
    fresh = int(daemon.value("SELECT COUNT(*) FROM killmails WHERE fresh"))
    assert fresh < FIRST / 50, "a first sync is history"
    assert _sent(daemon)["tool"] == fresh
    assert _sent(daemon)["corp"] <= fresh

    pilot = eve.pilots()[0]["character_id"]
    like = eve.mail(eve.mails(pilot)[0]["killmail_id"])
    newest = datetime.now(UTC) - timedelta(days=2)
    file = tmp_path / "old.jsonl"
    with file.open("wb") as out:
        out.writelines(documents(IMPORTED, like, newest))
    sent = _sent(daemon)
    done = daemon.command("import", str(file), timeout=1800)
    assert done.returncode == 0, done.stderr
    _quiet(daemon)
    assert daemon.stored() == FIRST + IMPORTED
    assert _sent(daemon) == sent, "an import is no news"

    since = newest - timedelta(hours=ASKED_FOR) + timedelta(minutes=30)
    asked = daemon.value(
        "SELECT COUNT(*) FROM killmails WHERE killmail_time >= ?", f"{since:%Y-%m-%d %H:%M:%S}"
    )
    told = daemon.ctl("webhooks", "replay", "tool", "--since", f"{since:%Y-%m-%dT%H:%M:%SZ}")
    assert told["mails"] == asked >= ASKED_FOR
    wait_for(lambda: _sent(daemon)["tool"] == sent["tool"] + asked, 120, daemon.tail)
    _quiet(daemon)
    assert _sent(daemon) == {"corp": sent["corp"], "tool": sent["tool"] + asked}
    assert eve.perform("webhooks", {})["breaches"] == []
    assert TOKEN not in daemon.tail()


def _sent(daemon: DaemonProcess) -> dict[str, int]:
    return {name: each["delivered"] for name, each in states(daemon).items()}


def _quiet(daemon: DaemonProcess) -> None:
    """Until both webhooks have gone through all of the feed."""
    wait_for(lambda: all(not each["waiting"] for each in states(daemon).values()), 240, daemon.tail)
