"""Every command by somebody who may not: another user, a member of the group, root, without a home.

Nobody gets a traceback, and nobody gets a remedy that does harm.
"""

from __future__ import annotations

import asyncio
import json
import os
import shutil
import socket
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import pytest

from killsyncd.config import load
from killsyncd.core.clock import SystemClock
from killsyncd.core.errors import EXIT_CONFIG, EXIT_FAILED, EXIT_UNAVAILABLE
from killsyncd.daemon.startup import open_store_and_key
from tests.support.as_user import Done, run_as

pytestmark = pytest.mark.skipif(os.geteuid() != 0, reason="only root can become somebody else")

OWNER, STRANGER, MEMBER, GROUP = 61011, 61012, 61013, 61019
REFUSED = {EXIT_FAILED, EXIT_UNAVAILABLE, EXIT_CONFIG}


@dataclass
class House:
    """A daemon's files, which belong to OWNER; the socket's folder is open to GROUP."""

    folder: Path

    @property
    def config(self) -> Path:
        return self.folder / "etc/killsyncd.toml"

    @property
    def state(self) -> Path:
        return self.folder / "state"

    def commands(self) -> list[list[str]]:
        """Every command that touches something, each with the configuration."""
        mails, out = self.folder / "mails.jsonl", self.folder / "closed"
        words = [
            ["check"],
            ["rotate-key"],
            ["export"],
            ["export", "--output", str(out / "x.jsonl")],
            ["import", str(mails)],
            ["import", str(self.state / "x.jsonl")],
            ["backup", "--output", str(self.state / "b.tar")],
            ["restore", str(self.state / "b.tar")],
            ["restore", str(mails)],
            ["migrate-store", "--to", f"sqlite:///{out}/x.db"],
            ["run"],
            ["login"],
            ["ctl", "status"],
            ["ctl", "queue"],
        ]
        return [[*each, "--config", str(self.config)] for each in words]


@pytest.fixture
def house(tmp_path: Path) -> Iterator[House]:
    # Below /tmp and not below pytest's own folder, which is closed to others.
    folder = Path("/tmp") / f"killsyncd-permissions-{os.getpid()}"
    shutil.rmtree(folder, ignore_errors=True)
    for name, mode in (("", 0o755), ("etc", 0o755), ("state", 0o700), ("run", 0o750), ("closed", 0o700)):
        (folder / name).mkdir(mode=mode)
        (folder / name).chmod(mode)
    found = House(folder)
    sections = {
        "sso": {"client_id": "abc", "base_url": "http://127.0.0.1:9"},
        "esi": {"contact": "tests@killsyncd.invalid", "base_url": "http://127.0.0.1:9"},
        "database": {"url": f"sqlite:///{folder}/state/killsyncd.db"},
        "control": {"socket": f"{folder}/run/killsyncd.sock"},
        "security": {"key_file": f"{folder}/state/killsyncd.key"},
        "api": {"listen": "127.0.0.1:0"},
        "static_data": {"enabled": False},
    }
    found.config.write_text(
        "".join(
            f"[{name}]\n" + "".join(f"{key} = {json.dumps(each)}\n" for key, each in section.items())
            for name, section in sections.items()
        )
    )
    found.config.chmod(0o644)
    (folder / "mails.jsonl").write_text("{}\n")
    (folder / "mails.jsonl").chmod(0o644)

    async def begin() -> None:
        store, _ = await open_store_and_key(load(found.config, {}), SystemClock())
        await store.close()

    asyncio.run(begin())
    for each in [found.state, *found.state.iterdir()]:
        os.chown(each, OWNER, OWNER)
    os.chown(folder / "run", OWNER, GROUP)
    yield found
    shutil.rmtree(folder, ignore_errors=True)


def no_harm(house: House, done: list[Done]) -> None:
    for each in done:
        told = f"{' '.join(each.words)}: exit {each.code}\n{each.out}{each.err}"
        assert each.code in REFUSED, told
        assert "Traceback" not in each.err, told
        assert len(each.err.splitlines()) <= 6, told
        assert "chown 0" not in each.out + each.err, told
    owners = {str(each): each.stat().st_uid for each in house.state.iterdir()}
    assert set(owners.values()) == {OWNER}, owners


@pytest.mark.parametrize("groups", [(STRANGER,), (MEMBER, GROUP)], ids=["stranger", "member"])
@pytest.mark.parametrize("home", ["/nonexistent", "/proc", None], ids=["no-home", "read-only", "unset"])
def test_somebody_else_is_told_whose_it_is(house: House, groups: tuple[int, ...], home: str | None) -> None:
    environ = {} if home is None else {"HOME": home}
    commands = (
        house.commands() if home == "/nonexistent" else [["ctl", "status"], ["check"], ["run"], ["login"]]
    )
    done = run_as(groups[0], groups, commands, environ)
    no_harm(house, done)
    for each in done:
        if each.words[0] in ("rotate-key", "migrate-store") or each.words[:2] == ("export", "--config"):
            assert (
                f"it belongs to #{OWNER}, and you are #{groups[0]}: sudo -u '#{OWNER}' killsyncd" in each.err
            )


def test_root_leaves_nothing_that_keeps_the_owner_out(house: House) -> None:
    commands = [each for each in house.commands() if each[:2] != ["import", str(house.state / "x.jsonl")]]
    done = run_as(0, (0,), commands, {"HOME": "/nonexistent"})
    no_harm(house, done)
    assert not list((house.folder / "closed").iterdir())
    for each in done:
        if each.words[0] in ("check", "run", "rotate-key", "export", "import", "backup", "migrate-store"):
            assert f"sudo -u '#{OWNER}' killsyncd {each.words[0]}" in each.out + each.err


@pytest.mark.parametrize("there", [True, False], ids=["a file of root's", "nothing"])
def test_root_follows_no_link_that_the_owner_put_there(house: House, there: bool) -> None:
    """Whoever gets the service's user and waits for a `sudo killsyncd import` would write where it likes."""
    closed = house.folder / "closed"
    for name in ("killsyncd.db", "killsyncd.key"):
        if there:
            shutil.move(house.state / name, closed / name)
            os.chown(closed / name, 0, 0)
        else:
            (house.state / name).unlink()
        (house.state / name).symlink_to(closed / name)
        os.chown(house.state / name, OWNER, OWNER, follow_symlinks=False)
    before = {each: each.read_bytes() for each in closed.iterdir()}
    words = ("run", "import", "export", "rotate-key", "migrate-store", "backup")
    commands = [each for each in house.commands() if each[0] in words and str(closed) not in " ".join(each)]
    for each in run_as(0, (0,), commands, {"HOME": "/nonexistent"}):
        assert each.code in REFUSED, each
        if each.words[:2] != ("import", str(house.state / "x.jsonl")):  # which is not there either
            assert f"killsyncd.db belongs to #{OWNER}" in each.err, each
    assert {each: each.read_bytes() for each in closed.iterdir()} == before


def test_the_owner_may(house: House) -> None:
    words = ["--config", str(house.config)]
    checked, exported, rotated = run_as(
        OWNER,
        (OWNER,),
        [["check", *words], ["export", *words], ["rotate-key", *words]],
        {"HOME": "/nonexistent"},
    )
    assert (checked.code, exported.code, rotated.code) == (0, 0, 0), checked.out + exported.err + rotated.err


def test_a_database_that_root_put_there_is_given_back(house: House) -> None:
    os.chown(house.state / "killsyncd.db", 0, 0)
    (checked,) = run_as(OWNER, (OWNER,), [["check", "--config", str(house.config)]], {"HOME": "/nonexistent"})
    remedy = f"sudo chown --reference={house.state} {house.state}/killsyncd.db"
    assert (checked.code, remedy in checked.out) == (EXIT_CONFIG, True), checked.out


def test_a_backup_that_cannot_be_read_is_no_fault_of_its_target(house: House) -> None:
    (house.folder / "run").chmod(0o755)
    target = Path(f"/tmp/killsyncd-backup-{os.getpid()}.tar")
    words = ["backup", "--output", str(target), "--config", str(house.config)]
    (done,) = run_as(STRANGER, (STRANGER,), [words], {"HOME": "/nonexistent"})
    assert (done.code, "name another file" in done.err) == (EXIT_FAILED, False), done.err
    assert f"it belongs to #{OWNER}" in done.err
    assert not target.exists()


def test_a_port_is_not_freed_by_who_cannot_ask_the_daemon(house: House) -> None:
    """What listens there may be the very daemon that is to be helped."""
    with socket.create_server(("127.0.0.1", 0)) as taken:
        text = house.config.read_text().replace('"127.0.0.1:0"', f'"127.0.0.1:{taken.getsockname()[1]}"')
        house.config.write_text(text)
        with socket.socket(socket.AF_UNIX) as control:
            control.bind(str(house.folder / "run/killsyncd.sock"))
            control.listen()
            (checked,) = run_as(
                STRANGER, (STRANGER,), [["check", "--config", str(house.config)]], {"HOME": "/nonexistent"}
            )
    (line,) = [each for each in checked.out.splitlines() if each.split()[1] == "listen"]
    assert line.startswith("warn"), line
    assert "stop that one" not in line


def test_a_key_that_root_put_there_is_given_back(house: House) -> None:
    os.chown(house.state / "killsyncd.key", 0, 0)
    (checked,) = run_as(OWNER, (OWNER,), [["check", "--config", str(house.config)]], {"HOME": "/nonexistent"})
    remedy = f"sudo chown --reference={house.state} {house.state}/killsyncd.key"
    assert (checked.code, remedy in checked.out) == (EXIT_CONFIG, True), checked.out
