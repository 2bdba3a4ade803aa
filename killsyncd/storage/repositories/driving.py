"""Which of a filter's conditions a list is driven by: the one that leaves the least to be looked at.

Where one of them has few mails that is the one. Where none has, a page is usually full after a short walk;
whether it is, is tried on a sample. Where it is not, conditions exclude each other, or what matches lies far
away: then it is worth counting further to find the rarest, whose mails are the most that can be looked at.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, NamedTuple

from killsyncd.core.read_model import Order
from killsyncd.storage.repositories import filtering, mail_lists, paging
from killsyncd.storage.repositories.filtering import Condition, Filter
from killsyncd.storage.transaction import Sql, Tx, one

FEW = 5_000
"""So many are counted to see which condition is the rarest, and sorted for an order that its index lacks."""

MANY = 100_000
"""So far it is counted where a sample says that a walk would be long."""

SAMPLE = 10_000
"""Entries at the beginning of a walk that are tried: it takes as long as sorting half of them."""

SOME_IDS = 8
"""Walking each of so many systems or types costs no more than trying a sample."""


class Plan(NamedTuple):
    """driver: the condition; None: every mail is tested, in the list's order. few: its mails are sorted."""

    driver: Condition | None
    few: bool


def plan(wanted: Filter, order: Order, limit: int, after: paging.Key | None) -> Tx[Plan]:
    """How to read the next `limit` mails of a list."""
    candidates = wanted.candidates
    if not candidates or (len(candidates) == 1 and order.by_time and _walks(candidates[0], SOME_IDS)):
        return Plan(candidates[0] if candidates else None, False)
    found = yield from _rarest(candidates, wanted, FEW)
    number, best = found[0]
    if number < FEW:
        return Plan(best, not order.by_time or not _walks(best, SOME_IDS))
    walked = next((each for _, each in found if _walks(each, SOME_IDS)), None) if order.by_time else None
    if (yield from _fills(wanted, walked, order, limit, after)):
        return Plan(walked, False)
    found = yield from _rarest(candidates, wanted, MANY)
    best = found[0][1]
    return Plan(best, not order.by_time or not _walks(best, filtering.MANY_IDS))


def counting(wanted: Filter) -> Tx[Plan]:
    """How to count the mails of a list."""
    candidates = wanted.candidates
    if len(wanted.conditions) < 2 or not candidates:
        return Plan(candidates[0] if candidates else None, False)
    found = yield from _rarest(candidates, wanted, FEW)
    if found[0][0] >= FEW:
        found = yield from _rarest(candidates, wanted, MANY)
    best = found[0][1]
    return Plan(best, not _walks(best, filtering.MANY_IDS))


def _walks(condition: Condition, most: int) -> bool:
    """Whether its indexes can be walked in the order of time; most: ids that each have a part of one."""
    return not condition.sparse and condition.ids <= most


def _rarest(candidates: Sequence[Condition], wanted: Filter, limit: int) -> Tx[list[tuple[int, Condition]]]:
    """Conditions with how many mails they have, up to a limit; the rarest first, then what can be walked."""
    row = one((yield Sql(mail_lists.counts(candidates, wanted, limit), wanted.params)))
    assert row is not None, "an aggregate has a row"
    counted = ((int(row[f"c{number}"]), each) for number, each in enumerate(candidates))
    return sorted(counted, key=lambda each: (each[0], not _walks(each[1], filtering.MANY_IDS), each[1].ids))


def _fills(
    wanted: Filter, driver: Condition | None, order: Order, limit: int, after: paging.Key | None
) -> Tx[bool]:
    """Whether the first entries of every index that would be walked fill a page."""
    if order is Order.VALUE_DESC and after is not None and after[0] == paging.UNVALUED:
        return False
    samples = mail_lists.samples(wanted, driver, order, goes_on=after is not None)
    told: dict[str, Any] = {
        **wanted.params,
        **mail_lists.after_params(order, after),
        "sample": SAMPLE,
        "limit": limit,
    }
    row = one((yield Sql(f"SELECT {', '.join(samples)}", told)))
    assert row is not None, "it has no condition"
    return all(bool(row[number]) for number in range(len(samples)))
