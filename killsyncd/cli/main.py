"""The executable: parses the command line, runs one command, turns what it raises into an exit code.

Every command is a module of `killsyncd.cli` with `add_arguments(parser)` and `run(args, call) -> int`.
It is imported when it is chosen: `killsyncd ctl status` must not wait for aiohttp.
"""

from __future__ import annotations

import os
import sys
from collections.abc import Mapping, Sequence

from killsyncd import __version__
from killsyncd.cli.parsing import LazyParser, add_config
from killsyncd.core.errors import EXIT_FAILED, EXIT_OK, EXIT_USAGE, KillsyncdError

EXIT_INTERRUPTED = 130  # 128 + SIGINT, as shells have it

COMMANDS: Mapping[str, str] = {
    "run": "run the daemon in the foreground",
    "demo": "try everything against a simulated EVE: no account, no network",
    "simulate": "run only the EVE simulator, to develop tools of your own against it",
    "check": "check configuration, database, queue, key, file modes, clock and disk space",
    "login": "log a pilot in",
    "ctl": "talk to the running daemon",
    "export": "write stored killmails to JSON lines or CSV",
    "import": "read killmails from JSON lines or from public archives",
    "backup": "write a consistent copy of the SQLite database to a file",
    "restore": "replace the SQLite database by a backup",
    "migrate-store": "copy the whole database between SQLite and PostgreSQL",
    "rotate-key": "make a new encryption key and encrypt all tokens again with it",
}

DESCRIPTION = "Collects, stores and serves the killmails of EVE Online pilots, who log in only once."
EPILOG = """\
The configuration is the first of these that is given or exists: --config FILE, $KILLSYNCD_CONFIG,
$CONFIGURATION_DIRECTORY/killsyncd.toml, ~/.config/killsyncd/killsyncd.toml, /etc/killsyncd/killsyncd.toml.
`killsyncd check` says which one is used.

exit codes: 0 success, 1 failure, 2 wrong usage, 69 no daemon can be reached,
            78 configuration, key or schema refused

examples:
  killsyncd demo              see it work, without an EVE account
  killsyncd check             is everything in place?
  killsyncd run               start the daemon
  killsyncd login             log a pilot in
  killsyncd ctl status        is it syncing, and if not, why
"""


def build_parser() -> LazyParser:
    """The whole command line; each command's own part is filled in when it is used."""
    parser = LazyParser(prog="killsyncd", description=DESCRIPTION, epilog=EPILOG)
    add_config(parser)
    parser.add_argument("--version", action="version", version=f"killsyncd {__version__}")
    commands = parser.add_subparsers(title="commands", metavar="COMMAND", dest="name", required=True)
    for name, summary in COMMANDS.items():
        module = {"import": "import_"}.get(name, name.replace("-", "_"))
        commands.add_parser(
            name, help=summary, description=f"{summary[0].upper()}{summary[1:]}.", module=module
        )
    return parser


def main(argv: Sequence[str] | None = None, environ: Mapping[str, str] | None = None) -> int:
    """Run the command that the words name; answers the exit code."""
    environ = os.environ if environ is None else environ
    try:
        code = _run(sys.argv[1:] if argv is None else argv, environ)
        sys.stdout.flush()
        return code
    except KillsyncdError as error:
        return _told(error, environ)
    except KeyboardInterrupt:
        sys.stderr.write("\n")
        return EXIT_INTERRUPTED
    except BrokenPipeError:
        # Whoever read our output has gone: `killsyncd export | head`. Python would complain at its
        # own end once more, so stdout goes nowhere.
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        return EXIT_FAILED
    except OSError as error:
        from killsyncd.config.ownership import explained

        return _told(explained(error), environ)


def _told(error: KillsyncdError, environ: Mapping[str, str]) -> int:
    """Say what was refused, with the remedy that is right for whoever reads it here."""
    from killsyncd.cli.command import printable
    from killsyncd.core.deployment import fit

    text = f"killsyncd: {printable(fit(str(error)))}"
    if environ.get("JOURNAL_STREAM"):
        import logging

        from killsyncd.config.service_manager import service_manager
        from killsyncd.core.logging import prioritised

        text = prioritised(text, logging.ERROR) if service_manager(environ).journal else text
    sys.stderr.write(f"{text}\n")
    return error.exit_code


def _run(argv: Sequence[str], environ: Mapping[str, str]) -> int:
    from killsyncd.cli.command import Invocation
    from killsyncd.core import deployment

    parser = build_parser()
    try:
        args = parser.parse_args(argv)
    except SystemExit as end:  # --help and --version end with 0, mistakes with 2 after a word on stderr
        return EXIT_OK if end.code in (None, 0) else EXIT_USAGE
    file, socket = getattr(args, "config", None), getattr(args, "socket", None)

    def found() -> deployment.Deployment:
        from killsyncd.config.deployment import find_deployment

        return find_deployment(file, socket, environ, argv)

    deployment.configure(found)
    code: int = args.command(args, Invocation(file, environ))
    return code
