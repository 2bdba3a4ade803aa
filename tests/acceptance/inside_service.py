"""Runs in the booted machine: takes the service through its life and writes down what it saw."""

from __future__ import annotations

import sys
from pathlib import Path
from typing import Any

sys.path.insert(0, "/proof")

from kit import SETUP, configure, graphql, lever, log_in, main, pilots, sh, show, start_eve, wait_for

MEMBER = "setpriv --reuid=2001 --regid=2001 --groups=$(getent group killsyncd | cut -d: -f3)"
STRANGER = "setpriv --reuid=2002 --regid=2002 --clear-groups"


def work(result: dict[str, Any]) -> None:
    """The service's life, in order."""
    result["setup"] = sh(SETUP)
    start_eve()
    configure()
    result["check"] = sh("killsyncd-maintain check")
    result["start"] = sh("systemctl start killsyncd")
    result["running"] = show("ActiveState", "StatusText", "MainPID")
    pid = result["running"]["MainPID"]
    result["process"] = Path(f"/proc/{pid}/status").read_text()
    result["mounts"] = Path(f"/proc/{pid}/mountinfo").read_text()
    result["socket"] = sh("stat --format='%a %U %G' /run/killsyncd /run/killsyncd/killsyncd.sock")
    result["state"] = sh("find /var/lib/private/killsyncd -printf '%m %U %f\\n'")
    result["exposure"] = sh("systemd-analyze security --no-pager killsyncd")

    for pilot in pilots():
        assert "is logged in" in log_in(pilot)
    count = len({each for pilot in pilots() for each in listed(pilot)})
    wait_for(lambda: stored() == count, "every mail of every pilot")
    result["stored"], result["wanted"] = stored(), count
    result["member"] = sh(f"{MEMBER} killsyncd ctl status --json")
    result["stranger"] = sh(f"{STRANGER} killsyncd ctl status")
    result["queued"] = sh(f"{MEMBER} killsyncd ctl queue --force")
    result["backup"] = sh("killsyncd backup --output /root/backup.tar")
    result["export"] = sh("killsyncd export | wc -l")

    result["reload"] = sh("systemctl reload killsyncd")
    result["after_reload"] = show("ActiveState", "MainPID")
    result["restart"] = sh("systemctl restart killsyncd")
    result["after_restart"] = stored()
    result["stop"] = sh("systemctl stop killsyncd")
    result["stopped"] = show("ActiveState", "Result", "ExecMainStatus")
    result["rotate"] = sh("killsyncd-maintain rotate-key")
    result["restore_old_key"] = sh("killsyncd-maintain restore /root/backup.tar")
    result["second_start"] = sh("systemctl start killsyncd")
    result["second_stored"] = stored()
    watched(result)
    sh("systemctl stop killsyncd")
    with Path("/etc/killsyncd/killsyncd.toml").open("a") as file:
        file.write("\n[esi]\nnonsense = 1\n")
    result["refused_start"] = sh("systemctl start killsyncd")
    result["refused"] = show("ActiveState", "Result", "ExecMainStatus", "NRestarts")


def watched(result: dict[str, Any]) -> None:
    """A watchdog of two seconds leaves a living daemon alone; a frozen one is ended and started again."""
    drop_in = Path("/etc/systemd/system/killsyncd.service.d/test.conf")
    drop_in.parent.mkdir()
    drop_in.write_text("[Service]\nWatchdogSec=2\nRestartSec=100ms\n")
    sh("systemctl daemon-reload; systemctl restart killsyncd")
    before = show("MainPID", "WatchdogTimestampMonotonic")
    wait_for(
        lambda: (
            int(show("WatchdogTimestampMonotonic")["WatchdogTimestampMonotonic"])
            > int(before["WatchdogTimestampMonotonic"]) + 5_000_000
        ),
        "five seconds of a fed watchdog",
    )
    result["fed"] = show("MainPID", "NRestarts")["MainPID"] == before["MainPID"]
    sh(f"kill -STOP {before['MainPID']}")
    wait_for(lambda: show("NRestarts")["NRestarts"] == "1", "the restart of a frozen daemon")
    wait_for(lambda: show("ActiveState")["ActiveState"] == "active", "the daemon back at work")
    result["back"] = stored()


def listed(pilot: int) -> list[int]:
    """Ids of a pilot's mails."""
    return [each["killmail_id"] for each in lever("mails", character_id=pilot)]


def stored() -> int:
    """Killmails, as the service itself has them."""
    return int(graphql("{killmails(first: 1) {totalCount}}")["killmails"]["totalCount"])


main(work)
