"""A unix socket that is made safely: mode 0660 from its first moment, never a live daemon's taken away."""

from __future__ import annotations

import errno
import fcntl
import os
import secrets
import socket
import stat
from collections.abc import Mapping
from contextlib import suppress
from pathlib import Path
from typing import IO

from killsyncd.core.errors import AlreadyRunning, Refused

MODE = 0o660
BACKLOG = 64
_FIRST_PASSED = 3  # sd_listen_fds(3): passed descriptors begin here


class ControlSocket:
    """A listening socket, and what must be tidied up when it closes. Make one with `bind` or `passed`."""

    def __init__(self, sock: socket.socket, path: Path | None, lock: IO[bytes] | None) -> None:
        self.sock = sock
        self.path = path
        self._lock = lock
        status = os.stat(path) if path is not None else None
        self._identity = (status.st_dev, status.st_ino) if status is not None else None

    @classmethod
    def bind(cls, path: Path) -> ControlSocket:
        """Listen at path. A socket nobody listens at any more is replaced.

        Raises AlreadyRunning where somebody does, Refused where the place cannot be used.
        """
        try:
            path.parent.mkdir(mode=0o750, parents=True, exist_ok=True)
            _check_folder(path.parent)
            lock = _locked(path)
            try:
                _make_way(path)
                return cls(_listen(path), path, lock)
            except BaseException:
                lock.close()
                raise
        except OSError as error:
            raise Refused(
                f"the control socket {path} cannot be made: {error.strerror or error}",
                "set [control] socket to a place where this user may write",
            ) from None

    @classmethod
    def passed(cls, environ: Mapping[str, str]) -> ControlSocket | None:
        """The socket that systemd passed (`LISTEN_FDS`), None without one. It stays systemd's."""
        if environ.get("LISTEN_PID") != str(os.getpid()) or not environ.get("LISTEN_FDS", "").isdigit():
            return None
        for descriptor in range(_FIRST_PASSED, _FIRST_PASSED + int(environ["LISTEN_FDS"])):
            if not stat.S_ISSOCK(os.fstat(descriptor).st_mode):
                continue
            # A copy, so that whoever looks at what was passed later still finds it.
            sock = socket.socket(fileno=os.dup(descriptor))
            listening = sock.getsockopt(socket.SOL_SOCKET, socket.SO_ACCEPTCONN)
            if sock.family == socket.AF_UNIX and sock.type == socket.SOCK_STREAM and listening:
                os.set_inheritable(sock.fileno(), False)
                sock.setblocking(False)
                return cls(sock, None, None)
            sock.close()
        return None

    @property
    def address(self) -> str:
        """Where it listens, for people."""
        return (
            str(self.path) if self.path is not None else str(self.sock.getsockname() or "passed by systemd")
        )

    def close(self) -> None:
        """Stop listening and remove the socket, if it is still ours. Safe to call twice."""
        self.sock.close()
        if self.path is not None and self._identity is not None:
            with suppress(OSError):
                status = os.lstat(self.path)
                if (status.st_dev, status.st_ino) == self._identity:
                    os.unlink(self.path)
            self._identity = None
        if self._lock is not None:
            # The lock's file stays: removing it would let two daemons lock two different files.
            self._lock.close()
            self._lock = None


def _check_folder(folder: Path) -> None:
    """Whoever may write in the folder can put a socket of their own in our place."""
    status = folder.stat()
    others = stat.S_IMODE(status.st_mode) & stat.S_IWOTH
    if others and not status.st_mode & stat.S_ISVTX:
        raise Refused(
            f"everybody may write in {folder}, so the control socket would not be safe there",
            f"chmod o-w {folder}, or set [control] socket to another place",
        )


def _locked(path: Path) -> IO[bytes]:
    """Held as long as we listen, so that of two daemons that start at once one sees the other."""
    name = path.with_name(path.name + ".lock")
    descriptor = os.open(name, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC | os.O_NOFOLLOW, 0o600)
    handle = os.fdopen(descriptor, "rb+")
    try:
        fcntl.flock(handle, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except OSError:
        handle.close()
        raise _in_use(path) from None
    return handle


def _in_use(path: Path) -> AlreadyRunning:
    return AlreadyRunning(
        f"another killsyncd listens at {path}",
        "talk to it: killsyncd ctl status; or stop it first; a second daemon needs its own [control] socket",
    )


def _make_way(path: Path) -> None:
    """See that nothing is at path that somebody still needs."""
    try:
        status = os.lstat(path)
    except FileNotFoundError:
        return
    if not stat.S_ISSOCK(status.st_mode):
        raise Refused(
            f"{path} is there and is no socket", "set [control] socket to another place, or move that away"
        )
    with socket.socket(socket.AF_UNIX, socket.SOCK_STREAM) as probe:
        probe.settimeout(2.0)
        try:
            probe.connect(str(path))
        except ConnectionRefusedError:
            return  # nobody listens: left behind by a daemon that was killed
        except FileNotFoundError:
            return
        except OSError as error:
            # A full backlog (EAGAIN) or a slow answer is somebody alive; so is one we may not ask.
            if error.errno in (errno.EACCES, errno.EPERM):
                raise Refused(
                    f"{path} belongs to somebody else", "set [control] socket to another place"
                ) from None
    raise _in_use(path)


def _listen(path: Path) -> socket.socket:
    """Bind under another name and move it into place: nobody sees it before it has its mode and listens."""
    temporary = path.with_name(f".k{secrets.token_hex(3)}")
    sock = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM)
    try:
        sock.bind(str(temporary))
        try:
            os.chmod(temporary, MODE)
            sock.listen(BACKLOG)
            sock.setblocking(False)
            os.rename(temporary, path)
        except BaseException:
            with suppress(OSError):
                os.unlink(temporary)
            raise
    except BaseException:
        sock.close()
        raise
    return sock
