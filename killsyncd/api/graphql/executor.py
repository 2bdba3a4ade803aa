"""Executing within limits: each list is paid for before its rows are worked on, and works in turns."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Sequence
from typing import Any

from graphql import Executor, get_named_type, is_leaf_type

from killsyncd.api.graphql.budget import Reservation
from killsyncd.api.graphql.context import Context
from killsyncd.api.graphql.cost import Costs
from killsyncd.api.graphql.turns import Turns

PAID_BEFORE = frozenset({("Killmail", "attackers"), ("Killmail", "items")})
"""Lists whose rows are paid for by their resolvers, which know how many there are before they are read."""

_AT_HAND = 8
"""Rows that are worked on in one go where there is time."""

_BEGUN = 16
"""Rows of a list that begin, or are cancelled, in one round of the loop; each may have fields that wait."""


class BoundedExecutor(Executor[Any]):
    """graphql-core's executor with a budget and turns; `bound` them before executing."""

    costs: Costs
    reservation: Reservation
    turns: Turns

    def bound(self, context: Context, costs: Costs, reservation: Reservation, turns: Turns) -> None:
        """Execute for this context, within these."""
        self.context_value = context
        context.costs = costs
        self.costs = costs
        self.reservation = reservation
        self.turns = turns

    async def complete_awaitable_value(
        self,
        return_type: Any,
        field_details_list: Any,
        info: Any,
        path: Any,
        result: Any,
        position_context: Any,
    ) -> Any:
        """Something has come that was waited for: go on with it when there is time."""
        return await super().complete_awaitable_value(
            return_type, field_details_list, info, path, self._in_turn(result), position_context
        )

    async def _in_turn(self, result: Any) -> Any:
        value = await result
        if self.turns.over():
            await self._turn()
        if self.reservation.ended:
            await self.reservation.parked()
        return value

    async def _turn(self) -> None:
        loading = self.context_value.loaders.turns
        loading.working += 1
        try:
            if not self.reservation.ended:
                with self.reservation.others_first():
                    await self.turns.take(self.reservation)
        finally:
            loading.working -= 1
            loading.look()

    def complete_iterable_value(
        self,
        item_type: Any,
        field_details_list: Any,
        info: Any,
        path: Any,
        items: Any,
        position_context: Any,
    ) -> Any:
        """Complete a list: at once where it is short, else in turns, after it was paid for."""
        rows: Sequence[Any] = items if isinstance(items, list | tuple) else list(items)
        paid = self._pay(item_type, field_details_list, info, len(rows))
        if paid and len(rows) <= _AT_HAND and not self.turns.over():
            return super().complete_iterable_value(
                item_type, field_details_list, info, path, rows, position_context
            )
        return self._complete_in_turns(
            paid, item_type, field_details_list, info, path, rows, position_context
        )

    def _pay(self, item_type: Any, field_details_list: Any, info: Any, rows: int) -> bool:
        """Charge what the query's text did not tell: all rows but one, and none of those of a page."""
        kind = get_named_type(item_type)
        if info.field_name == "edges" or rows < 2 or (info.parent_type.name, info.field_name) in PAID_BEFORE:
            return self.reservation.spend(0)
        each = 1
        if not is_leaf_type(kind):
            each += self.costs.of_item(kind, (details.node for details in field_details_list))
        return self.reservation.spend((rows - 1) * each)

    async def _complete_in_turns(
        self,
        paid: bool,
        item_type: Any,
        field_details_list: Any,
        info: Any,
        path: Any,
        rows: Sequence[Any],
        position_context: Any,
    ) -> list[Any]:
        if not paid:
            await self.reservation.grown()
        completed: list[Any] = []
        waiting: list[int] = []
        for index, row in enumerate(rows):
            if self.turns.over():
                await self._turn()
            if self.reservation.ended:
                break  # those that have begun must go where they wait, too
            if self.complete_list_item_value(
                row,
                completed,
                item_type,
                field_details_list,
                info,
                path.add_key(index, None),
                position_context,
            ):
                waiting.append(index)
        if waiting:
            found = await self._all([completed[index] for index in waiting])
            for index, value in zip(waiting, found, strict=True):
                completed[index] = value
        if self.reservation.ended:
            await self.reservation.parked()
        return completed

    async def _all(self, rows: Sequence[Awaitable[Any]]) -> list[Any]:
        """Work on rows side by side: they begin, are waited for, and if need be are cancelled some at a time.

        Not asyncio.gather: a query has thousands of them, and that begins and cancels all in one round.
        """
        tasks: list[asyncio.Future[Any]] = []
        try:
            await self._begin(rows, tasks)
            for start in range(0, len(tasks), _BEGUN):
                part = tasks[start : start + _BEGUN]
                done, _ = await asyncio.wait(part, return_when=asyncio.FIRST_EXCEPTION)
                failed = [each for each in done if not each.cancelled() and each.exception() is not None]
                if failed:
                    failed[0].result()
            return [each.result() for each in tasks]
        finally:
            await _cancel(tasks)
            tasks.clear()  # they know this frame by what they raised

    async def _begin(self, rows: Sequence[Awaitable[Any]], into: list[asyncio.Future[Any]]) -> None:
        """Begin all of them, also where this is cancelled meanwhile: what has not begun cannot be."""
        cancelled: asyncio.CancelledError | None = None
        self.reservation.beginning += 1
        try:
            for start in range(0, len(rows), _BEGUN):
                into += map(asyncio.ensure_future, rows[start : start + _BEGUN])
                try:
                    await self._round()
                except asyncio.CancelledError as error:
                    cancelled = error
        finally:
            self.reservation.beginning -= 1
        if cancelled is not None:
            raise cancelled

    async def _round(self) -> None:
        """Let the rows that have begun ask for what they need, before anything is read for them."""
        loading = self.context_value.loaders.turns
        loading.working += 1
        try:
            await asyncio.sleep(0)
        finally:
            loading.working -= 1
            loading.look()
        if self.turns.over():
            await self._turn()


async def _cancel(tasks: Sequence[asyncio.Future[Any]]) -> None:
    """Cancel those that are not done, some in each round of the loop."""
    pending = [each for each in tasks if not each.done()]
    for start in range(0, len(pending), _BEGUN):
        for each in pending[start : start + _BEGUN]:
            each.cancel()
        await asyncio.sleep(0)
    if pending:
        await asyncio.wait(pending)
    for each in pending:
        if not each.cancelled():
            each.exception()  # looked at: it is not worth a line in the log
