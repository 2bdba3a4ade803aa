"""SIGHUP: what changes, what has to wait for a restart, and what is refused."""

from __future__ import annotations

import io
import json
import logging
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

from killsyncd.config import Config, from_mapping, load
from killsyncd.core import logging as logs
from killsyncd.daemon.reload import APPLIERS, Reloader, differing


@pytest.fixture
def told() -> Iterator[Callable[[], list[dict[str, Any]]]]:
    """What is logged, parsed."""
    stream = io.StringIO()
    before = logging.getLogger().handlers[:]
    logs.configure("info", "json", stream)
    yield lambda: [json.loads(line) for line in stream.getvalue().splitlines()]
    logging.getLogger().handlers[:] = before


def config(**sections: dict[str, Any]) -> Config:
    document: dict[str, dict[str, Any]] = {
        "sso": {"client_id": "x"},
        "esi": {"contact": "me@killsyncd.invalid"},
    }
    for section, values in sections.items():
        document.setdefault(section, {}).update(values)
    return from_mapping(document, source="the test's")


def reloader(running: Config, wanted: Config, applied: list[Config]) -> Reloader:
    return Reloader(running, lambda: wanted, dict.fromkeys(APPLIERS, applied.append))


def test_what_can_change_does(told: Callable[[], list[dict[str, Any]]]) -> None:
    applied: list[Config] = []
    wanted = config(log={"level": "debug", "format": "text"})
    reloader(config(), wanted, applied).reload()
    assert applied == [wanted]  # once, not for each key
    assert [each["event"] for each in told()] == ["configuration reloaded"]
    assert told()[0]["changed"] == "log.level log.format"


def test_what_needs_a_restart_is_named_each_time(told: Callable[[], list[dict[str, Any]]]) -> None:
    applied: list[Config] = []
    wanted = config(producer={"interval": "20m"}, esi={"max_connections": 3}, log={"level": "debug"})
    twice = reloader(config(), wanted, applied)
    twice.reload()
    twice.reload()
    warnings = [each for each in told() if each["level"] == "warning"]
    assert [each["keys"] for each in warnings] == ["esi.max_connections producer.interval"] * 2
    assert [each["changed"] for each in told() if "changed" in each] == ["log.level", "nothing"]


def test_a_secret_counts_by_its_content(tmp_path: Path) -> None:
    file = tmp_path / "token"
    found = []
    for text in (
        "one secret token of ours that is long enough",
        "one secret token of ours that is long enough",
        "another secret token that is long enough",
    ):
        file.write_text(text)
        file.chmod(0o600)
        found.append(config(api={"token_file": str(file)}))
    assert differing(found[0], found[1]) == []
    assert differing(found[0], found[2]) == ["api.token_file"]


def test_a_file_that_does_not_hold_changes_nothing(
    told: Callable[[], list[dict[str, Any]]], tmp_path: Path
) -> None:
    file = tmp_path / "killsyncd.toml"
    file.write_text('[esi]\ncontakt = "you@example.com"\n')
    applied: list[Config] = []
    Reloader(config(), lambda: load(file, {"HOME": str(tmp_path)}), {"log.level": applied.append}).reload()
    assert applied == []
    (line,) = told()
    assert line["level"] == "error"
    assert line["event"] == "the configuration was not reloaded; going on as before"
    assert "contakt" in line["reason"]


def test_files_are_read_again_also_where_no_key_has_changed() -> None:
    read: list[Config] = []
    twice = reloader(config(), config(), [])
    twice.knows({}, [read.append])
    twice.reload()
    twice.reload()
    assert len(read) == 2
