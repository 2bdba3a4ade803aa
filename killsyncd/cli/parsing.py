"""Parsers that get their arguments when they are used, so that a command costs what it needs alone."""

from __future__ import annotations

import argparse
from typing import Any, NoReturn

from killsyncd.cli.command import add_json, add_socket, printable


class LazyParser(argparse.ArgumentParser):
    """A parser that gets its arguments when it is used, from its command's module."""

    def __init__(self, *args: Any, module: str = "", **kwargs: Any) -> None:
        kwargs.setdefault("formatter_class", argparse.RawDescriptionHelpFormatter)
        kwargs["allow_abbrev"] = False
        super().__init__(*args, **kwargs)
        self._module = module

    def fill(self) -> None:
        """Add the arguments, once; for the parser itself, and for whoever documents it."""
        if self._module:
            from importlib import import_module

            module = import_module(f"killsyncd.cli.{self._module}")
            self._module = ""
            add_config(self)
            if module.__name__.startswith("killsyncd.cli.ctl."):
                add_socket(self)
                add_json(self)
            module.add_arguments(self)
            self.set_defaults(command=module.run)

    def error(self, message: str) -> NoReturn:
        """As argparse has it, without the control characters of what was typed."""
        super().error(printable(message))

    def parse_known_args(self, args: Any = None, namespace: Any = None) -> Any:
        """As argparse has it; fills first."""
        self.fill()
        return super().parse_known_args(args, namespace)


def add_config(parser: argparse.ArgumentParser) -> None:
    """`--config`, which stands before the command or after it."""
    parser.add_argument(
        "--config", metavar="FILE", default=argparse.SUPPRESS, help="configuration file (TOML)"
    )
