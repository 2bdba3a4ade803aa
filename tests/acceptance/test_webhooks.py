"""Webhooks of a real daemon: Discord and a receiver in the simulator, ctl, GraphQL, metrics, reload."""

from __future__ import annotations

import signal
from pathlib import Path
from typing import Any

import pytest

from tests.support import DaemonProcess, wait_for
from tests.support.own_servers import PrivatePostgres, missing
from tests.support.stage import QUICK, Stage
from tests.support.webhook_world import SECRET, secret_file

TOKEN = "Canary7Xq2Zr9Kd4Lw8Tn3Vb6-webhook"


def table(folder: Path, eve: str, name: str, kind: str, **more: Any) -> dict[str, Any]:
    path = f"/api/webhooks/4711/{TOKEN}" if kind == "discord" else f"/webhook-receiver/{name}-{TOKEN}"
    found = {"name": name, "kind": kind, "url_file": str(secret_file(folder / f"{name}.url", eve + path))}
    if kind == "json":
        found["secret_file"] = str(secret_file(folder / "secret", SECRET))
    return found | more


def taken(eve: Any, hook: str) -> list[Any]:
    return [each for each in eve.perform("webhooks", {"limit": 1000})["taken"] if each["hook"] == hook]


def states(daemon: DaemonProcess) -> dict[str, Any]:
    return {each["name"]: each for each in daemon.ctl("webhooks")["webhooks"]}


@pytest.mark.timeout(200)
def test_a_day_with_webhooks(stage: Stage, tmp_path: Path) -> None:
    eve = stage.eve(pilots=1, history=60, cache=1, window=20)
    tables = [
        table(tmp_path, eve.base_url, "corp", "discord"),
        table(tmp_path, eve.base_url, "tool", "json", exclude_npc=False),
    ]
    daemon = stage.daemon(eve, {**QUICK, "log": {"level": "debug"}}, webhooks=tables)
    stage.log_in(daemon, eve)
    daemon.wait_stored(60)
    wait_for(lambda: states(daemon)["tool"]["waiting"] == 0, 30, daemon.tail)
    old = {each["killmail_id"] for each in eve.mails()}
    fresh_then = {int(each["body"]["data"]["id"]) for each in taken(eve, f"tool-{TOKEN}")}
    first = daemon.value("SELECT COUNT(*) FROM killmails WHERE fresh")
    assert len(fresh_then) == first  # a first sync sends none of its history

    wait_for(lambda: daemon.value("SELECT COUNT(*) FROM esi_prices"), 60, daemon.tail)
    pilot = eve.pilots()[0]["character_id"]
    new = [each["killmail_id"] for each in eve.perform("add_mails", {"count": 2, "pilots": [pilot]})]
    wait_for(lambda: states(daemon)["tool"]["delivered"] == first + 2, 60, daemon.tail)
    wait_for(lambda: states(daemon)["corp"]["waiting"] == 0, 60, daemon.tail)
    got = [each["body"] for each in taken(eve, f"tool-{TOKEN}")]
    assert {int(each["data"]["id"]) for each in got} >= set(new)
    assert got[-1]["data"]["solarSystem"]["name"]  # it waited for the names
    assert "killmailHash" not in got[-1]["data"]
    assert "raw" not in got[-1]["data"]
    document = daemon.graphql(
        "query($id: ID!) {killmail(id: $id) {id victim {shipType {id name} damageTaken} users {role}}}",
        id=got[-1]["data"]["id"],
    )["killmail"]
    sent = got[-1]["data"]
    assert sent["victim"]["damageTaken"] == document["victim"]["damageTaken"]
    ship = {name: sent["victim"]["shipType"][name] for name in ("id", "name")}
    assert ship == document["victim"]["shipType"]
    assert {each["user"]["characterName"] for each in sent["users"]} == {eve.pilots()[0]["name"]}
    assert set(sent["users"][0]["user"]) == {"id", "characterId", "characterName"}
    assert sent["value"]["total"] > 0

    _explains_itself(daemon, new[0])
    done = daemon.command("ctl", "webhooks", "test", "corp")
    assert (done.returncode, "delivered" in done.stdout) == (0, True)
    assert "this is a test" in taken(eve, "4711")[-1]["body"]["embeds"][0]["footer"]["text"]
    _levers(daemon, eve, old | set(new))
    _refused_reload(daemon, eve, pilot)
    _reload(daemon, eve, tmp_path, pilot)
    assert eve.perform("webhooks", {})["breaches"] == []
    _nothing_secret(daemon)


def _explains_itself(daemon: DaemonProcess, killmail_id: int) -> None:
    why = daemon.ctl("webhooks", "tool", "--explain", str(killmail_id))
    assert why["became"] == "delivered"
    assert [each["name"] for each in why["conditions"]] == ["fresh_only"]
    (asked,) = [
        each
        for each in daemon.graphql("{webhooks {name state waiting delivered last {killmailId became why}}}")[
            "webhooks"
        ]
        if each["name"] == "tool"
    ]
    assert asked["state"] == "OK"
    assert str(killmail_id) in {each["killmailId"] for each in asked["last"]}
    text = daemon.command("ctl", "webhooks").stdout
    assert "tool (json): ok" in text
    metrics = daemon.get("/metrics")[1]
    assert 'killsyncd_webhook_requests_total{outcome="delivered",webhook="tool"}' in metrics
    assert 'killsyncd_webhook_waiting{webhook="tool"} 0.0' in metrics
    unknown = daemon.command("ctl", "webhooks", "nobody")
    assert unknown.returncode == 1
    assert "the configured ones are: corp, tool" in unknown.stderr


def _levers(daemon: DaemonProcess, eve: Any, every: set[int]) -> None:
    before = len(taken(eve, f"tool-{TOKEN}"))
    assert daemon.ctl("webhooks", "pause", "tool")["changed"]
    assert states(daemon)["tool"]["state"] == "paused"
    assert daemon.ctl("webhooks", "replay", "tool", "--since", "2000-01-01")["mails"] == len(every)
    assert daemon.ctl("webhooks", "resume", "tool")["changed"]
    wait_for(lambda: states(daemon)["tool"]["waiting"] == 0, 60, daemon.tail)
    again = [int(each["body"]["data"]["id"]) for each in taken(eve, f"tool-{TOKEN}")[before:]]
    assert set(again) == every
    assert len(again) == len(every)


def _hang_up(daemon: DaemonProcess) -> None:
    assert daemon.process is not None
    daemon.process.send_signal(signal.SIGHUP)


def _refused_reload(daemon: DaemonProcess, eve: Any, pilot: int) -> None:
    """A file that does not hold: the old configuration counts, and it is said where one looks."""

    def refused() -> list[str]:
        found = daemon.graphql("{status {problems {code reason}}}")["status"]["problems"]
        return [each["reason"] for each in found if each["code"] == "reload_refused"]

    text = daemon.config.read_text()
    daemon.config.write_text(text + '\n[[webhooks]]\nname = "third"\nkind = "discrod"\n')
    _hang_up(daemon)
    wait_for(refused, 30, daemon.tail)
    assert "kind of third" in refused()[0]
    before = states(daemon)
    assert list(before) == ["corp", "tool"]
    eve.perform("add_mails", {"count": 1, "pilots": [pilot]})
    wait_for(lambda: states(daemon)["tool"]["delivered"] == before["tool"]["delivered"] + 1, 60, daemon.tail)
    daemon.config.write_text(text)
    _hang_up(daemon)
    wait_for(lambda: not refused(), 30, daemon.tail)


def _reload(daemon: DaemonProcess, eve: Any, folder: Path, pilot: int) -> None:
    """SIGHUP: one that is new, one that is gone."""
    text = daemon.config.read_text()
    head, _, _ = text.partition("[[webhooks]]")
    added = table(folder, eve.base_url, "late", "json")
    lines = [f'{key} = "{value}"' for key, value in added.items()]
    daemon.config.write_text(head + "[[webhooks]]\n" + "\n".join(lines) + "\n")
    _hang_up(daemon)
    wait_for(lambda: list(states(daemon)) == ["late"], 30, daemon.tail)
    eve.perform("add_mails", {"count": 1, "pilots": [pilot]})
    wait_for(lambda: states(daemon)["late"]["delivered"] == 1, 60, daemon.tail)


def _nothing_secret(daemon: DaemonProcess) -> None:
    backup = daemon.folder / "backup.tar"
    assert daemon.command("backup", "--output", str(backup)).returncode == 0
    shown = [
        ("log", daemon.log.read_bytes()),
        ("database", daemon.database.read_bytes()),
        ("backup", backup.read_bytes()),
        ("metrics", daemon.get("/metrics")[1].encode()),
        ("ctl", daemon.command("ctl", "webhooks").stdout.encode()),
        ("check", daemon.command("check").stdout.encode()),
    ]
    for where, content in shown:
        assert TOKEN.encode() not in content, where
        assert SECRET.encode() not in content, where


@pytest.mark.postgres
@pytest.mark.slow
@pytest.mark.timeout(300)
def test_two_daemons_send_each_mail_once_and_one_takes_over(stage: Stage, tmp_path: Path) -> None:
    lacking = missing()
    if lacking:
        pytest.skip(lacking)
    eve = stage.eve(pilots=1, history=0, cache=1, window=20)
    tables = [table(tmp_path, eve.base_url, "tool", "json", exclude_npc=False)]
    with PrivatePostgres() as postgres:
        settings = {
            **QUICK,
            "database": {"url": postgres.url},
            "security": {"key_file": str(tmp_path / "shared.key")},
        }
        one, two = (stage.daemon(eve, settings, name=f"daemon{each}", webhooks=tables) for each in ("1", "2"))
        stage.log_in(one, eve)
        pilot = eve.pilots()[0]["character_id"]
        eve.perform("add_mails", {"count": 5, "pilots": [pilot]})
        wait_for(lambda: len(taken(eve, f"tool-{TOKEN}")) == 5, 60, one.tail)
        delivers = one if "webhook_requests_total{" in one.get("/metrics")[1] else two
        other = two if delivers is one else one
        delivers.kill()
        eve.perform("add_mails", {"count": 3, "pilots": [pilot]})
        other.ctl("queue", "--force")
        wait_for(lambda: other.value is not None and len(taken(eve, f"tool-{TOKEN}")) == 8, 60, other.tail)
        ids = [each["body"]["id"] for each in taken(eve, f"tool-{TOKEN}")]
        assert len(ids) == len(set(ids))
        assert other.stop() == 0
