"""`killsyncd migrate-store`."""

from __future__ import annotations

from argparse import ArgumentParser, Namespace

from killsyncd.commands import Call


def add_arguments(parser: ArgumentParser) -> None:
    """Where to; the rest is the transfer's."""
    parser.add_argument(
        "--to", required=True, metavar="URL", help="sqlite:///FILE or postgresql://user@host/database"
    )
    parser.epilog = """\
Refuses while a daemon runs. Copies everything to an empty database and verifies counts and checksums; the
source stays as it is. If it is interrupted, run it again. Then set [database] url and start the daemon.

examples:
  killsyncd migrate-store --to postgresql://killsyncd@localhost/killsyncd
"""


def run(args: Namespace, call: Call) -> int:
    """Copy the store to another database."""
    config = call.config()
    from importlib import import_module

    transfer = import_module("killsyncd.storage.transfer")
    code: int = transfer.run(config, args.to, call.environ)
    return code
