"""What things cost in the simulated universe: a price a day for every type, from the seed alone."""

from __future__ import annotations

import random
from typing import Any

from .universe import Universe

FORGE = 10_000_002
DOMAIN = 10_000_043

HEADER = "average,date,highest,lowest,order_count,volume,http_last_modified,region_id,type_id"
"""Columns of EVE Ref's market history; their order has changed before."""


def esi_prices(universe: Universe, seed: int, day: int) -> list[dict[str, Any]]:
    """Adjusted and average price of most types; some have only one, a few none, as on the real market.

    day: days since 1970. Prices drift by some percent from day to day.
    """
    rows: list[dict[str, Any]] = []
    for type_id, info in universe.types.items():
        rng = random.Random(seed << 32 ^ type_id)
        if not info.price or rng.random() < 0.03:
            continue
        drift = _drift(seed, type_id, day)
        row: dict[str, Any] = {"adjusted_price": round(info.price * rng.uniform(0.7, 1.2), 2)}
        if rng.random() < 0.95:
            row["average_price"] = round(info.price * rng.uniform(0.8, 1.3) * drift, 2)
        row["type_id"] = type_id
        rows.append(row)
    return rows


def market_history(universe: Universe, seed: int, day: int, date: str) -> str:
    """EVE Ref's file of a day as CSV: two regions, types that were traded there."""
    lines = [HEADER]
    for region in (DOMAIN, FORGE):
        for type_id, info in universe.types.items():
            rng = random.Random(f"{seed}/{region}/{type_id}/{day}")
            if not info.price or rng.random() < 0.1:
                continue  # nobody traded it that day
            average = info.price * rng.uniform(0.9, 1.1) * _drift(seed, type_id, day)
            volume = rng.randint(1, 5000)
            lines.append(
                f"{average:.2f},{date},{average * 1.1:.2f},{average * 0.9:.2f},{volume // 3 + 1},{volume},"
                f"{date}T11:05:00Z,{region},{type_id}"
            )
    return "\n".join(lines) + "\n"


def _drift(seed: int, type_id: int, day: int) -> float:
    return 1.0 + 0.08 * (random.Random(f"{seed}/{type_id}/{day}").random() - 0.5)
