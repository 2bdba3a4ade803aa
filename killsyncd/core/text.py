"""Numbers, times and tables as people read them. Quick to import."""

from __future__ import annotations

import time
from collections.abc import Sequence
from datetime import UTC, datetime


def parse_time(text: str | None) -> datetime | None:
    """A time of the daemon's JSON."""
    return None if text is None else datetime.fromisoformat(text.replace("Z", "+00:00"))


def ago(text: str | None, missing: str = "never") -> str:
    """`3 m ago`, or `in 3 m` for what is to come."""
    moment = parse_time(text)
    if moment is None:
        return missing
    seconds = time.time() - moment.timestamp()
    return f"{span(seconds)} ago" if seconds >= 0 else f"in {span(-seconds)}"


def soon(text: str) -> str:
    """`in 3 m`, or `now` for what is due."""
    told = ago(text)
    return told if told.startswith("in ") and told != "in 0 s" else "now"


def span(seconds: float) -> str:
    """`12 s`, `3 m`, `4 h 5 m`, `2 d 3 h`: two units at most."""
    whole = int(seconds)
    if whole < 60:
        return f"{whole} s"
    if whole < 3600:
        return f"{whole // 60} m"
    if whole < 86400:
        return f"{whole // 3600} h {whole % 3600 // 60} m" if whole % 3600 >= 60 else f"{whole // 3600} h"
    return f"{whole // 86400} d {whole % 86400 // 3600} h"


def day_time(text: str | None, missing: str = "-") -> str:
    """`2026-11-18 12:00 UTC`."""
    moment = parse_time(text)
    return missing if moment is None else moment.astimezone(UTC).strftime("%Y-%m-%d %H:%M UTC")


def clock_time(text: str | None, missing: str = "-") -> str:
    """`12:00:07 UTC`, for what is today."""
    moment = parse_time(text)
    return missing if moment is None else moment.astimezone(UTC).strftime("%H:%M:%S UTC")


def count(number: int, one: str, many: str = "") -> str:
    """`1 mail`, `2,500 mails`."""
    return f"{number:,} {plural(number, one, many)}"


def plural(number: int, one: str, many: str = "") -> str:
    """`mail` of one, `mails` of others: the word alone."""
    return one if number == 1 else many or one + "s"


def listed(words: Sequence[str]) -> str:
    """`a`, `a and b`, `a, b and c`."""
    return f"{', '.join(words[:-1])} and {words[-1]}" if len(words) > 1 else "".join(words)


def size(number: float) -> str:
    """`61 MiB`."""
    for unit in ("B", "KiB", "MiB"):
        if number < 1024:
            return f"{number:.0f} {unit}"
        number /= 1024
    return f"{number:.1f} GiB"


def fight(*, ship: str, victim: object, system: str, final_blow: object, attackers: int) -> str:
    """`Rifter of Jane Doe in Jita, by John Roe and 3 more`; victim and final blow as far as there is one."""
    others = f" and {attackers - 1} more" if attackers > 1 else ""
    return f"{ship}{f' of {victim}' if victim else ''} in {system}, by {final_blow or 'NPCs'}{others}"


def table(head: Sequence[str], rows: Sequence[Sequence[str]]) -> list[str]:
    """Lines with columns under each other."""
    widths = [max(len(row[column]) for row in [head, *rows]) for column in range(len(head))]
    return [
        "  ".join(cell.ljust(width) for cell, width in zip(row, widths, strict=True)).rstrip()
        for row in [head, *rows]
    ]
