"""Runs in the booted machine: credentials, maintenance and backups, and a service's user who plants links."""

from __future__ import annotations

import re
import subprocess
import sys
from pathlib import Path
from typing import Any

sys.path.insert(0, "/proof")

from kit import SETUP, configure, log_in, main, pilots, sh, show, start_eve, wait_for

STATE = Path("/var/lib/private/killsyncd")
DROP_IN = """\
[Service]
LoadCredential=api.token_file:/etc/killsyncd/api_token
LoadCredential=security.key_file:/etc/killsyncd/killsyncd.key
"""
TOKEN = "a token of a good forty characters, no less"


def work(result: dict[str, Any]) -> None:
    """Each part writes down what it saw."""
    assert sh(SETUP)["code"] == 0
    start_eve()
    configure(api={"listen": "0.0.0.0:7420"})
    credentials(result)
    backups(result)
    planted(result)
    words(result)


def credentials(result: dict[str, Any]) -> None:
    """A token and a key that are root's: everything works with them, from the first start on."""
    result["check_without"] = sh("killsyncd-maintain check")
    private("/etc/killsyncd/api_token", TOKEN)
    private("/etc/killsyncd/killsyncd.key", f"first {'A' * 43}=\n")
    folder = Path("/etc/systemd/system/killsyncd.service.d")
    folder.mkdir()
    (folder / "secrets.conf").write_text(DROP_IN)
    result["setup"] = sh("systemctl daemon-reload")
    result["check"] = sh("killsyncd-maintain check")
    result["first_start"] = sh("systemctl start killsyncd")
    result["first"] = show("ActiveState", "ExecMainStatus")
    assert "is logged in" in log_in(pilots()[0])
    result["own_key"] = (STATE / "killsyncd.key").exists()
    result["busy"] = sh("killsyncd-maintain rotate-key")
    result["backup"] = sh("killsyncd backup --output '/root/of $today.tar'")
    sh("systemctl stop killsyncd")
    result["rotate"] = sh("killsyncd-maintain rotate-key")
    result["key"] = sh("stat --format='%a %U %s' /etc/killsyncd/killsyncd.key")
    result["key_lines"] = [
        each.split()[0] for each in Path("/etc/killsyncd/killsyncd.key").read_text().splitlines()
    ]
    result["left"] = sorted(each.name for each in Path("/etc/killsyncd").iterdir())
    result["rotated_start"] = sh("systemctl start killsyncd")
    result["users"] = sh("killsyncd ctl users --json")
    result["backup_new_key"] = sh("killsyncd backup --output '/root/of $today.tar'")
    sh("systemctl stop killsyncd")
    result["restore"] = sh("killsyncd-maintain restore '/root/of $today.tar'")
    result["restored_start"] = sh("systemctl start killsyncd")


def backups(result: dict[str, Any]) -> None:
    """The nightly one, with the daemon at work and stopped."""
    unit = "killsyncd-backup.service"
    sh(f"cp systemd/{unit} systemd/killsyncd-backup.timer /etc/systemd/system/; systemctl daemon-reload")
    folder = Path("/var/lib/private/killsyncd-backups")
    result["nightly"] = sh(f"systemctl start {unit} || journalctl --no-pager --output=cat --unit={unit}")
    old, kept = folder / "killsyncd-2020-01-01.tar", folder / "notes"
    sh(f"touch --date=2020-01-01 {old} {kept}; chown --reference={folder} {old} {kept}")
    result["nightly_files"] = sh(f"stat --format='%a %u %U' {folder}/killsyncd-*.tar")
    sh("systemctl stop killsyncd")
    # Without the daemon it reads the configuration itself, so it wants the same credentials.
    other = Path("/etc/systemd/system/killsyncd-backup.service.d")
    other.mkdir()
    (other / "secrets.conf").write_text(DROP_IN)
    result["nightly_alone"] = sh(
        f"systemctl daemon-reload; systemctl start {unit} || journalctl --no-pager --output=cat --unit={unit}"
    )
    result["nightly_kept"] = sorted(each.name for each in folder.iterdir())
    result["nightly_exposure"] = sh(f"systemd-analyze security --no-pager {unit}")


def planted(result: dict[str, Any]) -> None:
    """What the service's user may lay in root's way."""
    private("/root/secret", "nobody else's")
    traps = {"restore.tar": "/etc/cron.d", "theirs.tar": "/root/secret", "folder": "/root"}
    for name, target in traps.items():
        (STATE / name).symlink_to(target)
        sh(f"chown --no-dereference --reference={STATE} {STATE}/{name}")
    Path("/etc/cron.d").mkdir(exist_ok=True)
    result["trap_restore"] = sh("killsyncd-maintain restore '/root/of $today.tar'")
    result["trapped"] = sorted(each.name for each in Path("/etc/cron.d").iterdir())
    for name in ("theirs.tar", "folder/secret"):
        result[f"trap_{name}"] = sh(f"killsyncd-maintain restore /var/lib/killsyncd/{name}")
    result["trap_left"] = sorted(name for name in traps if (STATE / name).is_symlink())


def words(result: dict[str, Any]) -> None:
    """What comes in and out, and what the process may do meanwhile."""
    result["export"] = sh("killsyncd-maintain export | wc -l")
    result["nothing"] = sh("killsyncd-maintain import - < /dev/null")
    private("/root/password", "not to be shown")
    result["password"] = sh(
        "killsyncd-maintain migrate-store --to postgresql://me@127.0.0.1:1/kills"
        " --password-file /root/password"
    )
    process = subprocess.Popen(["killsyncd-maintain", "import", "-"], stdin=subprocess.PIPE)
    unit = f"killsyncd-maintain-{process.pid}.service"
    wait_for(lambda: sh(f"systemctl is-active {unit}")["code"] == 0, "the command at work")
    result["exposure"] = sh(f"systemd-analyze security --no-pager {unit}")
    pid = sh(f"systemctl show --property=MainPID --value {unit}")["out"].strip()
    status = Path(f"/proc/{pid}/status")
    # Until then it is systemd's own child, which has not become the command yet.
    wait_for(lambda: re.search(r"(?m)^Name:\s*python", status.read_text()), "the command itself")
    result["process"] = status.read_text()
    process.communicate(b"")
    result["ended"] = process.returncode
    result["journal_of_maintenance"] = re.sub(r"\s+", " ", sh("journalctl --no-pager --output=cat")["out"])


def private(path: str, text: str) -> None:
    """A file of root's alone."""
    Path(path).write_text(text)
    Path(path).chmod(0o600)


main(work)
