"""`killsyncd ctl` and `login`, in processes of their own, beside a daemon."""

from __future__ import annotations

import asyncio
import json
import signal
import sys
from collections.abc import AsyncIterator
from pathlib import Path

import pytest

from killsyncd.auth.login import LoggedIn, LoginStatus
from killsyncd.auth.login_state import LoginState
from tests.support.control_world import ControlWorld, control_world, environment, execute, logged_in
from tests.support.storage_world import document


@pytest.fixture
async def served(tmp_path: Path) -> AsyncIterator[ControlWorld]:
    async with control_world(tmp_path) as world:
        yield world


async def test_ctl_status(served: ControlWorld) -> None:
    ended = await served.ctl("status")
    assert ended.code == 1
    first, second, *rest = ended.out.splitlines()
    assert first == "NOT syncing"
    assert second == "  ! nobody has logged in yet -> killsyncd login"
    assert [line.split()[0] for line in rest] == [
        "queue",
        "pending",
        "budgets",
        "producer",
        "users",
        "daemon",
    ]
    await served.world.pilot(1, "Ada")
    ended = await served.ctl("status")
    assert (ended.code, ended.out.splitlines()[0]) == (0, "syncing")
    assert (await served.ctl("status", "--json")).json["syncing"] is True


async def test_ctl_queue_speaks_like_the_reference(served: ControlWorld) -> None:
    ended = await served.ctl("queue")
    assert (ended.code, ended.out) == (0, "Nobody to queue.\n")
    assert "killsyncd login" in ended.err
    first = await served.world.pilot(1, "Ada")
    second = await served.world.pilot(2, "Bo")
    await served.world.pilot(3, "Cy\x1b[31m")
    await served.world.listed(first, 11)
    await served.world.listed(second, 12)
    await served.world.rows(
        "UPDATE users SET last_killmail_sync_at = '2026-01-01 00:00:00' WHERE character_id = 2"
    )
    ended = await served.ctl("queue")
    assert ended.code == 0
    assert "  Skipped: Ada (ID: 1) [SKIPPED: synced less than a minute ago]" in ended.out
    assert "  Queued: Bo (ID: 2) [INCREMENTAL]" in ended.out
    assert "  Queued: Cy?[31m (ID: 3) [FIRST SYNC]" in ended.out
    assert ended.out.endswith("Queued 2 of 3 users.\n")
    ended = await served.ctl("queue", "--force", "--full", "--user", "ada", "2")
    assert ended.out.count("[FULL SYNC]") == 2
    assert (await served.ctl("queue", "--force", "--quiet")).out == ""
    ended = await served.ctl("queue", "--user", "Adda")
    assert (ended.code, ended.out) == (1, "")
    assert "did you mean 'Ada'?" in ended.err


async def test_ctl_users_pause_and_resume(served: ControlWorld) -> None:
    assert "Nobody" in (await served.ctl("users")).out
    await served.world.pilot(90000001, "Ada")
    assert (await served.ctl("pause", "--user", "Ada")).out == "Ada is paused now.\n"
    ended = await served.ctl("users")
    assert ended.out.splitlines()[0].startswith("CHARACTER")
    assert "paused" in ended.out.splitlines()[1]
    assert ended.out.splitlines()[2].strip() == "killsyncd ctl resume --user 90000001"
    assert (await served.ctl("resume", "--user", "90000001")).out == "Ada is running now.\n"
    assert (await served.ctl("pause", "--producer")).out == "The producer is paused now.\n"
    assert (await served.ctl("status")).code == 1
    assert "The producer is running now." in (await served.ctl("resume")).out


async def test_ctl_group(served: ControlWorld) -> None:
    first, second = "Ada", "Bob"
    await served.world.pilot(1, first)
    await served.world.pilot(2, second)
    assert "no groups" in (await served.ctl("group")).out
    ended = await served.ctl("group", "One player", first, second)
    assert (ended.code, ended.out) == (0, f"One player: {', '.join(sorted((first, second)))}\n")
    ended = await served.ctl("group", "Another", second, "--json")
    assert ended.json == {
        "groups": [{"name": "Another", "pilots": [second]}, {"name": "One player", "pilots": [first]}]
    }
    assert (await served.ctl("group", "Another", "--end")).out == f"One player: {first}\n"
    assert (await served.ctl("group", "Nobody")).code == 2
    assert (await served.ctl("group", "X", "Nobody Of This Name")).code == 1
    assert (await served.ctl("group", "x" * 61, first)).code == 2


async def test_ctl_verify_statistics(served: ControlWorld) -> None:
    """Equal to a recount, until somebody tampers with the tables."""
    world = served.world
    await world.pilot(90000001, "Ada")
    lines = []
    for each in range(1, 6):
        mail = document(each, await world.now())
        if each % 2:
            mail["attackers"][0]["character_id"] = 90000001
        lines.append(json.dumps(mail))
    file = served.folder / "mails.jsonl"
    file.write_text("\n".join(lines))
    assert (await execute("import", str(file), "--socket", str(served.socket))).code == 0
    ended = await served.ctl("verify", "--statistics")
    assert ended.code == 0
    assert ended.out.startswith("Ada (90000001): ")
    assert ended.out.endswith("as the killmails say\n")
    await world.rows("DELETE FROM attackers WHERE killmail_id = 1 AND position = 0")
    ended = await served.ctl("verify", "--statistics", "--user", "Ada", "--json")
    assert ended.code == 1
    (told,) = ended.json["pilots"]
    assert (told["agrees"], told["countedKills"] - told["kills"]) == (False, 1)
    assert "kills" in told["why"]


async def test_ctl_failed_retry_verify_explain_logout(served: ControlWorld) -> None:
    assert (await served.ctl("failed")).out == "No mail is quarantined.\n"
    pilot = await served.world.pilot(1, "Ada")
    await served.world.listed(pilot, 11, 12)
    await served.world.store_mails(11)
    await served.world.rows(
        "UPDATE refs SET state = 'quarantined', reason = 'ESI answered 422', refusals = 4"
    )
    ended = await served.ctl("failed")
    assert ended.out.startswith("12  ESI answered 422; 4 attempts, listed ")
    assert "(through Ada)" in ended.out
    ended = await served.ctl("verify")
    assert ended.out.startswith("Ada (1): complete by ESI from ")
    assert "2 listed, 0 pending, 1 quarantined" in ended.out
    ended = await served.ctl("explain", "11")
    assert ended.code == 0
    assert "11: stored: fetched from ESI" in ended.out
    assert "through Ada" in ended.out
    ended = await served.ctl("explain", "13")
    assert ended.code == 1
    assert "not known" in ended.out
    ended = await served.ctl("retry", "12", "13")
    assert (ended.code, ended.out) == (1, "1 mail will be tried again.\n")
    assert "13 is neither quarantined nor pending" in ended.err
    assert (await served.ctl("retry")).code == 0
    ended = await served.ctl("logout", "ada", "--erase")
    assert ended.code == 0
    assert "Ada is logged out: the SSO has taken the grant back." in ended.out
    assert "Erased 1 killmail and 1 pending one" in ended.out


async def test_no_output_holds_a_hash_or_a_token(served: ControlWorld) -> None:
    pilot = await served.world.pilot(1, "Ada")
    await served.world.listed(pilot, 11, 12)
    await served.world.store_mails(11)
    hashes = [str(row[0]) for row in await served.world.rows("SELECT killmail_hash FROM sightings")]
    said = ""
    for words in (("status",), ("users",), ("failed",), ("verify",), ("explain", "11"), ("explain", "12")):
        for ended in (await served.ctl(*words), await served.ctl(*words, "--json")):
            said += ended.out + ended.err
    assert len(said) > 1000
    assert not any(each in said for each in (*hashes, "s3cret", "refresh"))


async def watching(
    served: ControlWorld, *more: str
) -> tuple[asyncio.subprocess.Process, asyncio.StreamReader]:
    """`ctl watch` of a feed with one mail, and what it says."""
    pilot = await served.world.pilot(1, "Ada")
    await served.world.listed(pilot, 11)
    await served.world.rows(
        "INSERT INTO names (id, name) VALUES (587, 'Rifter'), (30000142, 'Jita'), (90000001, 'Bo')"
    )
    await served.world.store_mails(11)
    process = await asyncio.create_subprocess_exec(
        sys.executable,
        *("-m", "killsyncd", "ctl", "watch", "--after", "start", *more, "--socket", str(served.socket)),
        stdout=asyncio.subprocess.PIPE,
        stderr=asyncio.subprocess.PIPE,
        env=environment(),
    )
    assert process.stdout is not None
    return process, process.stdout


async def test_ctl_watch_until_ctrl_c(served: ControlWorld) -> None:
    process, out = await watching(served)
    line = (await out.readline()).decode()
    assert "  11  Rifter of Bo in Jita, by 90000002 and 2 more" in line
    process.send_signal(signal.SIGINT)
    _, err = await process.communicate()
    assert process.returncode == 130
    assert b"Traceback" not in err


async def test_ctl_watch_ends_with_the_daemon(served: ControlWorld) -> None:
    process, out = await watching(served, "--json")
    mail = json.loads(await out.readline())
    await served.server.close()
    _, err = await process.communicate()
    assert process.returncode == 69
    assert f"--after {mail['feedCursor']}" in err.decode()


async def test_login_waits_for_the_pilot(served: ControlWorld) -> None:
    pilot = await served.world.pilot(1, "Ada")
    login = asyncio.ensure_future(execute("login", "--socket", str(served.socket)))
    while not served.desk.states:
        await asyncio.sleep(0.01)

    async def finished() -> LoggedIn:
        return logged_in(pilot.user_id, 1, "Ada")

    ended = await served.operations._logged_in(finished())
    assert ended.queued
    served.desk.states["login0"] = LoginStatus(LoginState.DONE, pilot.user_id, "Ada is logged in")
    done = await login
    assert done.code == 0
    assert done.out.splitlines() == [
        "https://sso.invalid/authorize?state=s3cret",
        "Ada is logged in; queued [FIRST SYNC]",
    ]
    assert "waiting for the pilot" in done.err


async def test_login_says_why_it_failed(served: ControlWorld) -> None:
    login = asyncio.ensure_future(execute("login", "--json", "--socket", str(served.socket)))
    while not served.desk.states:
        await asyncio.sleep(0.01)
    served.desk.states["login0"] = LoginStatus(LoginState.FAILED, None, "the pilot did not agree")
    done = await login
    assert done.code == 1
    assert done.json["status"] == "failed"
    assert "the pilot did not agree" in done.err
    assert "begin again" in done.err
    done = await execute("login", "--timeout", "0.01s", "--socket", str(served.socket))
    assert done.code == 1
    assert "nobody logged in" in done.err


async def test_login_by_pasting(served: ControlWorld) -> None:
    pilot = await served.world.pilot(1, "Ada")
    served.desk.pasted["http://x/?code=1"] = logged_in(pilot.user_id, 1, "Ada")
    socket = str(served.socket)
    done = await execute("login", "--paste", "--socket", socket, stdin=b"  http://x/?code=1 \n")
    assert done.code == 0
    assert "queued [FIRST SYNC]" in done.out
    done = await execute("login", "--paste", "--socket", socket, stdin=b"nonsense\n")
    assert done.code == 1
    assert "not the address" in done.err
    done = await execute("login", "--paste", "--socket", socket, stdin=b"")
    assert (done.code, "no address was pasted" in done.err) == (1, True)
