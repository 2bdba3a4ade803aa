"""`killsyncd run`: the daemon."""

from __future__ import annotations

from argparse import ArgumentParser, Namespace

from killsyncd.cli.command import Invocation


def add_arguments(parser: ArgumentParser) -> None:
    """Nothing but the configuration: what it does stands there."""
    parser.epilog = """\
SIGTERM or Ctrl-C lets it finish what is under way and stop; a second one stops it at once.
SIGHUP reads the configuration again; the log says what changed and what needs a restart.

examples:
  killsyncd run
  killsyncd run --config /etc/killsyncd/killsyncd.toml
"""


def run(args: Namespace, call: Invocation) -> int:
    """Run until a signal ends it."""
    from killsyncd.config.deployment import deployment_of_daemon, find_deployment
    from killsyncd.core import deployment

    def of_this() -> deployment.Deployment:
        if call.environ.get("NOTIFY_SOCKET"):
            return deployment_of_daemon(call.config_file, call.environ)
        # By hand, and perhaps where there is a service that should be started instead.
        return find_deployment(call.config_file, None, call.environ, ("run",))

    deployment.configure(of_this)
    config = call.config()
    from killsyncd.cli.unpacked import clear_old_builds
    from killsyncd.config.ownership import refuse_root
    from killsyncd.daemon import run as daemon

    refuse_root(config.database.sqlite_path, config.security.key_file)
    clear_old_builds()
    return daemon.run(config, call.environ, call.config)
