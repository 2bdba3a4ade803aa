"""`killsyncd demo`: the whole thing with no account and no network."""

from __future__ import annotations

from argparse import ArgumentParser, Namespace

from killsyncd.cli.command import Invocation


def add_arguments(parser: ArgumentParser) -> None:
    """The demo's own arguments."""
    from killsyncd.cli import demo_world as demo

    demo.add_arguments(parser)
    parser.epilog = """\
examples:
  killsyncd demo
  killsyncd demo --pilots 20 --port 7500
  killsyncd demo --killmails killmails.jsonl
"""


def run(args: Namespace, call: Invocation) -> int:
    """Run the demo until Ctrl-C."""
    from killsyncd.cli import demo_world as demo
    from killsyncd.cli.unpacked import clear_old_builds

    clear_old_builds()
    return demo.run(args, call.environ)
