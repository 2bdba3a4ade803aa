"""Configuration files and GraphQL queries of the release before go on working (tests/support/published)."""

from __future__ import annotations

import re
import tomllib
from pathlib import Path
from typing import Any

from graphql import (
    GraphQLInputObjectType,
    GraphQLInterfaceType,
    GraphQLObjectType,
    GraphQLSchema,
    build_schema,
    find_breaking_changes,
    find_dangerous_changes,
)

from killsyncd.api.graphql.engine import make_schema
from killsyncd.config import load
from tests.support.published import CONFIGURATION, SCHEMA

ROOT = Path(__file__).parents[2]


def uncommented(text: str) -> str:
    return re.sub(r"(?m)^#\s?(\[?[a-z_]+(?: = .*|\]))$", r"\1", text)


def keys(text: str) -> dict[str, Any]:
    """`section.key` of an example to its value, commented out or not."""
    sections = tomllib.loads(uncommented(text))
    return {f"{name}.{key}": value for name, given in sections.items() for key, value in given.items()}


def test_every_key_has_its_name_and_its_default_still() -> None:
    before, now = keys(CONFIGURATION), keys((ROOT / "killsyncd.toml.example").read_text())
    assert len(before) > 30
    assert {key: now.get(key, "gone") for key in before} == before


def test_a_configuration_file_of_before_is_read_as_ever(tmp_path: Path) -> None:
    """With every key written out, as somebody does who uncomments the example."""
    file = tmp_path / "killsyncd.toml"
    given = uncommented(CONFIGURATION)
    given = given.replace('client_id = ""', f'client_id = "{"0" * 32}"').replace(
        'contact = ""', 'contact = "me@example.org"'
    )
    file.write_text(given)
    file.chmod(0o600)
    config = load(file, {"HOME": str(tmp_path), "XDG_RUNTIME_DIR": str(tmp_path)})
    assert config.esi.requests_per_second == 50.0
    assert config.producer.interval == 600.0
    assert config.api.listen == "127.0.0.1:7420"


def members(schema: GraphQLSchema) -> dict[str, str]:
    """`Type.field` to its type, and `Type.field(argument)` to its type and default."""
    found: dict[str, str] = {}
    for name, kind in schema.type_map.items():
        if name.startswith("__"):
            continue
        if isinstance(kind, GraphQLInputObjectType):
            for field, given in kind.fields.items():
                found[f"{name}.{field}"] = f"{given.type} = {given.default_value}"
        elif isinstance(kind, GraphQLObjectType | GraphQLInterfaceType):
            for field, told in kind.fields.items():
                found[f"{name}.{field}"] = str(told.type)
                for argument, given in told.args.items():
                    found[f"{name}.{field}({argument})"] = f"{given.type} = {given.default_value}"
    return found


def test_the_schema_has_what_it_had() -> None:
    before, now = build_schema(SCHEMA), make_schema()
    assert [each.description for each in find_breaking_changes(before, now)] == []
    # What was added (enum values, optional arguments): nobody's query means something else by it.
    dangerous = {each.type.name for each in find_dangerous_changes(before, now)}
    assert dangerous <= {"VALUE_ADDED_TO_ENUM", "OPTIONAL_ARG_ADDED", "OPTIONAL_INPUT_FIELD_ADDED"}
    there = members(now)
    assert {name: there.get(name, "gone") for name in members(before)} == members(before)
