"""`killsyncd demo`: the whole thing on one machine, with no account and no network.

The EVE is simulated, in a process of its own; everything else is real: the SSO flow,
the daemon on SQLite and the embedded queue, the dashboard. Time runs faster than in
EVE, so that there is something to see.
"""

from __future__ import annotations

import argparse
import asyncio
import os
import random
import shutil
import signal
import socket
import sys
import tempfile
from collections.abc import Callable, Mapping
from contextlib import ExitStack
from datetime import datetime
from pathlib import Path
from typing import Any
from urllib.parse import urlencode, urlsplit

import aiohttp

from killsyncd.cli.command import printable
from killsyncd.config import Config, from_mapping
from killsyncd.core import deployment
from killsyncd.core import logging as logs
from killsyncd.core.clock import Clock, SystemClock
from killsyncd.core.deployment import Deployment
from killsyncd.core.errors import EXIT_OK, KillsyncdError, Unavailable
from killsyncd.core.model import WaitsFor
from killsyncd.core.text import count, fight
from killsyncd.daemon.app import App
from killsyncd.daemon.run import serve
from killsyncd.service import FeedLine
from killsyncd.simulator import CLIENT_ID, SimulatorProcess
from killsyncd.simulator.cli import amount, any_port, whole

NAMES_PATIENCE = 2.0
"""Seconds that a line waits for the names of its ids."""

FROM_MAKE = "KILLSYNCD_DEMO_FROM_MAKE"
"""Set by `make demo`, so that a remedy says what was typed."""

WINDOW = 900.0
"""Seconds of ESI's floating windows."""

FASTER = 30.0
"""How much faster than in EVE lists change and the producer comes round, at --speed 1."""


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Everything that `demo` understands."""
    parser.add_argument("--port", type=_port, default=7420, help="port of the dashboard (%(default)s)")
    parser.add_argument(
        "--pilots", type=whole, default=5, metavar="N", help="number of simulated pilots (%(default)s)"
    )
    parser.add_argument(
        "--state",
        type=Path,
        metavar="DIR",
        help="keep the database in DIR; without it, it is deleted at the end",
    )
    parser.add_argument("--killmails", type=Path, metavar="FILE", help="JSON lines of real killmails to load")
    parser.add_argument(
        "--speed",
        type=_speed,
        default=1.0,
        metavar="X",
        help="let pilots fight, and sync them, X times as often (%(default)g)",
    )
    parser.add_argument("--verbose", action="store_true", help="show the daemon's own log too")


def run(args: argparse.Namespace, environ: Mapping[str, str]) -> int:
    """Run the demo until Ctrl-C; answers the exit code."""
    logs.configure("info" if args.verbose else "error", "text")
    again = _again(environ)
    _port_is_free(args.port, again)
    speed = min(100.0, max(0.01, args.speed))
    with ExitStack() as stack:
        if args.state is None:
            state = Path(stack.enter_context(tempfile.TemporaryDirectory(prefix="killsyncd-demo-")))
        else:
            state = args.state.absolute()
            try:
                state.mkdir(mode=0o700, parents=True, exist_ok=True)
            except OSError as error:
                raise KillsyncdError(
                    f"--state {state} cannot be made: {error.strerror}",
                    "name a directory that you may write to",
                ) from error
        print("killsyncd demo: a simulated EVE, a real daemon; nothing leaves this machine.", flush=True)
        eve = stack.enter_context(SimulatorProcess(*_simulator_arguments(args, speed)))
        config = demo_config(args.port, state, eve.base_url, speed)
        found = Deployment(socket=str(config.control.socket), program=_program())
        deployment.configure(lambda: found)
        try:
            asyncio.run(_show(config, eve.base_url, args.pilots))
        except ExceptionGroup as group:
            if (told := _refusal_in(group)) is None:
                raise
            raise told from group
    return EXIT_OK


def _port(text: str) -> int:
    number = any_port(text)
    if not number:  # the SSO must know beforehand where it sends pilots back to
        raise argparse.ArgumentTypeError("0 will not do: 1 to 65535")
    return number


def _speed(text: str) -> float:
    number = amount(text)
    if not number:
        raise argparse.ArgumentTypeError("must be above 0")
    return number


def _again(environ: Mapping[str, str]) -> str:
    """How this demo is begun with another port: as it was begun now."""
    if environ.get(FROM_MAKE):
        return 'make demo DEMO_ARGS="--port N"'
    return "killsyncd demo --port N"


def _program() -> str:
    """The executable as it was started, where the shell does not find it by its name."""
    started = Path(sys.argv[0])
    if shutil.which("killsyncd") or started.name != "killsyncd":
        return "killsyncd"
    return str(started)


def _port_is_free(port: int, again: str) -> None:
    """Said before anything is started, and with the demo's own remedy."""
    with socket.socket() as probe:
        probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        try:
            probe.bind(("127.0.0.1", port))
        except OSError as error:
            raise KillsyncdError(
                f"port {port} of 127.0.0.1 cannot be had: {error.strerror}", f"name another one: {again}"
            ) from error


def _refusal_in(group: ExceptionGroup[Exception]) -> KillsyncdError | None:
    """What the daemon has to say to a person, if nothing else went wrong."""
    told, other = group.split(KillsyncdError)
    if told is None or other is not None:
        return None
    first = told.exceptions[0]
    return first if isinstance(first, KillsyncdError) else None


def _simulator_arguments(args: argparse.Namespace, speed: float) -> list[str]:
    faster = FASTER * speed
    words = ["--pilots", str(args.pilots), "--history", "90", "--latency", "0.03"]
    words += ["--rate", f"{8 * speed:g}", "--cache", f"{300 / faster:g}", "--sharing", "0.4"]
    words += ["--assists", "0.15"]  # what only zKillboard tells of
    # ESI's windows are as much shorter as lists are asked more often: else a pilot's 30 tokens, and the
    # demo with them, would end after some minutes.
    words += ["--window", f"{max(1.0, WINDOW / faster):g}"]
    if args.killmails is not None:
        words += ["--killmails", str(args.killmails)]
    return words


def _discord(state: Path, eve: str) -> dict[str, object]:
    """The demo's webhook: news go to a channel of the simulated Discord."""
    file = state / "discord.url"
    file.unlink(missing_ok=True)
    with open(os.open(file, os.O_CREAT | os.O_EXCL | os.O_WRONLY, 0o600), "w", encoding="utf-8") as out:
        out.write(f"{eve}/api/webhooks/1/demo\n")
    return {"name": "demo-channel", "kind": "discord", "url_file": str(file), "exclude_npc": False}


def demo_config(port: int, state: Path, eve: str, speed: float) -> Config:
    """The configuration of the demo's daemon: EVE's addresses, and EVE's pace made faster."""
    faster = FASTER * speed
    return from_mapping(
        {
            "sso": {
                "base_url": eve,
                "client_id": CLIENT_ID,
                "callback_url": f"http://127.0.0.1:{port}/auth/callback",
            },
            "esi": {"base_url": eve, "contact": "demo@killsyncd.invalid"},
            "database": {"url": f"sqlite:///{state}/killsyncd.db"},
            "producer": {"interval": 600 / faster, "min_age": 480 / faster},
            "api": {"listen": f"127.0.0.1:{port}", "public_url": f"http://127.0.0.1:{port}"},
            "webhooks": [_discord(state, eve)],
            "control": {"socket": f"{state}/killsyncd.sock"},
            "security": {"key_file": f"{state}/killsyncd.key"},
            "corporations": {"enabled": True},
            "static_data": {"url": f"{eve}/static-data/tranquility"},
            "zkillboard": {"enabled": True, "api_url": f"{eve}/zkillboard/api", "stream_url": f"{eve}/r2z2"},
            "history": {"everef_url": f"{eve}/everef/killmails", "zkillboard_url": f"{eve}/r2z2/history"},
            "prices": {"history_url": f"{eve}/market-history", "history": True},
        },
        source="the demo's own",
    )


async def _show(config: Config, eve: str, pilots: int) -> None:
    stopping = asyncio.Event()
    loop = asyncio.get_running_loop()
    for number in (signal.SIGINT, signal.SIGTERM, signal.SIGHUP):  # a closed terminal ends it, too
        if signal.getsignal(number) is not signal.SIG_IGN:  # but for nohup
            loop.add_signal_handler(number, stopping.set)
    clock = SystemClock()
    screen = Screen(sys.stdout, stopping.set)
    app: asyncio.Future[App] = loop.create_future()
    async with asyncio.TaskGroup() as group:
        serving = group.create_task(serve(config, clock, stopping, ready=app.set_result))
        serving.add_done_callback(lambda _: app.cancel())
        try:
            opened = await app
        except asyncio.CancelledError:
            return  # what went wrong comes out of the group
        screen.addresses(config, opened.addresses, eve)
        shows = [
            group.create_task(_feed(opened, screen)),
            group.create_task(_progress(opened, screen, clock)),
            group.create_task(_log_pilots_in(config, eve, pilots, screen)),
        ]
        await stopping.wait()
        screen.line("", "stopping", "finishing what is under way")
        for show in shows:
            show.cancel()
        await serving
        screen.line("", "the end", "every mail that a list showed is stored or still wanted; nothing is lost")


class Screen:
    """What a person sees: one line an event, names instead of ids, colours on a terminal."""

    def __init__(self, out: Any, gone: Callable[[], None]) -> None:
        self._out = out
        self._gone = gone
        self._colours = out.isatty()
        self.mails = 0
        """Lines that told of a killmail."""

    def line(self, mark: str, what: str, text: str, colour: str = "") -> None:
        """One event."""
        now = datetime.now().strftime("%H:%M:%S")
        word = f"{mark:1} {what:10}"
        if self._colours and colour:
            word = f"\x1b[{colour}m{word}\x1b[0m"
        try:
            print(f"{now}  {word} {printable(text)}", file=self._out, flush=True)
        except BrokenPipeError:
            self._gone()  # nobody looks any more: `killsyncd demo | head`

    def addresses(self, config: Config, addresses: Mapping[str, str], eve: str) -> None:
        """Where everything is."""
        api = addresses.get("api", f"http://{config.api.listen}")
        print(
            f"\n  dashboard  {api}/\n  graphql    {api}/graphql\n  socket     {config.control.socket}"
            f"\n  EVE        {eve}/ (simulated)\n  Discord    {eve}/_sim/webhooks (simulated: what a webhook"
            " sent there)\n\nCtrl-C ends it.\n",
            file=self._out,
            flush=True,
        )

    def mail(self, mail: FeedLine) -> None:
        """A killmail that was just stored; from our pilots' side of it."""
        what = fight(
            ship=mail.ship or f"type {mail.ship_type_id}",
            victim=mail.victim or mail.corporation or mail.victim_id or mail.corporation_id,
            system=mail.solar_system or f"system {mail.solar_system_id}",
            final_blow=mail.final_blow or mail.final_blow_id,
            attackers=mail.attacker_count,
        )
        self.mails += 1
        lost = mail.victim in mail.characters
        # In a list of ESI's only where one of ours lost the ship, or struck the final blow.
        helped = not lost and mail.final_blow is not None and mail.final_blow not in mail.characters
        if not mail.fresh:
            self.line("-" if lost else "+", "saved", f"{what}  ({mail.killmail_time:%Y-%m-%d})", "2")
        elif helped:
            self.line("+", "assist", f"{what}  (through zKillboard)", "35")
        else:
            self.line("-" if lost else "+", "loss" if lost else "kill", what, "31" if lost else "32")


async def _feed(app: App, screen: Screen) -> None:
    """Every mail from the first on, with its names as soon as ESI told them."""
    async for mail in app.operations.follow(0, names_patience=NAMES_PATIENCE):
        screen.mail(mail)


async def _progress(app: App, screen: Screen, clock: Clock) -> None:
    """First syncs under way, and totals now and then."""
    pending: dict[int, int] = {}
    totals, told, rest, more = "", set[str](), 0, 0
    while True:
        await clock.sleep(2.0)
        try:
            users = await app.operations.users()
            status = await app.operations.status()
            through = [each.zkillboard for each in await app.operations.verify()]
        except Unavailable:
            continue
        for user in users:
            before = pending.get(user.character_id, 0)
            pending[user.character_id] = user.pending
            if user.pending > 20:
                screen.line(" ", "first sync", f"{user.character_name}: {user.pending} still to come", "36")
            elif before > 20 and not user.pending:
                text = f"{user.character_name}: every loss and final blow that ESI lists is here"
                screen.line("*", "complete", text, "36")
        held = [each for each in status.waiting if each.code is not WaitsFor.CACHE]
        said = {f"{each.what} {each.code} {each.character_id}" for each in held}
        for each in held:
            if f"{each.what} {each.code} {each.character_id}" not in told:
                screen.line(" ", "waits", each.reason, "33")
        told = said
        stored = int(status.feed_cursor.rpartition(":")[2] or 0)
        text = f"{count(stored, 'killmail')} of {count(len(users), 'pilot')}, and nothing still to come"
        # Lines wait for names; a total before them would tell of mails that nobody has seen.
        if text != totals and not status.pending_details and screen.mails >= stored:
            totals = text
            screen.line("=", "total", text, "1")
        # Twice the same: the stream is often sooner than the list of ESI's that shows the mail as well.
        before, more = more, sum(each.never_listed for each in through if each is not None)
        if rest < more == before and all(each is not None and each.known_to for each in through):
            what = "on which pilots only helped: told of by zKillboard (simulated), in no list of ESI's"
            screen.line("=", "the rest", f"{count(more, 'killmail')} {what}", "35")
            rest = more


async def _log_pilots_in(config: Config, eve: str, pilots: int, screen: Screen) -> None:
    """What a pilot does in a browser: the login button, EVE's page, and back."""
    ours = f"http://{config.api.listen}"
    # unsafe: cookies from an address that is an IP, as ours is here.
    async with aiohttp.ClientSession(cookie_jar=aiohttp.CookieJar(unsafe=True)) as browser:
        async with browser.get(f"{eve}/_sim/pilots") as answer:
            everybody = await answer.json()
        for pilot in everybody[:pilots]:
            browser.cookie_jar.clear()
            address = f"{ours}/auth/login"
            for _ in range(6):
                async with browser.get(address, allow_redirects=False) as answer:
                    if answer.status != 302:
                        break
                    address = answer.headers["Location"]
                if address.startswith(eve) and "_sim_character" not in urlsplit(address).query:
                    address += "&" + urlencode({"_sim_character": pilot["character_id"]})
            if answer.status == 200:
                screen.line(
                    ">", "logged in", f"{pilot['name']} ({pilot['character_id']})  [FIRST SYNC]", "33"
                )
            else:
                screen.line("!", "no login", f"{pilot['name']}: the daemon answered {answer.status}", "31")
            await asyncio.sleep(random.uniform(0.05, 0.3))
