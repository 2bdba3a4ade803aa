"""Runs in the booted Debian: takes the package through its life and writes down what it saw."""

from __future__ import annotations

import json
import sys
from pathlib import Path
from typing import Any

sys.path.insert(0, "/proof")

from kit import configure, graphql, left, log_in, main, pilots, sh, show, start_eve, typed, wait_for

# The same program with another number: what an update is to dpkg.
NEWER = """\
set -e
dpkg-deb --raw-extract /home/me/killsyncd/dist/killsyncd_*.deb /root/newer
sed -i 's/^Version: .*/Version: 99.0/' /root/newer/DEBIAN/control
dpkg-deb -Znone --build /root/newer /home/me/killsyncd/newer.deb
rm -rf /root/newer
"""


def work(result: dict[str, Any]) -> None:
    """Installed, updated, taken back, removed, installed again, purged."""
    start_eve()
    result["install"] = typed("sudo apt install ./dist/killsyncd_*.deb")
    result["not_started"] = show("ActiveState", "UnitFileState")
    configure()
    result["modes"] = sh("stat --format='%a %U %n' /etc/killsyncd /usr/bin/killsyncd /usr/lib/killsyncd")[
        "out"
    ]
    result["compiled"] = sh("find /usr/lib/killsyncd -name '*.pyc' | wc -l")["out"]
    result["check"] = typed("sudo killsyncd-maintain check")
    result["start"] = typed("sudo systemctl enable --now killsyncd")
    result["running"] = show("ActiveState", "MainPID")
    result["exposure"] = sh("systemd-analyze security --no-pager killsyncd")
    result["cache"] = sh("find /var/cache -name '*killsyncd*'")["out"]
    assert "is logged in" in log_in(pilots()[0])
    wait_for(stored, "killmails")
    result["stored"] = wait_for(lambda: stored() if not waiting() else 0, "all of them")

    assert sh(NEWER)["code"] == 0
    result["update"] = typed("sudo apt install ./newer.deb")
    result["updated"] = show("ActiveState", "MainPID")
    result["version"] = sh("dpkg-query --show killsyncd")["out"].split()[1]
    result["kept_configuration"] = "you@example.com" in Path("/etc/killsyncd/killsyncd.toml").read_text()
    result["back"] = typed("sudo apt install --allow-downgrades ./dist/killsyncd_*.deb")
    result["taken_back"] = show("ActiveState", "MainPID")

    result["remove"] = typed("sudo apt remove killsyncd")
    result["removed"] = left()
    result["again"] = typed(
        "sudo apt install ./dist/killsyncd_*.deb && sudo systemctl enable --now killsyncd"
    )
    result["stored_again"] = stored()

    typed("sudo systemctl enable --now killsyncd-backup.timer; sudo systemctl start killsyncd-backup")
    private = Path("/etc/killsyncd/killsyncd.key")
    private.write_text("a key that somebody put here\n")
    result["purge"] = typed("sudo apt purge killsyncd")
    result["purged"] = left()


def stored() -> int:
    """Killmails, as the service itself has them."""
    return int(graphql("{killmails(first: 1) {totalCount}}")["killmails"]["totalCount"])


def waiting() -> int:
    """Killmails that are listed and not stored yet."""
    out = sh("killsyncd ctl status --json")["out"]
    return int(json.loads(out)["pendingDetails"])


main(work)
