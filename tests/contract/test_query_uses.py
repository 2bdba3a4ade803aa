"""Every named query exists, is used, and gets exactly the parameters that it names; on both databases."""

from __future__ import annotations

import ast
import re
from functools import cache
from pathlib import Path

import pytest

import killsyncd
from killsyncd.core.model import SourceKind
from killsyncd.storage.queries import load
from tests.support.query_uses import Unclear, Use, uses

PACKAGE = Path(killsyncd.__file__).parent


@cache
def every_use() -> dict[str, list[tuple[str, Use]]]:
    found: dict[str, list[tuple[str, Use]]] = {}
    for path in sorted(PACKAGE.rglob("*.py")):
        for use in uses(path.read_text("utf-8")):
            found.setdefault(use.name, []).append((f"{path.relative_to(PACKAGE)}:{use.line}", use))
    return found


@pytest.mark.parametrize("dialect", ["sqlite", "postgres"])
def test_every_query_exists_and_is_used(dialect: str) -> None:
    used, known = set(every_use()), set(load(dialect))
    assert {"run but not there": used - known, "there but not run": known - used} == {
        "run but not there": set(),
        "there but not run": set(),
    }


@pytest.mark.parametrize("dialect", ["sqlite", "postgres"])
def test_every_query_gets_exactly_its_parameters(dialect: str) -> None:
    known = load(dialect)
    wrong = {
        where: (name, sorted(use.given), known[name].parameters)
        for name, found in every_use().items()
        for where, use in found
        if name in known and not use.fits(known[name].parameters)
    }
    assert wrong == {}


class TestTheReader:
    """That it sees what it is there to see."""

    @pytest.mark.parametrize(
        ("text", "names", "given"),
        [
            ('Run("a.b", {"x": 1, "y": 2})', ["a.b"], {"x", "y"}),
            ('Run("a.b" if on else "a.c", {})', ["a.b", "a.c"], set()),
            ('where = {"x": 1}\n    Run("a.b", {**where, "y": 2})', ["a.b"], {"x", "y"}),
            ('for t in ("b", "c"):\n        Run(f"a.{t}_d", {})', ["a.b_d", "a.c_d"], set()),
            ('for t in TABLES:\n        Run(f"a.{t}", {})', ["a.e"], set()),
            ('for t, n in (("b", 1), ("c", 2)):\n        Run(f"a.{t}", {"n": n})', ["a.b", "a.c"], {"n"}),
            ('Many("a.b", [{"x": each} for each in all])', ["a.b"], {"x"}),
            ('rows = []\n    rows.append({"x": 1})\n    Many("a.b", rows)', ["a.b"], {"x"}),
        ],
    )
    def test_reads(self, text: str, names: list[str], given: set[str]) -> None:
        found = uses(f'TABLES = ("e",)\ndef f():\n    {text}\n')
        assert [each.name for each in found] == names
        assert {each.given for each in found} == {frozenset(given)}

    @pytest.mark.parametrize("text", ["Run(name, {})", 'Run("a.b", given)', 'Run("a.b", make())'])
    def test_refuses_what_it_cannot_follow(self, text: str) -> None:
        with pytest.raises(Unclear):
            uses(f"def f(name, given):\n    {text}\n")

    def test_one_parameter_too_few_or_too_many_does_not_fit(self) -> None:
        use = uses('Run("a.b", {"x": 1, f"wait{n}": 2})')[0]
        assert use.fits(("x", "wait1", "wait2"))
        assert not use.fits(("x", "y", "wait1"))
        assert not use.fits(("x",))
        assert not use.fits(("wait1",))


STATEMENT = re.compile(r"\b(SELECT\s.+\sFROM|INSERT INTO|DELETE FROM|UPDATE \w+ SET|PRAGMA) ", re.S)


def test_sql_lives_in_storage_alone() -> None:
    found = []
    for path in sorted(PACKAGE.rglob("*.py")):
        where = path.relative_to(PACKAGE)
        if where.parts[0] not in ("storage", "simulator"):
            text = path.read_text("utf-8")
            texts = [each for each in ast.walk(ast.parse(text)) if isinstance(each, ast.Constant)]
            found += [f"{where}:{each.lineno}" for each in texts if STATEMENT.search(str(each.value))]
            found += [f"{where}:{use.line}" for use in uses(text)]
    assert found == []


def test_no_statement_names_a_kind_of_source() -> None:
    """A user's own list is `{own_list}`; other kinds are parameters."""
    named = re.compile("|".join(f"'{kind}'" for kind in SourceKind))
    files = (PACKAGE / "storage" / "sql").glob("[a-z]*.sql")
    assert [path.name for path in files if named.search(path.read_text("utf-8"))] == []
