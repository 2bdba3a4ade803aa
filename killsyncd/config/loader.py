"""TOML and environment to a `Config`, strictly, with all mistakes told at once.

Nothing is created here, and nothing but files is read: a configuration that does
not hold leaves no trace.
"""

from __future__ import annotations

import stat
import tomllib
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from types import MappingProxyType
from typing import Any

from killsyncd.config import environment as names
from killsyncd.config import validation as crosschecks
from killsyncd.config.configuration import SECTIONS, Config, keys_of
from killsyncd.config.errors import ConfigMistake, ConfigMistakes, shown
from killsyncd.config.keys import REQUIRED, Key
from killsyncd.config.paths import Directories, candidates, find_places
from killsyncd.config.secret import SecretFileRefused, open_to_others, read_secret_file
from killsyncd.config.types import BadValue
from killsyncd.config.webhooks import SECTION as WEBHOOKS
from killsyncd.config.webhooks import read_webhooks
from killsyncd.core.errors import ConfigError

CONFIG_FILE_BYTES = 1_000_000
REFERENCE = "docs/configuration.md has every key; killsyncd.toml.example is a file to start from."


@dataclass(frozen=True)
class RawValue:
    """A raw value and who gave it.

    private: whether others can read it there; a password may stand only where they cannot.
    """

    raw: object
    where: str
    private: bool


def load(path: Path | None, environ: Mapping[str, str]) -> Config:
    """The configuration of `path` or of where one is looked for, with the environment's values over it.

    Raises `ConfigError`, which names every mistake. Having no file is fine
    when the environment gives what is required.
    """
    places = find_places(environ)
    file = path or _named(environ) or next((each for each in candidates(environ) if _exists(each)), None)
    mistakes: list[ConfigMistake] = []
    given: dict[tuple[str, str], RawValue] = {}
    tables: object = None
    if file is not None:
        private, document = _read(file, places)
        tables = document.pop(WEBHOOKS, None)
        mistakes += _take_document(document, str(file), private, given)
    from_file = len(given)
    mistakes += _take_environment(environ, given)
    source = str(file) if file else "no file"
    overridden = sum(each.where == ENVIRONMENT for each in given.values())
    if overridden:
        source += f" and {overridden} {'key' if overridden == 1 else 'keys'} from the environment"
    elif not from_file and file is None:
        source += ", only defaults"
    hint = REFERENCE
    if file is None:
        looked = ", ".join(str(each) for each in candidates(environ))
        hint = f"No configuration file was found ({looked}); name one with --config FILE.\n  {REFERENCE}"
    return _build(given, places, source, str(file) if file else "configuration", mistakes, hint, tables)


def from_mapping(
    sections: Mapping[str, object],
    environ: Mapping[str, str] | None = None,
    source: str = "a mapping",
) -> Config:
    """A configuration from nested mappings, as TOML would give them: for the demo and for tests.

    environ: only for `$STATE`, `$RUNTIME` and home; `KILLSYNCD_` variables are
    not looked at. Passwords in URLs are fine: memory is private.
    """
    given: dict[tuple[str, str], RawValue] = {}
    document = {section: table for section, table in sections.items() if section != WEBHOOKS}
    mistakes = _take_document(document, source, True, given)
    places = find_places(environ or {})
    return _build(given, places, source, source, mistakes, REFERENCE, sections.get(WEBHOOKS))


# --- the file -----------------------------------------------------------------------------------


def _named(environ: Mapping[str, str]) -> Path | None:
    return Path(environ["KILLSYNCD_CONFIG"]) if environ.get("KILLSYNCD_CONFIG") else None


def _exists(file: Path) -> bool:
    """Whether a file is there; one that we may not look at counts, so that it is told and not passed over."""
    try:
        file.stat()
    except PermissionError:
        # A directory closed to us hides whether the file is in it: say so. But a whole home that
        # is closed to us is somebody else's (HOME kept by sudo), and none of our business.
        return _is_there(file.parent)
    except OSError:
        return False
    return True


def _is_there(directory: Path) -> bool:
    try:
        directory.stat()
    except OSError:
        return False
    return True


def _read(file: Path, places: Directories) -> tuple[bool, dict[str, Any]]:
    """Whether the file is closed to others, and what TOML it holds."""
    try:
        status = file.stat()
        if not stat.S_ISREG(status.st_mode):
            raise ConfigError(f"{file}: is not a regular file", "Name a TOML file with --config FILE.")
        if status.st_size > CONFIG_FILE_BYTES:
            raise ConfigError(f"{file}: is larger than {CONFIG_FILE_BYTES} bytes", REFERENCE)
        content = file.read_bytes()
    except OSError as error:
        hint = "Name an existing file with --config FILE, or give yourself the right to read this one."
        raise ConfigError(f"{file}: cannot be read: {error.strerror}", hint) from None
    try:
        document = tomllib.loads(content.decode("utf-8-sig"))
    except UnicodeDecodeError as error:
        raise ConfigError(
            f"{file}: is not UTF-8 text (byte {error.start + 1})", "TOML files are UTF-8."
        ) from None
    except (tomllib.TOMLDecodeError, RecursionError) as error:
        what = "is nested too deeply" if isinstance(error, RecursionError) else f"is not TOML: {error}"
        raise ConfigError(
            f"{file}: {what}", "Texts stand in quotes, sections in [brackets]; https://toml.io has the rules."
        ) from None
    private = not open_to_others(status.st_mode) or places.is_credential(file)
    return private, document


def _take_document(
    document: Mapping[str, object], where: str, private: bool, given: dict[tuple[str, str], RawValue]
) -> list[ConfigMistake]:
    mistakes = []
    for section, table in document.items():
        if section not in SECTIONS:
            mistakes.append(names.unknown_section(where, section, table))
        elif not isinstance(table, Mapping):
            mistakes.append(
                ConfigMistake(
                    where,
                    f"must be a section: write [{section}] on a line of its own",
                    section,
                    "",
                    shown("", table),
                )
            )
        else:
            known = keys_of(section)
            for key, raw in table.items():
                if key in known:
                    given[section, key] = RawValue(raw, where, private)
                else:
                    mistakes.append(names.unknown_key(where, section, key, raw))
    return mistakes


# --- the environment ----------------------------------------------------------------------------

ENVIRONMENT = "environment"
CREDENTIAL = "systemd credential"


def _take_environment(
    environ: Mapping[str, str], given: dict[tuple[str, str], RawValue]
) -> list[ConfigMistake]:
    mistakes = []
    for variable in sorted(environ):
        if not variable.startswith(names.PREFIX) or variable in names.OTHERS:
            continue
        found = names.of_variable(variable)
        if found is None:
            if mistake := names.unknown_variable(ENVIRONMENT, variable):
                mistakes.append(mistake)
            continue
        section, key = found
        text = environ[variable]
        kind = keys_of(section)[key].kind
        try:
            raw = kind.from_text(text)
        except BadValue as bad:
            where = f"{ENVIRONMENT} ({variable})"
            mistakes.append(
                ConfigMistake(where, f"must be {str(bad) or kind.allowed}", section, key, shown(key, text))
            )
            given.pop((section, key), None)  # one mistake is enough: not "required" or the file's as well
            given[section, key] = RawValue(REQUIRED, ENVIRONMENT, False)
        else:
            given[section, key] = RawValue(raw, ENVIRONMENT, False)
    return mistakes


# --- values -------------------------------------------------------------------------------------


def _build(
    given: Mapping[tuple[str, str], RawValue],
    places: Directories,
    source: str,
    where: str,
    mistakes: list[ConfigMistake],
    hint: str,
    tables: object = None,
) -> Config:
    sections: dict[str, dict[str, Any]] = {}
    for section in SECTIONS:
        values = sections[section] = {}
        for key, about in keys_of(section).items():
            one = given.get((section, key))
            nothing = one is None or (about.raw == "" and one.raw == "")  # empty means "none"
            # A credential is there only because the service's unit passes it, so it goes before the file:
            # it must not lose without a word. Only the environment, the unit's too, goes first.
            if nothing or (one is not None and one.where != ENVIRONMENT):
                credential = _credential(section, key, about, places, mistakes if nothing else [])
                one, nothing = (credential, False) if credential is not None else (one, nothing)
            if nothing:
                one = _default(section, key, about, where, mistakes)
            if one is not None and one.raw is not REQUIRED:
                _take_value(section, key, about, one, places, values, mistakes)
    origins = {f"{section}.{key}": one.where for (section, key), one in given.items()}
    crosschecks.run(sections, origins, given, where, mistakes)
    webhooks = read_webhooks(tables, where, places, mistakes)
    crosschecks.webhooks_find_what_they_need(webhooks, sections, where, mistakes)
    if mistakes:
        raise ConfigMistakes(mistakes, hint)
    return Config(
        **{section: SECTIONS[section](**values) for section, values in sections.items()},
        source=source,
        state_directory=places.state,
        runtime_directory=places.runtime,
        webhooks=webhooks,
        origins=MappingProxyType(origins),
    )


def _credential(
    section: str, key: str, about: Key, places: Directories, mistakes: list[ConfigMistake]
) -> RawValue | None:
    """The systemd credential that bears a key's name, if there is one."""
    if not about.credential or places.credentials is None:
        return None
    try:
        file = names.credential_of(places.credentials, section, key)
    except names.Ambiguous as error:
        mistakes.append(ConfigMistake(str(places.credentials), str(error), section, key))
        return None
    return RawValue(str(file), CREDENTIAL, True) if file is not None else None


def _default(
    section: str, key: str, about: Key, where: str, mistakes: list[ConfigMistake]
) -> RawValue | None:
    """What holds for a key that nobody gave."""
    if about.raw is REQUIRED:
        mistakes.append(ConfigMistake(where, f"is required: {about.kind.allowed}", section, key))
        return None
    return RawValue(about.raw, "default", True)


def _take_value(
    section: str,
    key: str,
    about: Key,
    one: RawValue,
    places: Directories,
    values: dict[str, Any],
    mistakes: list[ConfigMistake],
) -> None:
    where = f"{ENVIRONMENT} ({names.variable_of(section, key)})" if one.where == ENVIRONMENT else one.where

    def mistaken(problem: str, raw: object = one.raw) -> None:
        mistakes.append(ConfigMistake(where, problem, section, key, shown(key, raw)))

    try:
        raw = places.expand(one.raw) if about.kind.expands else one.raw
        value = about.kind.read(raw)
    except BadValue as bad:
        if about.raw is REQUIRED and one.raw == "":
            mistaken(f"is required: {about.kind.allowed}")
        else:
            mistaken(f"must be {str(bad) or about.kind.allowed}")
        return
    values[key] = value
    if about.credential and value is not None:
        exempt = places.is_credential(value)
        if about.fills:
            try:
                values[about.fills] = read_secret_file(value, exempt_from_mode=exempt)
            except SecretFileRefused as error:
                mistaken(f"the file {error}")
        else:
            values["key_is_credential"] = exempt
