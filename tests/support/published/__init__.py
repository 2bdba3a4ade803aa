"""What the release before the tree was ordered showed to people; see README.md beside."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

_HERE = Path(__file__).parent

SCHEMA = (_HERE / "schema.graphql").read_text("utf-8")
CONFIGURATION = (_HERE / "killsyncd.toml.example").read_text("utf-8")
ANSWERS: dict[str, dict[str, str]] = json.loads((_HERE / "answers.json").read_text("utf-8"))
"""A command to its paths (`$.problems[].code`), and each to its types (`null or string`)."""


def shape(value: Any, at: str = "$", found: dict[str, set[str]] | None = None) -> dict[str, set[str]]:
    """The paths of a JSON value and their types. Keys that are numbers are `*`: they are data."""
    found = {} if found is None else found
    kinds = {dict: "object", list: "list", bool: "boolean", int: "number", float: "number", str: "string"}
    found.setdefault(at, set()).add("null" if value is None else kinds[type(value)])
    if isinstance(value, dict):
        for key, each in value.items():
            shape(each, f"{at}.{'*' if key.isdigit() else key}", found)
    elif isinstance(value, list):
        for each in value:
            shape(each, f"{at}[]", found)
    return found
