"""How much the operations on all WebSockets may hold together."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator
from contextlib import contextmanager

from killsyncd.api.graphql.engine import Prepared
from killsyncd.api.graphql.limits import Limits
from killsyncd.core.read_model import TooMuch

_FREE_BYTES = 1024  # of a message that subscribes; more counts


class OpenOperations:
    """Operations that are open, over all sockets: a subscription stays for as long as its client likes."""

    def __init__(self, limits: Limits) -> None:
        self._limits = limits
        self._count = 0
        self._bytes = 0
        self._tokens = 0
        self._texts: Counter[bytes] = Counter()

    def begin(self, size: int) -> None:
        """Another operation, whose message has so many bytes. Raises TooMuch."""
        beyond = max(0, size - _FREE_BYTES)
        if self._count >= self._limits.operations:
            raise TooMuch(f"more than {self._limits.operations} operations on all sockets", "try again later")
        if beyond and self._bytes + beyond > self._limits.subscribed_bytes:
            raise TooMuch("the operations on all sockets are too large together", "ask with fewer variables")
        self._count += 1
        self._bytes += beyond

    def end(self, size: int) -> None:
        """It is over."""
        self._count -= 1
        self._bytes -= max(0, size - _FREE_BYTES)

    @contextmanager
    def subscribed(self, prepared: Prepared) -> Iterator[None]:
        """A subscription is kept; those with the same text share it. Raises TooMuch."""
        if not self._texts[prepared.key]:
            if self._tokens + prepared.weight > self._limits.subscribed_tokens:
                raise TooMuch("too many different subscriptions are open", "subscribe to the same as others")
            self._tokens += prepared.weight
        self._texts[prepared.key] += 1
        try:
            yield
        finally:
            self._texts[prepared.key] -= 1
            if not self._texts[prepared.key]:
                del self._texts[prepared.key]
                self._tokens -= prepared.weight
