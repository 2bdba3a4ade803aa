"""`killsyncd ctl login-url`: what `killsyncd login` uses."""

from __future__ import annotations

from argparse import ArgumentParser, Namespace

from killsyncd.cli.command import Invocation, out, out_json, socket_of, wants_json
from killsyncd.core.errors import EXIT_OK


def add_arguments(parser: ArgumentParser) -> None:
    """No arguments of its own."""
    parser.epilog = """\
The address is good once, for ten minutes. With --json also the id by which GET /v1/login/{id} tells
how the login went.

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
