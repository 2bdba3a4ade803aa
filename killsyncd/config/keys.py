"""How a key describes itself: in metadata of its dataclass field, for loader, reference and completions."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Any, TypeVar, cast

from killsyncd.config.secret import Secret
from killsyncd.config.types import ValueType

T = TypeVar("T")


REQUIRED = object()


@dataclass(frozen=True)
class Key:
    """What is known of one key: kept as metadata of its dataclass field.

    raw: its default as TOML would give it, before `$STATE` is replaced; or REQUIRED.
    fills: the field that the content of this file goes to, for a file with a secret.
    credential: a systemd credential of the key's name may stand for the file.
    """

    kind: ValueType[Any]
    raw: object
    meaning: str
    fills: str = ""
    credential: bool = False


def key(
    raw: object, kind: ValueType[T], meaning: str, *, fills: str = "", credential: bool = False
) -> T:  # as dataclasses.field: declared to return the value's type
    about = Key(kind, raw, meaning, fills, credential or bool(fills))
    metadata = {"key": about}
    if raw is REQUIRED or (kind.expands and raw != ""):  # no value without a user or an environment
        return cast(T, field(metadata=metadata))
    return field(default=kind.read(raw), metadata=metadata)


def unset_secret() -> Secret | None:
    """A field that is no key: filled from a secret's file or a URL, never printed."""
    return cast("Secret | None", field(default=None, repr=False))
