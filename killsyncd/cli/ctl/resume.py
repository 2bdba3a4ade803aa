"""`killsyncd ctl resume`."""

from __future__ import annotations

from argparse import ArgumentParser, Namespace

from killsyncd.cli.command import Invocation
from killsyncd.cli.ctl.pause import add_switches, switch


def add_arguments(parser: ArgumentParser) -> None:
    """`--producer`, `--user`."""
    add_switches(parser)
    parser.epilog = """\
Plain resumes daemon and producer; users that were paused by name go on when they are named.

examples:
  killsyncd ctl resume
  killsyncd ctl resume --user "John Doe"
"""


def run(args: Namespace, call: Invocation) -> int:
    """Resume."""
    return switch(args, call, "/v1/resume")
