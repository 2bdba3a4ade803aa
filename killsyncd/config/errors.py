"""Mistakes in a configuration: gathered, then told together."""

from __future__ import annotations

import json
import re
from collections.abc import Iterable
from dataclasses import dataclass
from datetime import date, datetime, time

from killsyncd.core.errors import ConfigError

# A key of such a name never has its value repeated: somebody may have put the secret itself there.
_SECRET_NAME = re.compile(r"secret|password|passwd|token|credential|(^|_)key($|_)", re.IGNORECASE)
_URL_PASSWORD = re.compile(
    r"(://[^/?#@\s]*:)[^/?#\s]*(?=@)|([?&](?:password|passfile|sslpassword)=)[^&#\s]*", re.I
)


@dataclass(frozen=True)
class ConfigMistake:
    """One thing that does not hold.

    where: the file, or the environment. section, key: empty where there is none.
    value: as it may be shown (already masked); empty where there is none.
    problem: what is wrong and what is allowed.
    """

    where: str
    problem: str
    section: str = ""
    key: str = ""
    value: str = ""

    def __str__(self) -> str:
        name = f"[{self.section}]" if self.section else ""
        if self.key:
            name = f"{name} {self.key}".strip()
        if self.value:
            name = f"{name} = {self.value}"
        return f"{self.where}: {name}: {self.problem}" if name else f"{self.where}: {self.problem}"


class ConfigMistakes(ConfigError):
    """All mistakes of a configuration at once, one a line; `mistakes` has them singly."""

    def __init__(self, mistakes: Iterable[ConfigMistake], hint: str) -> None:
        self.mistakes = tuple(mistakes)
        count = len(self.mistakes)
        title = "1 mistake" if count == 1 else f"{count} mistakes"
        lines = "".join(f"\n  {mistake}" for mistake in self.mistakes)
        super().__init__(f"{title} in the configuration:{lines}", hint)


def shown(key: str, value: object) -> str:
    """A value as TOML would write it, cut to one short line, without passwords."""
    if (
        _SECRET_NAME.search(key)
        and isinstance(value, str)
        and value
        and not value.startswith(("/", "$", "~", "./"))
    ):
        return '"***"'
    if isinstance(value, bool):
        text = "true" if value else "false"
    elif isinstance(value, (date, datetime, time)):
        text = value.isoformat()
    elif isinstance(value, dict):
        text = "a table"
    elif isinstance(value, (str, list, tuple)):
        text = json.dumps(value, ensure_ascii=False, default=str)
    else:
        text = str(value)
    text = _URL_PASSWORD.sub(lambda match: (match[1] or match[2]) + "***", text)
    text = "".join(each if each.isprintable() else "?" for each in text)
    return text if len(text) <= 120 else text[:117] + "..."


def nearest(word: str, known: Iterable[str], cutoff: float = 0.6) -> str:
    """The known name that looks most like a word; empty if none does."""
    import difflib  # only for somebody's typo; costs time at the start of every command

    matches = difflib.get_close_matches(word.lower(), list(known), n=1, cutoff=cutoff)
    return matches[0] if matches else ""
