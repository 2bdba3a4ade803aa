"""Writes the configuration's documents from its schema.

    python -m killsyncd.config.reference docs/configuration.md killsyncd.toml.example

(`make docs`). A test compares both files with what the code says.
"""

from __future__ import annotations

import json
import sys
import textwrap
from dataclasses import dataclass
from pathlib import Path

from killsyncd.config.configuration import SECTIONS, keys_of
from killsyncd.config.environment import variable_of
from killsyncd.config.keys import REQUIRED
from killsyncd.config.webhooks import webhook_keys


@dataclass(frozen=True)
class KeyDoc:
    """One key as a reader needs it.

    default: as TOML writes it; empty for a required key.
    """

    section: str
    key: str
    type: str
    default: str
    allowed: str
    meaning: str
    variable: str
    required: bool


def describe() -> list[KeyDoc]:
    """Every key, in the order of the sections."""
    return [
        KeyDoc(
            section=section,
            key=key,
            type=about.kind.name,
            default="" if about.raw is REQUIRED else toml(about.raw),
            allowed=about.kind.allowed,
            meaning=about.meaning,
            variable=variable_of(section, key),
            required=about.raw is REQUIRED,
        )
        for section in SECTIONS
        for key, about in keys_of(section).items()
    ]


def about_section(section: str) -> str:
    """What a section is for, in a sentence."""
    return (SECTIONS[section].__doc__ or "").strip()


def toml(value: object) -> str:
    """A default as TOML writes it."""
    # Of what the schema holds (text, numbers, flags, lists of text) JSON's spelling is TOML's too.
    return json.dumps(value, ensure_ascii=False)


_INTRODUCTION = """\
# Configuration

<!-- Written by `make docs` from killsyncd/config/schema.py: change it there. -->

One TOML file. Only `sso.client_id` and `esi.contact` must be given; everything else has a default.
[`killsyncd.toml.example`](../killsyncd.toml.example) is a file to start from. `killsyncd check` says
which file was taken and whether it holds; every mistake is told at once, and nothing is created before
the configuration holds.

## Where it is looked for

The first of these that exists:

1. `--config FILE`
2. `$KILLSYNCD_CONFIG`
3. `$CONFIGURATION_DIRECTORY/killsyncd.toml` (systemd sets the variable)
4. `~/.config/killsyncd/killsyncd.toml`
5. `/etc/killsyncd/killsyncd.toml`

A file that was named (1, 2) must exist. No file at all is fine when the environment gives what is required.

## Environment

Any key can be given as `KILLSYNCD_<SECTION>_<KEY>`, for example `KILLSYNCD_ESI_CONTACT`; it goes before
the file. Lists are separated by commas, or stand as in the file; flags are `true` or `false`.
A misspelt variable is refused like a misspelt key.

## Values

- **Durations** are `"500ms"`, `"90s"`, `"10m"`, `"1h"`, `"1d"`, or a number of seconds.
- **Paths** are absolute. `$STATE` is `$STATE_DIRECTORY` or `~/.local/state/killsyncd`; `$RUNTIME` is
  `$RUNTIME_DIRECTORY`, or `$XDG_RUNTIME_DIR/killsyncd`, or `$STATE`; `~` is the home directory.
- **SQLite** is `sqlite:///` and an absolute path, so four slashes: `sqlite:////var/lib/killsyncd/killsyncd.db`.

## Secrets

Secrets are files of their own: one line, mode 0600 (or 0400), refused when others may read them.

- As **systemd credentials** they need no configuration:
  `LoadCredential=sso.client_secret_file:/etc/killsyncd/client_secret` gives the key of that name. So do
  `client_secret_file`, `token_file` and `key_file` without a section (`password_file` would fit two keys
  and is refused). A credential goes before a path in the file (the environment before both), and
  `$CREDENTIALS_DIRECTORY/...` works as a path too. Modes inside that directory are systemd's matter.
- A **password in a URL** (`database.url`, `queue.url`) is accepted from a configuration file of mode 0600
  only, never from the environment. `password_file` is the better place.
"""


def markdown() -> str:
    """The reference, `docs/configuration.md`."""
    lines = [_INTRODUCTION]
    every = describe()
    for section in SECTIONS:
        lines += [f"## [{section}]", "", about_section(section), ""]
        lines += ["| key | default | must be | |", "|---|---|---|---|"]
        for each in every:
            if each.section == section:
                default = "**required**" if each.required else f"`{each.default}`"
                cells = [f"`{each.key}`", default, each.allowed, each.meaning]
                lines.append("| " + " | ".join(cell.replace("|", "\\|") for cell in cells) + " |")
        lines.append("")
    lines += [_WEBHOOKS, "| key | default | must be | |", "|---|---|---|---|"]
    for name, about in webhook_keys().items():
        default = "**required**" if about.raw is REQUIRED else f"`{toml(about.raw)}`"
        cells = [f"`{name}`", default, about.kind.allowed, about.meaning]
        lines.append("| " + " | ".join(cell.replace("|", "\\|") for cell in cells) + " |")
    return "\n".join(lines).rstrip("\n") + "\n"


_WEBHOOKS = """\
## [[webhooks]]

Where killmails go: one table a webhook, as many as are needed. [webhooks.md](webhooks.md) has examples, and
what happens when something goes wrong. They stand in the file alone, not in the environment; a reload
(SIGHUP) takes over new, changed and removed ones. The files of `url_file` and `secret_file` may be systemd
credentials: `LoadCredential=webhooks.NAME.url_file:/etc/killsyncd/NAME.url`.
"""

_WEBHOOKS_EXAMPLE = """\
# A webhook: where killmails go. One table each; docs/webhooks.md says more.
#[[webhooks]]
#name = "corp-kills"
#kind = "discord"
#url_file = "/etc/killsyncd/corp-kills.url"
"""

_EXAMPLE = """\
# killsyncd's configuration. Copy it to ~/.config/killsyncd/killsyncd.toml or /etc/killsyncd/killsyncd.toml
# and fill in the two keys without a "#"; the others show their defaults. docs/configuration.md says more.
"""


def example() -> str:
    """The file to start from, `killsyncd.toml.example`: every key, those with a default as comments."""
    lines = [_EXAMPLE]
    every = describe()
    for section in SECTIONS:
        lines += [f"# {about_section(section)}", f"[{section}]"]
        for each in every:
            if each.section == section:
                lines += textwrap.wrap(
                    each.meaning, 110, initial_indent="# ", subsequent_indent="# ", break_on_hyphens=False
                )
                lines.append(f'{each.key} = ""' if each.required else f"#{each.key} = {each.default}")
        lines.append("")
    lines.append(_WEBHOOKS_EXAMPLE.rstrip("\n"))
    for name, about in webhook_keys().items():
        if name not in ("name", "kind", "url_file"):
            lines += textwrap.wrap(
                about.meaning, 110, initial_indent="# ", subsequent_indent="# ", break_on_hyphens=False
            )
            lines.append(f"#{name} = {toml(about.raw)}")
    return "\n".join(lines).rstrip("\n") + "\n"


def document(file: Path) -> str:
    """What belongs into a file, by its name."""
    return example() if file.name.endswith(".toml.example") else markdown()


def main(arguments: list[str]) -> None:
    """Write the files named, or the reference to stdout."""
    for argument in arguments:
        Path(argument).write_text(document(Path(argument)), "utf-8")
    if not arguments:
        sys.stdout.write(markdown())


if __name__ == "__main__":
    main(sys.argv[1:])
