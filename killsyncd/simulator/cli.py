"""`killsyncd simulate`: an EVE for people who write corporation tools."""

from __future__ import annotations

import argparse
import asyncio
import contextlib
import json
import math
import os
import signal
import sys
import threading
from pathlib import Path
from typing import Any

from killsyncd.core.errors import EXIT_OK, BadInput, KillsyncdError

from .config import CLIENT_ID, SimulatorConfig
from .limits import GROUPS
from .server import Simulator


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Everything that `simulate` understands."""
    new = parser.add_argument
    new("--host", default="127.0.0.1", help="address to listen on (%(default)s)")
    new("--port", type=any_port, default=0, help="port; 0, the default, takes any free one and prints it")
    new("--seed", type=int, default=1, help="the same seed gives the same pilots (%(default)s)")

    _add_world(parser.add_argument_group("the universe"))
    _add_esi(parser.add_argument_group("ESI"))
    _add_sso(parser.add_argument_group("SSO"))
    with contextlib.suppress(argparse.ArgumentError):  # the caller may have one of its own
        parser.add_argument("--json", action="store_true", help="one line of JSON when ready, nothing else")
    parser.add_argument("--until-stdin-closes", action="store_true", help=argparse.SUPPRESS)


def _add_world(group: argparse._ArgumentGroup) -> None:
    new = group.add_argument
    new("--pilots", type=whole, default=5, help="simulated pilots (%(default)s)")
    new("--history", type=whole, default=40, help="killmails a pilot has at the start (%(default)s)")
    new("--pilots-per-corporation", type=whole, default=10, metavar="N", help="(%(default)s)")
    new(
        "--sharing",
        type=amount,
        default=0.3,
        metavar="P",
        help="part of the mails with several pilots (%(default)s)",
    )
    new(
        "--assists",
        type=amount,
        default=0.0,
        metavar="P",
        help="for each mail in a list so many on which a pilot only helped, in no list (%(default)s)",
    )
    new(
        "--rate",
        type=amount,
        default=0.0,
        metavar="N",
        help="new killmails a minute while it runs (%(default)s)",
    )
    new(
        "--late",
        type=amount,
        default=0.02,
        metavar="P",
        help="part of them that appear in lists late (%(default)s)",
    )
    new("--killmails", type=Path, metavar="FILE", help="JSON lines of killmails in ESI's format")
    new("--names", type=Path, metavar="FILE", help="CSV id,category,name that goes before the built-in names")
    new("--spread", action="store_true", help="deal the file's mails out; else every pilot lists all of them")
    new(
        "--bad-id",
        type=int,
        action="append",
        default=[],
        metavar="ID",
        help="an id that /universe/names refuses",
    )


def _add_esi(group: argparse._ArgumentGroup) -> None:
    new = group.add_argument
    new("--page-size", type=whole, default=1000, metavar="N", help="killmails a list page (%(default)s)")
    new("--empty-404", action="store_true", help="answer 404 for a list without killmails, and not []")
    new(
        "--order",
        choices=("newest", "oldest", "shuffled"),
        default="newest",
        help="order of lists (%(default)s)",
    )
    new(
        "--window",
        type=amount,
        default=900.0,
        metavar="S",
        help="seconds of every floating window (%(default)g)",
    )
    new(
        "--limit",
        type=_limit,
        action="append",
        default=[],
        metavar="GROUP=N",
        help="tokens of a group's window",
    )
    new("--no-limits", action="store_true", help="never refuse a request because of rate limits")
    new("--error-limit", type=whole, default=100, metavar="N", help="errors before 420 (%(default)s)")
    new(
        "--error-window",
        type=amount,
        default=60.0,
        metavar="S",
        help="seconds of the error limit (%(default)g)",
    )
    new(
        "--cache",
        type=amount,
        default=300.0,
        metavar="S",
        help="seconds for which a killmail list is cached (%(default)g)",
    )
    new(
        "--status-cache",
        type=amount,
        default=30.0,
        metavar="S",
        help="seconds for which /status is cached (%(default)g)",
    )
    new(
        "--latency", type=amount, default=0.0, metavar="S", help="seconds added to every answer (%(default)g)"
    )
    new("--faults", type=Path, metavar="FILE", help="JSON list of scripted faults")
    new("--prebuild", type=whole, default=None, metavar="N", help="encode N killmails at the start")


def _add_sso(group: argparse._ArgumentGroup) -> None:
    new = group.add_argument
    new("--client-id", default=CLIENT_ID, help="the registered application (%(default)s)")
    new("--client-secret-file", type=Path, metavar="FILE", help="make it a confidential client")
    new(
        "--redirect-uri",
        action="append",
        default=[],
        metavar="URI",
        help="a registered callback; without this option any is accepted",
    )
    new("--any-client", action="store_true", help="accept every client id")
    new("--auto-approve", action="store_true", help="no page: the pilots log in one after the other")
    new(
        "--token-life",
        type=amount,
        default=1200.0,
        metavar="S",
        help="seconds for which an access token is valid (%(default)g)",
    )
    new(
        "--rotation",
        choices=("always", "never", "sometimes"),
        default="always",
        help="whether a refresh replaces the refresh token (%(default)s)",
    )
    new(
        "--rotation-grace",
        type=amount,
        default=0.0,
        metavar="S",
        help="seconds for which a replaced refresh token still works",
    )
    new("--issuer", help="iss of the tokens; the simulator's own address without it")


def whole(text: str) -> int:
    """A count, from the command line."""
    if not (text.isascii() and text.isdigit()):
        raise argparse.ArgumentTypeError(f"{text!r} is no whole number from 0 up")
    return int(text)


def amount(text: str) -> float:
    """Seconds, a part, a pace. NaN would pass every comparison, and infinity never end."""
    try:
        number = float(text)
    except ValueError:
        number = math.nan
    if not (math.isfinite(number) and number >= 0):
        raise argparse.ArgumentTypeError(f"{text!r} is no number from 0 up")
    return number


def any_port(text: str) -> int:
    """A port; 0 is any free one. The resolver would take 70000 for 4464 and say nothing."""
    number = whole(text)
    if number > 65535:
        raise argparse.ArgumentTypeError(f"{text!r} is no port: 0 to 65535")
    return number


def _limit(text: str) -> tuple[str, int]:
    group, _, tokens = text.partition("=")
    if not tokens.isdecimal() or group not in GROUPS:
        raise argparse.ArgumentTypeError(f"must look like killmail=3600, with one of {', '.join(GROUPS)}")
    return group, int(tokens)


def config_of(args: argparse.Namespace) -> SimulatorConfig:
    """The configuration that the arguments make. Raises BadInput for files that cannot be read."""
    secret = _read(args.client_secret_file, "client secret").strip() if args.client_secret_file else None
    faults: Any = []
    if args.faults:
        try:
            faults = json.loads(_read(args.faults, "faults"))
        except ValueError as problem:
            raise BadInput(
                f"{args.faults} is not JSON: {problem}", "It must hold a list of faults."
            ) from problem
        if not isinstance(faults, list):
            raise BadInput(f"{args.faults} holds no list", "Put the faults into [ ].")
    if args.killmails is not None:
        _read(args.killmails, "killmails")
    prebuild = args.prebuild
    if prebuild is None:
        prebuild = 10_000 if args.no_limits else 0
    return SimulatorConfig(
        host=args.host,
        port=args.port,
        seed=args.seed,
        pilots=args.pilots,
        history=args.history,
        pilots_per_corporation=args.pilots_per_corporation,
        sharing=args.sharing,
        assists=args.assists,
        rate=args.rate,
        late=args.late,
        killmails=args.killmails,
        names=args.names,
        spread=args.spread,
        bad_ids=frozenset(args.bad_id),
        page_size=max(1, args.page_size),
        empty_404=args.empty_404,
        order=args.order,
        window=args.window,
        group_limits=dict(args.limit),
        limits=not args.no_limits,
        error_limit=args.error_limit,
        error_window=args.error_window,
        cache=args.cache,
        status_cache=args.status_cache,
        latency=args.latency,
        faults=tuple(faults),
        prebuild=prebuild,
        client_id=args.client_id,
        client_secret=secret,
        redirect_uris=tuple(args.redirect_uri),
        any_client=args.any_client,
        auto_approve=args.auto_approve,
        token_life=args.token_life,
        rotation=args.rotation,
        rotation_grace=args.rotation_grace,
        issuer=args.issuer,
    )


def _read(path: Path, what: str) -> str:
    try:
        return path.read_text("utf-8")
    except (OSError, UnicodeDecodeError) as problem:
        raise BadInput(
            f"the {what} in {path} cannot be read: {problem}", "Give a readable file."
        ) from problem


def run(args: argparse.Namespace) -> int:
    """Simulate until SIGINT or SIGTERM; returns the exit code."""
    try:
        config = config_of(args)
        try:
            import uvloop
        except ImportError:  # it is only faster with it
            asyncio.run(_serve(config, args))
        else:
            uvloop.run(_serve(config, args))
    except KillsyncdError as problem:
        print(f"killsyncd simulate: {problem}", file=sys.stderr)
        return problem.exit_code
    return EXIT_OK


async def _serve(config: SimulatorConfig, args: argparse.Namespace) -> None:
    loop = asyncio.get_running_loop()
    stop = asyncio.Event()
    for number in (signal.SIGINT, signal.SIGTERM):
        loop.add_signal_handler(number, stop.set)
    if args.until_stdin_closes:
        # Whoever started us may be killed: then nobody holds the other end of our stdin, and we go too.
        def watch() -> None:
            # Not sys.stdin: a thread inside its lock would hold up the interpreter's end.
            while os.read(0, 4096):
                pass
            with contextlib.suppress(RuntimeError):
                loop.call_soon_threadsafe(stop.set)

        threading.Thread(target=watch, daemon=True).start()
    async with Simulator(config) as simulator:
        if args.json:
            print(json.dumps(simulator.state()), flush=True)
        else:
            print(_greeting(simulator, args), flush=True)
        await stop.wait()
        if not args.json:
            seen = simulator.ledger
            print(
                f"\nStopped. {sum(seen.requests.values())} requests, "
                f"{seen.breach_count} breaches of ESI's rules."
            )


def _greeting(simulator: Simulator, args: argparse.Namespace) -> str:
    config, world = simulator.config, simulator.world
    pilots = list(world.pilots.values())
    shown = "".join(
        f"\n  {pilot.character_id:>10}  {pilot.name}, {len(pilot.mails)} killmails" for pilot in pilots[:8]
    )
    more = f"\n  ... and {len(pilots) - 8} more" if len(pilots) > 8 else ""
    secret = f'\nclient_secret_file = "{args.client_secret_file}"' if config.client_secret is not None else ""
    grows = f", {config.rate:g} new a minute" if config.rate else ""
    return (
        f"Simulating EVE Online: {len(pilots)} pilots, {len(world.mails)} killmails{grows}.\n"
        f"  SSO    {simulator.base_url}/v2/oauth/authorize\n"
        f"  ESI    {simulator.base_url}\n"
        f"  levers {simulator.base_url}/_sim/   (faults, new killmails, counters, breaches)\n"
        f"Pilots:{shown}{more}\n\n"
        "For killsyncd.toml:\n\n"
        f'[sso]\nbase_url = "{simulator.base_url}"\nclient_id = "{config.client_id}"{secret}\n'
        f'[esi]\nbase_url = "{simulator.base_url}"\ncontact = "you@example.com"\n'
        f'[static_data]\nurl = "{simulator.base_url}/static-data/tranquility"\n'
        f'[prices]\nhistory_url = "{simulator.base_url}/market-history"\n\n'
        "Ctrl-C ends it."
    )
