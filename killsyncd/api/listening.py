"""The sockets of `api.listen`, bound before anything is served: what is wrong is told in plain words."""

from __future__ import annotations

import errno
import socket

from killsyncd.core.errors import Refused

BACKLOG = 128
ANY_IPV6 = "::"


def told_address(host: str, port: int) -> str:
    """Host and port as an address has them."""
    return f"[{host}]:{port}" if ":" in host else f"{host}:{port}"


def bound(host: str, port: int) -> list[socket.socket]:
    """Sockets that listen at every address of a host; port 0 takes a free one, the same for all.

    `::` takes IPv4 as well: who asks for every address means every address. Raises Refused.
    """
    made: list[socket.socket] = []
    try:
        for family, address in _addresses(host):
            made.append(_bound(family, address, made[0].getsockname()[1] if made else port))
    except OSError as error:
        for each in made:
            each.close()
        raise refused(error, host, port) from error
    return made


def _addresses(host: str) -> list[tuple[socket.AddressFamily, str]]:
    found = socket.getaddrinfo(host, None, type=socket.SOCK_STREAM, flags=socket.AI_PASSIVE)
    return list(dict.fromkeys((family, str(address[0])) for family, _, _, _, address in found))


def _bound(family: socket.AddressFamily, address: str, port: int) -> socket.socket:
    made = socket.socket(family, socket.SOCK_STREAM)
    try:
        made.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        if family is socket.AF_INET6:
            made.setsockopt(socket.IPPROTO_IPV6, socket.IPV6_V6ONLY, 0 if address == ANY_IPV6 else 1)
        made.bind((address, port))
        # Two sockets may be bound to one port as long as neither listens: this tells whether it is ours.
        made.listen(BACKLOG)
        made.setblocking(False)
    except BaseException:
        made.close()
        raise
    return made


def refused(error: OSError, host: str, port: int) -> Refused:
    """What the system said to a socket, and what to do about it."""
    if isinstance(error, socket.gaierror):
        return Refused(
            f"{host} cannot be found: {error.strerror}",
            "set [api] listen to an address, such as 127.0.0.1:7420",
        )
    if error.errno == errno.EADDRINUSE:
        return Refused(
            f"port {port} of {host} is taken by another program",
            f"stop that one (ss -ltnp 'sport = :{port}' names it), or set [api] listen to another port",
        )
    if error.errno in (errno.EACCES, errno.EPERM):
        return Refused(
            f"port {port} may not be listened on by this user", "set [api] listen to a port above 1023"
        )
    if error.errno in (errno.EADDRNOTAVAIL, errno.EAFNOSUPPORT):
        return Refused(
            f"this machine has no address {host}",
            "set [api] listen to an address of its own, 127.0.0.1, or 0.0.0.0 for all of IPv4",
        )
    return Refused(f"{host}:{port} cannot be listened on: {error.strerror or error}", "look at [api] listen")
