"""The commands, one module each, and what they share.

Importing this package costs nothing; a command imports what it needs inside its functions.
"""

from __future__ import annotations

import sys
from collections.abc import Mapping
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from pathlib import Path

    from killsyncd.config import Config
    from killsyncd.control.client import ControlClient


class Invocation:
    """One call of the executable: which configuration was named, and the environment.

    config_file: as given with --config; None looks in the usual places.
    """

    def __init__(self, config_file: str | None, environ: Mapping[str, str]) -> None:
        self.config_file = config_file
        self.environ = environ

    def config(self) -> Config:
        """The configuration. Raises ConfigError."""
        from killsyncd.config import load

        return load(self._path(), self.environ)

    def daemon(self, socket: str | None = None) -> ControlClient:
        """A client of the running daemon. socket: from --socket. Raises DaemonUnreachable."""
        from killsyncd.control.client import reach

        return reach(self.sockets(socket))

    def sockets(self, socket: str | None = None) -> list[tuple[str, str]]:
        """Where a daemon may listen, and why there."""
        if socket is not None:
            return [(socket, "--socket")]
        self._named_file_is_sound()
        from killsyncd.config.sockets import control_sockets

        return [(str(each.path), each.why) for each in control_sockets(self._path(), self.environ)]

    def _named_file_is_sound(self) -> None:
        """A file that was named and is not there, or no TOML, is a mistake: another daemon than the one
        that was meant must not answer. One that we may not read is the daemon's.
        """
        named = self.config_file or self.environ.get("KILLSYNCD_CONFIG")
        if not named:
            return
        import tomllib
        from pathlib import Path

        from killsyncd.core.errors import ConfigError

        try:
            tomllib.loads(Path(named).read_text("utf-8-sig"))
        except FileNotFoundError:
            raise ConfigError(
                f"{named}: there is no such file", "name an existing one with --config"
            ) from None
        except (ValueError, RecursionError):
            raise ConfigError(f"{named}: is not TOML", "killsyncd check says where") from None
        except OSError:
            pass

    def _path(self) -> Path | None:
        if self.config_file is None:
            return None
        from pathlib import Path

        return Path(self.config_file)


def add_json(parser: Any) -> None:
    """`--json`, for every command that prints data."""
    import argparse

    parser.add_argument(
        "--json",
        action="store_true",
        default=argparse.SUPPRESS,
        help="print only JSON on stdout; its format is stable (docs/ctl.md)",
    )


def add_socket(parser: Any) -> None:
    """`--socket`, for every command that talks to the daemon."""
    import argparse

    parser.add_argument(
        "--socket",
        metavar="PATH",
        default=argparse.SUPPRESS,
        help="the daemon's control socket; by default the configured one, then the usual places",
    )


def wants_json(args: Any) -> bool:
    """Whether --json was given, before or after the verb."""
    return bool(getattr(args, "json", False))


def socket_of(args: Any) -> str | None:
    """What --socket named."""
    value: str | None = getattr(args, "socket", None)
    return value


def out(text: str) -> None:
    """A line of data, to stdout."""
    sys.stdout.write(printable(text).replace("\n", "?") + "\n")


def say(text: str) -> None:
    """A line for people, to stderr; a command in it is the one that is right here."""
    from killsyncd.core.deployment import fit

    sys.stderr.write(printable(fit(text)) + "\n")
    sys.stderr.flush()


def out_json(document: Any) -> None:
    """A JSON document, to stdout."""
    sys.stdout.write(json_line(document))


def json_line(document: Any) -> str:
    """A JSON document on one line, with the control characters escaped that JSON itself lets through."""
    import json
    import re

    text = json.dumps(document, ensure_ascii=False)
    return re.sub("[\x7f-\x9f\u2028\u2029]", lambda match: f"\\u{ord(match[0]):04x}", text) + "\n"


def printable(text: str) -> str:
    """Without control characters: names come from outside and must not steer a terminal."""
    if text.isprintable():
        return text
    return "".join(each if each.isprintable() or each == "\n" else "?" for each in text)
