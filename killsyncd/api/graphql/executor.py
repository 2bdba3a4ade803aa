"""Executing within limits: each list is paid for before its rows are worked on, and works in turns."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from graphql import Executor, get_named_type, is_leaf_type
from graphql.pyutils import gather_with_cancel

from killsyncd.api.graphql.budget import Reservation
from killsyncd.api.graphql.context import Context
from killsyncd.api.graphql.cost import Costs
from killsyncd.api.graphql.turns import Turns

PAID_BEFORE = frozenset({("Killmail", "attackers"), ("Killmail", "items")})
"""Lists whose rows are paid for by their resolvers, which know how many there are before they are read."""

_AT_HAND = 8
"""Rows that are worked on in one go where there is time."""


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
            found = await gather_with_cancel(*(completed[index] for index in waiting))
            for index, value in zip(waiting, found, strict=True):
                completed[index] = value
        if self.reservation.ended:
            await self.reservation.parked()
        return completed
