"""What `killsyncd run` refuses besides configuration, database and key, looked at without leaving a trace.

`killsyncd check` promises that the daemon will start. Whatever a daemon that runs already holds (port,
socket, lock) is its own and no reason.
"""

from __future__ import annotations

import fcntl
import os
import socket
import stat
from ipaddress import ip_address
from pathlib import Path
from urllib.parse import urlsplit

from killsyncd.cli.checking import Finding, failed
from killsyncd.config import Config, host_of, is_loopback
from killsyncd.config.ownership import as_somebody_else, refuse_root
from killsyncd.core.errors import KillsyncdError
from killsyncd.core.text import listed

_CONNECT_SECONDS = 1.0


def user(config: Config) -> Finding | None:
    """Whether this user may run it at all; nothing to say where it may."""
    try:
        refuse_root(config.database.sqlite_path, config.security.key_file)
    except KillsyncdError as error:
        return failed("user", error)
    return None


def listening(config: Config, *, runs: bool, asked: bool = True) -> Finding:
    """Whether the daemon gets its port. runs: it does already. asked: whether that can be told."""
    from killsyncd.api.listening import bound, told_address

    where = told_address(config.api.host, config.api.port)
    if runs:
        return Finding("listen", "ok", f"{where}, by the daemon that runs")
    try:
        for each in bound(config.api.host, config.api.port):
            each.close()
    except KillsyncdError as error:
        if not asked:  # whoever ends that program may end the daemon itself
            return Finding("listen", "warn", f"{where} is taken: by the daemon, if that runs")
        return failed("listen", error)
    return Finding("listen", "ok", f"{where} is free")


def callback(config: Config) -> Finding:
    """Whether pilots who come back from the SSO arrive here, and not in the open."""
    url = config.sso.callback_url
    parts, host = urlsplit(url), host_of(url)
    if parts.scheme == "http" and not is_loopback(host):
        if not _at_home(host):
            remedy = "put it behind TLS, and set [sso] callback_url (and the application's) to https://"
            return Finding(
                "callback", "fail", f"{url}: logins would travel open through the internet", remedy
            )
        remedy = "for more than your own network: TLS, and https:// in [sso] callback_url"
        return Finding("callback", "warn", f"{url}: logins travel open through the network", remedy)
    if parts.scheme == "https" or not is_loopback(host) or not config.api.port:
        return Finding("callback", "ok", url)
    port = parts.port or 80
    if port == config.api.port:
        return Finding("callback", "ok", url)
    differs = f"{url} leads to port {port}, and [api] listen has {config.api.port}"
    if config.api.loopback and not _answers(port):
        remedy = "let both have the same port, here and in the application at developers.eveonline.com"
        return Finding("callback", "fail", f"{differs}: nobody would finish a login", remedy)
    return Finding("callback", "warn", differs, "fine where something leads from one to the other")


def _at_home(host: str) -> bool:
    """Whether a host is of somebody's own network, as far as its name or address tells."""
    try:
        return ip_address(host).is_private
    except ValueError:
        return "." not in host.rstrip(".") or host.endswith(
            (".local", ".lan", ".home", ".internal", ".home.arpa")
        )


def _answers(port: int) -> bool:
    for host in ("127.0.0.1", "::1"):
        try:
            with socket.create_connection((host, port), timeout=_CONNECT_SECONDS):
                return True
        except OSError:
            continue
    return False


def in_use(config: Config, *, runs: bool) -> Finding | None:
    """Another killsyncd that holds the database or the control socket, and answers at no socket of ours."""
    if runs:
        return None
    path = config.database.sqlite_path
    for lock, what in (
        (path and path.with_name(f"{path.name}.lock"), str(path)),
        (config.control.socket.with_name(f"{config.control.socket.name}.lock"), str(config.control.socket)),
    ):
        if lock is not None and _held(lock):
            return Finding("daemon", "fail", f"another killsyncd uses {what}", "stop it first")
    return None


def _held(lock: Path) -> bool:
    try:
        descriptor = os.open(lock, os.O_RDONLY | os.O_CLOEXEC | os.O_NONBLOCK)
    except OSError:
        return False
    try:
        fcntl.flock(descriptor, fcntl.LOCK_SH | fcntl.LOCK_NB)
    except OSError:
        return True
    finally:
        os.close(descriptor)
    return False


def places(config: Config) -> Finding:
    """Whether what must be made has a place: the socket, and on a first start key and database."""
    wanted = {config.control.socket: "the control socket", config.security.key_file: "the key"}
    if config.database.sqlite_path is not None:
        wanted[config.database.sqlite_path] = "the database"
    for path, what in wanted.items():
        if path == config.control.socket:
            if path.exists() and not stat.S_ISSOCK(path.stat().st_mode):
                remedy = "set [control] socket to another place, or move that away"
                return Finding("places", "fail", f"{path} is there and is no socket", remedy)
        elif path.exists():
            continue
        folder = existing(path.parent)
        if not folder.is_dir():
            return Finding(
                "places", "fail", f"{folder} is no folder", f"{what} is to go below it: name another place"
            )
        if not os.access(folder, os.W_OK | os.X_OK):
            remedy = f"{what} is to go there: {as_somebody_else(folder)}"
            return Finding("places", "fail", f"{folder} cannot be written", remedy)
    return Finding("places", "ok", f"{listed(list(wanted.values()))} have a place")


def existing(path: Path) -> Path:
    """The path itself, or the nearest folder above it that exists."""
    while not path.exists() and path != path.parent:
        path = path.parent
    return path
