"""Writes man page and completions below a directory, laid out as they are installed."""

from __future__ import annotations

import argparse
import sys
from collections.abc import Mapping
from pathlib import Path

from killsyncd.cli.main import build_parser
from killsyncd.cli.manual import (
    Section,
    bash_completion,
    fish_completion,
    man_page,
    read_parser,
    zsh_completion,
)

SECTIONS = (
    Section(
        "Files",
        (
            (
                "~/.config/killsyncd/killsyncd.toml, /etc/killsyncd/killsyncd.toml",
                "The configuration; every key is in docs/configuration.md.",
            ),
            (
                "~/.local/state/killsyncd, /var/lib/killsyncd",
                "Database and encryption key, for a daemon of one's own and for the system's service.",
            ),
            (
                "$XDG_RUNTIME_DIR/killsyncd/killsyncd.sock, /run/killsyncd/killsyncd.sock",
                "The control socket. Members of the group killsyncd may use the system's.",
            ),
        ),
    ),
    Section(
        "Environment",
        (
            ("KILLSYNCD_CONFIG", "The configuration file, where --config is not given."),
            ("KILLSYNCD_<SECTION>_<KEY>", "Stands for that key of the configuration."),
            (
                "CONFIGURATION_DIRECTORY, STATE_DIRECTORY, RUNTIME_DIRECTORY, CREDENTIALS_DIRECTORY",
                "Set by systemd(1) for the service.",
            ),
        ),
    ),
    Section(
        "Exit status",
        (
            ("0", "Fine."),
            ("1", "Failed; what and why stands on stderr. `ctl status`: nobody is synced."),
            ("2", "The command line's words do not fit."),
            ("69", "The daemon is not reachable."),
            ("78", "Configuration, key or schema refused: starting again does not help."),
        ),
    ),
    Section("See also", (("", "systemd.service(5), sqlite3(1), https://developers.eveonline.com"),)),
)


def files() -> Mapping[str, str]:
    """Everything that is generated, by its place below the prefix of an installation."""
    command = read_parser(build_parser())
    return {
        "share/man/man1/killsyncd.1": man_page(command, sections=SECTIONS),
        "share/bash-completion/completions/killsyncd": bash_completion(command),
        "share/zsh/site-functions/_killsyncd": zsh_completion(command),
        "share/fish/vendor_completions.d/killsyncd.fish": fish_completion(command),
    }


def main() -> int:
    """Write them; answers the exit code."""
    parser = argparse.ArgumentParser(prog="killsyncd.cli.manual", description=__doc__)
    parser.add_argument("directory", type=Path)
    parser.add_argument("--only", choices=("man", "completions"))
    args = parser.parse_args()
    for name, text in files().items():
        if args.only is None or ("/man/" in name) == (args.only == "man"):
            target = args.directory / name
            target.parent.mkdir(parents=True, exist_ok=True)
            target.write_text(text, "utf-8")
            print(target)
    return 0


if __name__ == "__main__":
    sys.exit(main())
