"""Runs in the booted Debian: types a whole day of documents, chapter by chapter, as the machine's owner."""

from __future__ import annotations

import json
import re
import subprocess
import sys
from pathlib import Path
from typing import Any
from urllib.request import urlopen

sys.path.insert(0, "/proof")

from kit import EVE, configure, left, lever, main, pilots, sh, show, start_eve, typed, wait_for

CHECKOUT = Path("/home/me/killsyncd")
# The same program with another number, and one migration more: what the next release is to this one.
NEXT_RELEASE = """\
set -e
dpkg-deb --raw-extract dist/killsyncd_*.deb /root/newer
sed -i 's/^Version: .*/Version: 99.0/' /root/newer/DEBIAN/control
cd /root/newer/usr/lib/killsyncd/killsyncd/storage/sql
echo 'CREATE TABLE of_the_next_release (id INTEGER PRIMARY KEY);' > {number:04}_next_release.sql
dpkg-deb -Znone --build /root/newer /home/me/killsyncd/dist/killsyncd_99.0_$(dpkg --print-architecture).deb
rm -rf /root/newer
"""
STORED = "killsyncd export 2>/dev/null | wc -l"


def work(result: dict[str, Any]) -> None:
    """Every chapter in its order; stops at the first command that ends otherwise than its document says."""
    given = json.loads(Path("/proof/given.json").read_text())
    start_eve()
    result["said"], result["chapters"] = [], {}
    for chapter in given["chapters"]:
        if chapter["title"] == "update":
            assert (done := sh(f"cd {CHECKOUT}; " + NEXT_RELEASE.format(number=given["schema"] + 1)))[
                "code"
            ] == 0, done
        for where, command, exits in chapter["commands"]:
            done = {"chapter": chapter["title"], "where": where, **type_it(command)}
            result["said"].append(done)
            assert done["code"] == exits, done
            reader(command)
        result["chapters"][chapter["title"]] = state()


def type_it(command: str) -> dict[str, Any]:
    """One command, and what the reader does beside it."""
    if re.match(r"killsyncd login$", command):
        return login()
    return typed(command, timeout=300.0)


def reader(command: str) -> None:
    """What the reader does by hand after a command: fills in the configuration, once."""
    conf = Path("/etc/killsyncd/killsyncd.toml")
    installs = "systemd/killsyncd.toml" in command or "apt install ./dist/killsyncd" in command
    if installs and 'contact = ""' in conf.read_text():
        configure()


def login() -> dict[str, Any]:
    """`killsyncd login`, and a pilot who opens the address that it prints."""
    words = ["runuser", "--login", "me", "--command", "exec killsyncd login"]
    process = subprocess.Popen(words, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True)
    assert process.stdout is not None
    address = process.stdout.readline().strip()
    assert address.startswith(EVE), (address, process.communicate())
    with urlopen(f"{address}&_sim_character={pilots()[0]}", timeout=30) as page:
        assert b"is logged in" in page.read()
    wait_for(lambda: process.poll() is not None, "the end of login")
    out, err = process.communicate()
    return {"command": "killsyncd login", "code": process.returncode, "out": f"{address}\n{out}", "err": err}


def state() -> dict[str, Any]:
    """How it is after a chapter, settled: killmails, users, what systemd says, and what bears our name."""
    found: dict[str, Any] = {"unit": show("ActiveState", "NRestarts"), "left": left()}
    if found["unit"]["ActiveState"] == "active":
        wait_for(settled, "all killmails")
        found["stored"] = int(sh(STORED)["out"])
        found["users"] = json.loads(sh("killsyncd ctl users --json")["out"])["users"]
        found["breaches"] = lever("breaches")
    return found


def settled() -> bool:
    """Whether everybody's list was read, and nothing of it is on the way."""
    users, status = (json.loads(sh(f"killsyncd ctl {verb} --json")["out"]) for verb in ("users", "status"))
    return not status["pendingDetails"] and all(each["lastKillmailSyncAt"] for each in users["users"])


main(work)
