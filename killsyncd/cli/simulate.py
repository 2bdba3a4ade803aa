"""`killsyncd simulate`: the EVE simulator alone."""

from __future__ import annotations

from argparse import ArgumentParser, Namespace

from killsyncd.cli.command import Invocation


def add_arguments(parser: ArgumentParser) -> None:
    """The simulator's own arguments."""
    from killsyncd.simulator import cli

    cli.add_arguments(parser)
    parser.epilog = """\
examples:
  killsyncd simulate --port 7421
  killsyncd simulate --pilots 20 --history 500 --window 60 --latency 0.05
  killsyncd simulate --killmails killmails.jsonl --page-size 50
"""


def run(args: Namespace, call: Invocation) -> int:
    """Simulate until a signal ends it."""
    from killsyncd.cli.unpacked import clear_old_builds
    from killsyncd.simulator import cli

    clear_old_builds()
    return cli.run(args)
