"""The sockets of `api.listen`."""

from __future__ import annotations

import socket

import pytest

from killsyncd.api.listening import bound
from killsyncd.core.errors import Refused


def answers(family: socket.AddressFamily, address: str, port: int) -> bool:
    with socket.socket(family, socket.SOCK_STREAM) as client:
        client.settimeout(5.0)
        try:
            client.connect((address, port))
        except OSError:
            return False
    return True


def test_every_address_of_ipv6_is_every_address_of_ipv4_too() -> None:
    (listening,) = bound("::", 0)
    with listening:
        port = listening.getsockname()[1]
        assert answers(socket.AF_INET6, "::1", port)
        assert answers(socket.AF_INET, "127.0.0.1", port)


def test_one_address_of_ipv6_is_that_one() -> None:
    (listening,) = bound("::1", 0)
    with listening:
        port = listening.getsockname()[1]
        assert answers(socket.AF_INET6, "::1", port)
        assert not answers(socket.AF_INET, "127.0.0.1", port)


def test_a_name_is_all_its_addresses_at_one_port() -> None:
    listening = bound("localhost", 0)
    try:
        assert len({each.getsockname()[1] for each in listening}) == 1
    finally:
        for each in listening:
            each.close()


def test_a_taken_port_is_told_and_nothing_stays_bound() -> None:
    (first,) = bound("127.0.0.1", 0)
    with first:
        port = first.getsockname()[1]
        with pytest.raises(Refused, match="is taken by another program"):
            bound("127.0.0.1", port)


def test_a_name_that_nobody_knows_is_told() -> None:
    with pytest.raises(Refused, match="cannot be found"):
        bound("no-such-host.invalid", 0)
