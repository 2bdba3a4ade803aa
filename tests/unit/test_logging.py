"""Logs: one line an event, fields, states told once, and no secret in any line."""

from __future__ import annotations

import asyncio
import io
import json
import logging
import os
import re
import sys
import warnings
from collections.abc import Callable, Iterator
from datetime import UTC, datetime
from typing import Any

import pytest

from killsyncd.config.service_manager import service_manager
from killsyncd.core import logging as logs
from killsyncd.core.errors import Unavailable
from killsyncd.core.logging import StateLog, get_logger
from killsyncd.core.redaction import redact

# Made up, in the shape of the real ones.
JWT = "eyJhbGciOiJSUzI1NiIsImtpZCI6IkpXVCJ9.eyJzdWIiOiJDSEFSQUNURVI6RVZFOjkwIn0.c2lnbmF0dXJl-_x"
HASH = "0123456789abcdef0123456789abcdef01234567"

log = get_logger("killsyncd.tests")


@pytest.fixture(autouse=True)
def _restored() -> Iterator[None]:
    """Leave the process's logging as it was."""
    root, ours = logging.getLogger(), logging.getLogger(logs.ROOT)
    before = (root.handlers[:], root.level, ours.level)
    yield
    root.handlers[:], level, our_level = before
    root.setLevel(level)
    ours.setLevel(our_level)
    logging.captureWarnings(False)


class Terminal(io.StringIO):
    def isatty(self) -> bool:
        return True


@pytest.fixture
def text() -> io.StringIO:
    stream = io.StringIO()
    logs.configure("debug", "text", stream)
    return stream


@pytest.fixture
def events() -> Callable[[], list[dict[str, Any]]]:
    stream = io.StringIO()
    logs.configure("debug", "json", stream)
    return lambda: [json.loads(line) for line in stream.getvalue().splitlines()]


class TestText:
    def test_one_line_an_event(self, text: io.StringIO) -> None:
        log.info(
            "queued", character_id=90000001, priority=8, name="John Doe", ok=True, left=None, share=0.12345
        )
        line = 'info  queued  character_id=90000001 priority=8 name="John Doe" ok=true left=- share=0.123\n'
        assert re.fullmatch(r"\d\d:\d\d:\d\d " + re.escape(line), text.getvalue())

    def test_levels(self, text: io.StringIO) -> None:
        log.debug("a")
        log.warning("b")
        log.error("c")
        log.log("info", "d")
        assert [line.split()[1] for line in text.getvalue().splitlines()] == [
            "debug",
            "warn",
            "error",
            "info",
        ]

    def test_nobody_else_writes_lines(self, text: io.StringIO) -> None:
        log.info("bad answer\nforged line", body="a\nb\x1b[31m", list=["x\ny"])
        assert text.getvalue().count("\n") == 1
        assert "\x1b" not in text.getvalue()
        assert r"bad answer\nforged line" in text.getvalue()

    def test_a_percent_sign_is_just_one(self, text: io.StringIO) -> None:
        log.info("90% of %s done")
        assert "90% of %s done" in text.getvalue()

    def test_traceback_follows(self, text: io.StringIO) -> None:
        try:
            raise ValueError(f"token={JWT}")
        except ValueError:
            log.exception("failed", job=3)
        first, second, *_, last = text.getvalue().splitlines()
        assert first.endswith("error failed  job=3")
        assert second == "    Traceback (most recent call last):"
        assert last == "    ValueError: token=***"

    def test_colours_only_on_a_terminal(self) -> None:
        terminal, plain, file = Terminal(), Terminal(), io.StringIO()
        logs.configure("info", "auto", terminal)
        log.info("a", x=1)
        logs.configure("info", "auto", plain, colour=False)
        log.info("b", x=1)
        logs.configure("info", "auto", file)
        log.info("c", x=1)
        assert "\x1b[32minfo" in terminal.getvalue()
        assert plain.getvalue().endswith(" info  b  x=1\n")
        assert json.loads(file.getvalue())["event"] == "c"


class TestJson:
    def test_fields(self, events: Callable[[], list[dict[str, Any]]]) -> None:
        get_logger("killsyncd.x", job=7).bind(character_id=90).info(
            "queued", since=datetime(2026, 1, 2, tzinfo=UTC)
        )
        (event,) = events()
        assert re.fullmatch(r"\d{4}-\d\d-\d\dT\d\d:\d\d:\d\d\.\d{3}Z", event.pop("time"))
        assert event == {
            "level": "info",
            "event": "queued",
            "logger": "killsyncd.x",
            "job": 7,
            "character_id": 90,
            "since": "2026-01-02T00:00:00Z",
        }

    def test_names_of_our_own_are_not_overwritten(self, events: Callable[[], list[dict[str, Any]]]) -> None:
        log.info("a", time=1, level="x", event="y")
        (event,) = events()
        assert (event["event"], event["level"]) == ("a", "info")
        assert (event["event_"], event["level_"], event["time_"]) == ("y", "x", 1)

    def test_exception_in_one_line(self, events: Callable[[], list[dict[str, Any]]]) -> None:
        try:
            raise Unavailable("ESI does not answer", "Wait.")
        except Unavailable:
            log.exception("failed")
        log.exception("later", exc=ValueError("x"))
        first, second = events()
        assert first["error"] == "Unavailable: ESI does not answer\n  Wait."
        assert first["traceback"].startswith("Traceback (most recent call last):\n")
        assert second["error"] == "ValueError: x"

    def test_whatever_is_logged_a_line_is_written(self, events: Callable[[], list[dict[str, Any]]]) -> None:
        log.info(
            "odd",
            big=2**80,
            surrogate="\ud800",
            nan=float("nan"),
            nested={1: {2, 3}, "o": object},
            raw=b"\xff",
        )
        log.info("error", error=Unavailable("ESI does not answer", "Wait."))
        odd, error = events()
        assert odd["big"] == 2**80
        assert sorted(odd["nested"]["1"]) == [2, 3]
        assert error["error"] == "ESI does not answer"


class TestConfigure:
    def test_again_replaces(self) -> None:
        first, second = io.StringIO(), io.StringIO()
        logs.configure("info", "text", first)
        logs.configure("warning", "text", second)
        log.info("a")
        log.warning("b")
        assert first.getvalue() == ""
        assert second.getvalue().endswith("warn  b\n")

    def test_libraries_are_heard_from_warning_on(self, text: io.StringIO) -> None:
        # aiosqlite and aiormq log every statement and message, with what is in them, at debug.
        logging.getLogger("aiosqlite").debug("executing")
        logging.getLogger("aiohttp.access").info("GET /")
        logging.getLogger("asyncio").warning("slow %s", "callback")
        assert text.getvalue().endswith("warn  slow callback\n")
        assert text.getvalue().count("\n") == 1

    def test_warnings_are_logged(self, text: io.StringIO) -> None:
        with warnings.catch_warnings():
            warnings.simplefilter("default")
            logs.configure("info", "text", text)
            warnings.warn("old api", DeprecationWarning, stacklevel=1)
        assert "DeprecationWarning: old api" in text.getvalue()

    def test_a_reader_that_went_away(self, capfd: pytest.CaptureFixture[str]) -> None:
        class Gone(io.StringIO):
            def write(self, text: str) -> int:
                raise BrokenPipeError

        logs.configure("info", "text", Gone())
        log.info("a")
        assert capfd.readouterr().err == ""


class TestRedaction:
    @pytest.mark.parametrize(
        ("text", "left"),
        [
            (f"got {JWT} back", "got *** back"),
            (f"cut {JWT[:30]}", "cut ***"),
            (f"GET /killmails/1/{HASH}/", "GET /killmails/1/***/"),
            (f"hash {HASH.upper()}.", "hash ***."),
            ("Authorization: Bearer abc", "Authorization: Bearer ***"),
            ("{'Authorization': 'Basic YWJj'}", "{'Authorization': 'Basic ***'}"),
            ("sent Bearer abcdef123456", "sent Bearer ***"),
            ("refresh_token=abc&grant_type=x", "refresh_token=***&grant_type=x"),
            ('{"refresh_token": "abc", "a": 1}', '{"refresh_token": "***", "a": 1}'),
            ("code_verifier=abc", "code_verifier=***"),
            ("/auth/callback?code=abc&state=def HTTP", "/auth/callback?code=***&state=*** HTTP"),
            ("state=Zm9vYmFyYmF6cXV4", "state=***"),
            ("code: 'Zm9vYmFyYmF6cXV4'", "code: '***'"),
            ("postgresql://me:pw@db/kills", "postgresql://me:***@db/kills"),
        ],
    )
    def test_masks(self, text: str, left: str) -> None:
        assert redact(text) == left

    @pytest.mark.parametrize(
        "text",
        [
            "state=needs_login",
            "state: owner_changed",
            "code=esi_budget_empty",
            "code: BAD_USER_INPUT",
            "basic configuration",
            "a bearer token is required",
            "killmail 130000001 of 90000001",
            "http://127.0.0.1:7420/auth/callback",
            "me@example.org",
        ],
    )
    def test_leaves_what_is_no_secret(self, text: str) -> None:
        assert redact(text) == text

    @pytest.mark.parametrize("format", ["text", "json"])
    def test_everywhere_in_a_line(self, format: str) -> None:
        stream = io.StringIO()
        logs.configure("debug", format, stream)
        try:
            raise Unavailable(f"POST ?code={JWT}", f"refresh_token={HASH}")
        except Unavailable:
            log.exception(
                f"event {JWT}",
                url=f"https://esi/killmails/1/{HASH}",
                refresh_token="0paque-refresh-token",
                nested={"access_token": "0paque-access-token", "list": [JWT, {"code": "Zm9vYmFyYmF6cXV4"}]},
                state="Zm9vYmFyYmF6cXV4",
                killmail_hash="short",
            )
        logging.getLogger("aiohttp").warning("sent %s", f"Authorization: Bearer {JWT}")
        written = stream.getvalue()
        for secret in (JWT, JWT[:20], HASH, "0paque", "Zm9vYmFyYmF6cXV4", "short"):
            assert secret not in written
        assert "***" in written

    def test_states_and_codes_in_words_stay(self, text: io.StringIO) -> None:
        log.info("a", state="needs_login", code="esi_budget_empty")
        assert text.getvalue().endswith("a  state=needs_login code=esi_budget_empty\n")


class TestStateLog:
    def test_a_change_is_told_once(self, events: Callable[[], list[dict[str, Any]]]) -> None:
        states = StateLog(log)
        assert not states.set("esi", "ok", "ESI answers")
        assert states.set("esi", "down", "ESI does not answer", reason="502")
        assert not states.set("esi", "down", "ESI does not answer", reason="502")
        assert not states.set("esi", "down", "ESI does not answer", reason="503")
        assert states.state("esi") == "down"
        assert states.set("esi", "ok", "ESI answers again")
        assert not states.set("esi", "ok", "ESI answers again")
        down, up = events()
        assert (down["event"], down["level"], down["reason"]) == ("ESI does not answer", "warning", "502")
        assert (up["event"], up["level"], up["repeats"]) == ("ESI answers again", "info", 2)

    def test_keys_are_apart_and_forgotten_when_normal(
        self, events: Callable[[], list[dict[str, Any]]]
    ) -> None:
        states = StateLog(log)
        states.set(("user", 1), "needs_login", "grant is dead", level="error", character_id=1)
        states.set(("user", 2), "needs_login", "grant is dead", character_id=2)
        states.set(("user", 1), "ok", "grant is good", character_id=1)
        states.forget(("user", 2))
        assert states.state(("user", 2)) == "ok"
        assert states._states == {}
        assert [each["level"] for each in events()] == ["error", "warning", "info"]


class TestJournal:
    """Lines for systemd's journal: `<4>` and its like, which it takes for the line's priority."""

    @pytest.fixture(autouse=True)
    def again(self) -> Iterator[None]:
        yield
        logs.configure("info", "text", io.StringIO(), journal=False)

    @pytest.mark.parametrize("format", ["text", "json"])
    def test_every_line_has_its_priority(self, monkeypatch: pytest.MonkeyPatch, format: str) -> None:
        stderr = io.StringIO()
        monkeypatch.setattr(sys, "stderr", stderr)
        logs.configure("debug", format, journal=True)
        logs.configure("debug", format)  # as SIGHUP does: where it goes stays as it is
        log = get_logger("killsyncd.test")
        log.debug("a")
        log.info("b")
        log.warning("c")
        log.exception("d", ValueError("two\nlines"))
        lines = stderr.getvalue().splitlines()
        assert [line[:3] for line in lines[:3]] == ["<7>", "<6>", "<4>"]
        assert {line[:3] for line in lines[3:]} == {"<3>"}, "those of a traceback, too"

    def test_only_the_stream_of_systemd_counts(self, monkeypatch: pytest.MonkeyPatch) -> None:
        status = os.fstat(2)
        assert service_manager({"JOURNAL_STREAM": f"{status.st_dev}:{status.st_ino}"}).journal
        assert not service_manager({"JOURNAL_STREAM": f"{status.st_dev}:{status.st_ino + 1}"}).journal
        assert not service_manager({}).journal


# --- what clients cause ---------------------------------------------------------------------------


def told(text: str) -> list[dict[str, Any]]:
    return [json.loads(line) for line in text.splitlines()]


def test_what_clients_cause_is_counted_after_some_lines_a_minute(monkeypatch: pytest.MonkeyPatch) -> None:
    """Whoever sends a thousand bad queries does not fill the journal."""
    now = 1000.0
    monkeypatch.setattr(logs.time, "monotonic", lambda: now)
    stream = io.StringIO()
    logs.configure("info", "json", stream)
    sparing = logs.get_sparing_logger("killsyncd.tests")
    for number in range(1000):
        sparing.info("query refused", reason=str(number))
        sparing.debug("never shown")
    assert [each["reason"] for each in told(stream.getvalue())] == list(map(str, range(20)))
    sparing.info("socket closed")
    assert told(stream.getvalue())[-1]["event"] == "socket closed", "each event has lines of its own"
    now += 61.0
    sparing.info("query refused", reason="later")
    *_, counted, later = told(stream.getvalue())
    assert (counted["event"], counted["left_out"]) == ("query refused", 980)
    assert later["reason"] == "later"


async def test_what_was_left_out_is_told_when_nothing_comes_any_more(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(logs, "_MINUTE", 0.05)
    stream = io.StringIO()
    logs.configure("info", "json", stream)
    sparing = logs.get_sparing_logger("killsyncd.tests")
    for _ in range(25):
        sparing.info("query refused")
    while "left_out" not in stream.getvalue():
        await asyncio.sleep(0.01)
    assert sum(each.get("left_out", 1) for each in told(stream.getvalue())) >= 25
