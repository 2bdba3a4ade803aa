"""Transactions as methods of a repository: `@reads` and `@writes`.

    class NameRepository(Repository):
        @reads
        def next_due(self) -> Tx[float | None]:
            \"\"\"When the next id may be asked for.\"\"\"
            row = one((yield Run("names.next_due", {})))
            ...

    due = await names.next_due()             # a transaction of its own
    due = yield from names.next_due.tx()     # a part of another transaction

The generator is written once, with its name, its parameters and its docstring; awaiting it runs it on the
repository's store.
"""

from __future__ import annotations

from collections.abc import Callable
from types import MethodType
from typing import Concatenate, Generic, ParamSpec, Self, TypeVar, overload

from killsyncd.storage.transaction import Store, Tx

P = ParamSpec("P")
T = TypeVar("T")


class Repository:
    """Transactions about one noun, on one store."""

    def __init__(self, store: Store) -> None:
        self._store = store


R = TypeVar("R", bound=Repository)


class Bound(Generic[P, T]):
    """A transaction of a repository that is at hand: await a call of it, or take its generator."""

    __slots__ = ("_store", "_writes", "tx")

    def __init__(self, store: Store, tx: Callable[P, Tx[T]], writes: bool) -> None:
        self._store = store
        self._writes = writes
        self.tx = tx
        """Its statements, as a part for another transaction (`yield from`)."""

    async def __call__(self, *args: P.args, **kwargs: P.kwargs) -> T:
        """Run it as a transaction of its own. Raises Unavailable and, where it writes, RowRefused."""
        run = self._store.write if self._writes else self._store.read
        return await run(self.tx, *args, **kwargs)


class Transaction(Generic[R, P, T]):
    """A transaction as it stands in its class. Made by `reads` and `writes`."""

    def __init__(self, make: Callable[Concatenate[R, P], Tx[T]], writes: bool) -> None:
        self._make = make
        self._writes = writes
        self.__doc__ = make.__doc__
        self.__wrapped__ = make

    @overload
    def __get__(self, repository: None, owner: type[R]) -> Self: ...

    @overload
    def __get__(self, repository: R, owner: type[R]) -> Bound[P, T]: ...

    def __get__(self, repository: R | None, owner: type[R]) -> Self | Bound[P, T]:
        if repository is None:
            return self
        tx: Callable[P, Tx[T]] = MethodType(self._make, repository)
        return Bound(repository._store, tx, self._writes)


def reads(make: Callable[Concatenate[R, P], Tx[T]]) -> Transaction[R, P, T]:
    """A transaction that only reads, on one snapshot."""
    return Transaction(make, writes=False)


def writes(make: Callable[Concatenate[R, P], Tx[T]]) -> Transaction[R, P, T]:
    """A transaction that may write. It may be run again from its start, as any."""
    return Transaction(make, writes=True)
