"""`/metrics` of a daemon at work, against what the dashboard, the rules and the document say of it."""

from __future__ import annotations

import re
from pathlib import Path

import pytest
from prometheus_client.parser import text_string_to_metric_families

from tests.support import wait_for
from tests.support.stage import Stage

DOCS = Path(__file__).parents[2] / "docs"
ONLY_AFTER_A_BACKUP = "killsyncd_last_backup_timestamp_seconds"


def names_in(*files: str) -> set[str]:
    """Names of metrics that these files use."""
    text = "".join((DOCS / file).read_text("utf-8") for file in files)
    return set(re.findall(r"\b(?:killsyncd|process)_[a-z_]+", text))


@pytest.fixture
def text(stage: Stage) -> str:
    """The metrics once two pilots are synced and a backup was made."""
    eve = stage.eve(pilots=2, history=10)
    daemon = stage.daemon(eve)
    stage.log_in(daemon, eve)
    wait_for(lambda: daemon.stored() == len(eve.mails()), 60, daemon.tail)
    assert daemon.command("backup", "--output", str(daemon.folder / "backup.tar")).returncode == 0
    wait_for(lambda: daemon.graphql("{status {lastProducerRun}}")["status"]["lastProducerRun"], 30)
    wait_for(lambda: "killsyncd_esi_tokens_remaining{" in daemon.get("/metrics")[1], 30)
    status, body = daemon.get("/metrics")
    assert status == 200
    for pilot in eve.pilots():
        assert str(pilot["character_id"]) not in body
        assert pilot["name"] not in body
    return body


def test_every_name_that_is_used_comes_out(text: str) -> None:
    families = list(text_string_to_metric_families(text))
    there = {sample.name for family in families for sample in family.samples}
    used = names_in("grafana/killsyncd.json", "prometheus/alerts.yml")
    # Withheld requests show once there are some, webhooks where there is one (test_webhooks.py), zKillboard
    # where it is on (test_zkillboard.py).
    not_yet = {
        ONLY_AFTER_A_BACKUP,
        "killsyncd_esi_withheld_total",
        "killsyncd_webhook_requests_total",
        "killsyncd_zkillboard_requests_total",
        "killsyncd_webhook_waiting",
    }
    assert used - there <= not_yet
    listed = set(
        re.findall(r"(?m)^\| `((?:killsyncd|process)_[a-z_]+)", (DOCS / "metrics.md").read_text("utf-8"))
    )
    shown = {re.sub(r"_(bucket|sum|count)$", "", each) for each in there}
    assert listed - shown <= not_yet
    assert shown <= listed


def test_the_last_backup_is_known(text: str) -> None:
    (value,) = re.findall(rf"(?m)^{ONLY_AFTER_A_BACKUP} (\S+)$", text)
    assert float(value) > 1.7e9
