"""The control socket's client. Standard library alone, so that `killsyncd ctl` starts fast."""

from __future__ import annotations

import errno
import http.client
import json
import os
import socket
from collections.abc import Iterable, Iterator, Mapping, Sequence
from contextlib import closing, contextmanager
from typing import Any
from urllib.parse import urlencode

from killsyncd.core.errors import EXIT_CONFIG, EXIT_FAILED, EXIT_USAGE, DaemonUnreachable, KillsyncdError

TIMEOUT = 60.0
"""Seconds for an answer; a logout waits for the SSO."""

CONNECT_TIMEOUT = 5.0
_EXITS = {
    "usage_error": EXIT_USAGE,
    "refused": EXIT_CONFIG,
    "config_error": EXIT_CONFIG,
    "key_refused": EXIT_CONFIG,
    "schema_refused": EXIT_CONFIG,
    "already_running": EXIT_CONFIG,
}


class ControlError(KillsyncdError):
    """The daemon answered with an error. code: as in docs/ctl.md. document: the whole answer."""

    def __init__(self, code: str, message: str, hint: str, document: Mapping[str, Any]) -> None:
        super().__init__(message, hint)
        self.code = code
        self.document = document
        self.exit_code = _EXITS.get(code, EXIT_FAILED)


class _UnixConnection(http.client.HTTPConnection):
    """HTTP over a unix socket."""

    def __init__(self, path: str, timeout: float | None) -> None:
        super().__init__("localhost", timeout=timeout)
        self._path = path

    def connect(self) -> None:
        self.sock = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM)
        try:
            self.sock.settimeout(CONNECT_TIMEOUT)
            self.sock.connect(self._path)
            self.sock.settimeout(self.timeout)
        except BaseException:
            self.sock.close()
            raise


class ControlClient:
    """Talks to the daemon behind one socket. Make one with `reach`."""

    def __init__(self, path: str) -> None:
        self.path = path

    def get(self, route: str, parameters: Mapping[str, str | None] | None = None) -> Any:
        """The answer to GET. Raises DaemonSaysNo, DaemonUnreachable."""
        with self._asked("GET", _with(route, parameters), None, TIMEOUT) as response:
            return _document(response)

    def post(self, route: str, body: Mapping[str, Any] | None = None) -> Any:
        """The answer to POST. Raises DaemonSaysNo, DaemonUnreachable."""
        content = json.dumps({name: value for name, value in (body or {}).items() if value is not None})
        with self._asked("POST", route, content.encode(), TIMEOUT) as response:
            return _document(response)

    def upload(self, route: str, chunks: Iterable[bytes]) -> Any:
        """Send a stream; the answer comes when all of it is worked off."""
        with self._asked("POST", route, chunks, None) as response:
            return _document(response)

    def lines(self, route: str, parameters: Mapping[str, str | None] | None = None) -> Iterator[Any]:
        """JSON lines as they come, until the daemon ends them."""
        with self._asked("GET", _with(route, parameters), None, None) as response:
            while line := response.readline():
                yield json.loads(line)

    def chunks(
        self, route: str, parameters: Mapping[str, str | None] | None = None, *, post: bool = False
    ) -> Iterator[bytes]:
        """A long answer, piece by piece. Raises DaemonUnreachable when it breaks off."""
        body = b"{}" if post else None
        with self._asked("POST" if post else "GET", _with(route, parameters), body, None) as response:
            while piece := response.read(1 << 16):
                yield piece
            if response.length:  # announced and not sent
                raise http.client.IncompleteRead(b"", response.length)

    @contextmanager
    def _asked(
        self, method: str, route: str, body: bytes | Iterable[bytes] | None, timeout: float | None
    ) -> Iterator[http.client.HTTPResponse]:
        with closing(_UnixConnection(self.path, timeout)) as connection:
            try:
                try:
                    self._send(connection, method, route, body)
                except (BrokenPipeError, ConnectionResetError):
                    # It may have answered before we had sent all: then that is what counts.
                    if connection.sock is None:
                        raise
                response = connection.getresponse()
                if response.status != 200:
                    raise _refusal(response)
                yield response
            except (OSError, http.client.HTTPException) as error:
                raise self._broken(error) from None

    @staticmethod
    def _send(
        connection: _UnixConnection, method: str, route: str, body: bytes | Iterable[bytes] | None
    ) -> None:
        if body is None or isinstance(body, bytes):
            connection.request(method, route, body, {"Content-Type": "application/json"})
        else:
            connection.request(method, route, body, {"Transfer-Encoding": "chunked"}, encode_chunked=True)

    def _broken(self, error: Exception) -> DaemonUnreachable:
        if isinstance(error, TimeoutError):
            return DaemonUnreachable(
                f"the daemon at {self.path} did not answer in time",
                "it may be busy or stuck; its log says more",
            )
        return DaemonUnreachable(
            f"the daemon at {self.path} broke the connection off", "it may be stopping; its log says more"
        )


def reach(candidates: Sequence[tuple[str, str]]) -> ControlClient:
    """A client of the first daemon that answers. candidates: (path, why this one).

    Raises DaemonUnreachable, which names what was tried and how to get permission.
    """
    tried: list[str] = []
    hints: list[str] = []
    for path, why in candidates:
        reason, hint = knock(path)
        if not reason:
            return ControlClient(path)
        tried.append(f"{path} ({why}): {reason}")
        if hint:
            hints.append(hint)
    lines = "".join(f"\n  {each}" for each in tried)
    hints = hints or ["start it: killsyncd run; or name its socket with --socket PATH"]
    raise DaemonUnreachable(
        f"no killsyncd daemon can be reached; tried:{lines}", "\n  ".join(dict.fromkeys(hints))
    )


def knock(path: str) -> tuple[str, str]:
    """Why nobody can be asked at a socket, and how to be let in; two empty texts where a daemon answers."""
    try:
        with closing(_UnixConnection(path, TIMEOUT)) as connection:
            connection.connect()
        return "", ""
    except OSError as error:
        return _why_not(path, error)


def _why_not(path: str, error: OSError) -> tuple[str, str]:
    if isinstance(error, TimeoutError):
        return "it does not answer", "the daemon seems stuck; its log says more"
    if error.errno == errno.ECONNREFUSED:
        return "nobody listens there any more", ""
    if error.errno in (errno.EACCES, errno.EPERM):
        return "permission denied", _permission(path)
    if error.errno == errno.ENOENT:
        return "not there", ""
    return os.strerror(error.errno) if error.errno else str(error), ""


def _permission(path: str) -> str:
    """How to be let in: by the group of the socket, or of the innermost folder that we may look at."""
    closed = path
    while closed != "/":
        try:
            status = os.stat(closed)
        except OSError:
            closed = os.path.dirname(closed)
            continue
        import grp  # only for this error

        try:
            group = grp.getgrgid(status.st_gid).gr_name
        except KeyError:
            group = str(status.st_gid)
        if group == "root":
            break
        return f"join the group {group} and log in again: sudo usermod -aG {group} $USER; or use sudo"
    return "ask as the daemon's user, or with sudo"


def _with(route: str, parameters: Mapping[str, str | None] | None) -> str:
    given = {name: value for name, value in (parameters or {}).items() if value is not None}
    return f"{route}?{urlencode(given)}" if given else route


def _document(response: http.client.HTTPResponse) -> Any:
    try:
        return json.loads(response.read())
    except ValueError:
        raise http.client.HTTPException("no JSON") from None


def _refusal(response: http.client.HTTPResponse) -> KillsyncdError:
    try:
        document = json.loads(response.read())
        error = document["error"]
        return ControlError(str(error["code"]), str(error["message"]), str(error["hint"]), document)
    except (ValueError, KeyError, TypeError):
        return KillsyncdError(
            f"the daemon answered {response.status} {response.reason}",
            "client and daemon may be of different releases",
        )
