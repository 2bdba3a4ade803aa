"""`killsyncd ctl resume`."""

from __future__ import annotations

from argparse import ArgumentParser, Namespace

from killsyncd.cli.command import Invocation
from killsyncd.cli.ctl.pause import add_switches, switch


def add_arguments(parser: ArgumentParser) -> None:
    """`--producer`, `--user`."""
    add_switches(parser)
    parser.epilog = """\
Without arguments the daemon and the producer go on. Users and corporations that were paused by name have to
be named here.

examples:
  killsyncd ctl resume
  killsyncd ctl resume --user "John Doe"
"""


def run(args: Namespace, call: Invocation) -> int:
    """Resume."""
    return switch(args, call, "/v1/resume")
