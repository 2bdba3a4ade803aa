"""`killsyncd ctl login-url`: what `killsyncd login` uses."""

from __future__ import annotations

from argparse import ArgumentParser, Namespace

from killsyncd.cli.command import Invocation, out, out_json, socket_of, wants_json
from killsyncd.core.errors import EXIT_OK


def add_arguments(parser: ArgumentParser) -> None:
    """No arguments of its own."""
    parser.epilog = """\
The address can be used once, within ten minutes. With --json the id is printed, too, with which
GET /v1/login/{id} says how the login went.

examples:
  killsyncd ctl login-url
"""


def run(args: Namespace, call: Invocation) -> int:
    """Print an address to log in at."""
    begun = call.daemon(socket_of(args)).post("/v1/login")
    if wants_json(args):
        out_json(begun)
    else:
        out(str(begun["url"]))
    return EXIT_OK
