"""`killsyncd import` of archives and refs, without a daemon and through one."""

from __future__ import annotations

import json
from collections.abc import Iterator
from contextlib import ExitStack
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import pytest

from killsyncd.simulator import SimulatorProcess
from tests.support.stage import Stage, pilots_of

DAYS = 3
AGO = 10


@pytest.fixture
def stage(tmp_path: Path) -> Iterator[Stage]:
    with ExitStack() as stack:
        made = Stage(tmp_path, stack)
        try:
            yield made
            made.end()
        finally:
            made.abandon()


def history(stage: Stage) -> tuple[SimulatorProcess, list[dict[str, Any]], str]:
    """An EVE with fights on three days, and those days as the command line has them."""
    eve = stage.eve(pilots=2, history=0, cache=3600)
    pilot = pilots_of(eve)[0]
    made = []
    for day in range(DAYS):
        age = (AGO + day) * 86_400.0
        made += eve.add_mails(4, [pilot], late=True, age=age)
        eve.zkillboard(strangers=1)
    today = datetime.now(UTC).date()
    first, last = today - timedelta(days=AGO + DAYS), today - timedelta(days=AGO - 1)
    return eve, made, f"{first}..{last}"


def imported(daemon: Any, *words: str, code: int = 0) -> dict[str, Any]:
    ended = daemon.command("import", *words, "--json")
    assert ended.returncode == code, ended.stderr + ended.stdout
    found: dict[str, Any] = json.loads(ended.stdout)
    return found


def total(summary: dict[str, Any], name: str) -> int:
    return sum(day[name] for day in summary["days"])


def test_days_are_read_once_and_again_when_they_grow(stage: Stage) -> None:
    eve, made, days = history(stage)
    pilot = pilots_of(eve)[0]
    daemon = stage.daemon(eve, start=False)
    mine = ["--everef", days, "--character", str(pilot)]
    first = imported(daemon, *mine)
    assert (total(first, "kept"), total(first, "stored")) == (len(made), len(made))
    states = [day["state"] for day in first["days"]]
    assert states.count("absent") == len(states) - states.count("read")
    assert daemon.stored() == len(made)
    requests = eve.counters()["requests"]["everef.day"]

    again = imported(daemon, *mine)
    assert total(again, "stored") == 0
    assert [day["state"] for day in again["days"]].count("known") == states.count("read")
    absent = states.count("absent")
    assert eve.counters()["requests"]["everef.day"] == {**requests, "404": requests.get("404", 0) + absent}

    (late,) = eve.add_mails(1, [pilot], late=True, age=AGO * 86_400.0)
    grown = imported(daemon, *mine)
    assert (total(grown, "stored"), total(grown, "known")) == (1, 4)
    assert daemon.value("SELECT origin FROM killmails WHERE killmail_id = ?", late["killmail_id"]) == "import"
    everybody = imported(daemon, "--everef", days, "--all")
    assert total(everybody, "kept") == len(made) + 1


def test_through_a_daemon_ours_are_kept_and_a_wrong_hash_goes_to_esi(stage: Stage) -> None:
    eve, made, days = history(stage)
    pilot = pilots_of(eve)[0]
    document = {**eve.mail(made[0]["killmail_id"]), "killmail_hash": "ab" * 20}
    eve.add_documents([document], [])
    daemon = stage.daemon(eve)
    assert "nobody has logged in" in daemon.command("import", "--everef", days).stderr
    daemon.ctl("pause")
    stage.log_in(daemon, eve, pilot)
    told = imported(daemon, "--everef", days, code=1)
    assert (total(told, "mismatched"), total(told, "wanted")) == (1, 0)
    (reason,) = [each for day in told["days"] for each in day["refusals"]]
    assert reason.startswith(f"killmail {made[0]['killmail_id']}: its hash")
    # Only what was refused is read again for that.
    told = imported(daemon, "--everef", days, "--verify", code=1)
    assert [day["state"] for day in told["days"]].count("read") == 1
    assert (total(told, "mismatched"), total(told, "wanted")) == (1, 1)
    assert [day["state"] for day in imported(daemon, "--everef", days, "--verify")["days"]].count("read") == 0
    assert daemon.value("SELECT killmail_hash FROM refs") == "ab" * 20
    daemon.ctl("resume")
    daemon.wait_stored(len(made))


def test_refs_are_brought_home_by_the_daemon(stage: Stage, tmp_path: Path) -> None:
    eve, made, days = history(stage)
    daemon = stage.daemon(eve)
    lines = "".join(f"{each['killmail_id']},{each['killmail_hash']}\n" for each in made[:5])
    file = tmp_path / "refs.csv"
    file.write_text(f"killmail_id,killmail_hash\n{lines}nonsense\n5,short\n")
    told = imported(daemon, "--refs", str(file), code=1)
    assert (told["wanted"], told["known"], told["bad"]) == (5, 0, 2)
    assert [each["line"] for each in told["errors"]] == [7, 8]
    daemon.wait_stored(5)
    file.write_text(lines)
    assert imported(daemon, "--refs", str(file))["known"] == 5
    told = imported(daemon, "--zkillboard-history", days, "--all")
    assert total(told, "wanted") + total(told, "known") == len(made)
    daemon.wait_stored(len(made))


def test_what_does_not_go_together_is_said(stage: Stage) -> None:
    eve = stage.eve(pilots=1, history=0)
    daemon = stage.daemon(eve, start=False)
    for words, told in (
        ((), "one of FILE"),
        (("x.jsonl", "--refs", "y"), "one of FILE"),
        (("x.jsonl", "--all"), "choose from archives"),
        (("--everef", "yesterday"), "FROM..TO"),
        (("--everef", "1999-01-01..1999-02-01"), "holds no day"),
        (("--zkillboard-history", "2026-01-01..2026-01-02"), "who was on a killmail is not known"),
        (("--zkillboard-history", "2026-01-01..2026-01-02", "--all", "--alliance", "5"), "is not known"),
        (("--everef", "2026-01-01..2026-01-02", "--all", "--character", "5"), "--all keeps everything"),
        (("--everef", "2026-01-01..2026-01-02", "--character", "me"), "is no id"),
    ):
        ended = daemon.command("import", *words)
        assert ended.returncode == 2, words
        assert told in ended.stderr, ended.stderr


def test_an_archive_that_breaks_off_is_told_and_read_again(stage: Stage) -> None:
    eve, made, days = history(stage)
    pilot = pilots_of(eve)[0]
    daemon = stage.daemon(eve, start=False)
    eve.script("truncate", "everef.day", count=1, skip=1)
    mine = ["--everef", days, "--character", str(pilot)]
    failed = imported(daemon, *mine, code=1)
    assert [day["state"] for day in failed["days"]].count("failed") <= 1
    whole = imported(daemon, *mine)
    assert total(failed, "stored") + total(whole, "stored") == len(made)
    eve.script("status", "everef.totals", status=503, count=1)
    ended = daemon.command("import", *mine)
    assert (ended.returncode, "503" in ended.stderr) == (1, True)
