"""The control socket: real socket, real store; every route, and what can go wrong."""

from __future__ import annotations

import asyncio
import http.client
import json
import os
import signal
import socket
import stat
import subprocess
import sys
from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any

import pytest

from killsyncd.auth.login import LoginStatus
from killsyncd.auth.login_state import LoginState
from killsyncd.control.client import ControlClient, ControlError, reach
from killsyncd.control.socket import ControlSocket
from killsyncd.core.errors import AlreadyRunning, DaemonUnreachable, Refused, Unavailable
from killsyncd.core.model import Source, SourceKind
from killsyncd.storage.repositories.users import source_id
from killsyncd.storage.sqlite import backup as backups
from tests.support.control_world import ControlWorld, control_world, environment, logged_in
from tests.support.storage_world import document


@pytest.fixture
async def served(tmp_path: Path) -> AsyncIterator[ControlWorld]:
    async with control_world(tmp_path) as world:
        yield world


def raw_request(path: Path, text: bytes) -> tuple[int, Any]:
    """Bytes as they are, for what the client would not send."""
    with socket.socket(socket.AF_UNIX) as sock:
        sock.settimeout(10)
        sock.connect(str(path))
        sock.sendall(text)
        response = http.client.HTTPResponse(sock)
        response.begin()
        return response.status, json.loads(response.read())


# --- routes -------------------------------------------------------------------------------------


async def test_status_over_the_socket(served: ControlWorld) -> None:
    status = await served.get("/v1/status")
    assert status["syncing"] is False
    assert status["version"] == "1.2.3"
    (problem,) = status["problems"]
    assert set(problem) == {"code", "reason", "remedy", "since", "characterId", "stops"}
    assert (problem["code"], problem["stops"]) == ("nobody_logged_in", True)
    assert status["queue"] == {"name": "queue", "messages": 0, "working": 0, "byPriority": {}}
    assert status["rssBytes"] > 10_000_000
    assert status["startedAt"].endswith("Z")


async def test_queue_pause_and_users(served: ControlWorld) -> None:
    answer = await served.post("/v1/queue")
    assert answer == {"queued": [], "remedy": "nobody has logged in yet: killsyncd login"}
    await served.world.pilot(90000001, "Ada")
    answer = await served.post("/v1/queue", users=[90000001], full=True)
    (queued,) = answer["queued"]
    assert (queued["mode"], queued["queued"], queued["user"]["characterName"]) == ("FULL_SYNC", True, "Ada")
    assert (await served.post("/v1/pause"))["switched"] == [
        {"what": "daemon", "paused": True, "changed": True}
    ]
    assert (await served.get("/v1/status"))["problems"][0]["code"] == "paused"
    await served.post("/v1/resume")
    await served.post("/v1/pause", users=["Ada"])
    (user,) = (await served.get("/v1/users"))["users"]
    assert (user["state"], user["remedy"]) == ("paused", "killsyncd ctl resume --user 90000001")
    assert (user["pending"], user["lastKillmailSyncAt"]) == (0, None)


async def test_failed_retry_verify_explain(served: ControlWorld) -> None:
    world = served.world
    pilot = await world.pilot(1, "Ada")
    await world.listed(pilot, 11, 12)
    await world.rows("UPDATE refs SET state = 'quarantined', reason = 'no' WHERE killmail_id = 12")
    (failed,) = (await served.get("/v1/failed"))["failed"]
    assert (failed["killmailId"], failed["reason"]) == (12, "no")
    (character,) = (await served.get("/v1/verify", user="ada"))["characters"]
    assert (character["pending"], character["quarantined"], character["complete"]) == (1, 1, False)
    assert character["completeFrom"] < character["completeTo"]
    assert (await served.get("/v1/explain/12"))["state"] == "quarantined"
    assert await served.post("/v1/retry", ids=[12, 13]) == {"retried": [12], "unknown": [13]}
    await world.rows("INSERT INTO names (id, attempts, not_before) VALUES (5, 4, 9e9)")
    assert await served.post("/v1/retry", names=True) == {"retried": [], "unknown": [], "names": 1}
    assert await world.value("SELECT attempts + not_before FROM names WHERE id = 5") == 0
    assert (await served.get("/v1/explain/12"))["state"] == "pending"


async def test_logout_revokes_or_leaves_it_for_later(served: ControlWorld) -> None:
    await served.world.pilot(1, "Ada")
    await served.world.pilot(2, "Bo")
    done = await served.post("/v1/logout", user="Ada")
    assert (done["revoked"], done["erased"]) == (True, False)
    assert served.sso.revoked == [(1, b"\xffrefresh")]
    served.sso.down = True
    done = await served.post("/v1/logout", user="Bo", erase=True)
    assert (done["revoked"], done["erased"]) == (False, True)
    assert "tried again" in done["message"]
    status = await served.get("/v1/status")
    assert "revocation_pending" in [each["code"] for each in status["problems"]]
    (user,) = (await served.get("/v1/users"))["users"]
    assert (user["state"], user["stateReason"]) == ("left", "logged out")


async def test_a_login_is_begun_watched_and_queued(served: ControlWorld) -> None:
    begun = await served.post("/v1/login")
    assert begun["url"].startswith("https://sso.invalid/")
    assert set(begun) == {"id", "url", "expiresAt"}
    assert (await served.get(f"/v1/login/{begun['id']}"))["status"] == "pending"
    pilot = await served.world.pilot(1, "Ada")
    served.desk.states[begun["id"]] = LoginStatus(LoginState.DONE, pilot.user_id, "Ada is logged in")
    served.desk.pasted["address"] = logged_in(pilot.user_id, 1, "Ada")
    ended = await served.post("/v1/login/paste", url="address")
    assert (ended["status"], ended["queued"]) == ("done", True)
    assert ended["message"] == "Ada is logged in; queued [FIRST SYNC]"
    assert (await served.get(f"/v1/login/{begun['id']}"))["message"] == ended["message"]
    depth = await served.world.wants.depth()
    assert depth.by_priority == {8: 1}
    with pytest.raises(ControlError, match="not the address") as refusal:
        await served.post("/v1/login/paste", url="nonsense")
    assert refusal.value.code == "login_refused"


async def test_a_login_soon_after_a_sync_is_skipped_with_the_reason(served: ControlWorld) -> None:
    pilot = await served.world.pilot(1, "Ada")
    await served.world.listed(pilot, 11)
    served.desk.pasted["address"] = logged_in(pilot.user_id, 1, "Ada")
    ended = await served.post("/v1/login/paste", url="address")
    assert (ended["status"], ended["queued"]) == ("done", False)
    assert ended["message"] == "Ada is logged in; skipped: synced less than a minute ago"


# --- streams ------------------------------------------------------------------------------------


async def test_watch_streams_each_mail_once_and_ends_with_the_daemon(served: ControlWorld) -> None:
    world = served.world
    pilot = await world.pilot(1, "Ada")
    await world.listed(pilot, 11, 12)
    await world.rows(
        "INSERT INTO names (id, name) VALUES (587, 'Rifter'), (30000142, 'Jita'), (90000001, 'Victim')"
    )
    await world.store_mails(11)
    lines = served.client.lines("/v1/watch", {"after": "start"})
    first = await asyncio.to_thread(next, lines)
    assert (first["killmailId"], first["ship"], first["solarSystem"]) == (11, "Rifter", "Jita")
    assert not any("hash" in name.lower() for name in first)
    following = asyncio.ensure_future(asyncio.to_thread(next, lines, None))
    await world.store_mails(12)
    served.events.tell("feed")
    second = await following
    assert second is not None
    assert second["killmailId"] == 12
    ending = asyncio.ensure_future(asyncio.to_thread(next, lines, None))
    await served.server.close()
    assert await ending is None


async def test_a_bad_cursor_is_an_ordinary_error(served: ControlWorld) -> None:
    with pytest.raises(ControlError, match="no feedCursor") as refusal:
        await asyncio.to_thread(next, served.client.lines("/v1/watch", {"after": "nonsense"}))
    assert refusal.value.code == "bad_input"


async def test_export_and_import(served: ControlWorld) -> None:
    at = await served.world.now()
    mails = [json.dumps(document(each, at)).encode() for each in range(1, 301)]
    pieces = [mail + b"\n" for mail in mails] + [b"broken\n"]
    report = await asyncio.to_thread(served.client.upload, "/v1/import", pieces)
    assert (report["stored"], report["known"], report["bad"]) == (300, 0, 1)
    assert [each["line"] for each in report["errors"]] == [301]
    exported = b"".join(await asyncio.to_thread(list, served.client.chunks("/v1/export")))
    assert len(exported.splitlines()) == 300
    csv = b"".join(await asyncio.to_thread(list, served.client.chunks("/v1/export", {"format": "csv"})))
    assert csv.startswith(b"killmail_id,killmail_hash,")
    with pytest.raises(ControlError, match="not a date"):
        await asyncio.to_thread(list, served.client.chunks("/v1/export", {"since": "yesterday"}))


async def test_a_recount_says_how_far_it_is(served: ControlWorld) -> None:
    """A million killmails take minutes: nobody waits for one answer, nor is told of nobody."""
    await served.world.pilot(90000001, "Ada")
    at = await served.world.now()
    mails = [json.dumps(document(each, at)).encode() + b"\n" for each in range(1, 451)]
    await asyncio.to_thread(served.client.upload, "/v1/import", mails)
    ask = "/v1/verify/statistics"
    *told, last = await asyncio.to_thread(lambda: list(served.client.lines(ask)))
    assert told == [{"read": 200, "of": 450}, {"read": 400, "of": 450}, {"read": 450, "of": 450}]
    assert [each["characterName"] for each in last["pilots"]] == ["Ada"]
    *told, last = await asyncio.to_thread(lambda: list(served.client.lines(ask, {"user": "Ada"})))
    assert [each["agrees"] for each in last["pilots"]] == [True]
    with pytest.raises(ControlError) as refusal:
        await asyncio.to_thread(lambda: list(served.client.lines(ask, {"user": "Nobody"})))
    assert refusal.value.code == "not_found"


async def test_an_answer_that_breaks_off_is_not_taken_for_whole(
    served: ControlWorld, monkeypatch: pytest.MonkeyPatch
) -> None:
    async def breaks(*words: Any, **given: Any) -> AsyncIterator[bytes]:
        yield b'{"killmail_id":1}\n'
        raise Unavailable("the disk is gone")

    monkeypatch.setattr(served.server._exchange, "export", breaks)
    with pytest.raises(DaemonUnreachable, match="broke the connection off"):
        await asyncio.to_thread(list, served.client.chunks("/v1/export"))


async def test_an_import_that_the_database_stops_says_how_far_it_came(
    served: ControlWorld, monkeypatch: pytest.MonkeyPatch
) -> None:
    async def full(*words: Any) -> Any:
        raise Unavailable("the disk is full", "free some space")

    monkeypatch.setattr(served.world.storing, "import_mails", full)
    at = await served.world.now()
    mail = json.dumps(document(1, at)).encode()
    with pytest.raises(ControlError, match="disk is full") as refusal:
        await asyncio.to_thread(served.client.upload, "/v1/import", [mail])
    assert refusal.value.document["report"]["lines"] == 1


async def test_a_backup_comes_through_the_socket(served: ControlWorld, tmp_path: Path) -> None:
    pilot = await served.world.pilot(1)
    await served.world.listed(pilot, 11)
    await served.world.store_mails(11)
    chunks = await asyncio.to_thread(list, served.client.chunks("/v1/backup", post=True))
    target = tmp_path / "backup.tar"
    target.write_bytes(b"".join(chunks))
    manifest = backups.verify(target)
    assert manifest.counts == {"users": 1, "killmails": 1, "sightings": 1, "refs": 0}
    assert "not in this backup" in manifest.key
    assert sorted(each.name for each in tmp_path.glob(".*")) == []  # the copy is gone


# --- bad input ----------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("route", "body", "words"),
    [
        ("/v1/queue", b"{", "no JSON"),
        ("/v1/queue", b"[]", "must be a JSON object"),
        ("/v1/queue", b'{"forced": true}', "unknown name 'forced'"),
        ("/v1/queue", b'{"force": "yes"}', "force must be true or false"),
        ("/v1/queue", b'{"users": "Ada"}', "must be a list"),
        ("/v1/retry", b'{"ids": ["x"]}', "must be a number"),
        ("/v1/retry", b'{"ids": [99999999999999999999]}', "must be a number"),
        ("/v1/logout", b"{}", "user is missing"),
        ("/v1/logout", b'{"user": ""}', "must be a text"),
        ("/v1/login/paste", b"{}", "url is missing"),
        ("/v1/logout", b'{"user": "\\ud800"}', "must be a text"),
        ("/v1/logout", b'{"user": "\\u0000"}', "must be a text"),
        ("/v1/queue", b'{"users": ["a", "\\ud800"]}', "must be a text"),
        ("/v1/login/paste", b'{"url": "http://x/?code=\\u0000"}', "must be a text"),
        ("/v1/queue", b'{"\\ud800": 1}', "unknown name"),
        ("/v1/queue", b'{"\\u0000": 1}', "unknown name"),
    ],
)
async def test_bad_bodies_are_told(served: ControlWorld, route: str, body: bytes, words: str) -> None:
    text = f"POST {route} HTTP/1.1\r\nHost: x\r\nContent-Length: {len(body)}\r\n\r\n".encode() + body
    status, answer = await asyncio.to_thread(raw_request, served.socket, text)
    assert status == 400
    assert words in answer["error"]["message"]
    assert set(answer["error"]) == {"code", "message", "hint"}


async def test_unknown_routes_methods_and_parameters(served: ControlWorld) -> None:
    for text, status, words in (
        (b"GET /v1/nothing HTTP/1.1\r\nHost: x\r\n\r\n", 404, "there is no /v1/nothing"),
        (b"GET /v1/queue HTTP/1.1\r\nHost: x\r\n\r\n", 400, "takes POST"),
        (b"GET /v1/verify?usr=1 HTTP/1.1\r\nHost: x\r\n\r\n", 400, "unknown parameter 'usr'"),
        (b"GET /v1/explain/abc HTTP/1.1\r\nHost: x\r\n\r\n", 400, "must be a number"),
        (b"GET /v1/verify?user=%00 HTTP/1.1\r\nHost: x\r\n\r\n", 400, "must be a text"),
        (b"GET /v1/verify?user=%ED%A0%80 HTTP/1.1\r\nHost: x\r\n\r\n", 404, "no user"),
        (b"GET /v1/watch?after=%00 HTTP/1.1\r\nHost: x\r\n\r\n", 400, "must be a text"),
        (b"GET /v1/login/%00 HTTP/1.1\r\nHost: x\r\n\r\n", 400, "must be a text"),
        (b"GET /v1/%00%ED%A0%80 HTTP/1.1\r\nHost: x\r\n\r\n", 404, "there is no"),
        (b"GET /v1/verify?user=Nobody HTTP/1.1\r\nHost: x\r\n\r\n", 404, "no user 'Nobody'"),
    ):
        got, answer = await asyncio.to_thread(raw_request, served.socket, text)
        assert (got, words in answer["error"]["message"]) == (status, True), answer


async def test_a_body_of_50_mb_is_refused_without_being_read(served: ControlWorld) -> None:
    text = b"POST /v1/queue HTTP/1.1\r\nHost: x\r\nContent-Length: 50000000\r\n\r\n" + b"x" * (2 << 20)
    status, answer = await asyncio.to_thread(raw_request, served.socket, text)
    assert status == 400
    assert "larger than" in answer["error"]["message"]


async def test_connections_are_limited_and_the_next_command_gets_in(served: ControlWorld) -> None:
    idle = []
    for _ in range(80):
        one = socket.socket(socket.AF_UNIX)
        await asyncio.to_thread(one.connect, str(served.socket))
        idle.append(one)
    assert (await served.get("/v1/status"))["version"] == "1.2.3"
    for one in idle:
        one.close()


async def test_what_is_no_http_is_one_line(served: ControlWorld, caplog: pytest.LogCaptureFixture) -> None:
    caplog.set_level("INFO")
    for text in (
        b"canary\x01 / HTTP/1.1\r\n\r\n",
        b"POST /v1/queue HTTP/1.1\r\nHost: x\r\nTransfer-Encoding: chunked\r\n\r\ncanary\r\n",
    ):
        caplog.clear()
        await asyncio.to_thread(_send_and_wait, served.socket, text)
        (line,) = caplog.records
        assert line.exc_info is None
        assert "canary" not in repr(line.__dict__)


def _send_and_wait(path: Path, text: bytes) -> bytes:
    with socket.socket(socket.AF_UNIX) as connection:
        connection.connect(str(path))
        connection.sendall(text)
        connection.shutdown(socket.SHUT_WR)
        received = b""
        while chunk := connection.recv(65536):
            received += chunk
        return received


async def test_an_error_nobody_foresaw_is_no_traceback(
    served: ControlWorld, monkeypatch: pytest.MonkeyPatch
) -> None:
    async def broken() -> None:
        raise ZeroDivisionError("secret detail")

    monkeypatch.setattr(served.operations, "status", broken)
    with pytest.raises(ControlError, match="an error in killsyncd") as refusal:
        await served.get("/v1/status")
    assert "secret" not in str(refusal.value)


# --- the socket itself --------------------------------------------------------------------------


async def test_the_socket_is_closed_to_others_and_goes_with_the_server(served: ControlWorld) -> None:
    assert stat.S_IMODE(served.socket.stat().st_mode) == 0o660
    await served.server.close()
    assert not served.socket.exists()
    await served.server.close()


async def test_a_live_daemons_socket_is_never_taken(served: ControlWorld) -> None:
    with pytest.raises(AlreadyRunning, match="another killsyncd listens"):
        ControlSocket.bind(served.socket)
    assert (await served.get("/v1/status"))["version"] == "1.2.3"


async def test_a_stranger_who_listens_is_left_alone(tmp_path: Path) -> None:
    path = tmp_path / "k.sock"
    with socket.socket(socket.AF_UNIX) as stranger:
        stranger.bind(str(path))
        stranger.listen()
        with pytest.raises(AlreadyRunning):
            ControlSocket.bind(path)
    assert path.exists()


def test_a_stale_socket_is_replaced(tmp_path: Path) -> None:
    path = tmp_path / "deeper" / "k.sock"
    path.parent.mkdir()
    code = f"import socket; s = socket.socket(socket.AF_UNIX); s.bind({str(path)!r}); s.listen()"
    subprocess.run([sys.executable, "-c", code], check=True)
    assert path.exists()
    listening = ControlSocket.bind(path)
    assert ControlClient(str(path)).path == str(path)
    assert reach([(str(path), "test")]).path == str(path)
    listening.close()
    assert not path.exists()
    assert [each.name for each in path.parent.iterdir()] == ["k.sock.lock"]


def test_a_socket_that_is_no_longer_ours_is_not_removed(tmp_path: Path) -> None:
    path = tmp_path / "k.sock"
    listening = ControlSocket.bind(path)
    path.unlink()
    path.write_text("somebody else's")
    listening.close()
    assert path.read_text() == "somebody else's"


def test_what_is_no_socket_is_not_replaced(tmp_path: Path) -> None:
    path = tmp_path / "k.sock"
    path.write_text("mine")
    with pytest.raises(Refused, match="is no socket"):
        ControlSocket.bind(path)
    assert path.read_text() == "mine"


def test_a_folder_open_to_everybody_is_refused(tmp_path: Path) -> None:
    folder = tmp_path / "open"
    folder.mkdir()
    folder.chmod(0o777)
    with pytest.raises(Refused, match="everybody may write"):
        ControlSocket.bind(folder / "k.sock")
    folder.chmod(0o1777)
    ControlSocket.bind(folder / "k.sock").close()


def test_a_folder_that_is_a_file_is_told(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("")
    with pytest.raises(Refused, match="cannot be made"):
        ControlSocket.bind(tmp_path / "file" / "k.sock")


def test_a_folder_is_made_closed_to_others(tmp_path: Path) -> None:
    listening = ControlSocket.bind(tmp_path / "run" / "k.sock")
    assert stat.S_IMODE((tmp_path / "run").stat().st_mode) & 0o007 == 0
    listening.close()


async def test_a_killed_daemons_socket_is_free_again(tmp_path: Path) -> None:
    path = tmp_path / "k.sock"
    code = (
        "import sys, time; from pathlib import Path; from killsyncd.control.socket import ControlSocket;"
        "s = ControlSocket.bind(Path(sys.argv[1])); print('ready', flush=True); time.sleep(60)"
    )
    process = subprocess.Popen(
        [sys.executable, "-c", code, str(path)], stdout=subprocess.PIPE, env=environment(tmp_path)
    )
    assert process.stdout is not None
    assert process.stdout.readline() == b"ready\n"
    with pytest.raises(AlreadyRunning):
        ControlSocket.bind(path)
    process.send_signal(signal.SIGKILL)
    process.wait()
    process.stdout.close()
    ControlSocket.bind(path).close()


def test_a_socket_from_systemd_is_taken(tmp_path: Path) -> None:
    path = tmp_path / "passed.sock"
    code = """
import os, socket, sys
from killsyncd.control.socket import ControlSocket
assert ControlSocket.passed({}) is None
assert ControlSocket.passed({"LISTEN_PID": "1", "LISTEN_FDS": "1"}) is None
taken = ControlSocket.passed({"LISTEN_PID": str(os.getpid()), "LISTEN_FDS": "1"})
assert taken is not None and taken.path is None and taken.address == sys.argv[1], taken
taken.close()
assert os.path.exists(sys.argv[1])
"""
    with socket.socket(socket.AF_UNIX) as sock:
        sock.bind(str(path))
        sock.listen()
        launcher = (
            "import os, sys; os.dup2(int(sys.argv[1]), 3); os.set_inheritable(3, True);"
            "os.execv(sys.executable, [sys.executable, '-c', sys.argv[2], sys.argv[3]])"
        )
        done = subprocess.run(
            [sys.executable, "-c", launcher, str(sock.fileno()), code, str(path)],
            pass_fds=[sock.fileno()],
            env=environment(tmp_path),
            capture_output=True,
            text=True,
            check=False,
        )
    assert (done.returncode, done.stderr) == (0, "")


# --- the client ---------------------------------------------------------------------------------


def test_what_was_tried_is_told_with_the_way_in(tmp_path: Path) -> None:
    stale = tmp_path / "stale.sock"
    with socket.socket(socket.AF_UNIX) as sock:
        sock.bind(str(stale))
    with pytest.raises(DaemonUnreachable) as refusal:
        reach([(str(tmp_path / "none.sock"), "--socket"), (str(stale), "the default")])
    assert refusal.value.exit_code == 69
    assert f"{tmp_path / 'none.sock'} (--socket): not there" in refusal.value.message
    assert f"{stale} (the default): nobody listens there any more" in refusal.value.message
    assert "killsyncd run" in refusal.value.hint


@pytest.mark.skipif(os.geteuid() != 0, reason="needs root to become somebody else")
async def test_who_may_not_is_told_the_group(tmp_path: Path) -> None:
    path = Path(f"/tmp/killsyncd-test-{os.getpid()}.sock")
    listening = ControlSocket.bind(path)
    try:
        os.chown(path, 0, 1)
        code = (
            "import grp, os, sys; from killsyncd.control.client import reach\n"
            "os.setgroups([]); os.setgid(65534); os.setuid(65534)\n"
            "try: reach([(sys.argv[1], 'test')])\n"
            "except Exception as error: print(error)"
        )
        done = subprocess.run(
            [sys.executable, "-c", code, str(path)],
            capture_output=True,
            text=True,
            env=environment(tmp_path),
            check=True,
        )
    finally:
        listening.close()
        path.with_name(path.name + ".lock").unlink()
    assert "permission denied" in done.stdout
    assert "usermod -aG daemon" in done.stdout


CORPORATION = 98_000_001


async def director(served: ControlWorld) -> None:
    """A pilot whose login can read the corporation's list."""
    pilot = await served.world.pilot(1, "Ada")
    await served.world.rows(
        "UPDATE users SET corporation_id = :corporation, corporation_at = {now}, scopes = "
        "'esi-killmails.read_corporation_killmails.v1 esi-killmails.read_killmails.v1'",
        corporation=CORPORATION,
    )
    await served.world.rows("INSERT INTO names (id, name) VALUES (98000001, 'Example Corporation')")
    source = Source(SourceKind.CORPORATION, CORPORATION)
    await served.world.store.write(source_id, source, pilot.user_id)


async def test_sources_are_seen_queued_and_paused(served: ControlWorld) -> None:
    await director(served)
    found = (await served.get("/v1/sources"))["sources"]
    assert [each["kind"] for each in found] == ["character", "corporation"]
    (corporation,) = (await served.get("/v1/sources", kind="corporation"))["sources"]
    assert corporation["subject"] == {"id": CORPORATION, "name": "Example Corporation"}
    assert (corporation["state"], corporation["via"][0]["characterName"]) == ("ok", "Ada")
    answer = await served.post("/v1/queue", corporations=["example corporation"])
    (queued,) = answer["sources"]
    assert (queued["queued"], queued["mode"], answer["queued"]) == (True, "FIRST_SYNC", [])
    (switched,) = (await served.post("/v1/pause", corporations=[str(CORPORATION)]))["switched"]
    assert (switched["paused"], switched["changed"]) == (True, True)
    (corporation,) = (await served.get("/v1/sources", kind="corporation"))["sources"]
    assert corporation["state"] == "paused"
    assert str(CORPORATION) in corporation["remedy"]
    assert (await served.get("/v1/users"))["users"][0]["state"] == "ok", "the pilot's own list goes on"
    await served.post("/v1/resume", corporations=[str(CORPORATION)])
    (corporation,) = (await served.get("/v1/sources", kind="corporation"))["sources"]
    assert corporation["state"] == "ok"


async def test_what_is_no_source_is_named(served: ControlWorld) -> None:
    with pytest.raises(ControlError, match="no corporation 'nowhere'") as refusal:
        await served.post("/v1/queue", corporations=["nowhere"])
    assert "Director" in str(refusal.value.hint)
    with pytest.raises(ControlError, match="there is no kind"):
        await served.get("/v1/sources", kind="alliance")


async def test_ctl_sources_shows_a_table(served: ControlWorld) -> None:
    assert "There is no source yet." in (await served.ctl("sources")).out
    await director(served)
    shown = (await served.ctl("sources")).out
    assert "Example Corporation" in shown
    assert "corporation" in shown
    await served.ctl("pause", "--corporation", str(CORPORATION))
    shown = (await served.ctl("sources", "--kind", "corporation")).out
    assert "killsyncd ctl resume --corporation" in shown
    ended = await served.ctl("queue", "--corporation", "Example Corporation")
    assert "[SKIPPED: paused" in ended.out
