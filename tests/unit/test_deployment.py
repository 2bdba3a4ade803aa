"""Remedies as their reader has to type them: by hand, under systemd, in the demo, in a browser."""

from __future__ import annotations

import os
from collections.abc import Iterator
from pathlib import Path

import pytest

from killsyncd.config.deployment import SERVICE_SOCKET, deployment_of_daemon, find_deployment
from killsyncd.core import deployment
from killsyncd.core.deployment import TELL_OPERATOR, Deployment, fit, for_pilot
from killsyncd.core.model import REMEDIES
from killsyncd.service.problem_kinds import CODES

SERVICE = Deployment(unit="killsyncd.service")
ROOT = Deployment(unit="killsyncd.service", root=True)
OWN = Deployment(config="/home/ada/kills.toml")
DEMO = Deployment(socket="/tmp/demo/killsyncd.sock", program=".venv/bin/killsyncd")


@pytest.mark.parametrize(
    ("written", "where", "shown"),
    [
        ("killsyncd check", Deployment(), "killsyncd check"),
        ("killsyncd check", SERVICE, "sudo killsyncd-maintain check"),
        ("killsyncd check", ROOT, "killsyncd-maintain check"),
        ("killsyncd check", OWN, "killsyncd check --config /home/ada/kills.toml"),
        ("killsyncd ctl resume", SERVICE, "killsyncd ctl resume"),
        ("killsyncd ctl resume", OWN, "killsyncd ctl --config /home/ada/kills.toml resume"),
        ("killsyncd ctl resume", DEMO, ".venv/bin/killsyncd ctl --socket /tmp/demo/killsyncd.sock resume"),
        ("start it: killsyncd run; or", SERVICE, "start it: sudo systemctl start killsyncd; or"),
        (
            "restart killsyncd and report this",
            SERVICE,
            "sudo systemctl restart killsyncd and report this",
        ),
        (
            "set [corporations] enabled = true and restart",
            SERVICE,
            "set [corporations] enabled = true and sudo systemctl restart killsyncd",
        ),
        (
            "put it right and reload (SIGHUP)",
            SERVICE,
            "put it right and reload (sudo systemctl reload killsyncd)",
        ),
        (
            "let killsyncd read it, then SIGHUP",
            ROOT,
            "let killsyncd read it, then systemctl reload killsyncd",
        ),
        ("put it right and reload (SIGHUP)", OWN, "put it right and reload (SIGHUP)"),
        ("chmod 600 /k", SERVICE, "sudo chmod 600 /k"),
        ("sudo chmod 600 /k", SERVICE, "sudo chmod 600 /k"),
        ("chmod 600 /k", ROOT, "chmod 600 /k"),
        ("stop it first", SERVICE, "stop it first (sudo systemctl stop killsyncd)"),
        ("its log says more", SERVICE, "its log says more: sudo journalctl -u killsyncd.service"),
        (
            "killsyncd run makes it",
            Deployment(unit="killsyncd.service", user_unit=True),
            "systemctl --user start killsyncd makes it",
        ),
        ("killsyncd is not affiliated with CCP", SERVICE, "killsyncd is not affiliated with CCP"),
    ],
)
def test_a_command_is_what_is_typed_here(written: str, where: Deployment, shown: str) -> None:
    assert where.fit(written) == shown


@pytest.mark.parametrize("where", [Deployment(), SERVICE, ROOT, OWN, DEMO])
def test_fitting_twice_changes_nothing(where: Deployment) -> None:
    for each in [
        *(kind.remedy for kind in CODES.values()),
        *REMEDIES.values(),
        "killsyncd run; chmod 600 /k",
    ]:
        assert where.fit(where.fit(each)) == where.fit(each)


def test_no_remedy_of_a_service_names_what_its_reader_cannot_run() -> None:
    for kind in CODES.values():
        shown = SERVICE.fit(kind.remedy)
        for word in ("check", "run", "restore", "rotate-key", "migrate-store"):
            assert f"killsyncd {word}" not in shown


@pytest.mark.parametrize(
    ("hint", "shown"),
    [
        ("Begin again: killsyncd login, or the dashboard's login button.", "Begin again."),
        ("log this character in again: killsyncd login", "log this character in again"),
        ("killsyncd login", ""),
        (
            "Wait a minute. Begin again: killsyncd login, or the dashboard's login button.",
            "Wait a minute. Begin again.",
        ),
        ("look at network and [sso] base_url; syncs go on", TELL_OPERATOR),
        ("its log has more", TELL_OPERATOR),
    ],
)
def test_a_pilot_in_a_browser_is_told_no_command(hint: str, shown: str) -> None:
    assert for_pilot(hint) == shown


# --- finding out ----------------------------------------------------------------------------------


@pytest.fixture
def machine(tmp_path: Path) -> Path:
    """A file system that systemd has booted, with our unit."""
    (tmp_path / "run/systemd/system").mkdir(parents=True)
    unit = tmp_path / "usr/lib/systemd/system/killsyncd.service"
    unit.parent.mkdir(parents=True)
    unit.write_text("")
    return tmp_path


def test_a_unit_means_the_service(machine: Path) -> None:
    environ = {"HOME": str(machine / "home")}
    found = find_deployment(None, None, environ, ("check",), machine)
    assert (found.unit, found.words, found.root) == ("killsyncd.service", "check", os.geteuid() == 0)
    assert find_deployment("/etc/killsyncd/killsyncd.toml", None, environ, (), machine).unit
    assert find_deployment(None, SERVICE_SOCKET, environ, (), machine).unit
    assert not find_deployment("mine.toml", None, environ, (), machine).unit
    assert find_deployment("mine.toml", None, environ, (), machine).config == f"{os.getcwd()}/mine.toml"
    assert not find_deployment(None, "/tmp/other.sock", environ, (), machine).unit
    own = machine / "home/.config/killsyncd/killsyncd.toml"
    own.parent.mkdir(parents=True)
    own.write_text("")
    assert not find_deployment(None, None, environ, (), machine).unit


def test_without_systemd_a_unit_starts_nothing(machine: Path) -> None:
    (machine / "run/systemd/system").rmdir()
    assert not find_deployment(None, None, {"HOME": "/nonexistent"}, (), machine).unit


def test_a_daemon_knows_its_unit(tmp_path: Path) -> None:
    cgroup = tmp_path / "cgroup"
    notified = {"NOTIFY_SOCKET": "/run/systemd/notify"}
    cgroup.write_text("0::/system.slice/killsyncd-eu.service\n")
    assert deployment_of_daemon(None, notified, cgroup) == Deployment(unit="killsyncd-eu.service")
    assert deployment_of_daemon(None, {}, cgroup) == Deployment()
    cgroup.write_text("0::/user.slice/user-1000.slice/user@1000.service/app.slice/killsyncd.service\n")
    assert deployment_of_daemon(None, notified, cgroup) == Deployment(
        unit="killsyncd.service", user_unit=True
    )
    assert deployment_of_daemon(None, notified, tmp_path / "gone").unit == "killsyncd.service"


@pytest.fixture
def forgotten() -> Iterator[None]:
    yield
    deployment.configure(Deployment)


def test_it_is_found_out_once_and_when_it_is_needed(forgotten: None) -> None:
    asked = []

    def find() -> Deployment:
        asked.append(1)
        return SERVICE

    deployment.configure(find)
    assert not asked
    assert fit("killsyncd check") == fit("killsyncd check") == "sudo killsyncd-maintain check"
    assert len(asked) == 1


@pytest.mark.parametrize(
    ("words", "shown"),
    [
        ("run", "sudo systemctl start killsyncd"),
        ("backup --output b.tar", "sudo systemctl start killsyncd, then the same again"),
        ("export", "sudo systemctl start killsyncd, then the same again"),
        ("rotate-key", "sudo killsyncd-maintain rotate-key"),
    ],
)
def test_what_does_a_services_command(words: str, shown: str) -> None:
    assert Deployment(unit="killsyncd.service", words=words).as_owner("killsyncd-daemon") == shown
