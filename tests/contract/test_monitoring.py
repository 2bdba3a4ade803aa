"""The dashboard, the alert rules and the document use names and labels that really come out."""

from __future__ import annotations

import json
import re
import shutil
import subprocess
from collections import Counter
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from killsyncd.storage.repositories.metrics import MetricsRepository
from tests.contract.test_metrics_repository import PlayedEsi, metrics_of, samples
from tests.support.storage_world import StorageWorld

DOCS = Path(__file__).parents[2] / "docs"
SELECTOR = re.compile(r"\b((?:killsyncd|process)_[a-z_]+)(?:\{([^}]*)\})?")
LABEL = re.compile(r'([a-z_]+)\s*(?:=~|!~|!=|=)\s*"([^"]*)"')
ADDED_BY_PROMETHEUS = {"job", "instance"}


def expressions_of(panel: dict[str, Any]) -> Iterator[str]:
    for target in panel.get("targets", []):
        yield target["expr"]


def dashboard() -> list[str]:
    panels = json.loads((DOCS / "grafana/killsyncd.json").read_text("utf-8"))["panels"]
    return [expression for panel in panels for expression in expressions_of(panel)]


def rules() -> list[str]:
    """Expressions of the alert rules; folded ones (`>-`) become one line."""
    text = (DOCS / "prometheus/alerts.yml").read_text("utf-8")
    found = re.findall(r"(?m)^ +expr: (?:>-\n((?: {10,}.*\n)+)|(.*)$)", text)
    return [" ".join((folded or plain).split()) for folded, plain in found]


class PlayedWebhooks:
    """One that has delivered and has more to do."""

    def counts(self) -> dict[tuple[str, str], int]:
        return {("ours", "delivered"): 3}

    async def waiting(self) -> dict[str, int]:
        return {"ours": 2}


@pytest.fixture
async def text(world: StorageWorld) -> bytes:
    """What a daemon that has been at work renders."""
    await world.listed(await world.pilot(90000001), 1, 2)
    await world.want(await world.pilot(90000002))
    await MetricsRepository(world.store).backed_up(1795000000.0)
    await world.rows("UPDATE producer SET last_run_at = 1795000000, next_run_at = 1895000000")
    esi = PlayedEsi()
    esi.stats.requests = Counter({("killmail", each): 1 for each in ("2xx", "4xx", "420", "429")})
    esi.stats.refused = Counter({("killmail", "limit"): 1})
    zkillboard = Counter({("lists", "200"): 1})
    metrics = metrics_of(world, esi, database=Path("/"), webhooks=PlayedWebhooks(), zkillboard=zkillboard)
    return await metrics.render()


@pytest.fixture
def rendered(text: bytes) -> dict[str, list[dict[str, str]]]:
    """Labels of every sample, by name."""
    found: dict[str, list[dict[str, str]]] = {}
    for name, labels in samples(text):
        found.setdefault(name, []).append(dict(labels))
    return found


def fits(pattern: str, value: str) -> bool:
    return re.fullmatch(pattern, value) is not None


@pytest.mark.parametrize("source", [dashboard, rules], ids=["dashboard", "rules"])
def test_there_is_something_to_check(source: Any) -> None:
    assert len(source()) > 10


@pytest.mark.parametrize("source", [dashboard, rules], ids=["dashboard", "rules"])
async def test_every_selector_finds_something(source: Any, rendered: dict[str, list[dict[str, str]]]) -> None:
    for expression in source():
        for name, inside in SELECTOR.findall(expression):
            assert name in rendered, f"{name} of {expression!r} does not come out"
            wanted = [pair for pair in LABEL.findall(inside) if pair[0] not in ADDED_BY_PROMETHEUS]
            hits = [
                labels
                for labels in rendered[name]
                if all(label in labels and fits(pattern, labels[label]) for label, pattern in wanted)
            ]
            assert hits, f"{name}{{{inside}}} of {expression!r} finds nothing"


async def test_labels_that_are_grouped_by_exist(rendered: dict[str, list[dict[str, str]]]) -> None:
    every = {label for each in rendered.values() for labels in each for label in labels}
    for expression in [*dashboard(), *rules()]:
        for words in re.findall(r"\b(?:by|on) \(([^)]*)\)", expression):
            assert {each.strip() for each in words.split(",")} <= every | ADDED_BY_PROMETHEUS, expression


async def test_the_document_lists_exactly_what_comes_out(text: bytes) -> None:
    """Also what has no sample yet."""
    document = (DOCS / "metrics.md").read_text("utf-8")
    listed = set(re.findall(r"(?m)^\| `((?:killsyncd|process)_[a-z_]+)", document))
    assert listed == set(re.findall(r"(?m)^# TYPE (\S+)", text.decode()))


@pytest.mark.skipif(shutil.which("promtool") is None, reason="promtool (Debian: prometheus) is not installed")
def test_prometheus_takes_the_rules() -> None:
    checked = subprocess.run(
        ["promtool", "check", "rules", DOCS / "prometheus/alerts.yml"], capture_output=True, text=True
    )
    assert checked.returncode == 0, checked.stdout + checked.stderr
