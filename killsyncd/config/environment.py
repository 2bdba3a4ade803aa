"""Names of sections, keys, environment variables and credentials, and what is said of a wrong one."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path

from killsyncd.config.configuration import SECTIONS, keys_of
from killsyncd.config.errors import ConfigMistake, nearest, shown

PREFIX = "KILLSYNCD_"
# Variables of ours that are no keys.
OTHERS = frozenset({"KILLSYNCD_CONFIG", "KILLSYNCD_DEMO_FROM_MAKE"})


def variable_of(section: str, key: str) -> str:
    """The environment variable of a key."""
    return f"{PREFIX}{section}_{key}".upper()


def of_variable(variable: str) -> tuple[str, str] | None:
    """Section and key of an environment variable; None if it is no key's."""
    for section in SECTIONS:
        for key in keys_of(section):
            if variable_of(section, key) == variable:
                return section, key
    return None


def unknown_variable(where: str, variable: str) -> ConfigMistake | None:
    """What is said of a `KILLSYNCD_` variable that is no key's.

    One of a known section is a mistake, and so is one that looks like a key's. Others may belong to anything.
    """
    if variable.startswith(f"{PREFIX}TEST_"):
        return None
    if variable.startswith(f"{PREFIX}WEBHOOKS_"):
        return ConfigMistake(
            where, "is unknown: webhooks stand in the file alone, as [[webhooks]]", "", variable
        )
    for section in SECTIONS:
        start = f"{PREFIX}{section}_".upper()
        if variable.startswith(start):
            known = keys_of(section)
            key = nearest(variable.removeprefix(start), known, 0.5)
            guess = f"did you mean {start}{key.upper()}?" if key else f"[{section}] has " + ", ".join(known)
            return ConfigMistake(where, f"is an unknown variable; {guess}", "", variable)
    known_variables = {variable_of(each, key).lower() for each in SECTIONS for key in keys_of(each)}
    match = nearest(variable, known_variables, 0.85).upper()
    return (
        ConfigMistake(where, f"is an unknown variable; did you mean {match}?", "", variable)
        if match
        else None
    )


def unknown_section(where: str, section: str, table: object) -> ConfigMistake:
    """What is said of a section that is none, or of a key outside of any."""
    if match := nearest(section, ["webhooks"], 0.75):
        guess = f"did you mean [[{match}]], in two brackets, once for each?"
        return ConfigMistake(where, f"is an unknown section; {guess}", _plain(section))
    if not isinstance(table, Mapping):
        homes = [each for each in SECTIONS if section in keys_of(each)]
        guess = f"; did you mean the one of [{homes[0]}]?" if homes else ""
        if not homes:
            every = {key: each for each in SECTIONS for key in keys_of(each)}
            if match := nearest(section, every):
                guess = f"; did you mean {match} of [{every[match]}]?"
        return ConfigMistake(
            where, f"stands outside of a section{guess}", "", _plain(section), shown(section, table)
        )
    match = nearest(section, SECTIONS)
    guess = f"did you mean [{match}]?" if match else "sections are " + ", ".join(SECTIONS)
    return ConfigMistake(where, f"is an unknown section; {guess}", _plain(section))


def unknown_key(where: str, section: str, key: str, raw: object) -> ConfigMistake:
    """What is said of a key that its section does not have."""
    known = keys_of(section)
    elsewhere = next((each for each in SECTIONS if key in keys_of(each)), "")
    if match := nearest(key, known, 0.75):
        guess = f"did you mean {match}?"
    elif elsewhere:
        guess = f"it belongs to [{elsewhere}]"
    elif match := nearest(key, known, 0.5):
        guess = f"did you mean {match}?"
    else:
        guess = f"[{section}] has " + ", ".join(known)
    return ConfigMistake(where, f"is an unknown key; {guess}", section, _plain(key), shown(key, raw))


def _plain(name: str) -> str:
    return shown("", name)[1:-1]


class Ambiguous(Exception):
    """A credential whose name fits two keys."""


def credential_of(directory: Path, section: str, key: str) -> Path | None:
    """The systemd credential for a key: `<section>.<key>`, or `<key>` where only one section has it."""
    whole = directory / f"{section}.{key}"
    if whole.is_file():
        return whole
    bare = directory / key
    if not bare.is_file():
        return None
    homes = [each for each in SECTIONS if key in keys_of(each)]
    if len(homes) > 1:
        fitting = " or ".join(f"{each}.{key}" for each in homes)
        raise Ambiguous(f"the credential {key} fits several keys; name it {fitting}")
    return bare
