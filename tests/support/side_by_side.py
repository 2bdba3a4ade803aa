"""How pytest-xdist hands the tests out: groups stay together, and what takes longest comes first.

xdist's own grouping (3.8.0) writes a test's group where pytest looks no more since 9.2: each worker made
what is dear for itself. Here the controller reads the groups in the files, and node ids stay as they are,
so that `--last-failed` finds them.
"""

from __future__ import annotations

import re
from functools import cache
from pathlib import Path

import pytest
from xdist.scheduler import LoadGroupScheduling

GROUP = re.compile(r'xdist_group\("([\w-]+)"\)')
USUAL = 15.0
"""Seconds that a slow test takes which does not say how many."""


@cache
def group_of(file: Path) -> str:
    """The group of a file's tests, named by a mark in it; empty where there is none."""
    found = set(GROUP.findall(file.read_text("utf-8")))
    if len(found) > 1:
        raise pytest.UsageError(f"{file} has more than one xdist_group: one file, one group")
    return found.pop() if found else ""


class InGroups(LoadGroupScheduling):  # type: ignore[misc]
    """One unit of work is a test, or all tests of a group, in the order in which they were collected."""

    def _split_scope(self, nodeid: str) -> str:
        file = nodeid.partition("::")[0]
        return group_of(self.config.rootpath / file) or nodeid

    def schedule(self) -> None:
        self.config.option.loadscopereorder = False  # by the number of tests
        super().schedule()


def seconds(item: pytest.Item) -> float:
    """What a test takes alone, as its mark says: `slow(40)`."""
    mark = item.get_closest_marker("slow")
    if mark is None:
        return 0.0
    return float(mark.args[0]) if mark.args else USUAL


def longest_first(items: list[pytest.Item], workers: int) -> list[pytest.Item]:
    """The order in which to hand them out.

    A worker has one test in hand and one waiting: behind the very longest wait quick ones.
    """
    ordered = sorted(items, key=seconds, reverse=True)
    quick = [item for item in ordered if not seconds(item)][-workers:]
    rest = [item for item in ordered if item not in quick]
    return [*rest[:workers], *quick, *rest[workers:]]
