"""`killsyncd demo --killmails FILE`: real killmails of 18 years, through everything, kept field by field."""

from __future__ import annotations

import csv
import json
import os
import signal
import sqlite3
import subprocess
import sys
from collections.abc import Iterator
from contextlib import closing, contextmanager
from pathlib import Path
from typing import Any

import pytest

from tests.support import free_port, wait_for
from tests.support.daemon import ROOT
from tests.support.mails import assert_stored_as_sent


@pytest.fixture
def real(shared: Path) -> dict[int, dict[str, Any]]:
    """The mails as ESI sent them, by id."""
    file = shared / "killmails/killmails.jsonl"
    if not file.is_file():
        pytest.skip(f"{file} is not there")
    return {mail["killmail_id"]: mail for mail in map(json.loads, file.read_text().splitlines())}


@contextmanager
def demo(state: Path, *words: str) -> Iterator[subprocess.Popen[str]]:
    """The demo, as somebody types it; Ctrl-C in the end, which it must take cleanly."""
    with (state.parent / "demo.log").open("w") as said:
        process = subprocess.Popen(
            [sys.executable, "-m", "killsyncd", "demo", "--state", str(state), *words],
            stdin=subprocess.DEVNULL,
            stdout=said,
            stderr=subprocess.STDOUT,
            text=True,
            env={**os.environ, "PYTHONPATH": str(ROOT), "PYTHONUNBUFFERED": "1"},
        )
        try:
            yield process
            process.send_signal(signal.SIGINT)
            assert process.wait(30) == 0
        finally:
            if process.poll() is None:
                process.kill()
                process.wait()


def test_every_real_mail_ends_in_the_database(tmp_path: Path, shared: Path, real: dict[int, Any]) -> None:
    state, log = tmp_path / "state", tmp_path / "demo.log"
    file = shared / "killmails/killmails.jsonl"
    hashes = {}
    with (shared / "killmails/hashes.csv").open(newline="") as lines:
        hashes = {int(row["killmail_id"]): row["killmail_hash"] for row in csv.DictReader(lines)}
    assert len(real) == 53
    with demo(state, "--killmails", str(file), "--port", str(free_port()), "--pilots", "2"):
        database = state / "killsyncd.db"
        wait_for(database.exists, 20, "the demo makes its database")

        def there() -> set[int]:
            with closing(sqlite3.connect(f"{database.as_uri()}?mode=ro", uri=True)) as rows:
                if not rows.execute("SELECT 1 FROM sqlite_master WHERE name = 'killmails'").fetchone():
                    return set()
                return {row[0] for row in rows.execute("SELECT killmail_id FROM killmails")}

        wait_for(lambda: real.keys() <= there(), 60, lambda: log.read_text()[-2000:], every=0.2)
    with closing(sqlite3.connect(f"{database.as_uri()}?mode=ro", uri=True)) as rows:
        for killmail_id, mail in real.items():
            assert_stored_as_sent(rows, mail, hashes[killmail_id])
        # What makes these worth having: all of it occurs.
        assert rows.execute("SELECT COUNT(*) FROM killmail_items WHERE parent IS NOT NULL").fetchone()[0]
        assert rows.execute("SELECT COUNT(*) FROM killmails WHERE war_id IS NOT NULL").fetchone()[0]
        assert rows.execute("SELECT COUNT(*) FROM killmails WHERE moon_id IS NOT NULL").fetchone()[0]
        assert rows.execute("SELECT COUNT(*) FROM victims WHERE position_x IS NOT NULL").fetchone()[0]
        assert rows.execute("SELECT COUNT(*) FROM victims WHERE character_id IS NULL").fetchone()[0]
        assert rows.execute("SELECT COUNT(*) FROM attackers WHERE faction_id IS NOT NULL").fetchone()[0]
        assert _identical_attackers(rows), "NPC attackers that differ in nothing but their place"
    text = log.read_text()
    assert "Traceback" not in text
    assert "the end" in text


def _identical_attackers(rows: sqlite3.Connection) -> int:
    what = "killmail_id, character_id, corporation_id, faction_id, ship_type_id, weapon_type_id, damage_done"
    same = f"SELECT 1 FROM attackers GROUP BY {what}, final_blow, security_status HAVING COUNT(*) > 1"
    return len(rows.execute(same).fetchall())


def test_export_gives_them_back_as_they_came(tmp_path: Path, shared: Path, real: dict[int, Any]) -> None:
    """Import, export, import elsewhere: ESI's JSON all the way."""
    first, second = (_configuration(tmp_path / name) for name in ("first", "second"))
    file = shared / "killmails/killmails.jsonl"
    assert _run(first, "import", str(file)).returncode == 0
    exported = _run(first, "export", "--format", "jsonl")
    assert exported.returncode == 0
    lines = [json.loads(line) for line in exported.stdout.splitlines()]
    for mail in lines:
        assert {key: value for key, value in mail.items() if key != "killmail_hash"} == real[
            mail["killmail_id"]
        ]
    assert len(lines) == 53
    (tmp_path / "out.jsonl").write_text(exported.stdout)
    assert _run(second, "import", str(tmp_path / "out.jsonl")).returncode == 0
    assert _run(second, "export", "--format", "jsonl").stdout == exported.stdout


def _configuration(folder: Path) -> Path:
    folder.mkdir()
    file = folder / "killsyncd.toml"
    file.write_text(
        f'[sso]\nclient_id = "id"\n[esi]\ncontact = "tests@killsyncd.invalid"\n'
        f'[database]\nurl = "sqlite:///{folder}/k.db"\n[security]\nkey_file = "{folder}/k.key"\n'
        f'[control]\nsocket = "{folder}/k.sock"\n'
    )
    return file


def _run(config: Path, *words: str) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        [sys.executable, "-m", "killsyncd", *words, "--config", str(config)],
        capture_output=True,
        text=True,
        timeout=60,
        env={**os.environ, "PYTHONPATH": str(ROOT)},
        check=False,
    )
