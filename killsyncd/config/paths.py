"""Where things lie: the configuration file, `$STATE`, `$RUNTIME` and systemd's credentials."""

from __future__ import annotations

import os
import pwd
import re
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

from killsyncd.config.types import BadValue

FILE_NAME = "killsyncd.toml"
SYSTEM_DIRECTORY = Path("/etc/killsyncd")


@dataclass(frozen=True)
class Directories:
    """Directories, none of which need exist.

    credentials: systemd's `$CREDENTIALS_DIRECTORY`, None outside of it.
    """

    home: Path
    state: Path
    runtime: Path
    credentials: Path | None

    def expand(self, raw: object) -> object:
        """Replace `$STATE`, `$RUNTIME`, `$CREDENTIALS_DIRECTORY` and a leading `~/`; raises `BadValue`."""
        if not isinstance(raw, str):
            return raw
        known = {"STATE": self.state, "RUNTIME": self.runtime, "CREDENTIALS_DIRECTORY": self.credentials}

        def replacement(match: re.Match[str]) -> str:
            name = match[1] or match[2]
            if name not in known:
                raise BadValue(
                    "a path in which only $STATE, $RUNTIME and $CREDENTIALS_DIRECTORY are replaced"
                )
            if (value := known[name]) is None:
                raise BadValue(
                    "a path that exists: $CREDENTIALS_DIRECTORY is set only where systemd passes credentials"
                )
            return str(value)

        text = re.sub(r"\$(?:([A-Za-z_][A-Za-z0-9_]*)|\{([^}]*)\})", replacement, raw)
        return str(self.home / text[2:]) if text.startswith("~/") else text

    def is_credential(self, file: Path) -> bool:
        """Whether a file lies in systemd's credentials directory, which is closed to others itself."""
        return self.credentials is not None and file.parent == self.credentials


def find_places(environ: Mapping[str, str]) -> Directories:
    """The directories as systemd (`StateDirectory=` and so on), XDG and HOME give them."""
    home = _directory(environ, "HOME") or _home_of_user()
    state = _directory(environ, "STATE_DIRECTORY") or home / ".local/state/killsyncd"
    runtime = _directory(environ, "RUNTIME_DIRECTORY")
    if runtime is None:
        session = _directory(environ, "XDG_RUNTIME_DIR")
        runtime = session / "killsyncd" if session else state
    return Directories(home, state, runtime, _directory(environ, "CREDENTIALS_DIRECTORY"))


def _home_of_user() -> Path:
    try:
        return Path(pwd.getpwuid(os.getuid()).pw_dir)
    except KeyError:  # a user id without an account, as in a container
        return Path("/")


def _directory(environ: Mapping[str, str], name: str) -> Path | None:
    # systemd.exec(5): several directories come as one list with colons; ours is the first.
    first = environ.get(name, "").partition(":")[0]
    # The XDG specification says that relative paths are to be ignored; they help nobody here either.
    return Path(first) if first.startswith("/") else None


def candidates(environ: Mapping[str, str]) -> list[Path]:
    """Where a configuration is looked for when nobody named one, in this order."""
    found = []
    if directory := _directory(environ, "CONFIGURATION_DIRECTORY"):
        found.append(directory / FILE_NAME)
    home = find_places(environ).home
    return [*found, home / ".config/killsyncd" / FILE_NAME, SYSTEM_DIRECTORY / FILE_NAME]
