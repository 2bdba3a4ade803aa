"""Runs in the booted Debian: types a document's commands, as its reader would."""

from __future__ import annotations

import json
import re
import subprocess
import sys
from pathlib import Path
from typing import Any

sys.path.insert(0, "/proof")

from kit import EVE, configure, left, log_in, main, pilots, start_eve, typed, wait_for


def work(result: dict[str, Any]) -> None:
    """Every command in its order; stops at the first that ends otherwise than the document says."""
    given = json.loads(Path("/proof/given.json").read_text())
    start_eve()
    result["commands"] = []
    for command in given["before"]:
        done = typed(command)
        assert done["code"] == 0, done
        reader(command)
    if given["before"]:
        assert "is logged in" in log_in(pilots()[0])
    for command, exits in given["commands"]:
        done = login() if re.match(r"killsyncd login$", command) else typed(command, timeout=300.0)
        result["commands"].append(done)
        assert done["code"] == exits, done
        assert "Traceback" not in done["err"] + done["out"], done
        reader(command)
    result["left"] = left()


def reader(command: str) -> None:
    """What the reader does by hand after a command: fills in the configuration."""
    first = not Path("/var/lib/private/killsyncd").exists()
    if "systemd/killsyncd.toml" in command or (first and "apt install ./dist/killsyncd" in command):
        configure()


def login() -> dict[str, Any]:
    """`killsyncd login`, and the pilot who opens the address it prints."""
    words = ["runuser", "--login", "me", "--command", "exec killsyncd login"]
    process = subprocess.Popen(words, stdout=subprocess.PIPE, text=True)
    assert process.stdout is not None
    address = process.stdout.readline().strip()
    assert address.startswith(EVE), address
    visit(f"{address}&_sim_character={pilots()[0]}")
    wait_for(lambda: process.poll() is not None, "the end of login")
    return {"command": "killsyncd login", "code": process.returncode, "out": process.stdout.read(), "err": ""}


def visit(address: str) -> None:
    """As a browser: from EVE to our callback."""
    from urllib.request import urlopen

    with urlopen(address, timeout=30) as page:
        assert b"is logged in" in page.read()


main(work)
