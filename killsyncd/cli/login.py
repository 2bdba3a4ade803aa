"""`killsyncd login`: logs a pilot in, through the running daemon."""

from __future__ import annotations

import sys
import time
from argparse import ArgumentParser, ArgumentTypeError, Namespace
from typing import Any

from killsyncd.cli.command import Invocation, add_json, add_socket, out, out_json, say, socket_of, wants_json
from killsyncd.control.client import ControlClient
from killsyncd.core.errors import EXIT_FAILED, EXIT_OK, KillsyncdError

POLL_SECONDS = 1.0


def add_arguments(parser: ArgumentParser) -> None:
    """`--paste`, `--timeout`."""
    parser.add_argument(
        "--paste",
        action="store_true",
        help="for a host without a browser: log in on another machine and paste the address you are sent to",
    )
    parser.add_argument(
        "--timeout",
        type=_duration,
        default=600.0,
        metavar="TIME",
        help="how long to wait for the login (default 10m)",
    )
    add_socket(parser)
    add_json(parser)
    parser.epilog = """\
Prints an address of EVE's login server. Open it, log in and choose the character; the daemon stores the
tokens encrypted and queues a first sync. The address can be used once, within ten minutes.

examples:
  killsyncd login
  killsyncd login --paste          on a server, with the browser elsewhere
"""


def _duration(text: str) -> float:
    units = {"s": 1.0, "m": 60.0, "h": 3600.0}
    number, unit = (text[:-1], units[text[-1]]) if text[-1:] in units else (text, 1.0)
    try:
        seconds = float(number) * unit
    except ValueError:
        seconds = 0.0
    if not 0 < seconds <= 86400:
        raise ArgumentTypeError(f"{text!r} is not a time such as 90s, 10m or 1h")
    return seconds


def run(args: Namespace, call: Invocation) -> int:
    """Begin a login and wait for the pilot."""
    daemon = call.daemon(socket_of(args))
    begun = daemon.post("/v1/login")
    if wants_json(args):
        say(str(begun["url"]))
    else:
        out(str(begun["url"]))
        sys.stdout.flush()
    ended = _paste(daemon) if args.paste else _wait(daemon, str(begun["id"]), args.timeout)
    if wants_json(args):
        out_json(ended)
    if ended["status"] != "done":
        raise KillsyncdError(
            str(ended["message"]) or "the login did not end well", "begin again: killsyncd login"
        )
    if not wants_json(args):
        out(str(ended["message"]))
    user = ended.get("user")
    return EXIT_OK if user is None or user["state"] in ("ok", "paused") else EXIT_FAILED


def _paste(daemon: ControlClient) -> Any:
    say("Log in there, on any machine. Then copy the whole address that the browser was sent to,")
    say("also if its page could not be shown, and paste it here:")
    address = sys.stdin.readline().strip().strip("'\"<>")
    if not address:
        raise KillsyncdError("no address was pasted", "begin again: killsyncd login --paste")
    return daemon.post("/v1/login/paste", {"url": address})


def _wait(daemon: ControlClient, login_id: str, timeout: float) -> Any:
    say("Open this address in a browser on this machine; waiting for the pilot ...")
    deadline = time.monotonic() + timeout
    while True:
        ended = daemon.get(f"/v1/login/{login_id}")
        if ended["status"] != "pending":
            return ended
        if time.monotonic() >= deadline:
            raise KillsyncdError("nobody logged in within the time", "begin again: killsyncd login")
        time.sleep(POLL_SECONDS)
