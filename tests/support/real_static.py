"""Real static data and killmails, from a folder beside the project (tests without it are left out)."""

from __future__ import annotations

import os
import zipfile
from collections.abc import Mapping
from dataclasses import dataclass
from functools import lru_cache
from pathlib import Path

import orjson
import pytest

SHARED = Path(os.environ.get("KILLSYNCD_TEST_SHARED", Path(__file__).parents[3] / "shared"))
ARCHIVE = SHARED / "static" / "eve-online-static-data-2000001-jsonl.zip"

needs_static = pytest.mark.skipif(
    not ARCHIVE.is_file(), reason="the real static data are not beside the project"
)


@dataclass(frozen=True)
class Facts:
    """A type, as the export has it."""

    name: str
    group_id: int
    category_id: int
    meta_group_id: int | None = None


@lru_cache(maxsize=1)
def types() -> Mapping[int, Facts]:
    """Every type of the export."""
    with zipfile.ZipFile(ARCHIVE) as archive:
        groups = {each["_key"]: each for each in map(orjson.loads, archive.open("groups.jsonl"))}
        return {
            each["_key"]: Facts(
                each["name"]["en"],
                each["groupID"],
                groups[each["groupID"]]["categoryID"],
                each.get("metaGroupID"),
            )
            for each in map(orjson.loads, archive.open("types.jsonl"))
        }


def killmails() -> list[bytes]:
    """The real mails, as ESI sent them."""
    return (SHARED / "killmails" / "killmails.jsonl").read_bytes().splitlines()
