"""What each key takes and what it refuses."""

from __future__ import annotations

from datetime import date
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from killsyncd import config
from killsyncd.config import ConfigMistakes
from killsyncd.config.types import BadValue, seconds_of


def value_of(section: str, key: str, raw: object) -> Any:
    sections: dict[str, dict[str, object]] = {
        "sso": {"client_id": "abc"},
        "esi": {"contact": "me@example.org"},
    }
    sections.setdefault(section, {})[key] = raw
    return getattr(getattr(config.from_mapping(sections, {"HOME": "/h"}), section), key)


def refusal_of(section: str, key: str, raw: object) -> str:
    with pytest.raises(ConfigMistakes) as caught:
        value_of(section, key, raw)
    assert len(caught.value.mistakes) == 1, caught.value
    assert (caught.value.mistakes[0].section, caught.value.mistakes[0].key) == (section, key)
    return str(caught.value)


@pytest.mark.parametrize(
    ("raw", "seconds"),
    [
        ("90s", 90),
        ("10m", 600),
        ("1h", 3600),
        ("24h", 86400),
        ("1d", 86400),
        ("500ms", 0.5),
        ("1.5h", 5400),
        (90, 90),
        (0.25, 0.25),
        ("90", 90),
        (" 2 m ", 120),
    ],
)
def test_durations(raw: object, seconds: float) -> None:
    assert value_of("producer", "interval", raw) == seconds


@pytest.mark.parametrize(
    "raw", ["", "m", "ten", "-5m", "5 parsecs", "1h30m", True, [], -1, 0, "0s", "8d", float("inf")]
)
def test_no_durations(raw: object) -> None:
    assert "must be a duration above 0s and at most 7d" in refusal_of("producer", "interval", raw)


@given(st.text(max_size=12))
def test_duration_texts_never_crash(text: str) -> None:
    try:
        assert seconds_of(text) >= 0
    except BadValue:
        pass


def test_some_durations_may_be_none() -> None:
    assert value_of("queue", "skip_within", 0) == 0
    assert value_of("producer", "min_age", "0s") == 0


GOOD: list[tuple[str, str, object, object]] = [
    ("esi", "requests_per_second", 150, 150.0),
    ("esi", "requests_per_second", 0.1, 0.1),
    ("queue", "concurrency", 1, 1),
    ("queue", "concurrency", 64, 64),
    ("producer", "max_pages", 1, 1),
    ("esi", "compatibility_date", "2026-08-18", "2026-08-18"),
    ("esi", "compatibility_date", date(2026, 8, 18), "2026-08-18"),
    ("esi", "base_url", "http://[::1]:8080/", "http://[::1]:8080"),
    (
        "sso",
        "callback_url",
        "https://kills.example.org/auth/callback",
        "https://kills.example.org/auth/callback",
    ),
    ("log", "level", "WARNING", "warning"),
    ("api", "listen", "[::1]:0", "[::1]:0"),
    ("api", "allowed_hosts", ["kills.example.org"], ("kills.example.org",)),
    ("database", "url", "sqlite:////var/lib/k.db", "sqlite:////var/lib/k.db"),
    ("database", "url", "postgresql://me@db.example/kills", "postgresql://me@db.example/kills"),
    ("database", "url", "postgres:///kills?host=/run/postgresql", "postgresql:///kills?host=/run/postgresql"),
    ("queue", "url", "amqps://me@mq.example/vhost", "amqps://me@mq.example/vhost"),
    ("esi", "contact", "CCP Karuck", "CCP Karuck"),
    ("esi", "contact", "https://kills.example.org/about", "https://kills.example.org/about"),
    ("esi", "contact", "José (no)"[:4], "José"),
    (
        "esi",
        "contact",
        " me@example.org; +https://kills.example.org ",
        "me@example.org; +https://kills.example.org",
    ),
]


@pytest.mark.parametrize(("section", "key", "raw", "value"), GOOD)
def test_taken(section: str, key: str, raw: object, value: object) -> None:
    assert value_of(section, key, raw) == value


BAD: list[tuple[str, str, object, str]] = [
    ("esi", "requests_per_second", 0, "a number above 0 and at most 10000"),
    ("esi", "requests_per_second", 150.1, "a number above 0 and at most 150"),
    ("esi", "requests_per_second", True, "a number above 0"),
    ("esi", "requests_per_second", "50", "a number above 0"),
    ("esi", "requests_per_second", float("nan"), "a number above 0"),
    ("queue", "concurrency", 0, "a whole number from 1 to 64"),
    ("queue", "concurrency", 65, "a whole number from 1 to 64"),
    ("queue", "concurrency", 8.0, "a whole number"),
    ("queue", "concurrency", True, "a whole number"),
    ("producer", "max_pages", 0, "a whole number from 1"),
    ("producer", "enabled", "true", "true or false"),
    ("producer", "enabled", 1, "true or false"),
    ("esi", "compatibility_date", "2026-02-30", "a date such as"),
    ("esi", "compatibility_date", "20260818", "a date such as"),
    ("esi", "compatibility_date", 20260818, "a date such as"),
    ("esi", "base_url", "ftp://esi.example", "an http:// or https:// address"),
    ("esi", "base_url", "esi.evetech.net", "an http:// or https:// address"),
    ("esi", "base_url", "https://", "an http:// or https:// address"),
    ("esi", "base_url", "https://me@esi.example", "without user"),
    ("esi", "base_url", "https://esi.example?x=1", "query or fragment"),
    ("esi", "base_url", "https://esi.example:99999", "an http:// or https:// address"),
    ("esi", "base_url", "https://esi .example", "an http:// or https:// address"),
    ("sso", "callback_url", "http://127.0.0.1:7420/auth/callback#x", "query or fragment"),
    ("sso", "client_id", "", "is required"),
    ("sso", "client_id", "a b", "the client ID"),
    ("sso", "scopes", [], "a list of ESI scopes"),
    ("sso", "scopes", "esi-killmails.read_killmails.v1", "a list of ESI scopes"),
    ("sso", "scopes", ["publicData"], "with 'esi-killmails.read_killmails.v1' among them"),
    ("sso", "scopes", ["esi-killmails.read_killmails.v1"] * 2, "each once"),
    ("sso", "scopes", ["a b"], "'a b' is not"),
    ("api", "listen", "7420", "host:port"),
    ("api", "listen", ":7420", "host:port"),
    ("api", "listen", "::1:7420", "host:port"),
    ("api", "listen", "127.0.0.1:70000", "host:port"),
    ("api", "allowed_hosts", ["https://kills.example.org/"], "a list of host names"),
    ("database", "url", "sqlite:///kills.db", "four slashes"),
    ("database", "url", "sqlite://:memory:", "four slashes"),
    ("database", "url", "mysql://me@db/kills", "a database:"),
    ("database", "url", "postgresql://me@db", "a database:"),
    ("queue", "url", "redis://mq", '"embedded" or a RabbitMQ'),
    ("queue", "url", "amqp://", '"embedded" or a RabbitMQ'),
    ("queue", "name", "amq.mine", "not beginning with amq."),
    ("queue", "name", "", "1 to 200"),
    ("esi", "egress", "a b", "1 to 64 letters"),
    ("control", "socket", "killsyncd.sock", "an absolute path"),
    ("control", "socket", "/" + "x" * 107, "at most 107 bytes"),
    ("security", "key_file", "", "an absolute path"),
    ("security", "key_file", 3, "an absolute path"),
    ("log", "format", "xml", "one of auto, text, json"),
    ("log", "level", 3, "one of debug"),
    ("esi", "contact", "", "is required"),
    ("esi", "contact", "me", "an e-mail address, a web address or the name"),
    ("esi", "contact", "x@", "an e-mail address"),
    ("esi", "contact", "me@example.org\r\nX-Evil: 1", "on one line"),
    ("esi", "contact", "мне@example.org", "latin-1"),
    ("esi", "contact", "me@example.org) evil (", "an e-mail address"),
    ("esi", "contact", "x" * 201, "at most 200"),
    ("esi", "contact", 3, "how CCP can reach you"),
]


@pytest.mark.parametrize(("section", "key", "raw", "said"), BAD)
def test_refused(section: str, key: str, raw: object, said: str) -> None:
    assert said in refusal_of(section, key, raw)


def test_sections_are_frozen() -> None:
    with pytest.raises(AttributeError):
        config.QueueConfig().concurrency = 9  # type: ignore[misc]  # that it cannot be set is the point


@pytest.mark.parametrize("host", ["127.0.0.1", "127.9.9.9", "::1", "localhost", "LOCALHOST.", "x.localhost"])
def test_loopback(host: str) -> None:
    assert config.is_loopback(host)


@pytest.mark.parametrize("host", ["0.0.0.0", "::", "10.0.0.1", "localhost.example.org"])
def test_not_loopback(host: str) -> None:
    assert not config.is_loopback(host)
