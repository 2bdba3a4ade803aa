"""The place in the feed that a reader has come to, as text.

`<epoch>:<position>`: positions are given out by one counter, and the epoch is renewed whenever
that counter may have gone back (restore, migration), so that a cursor from before is refused
and not silently taken for another place.
"""

from __future__ import annotations

import re

from killsyncd.core.errors import BadInput

_CURSOR = re.compile(r"([0-9A-Za-z]{1,64}):([0-9]{1,18})", re.ASCII)


def feed_cursor(epoch: str, position: int) -> str:
    """The cursor of a mail, or of the feed's end."""
    return f"{epoch}:{position}"


def parse_cursor(text: str, epoch: str) -> int:
    """The position a cursor stands for. Raises BadInput for what is none, or is of another epoch."""
    match = _CURSOR.fullmatch(text)
    if match is None:
        raise BadInput("this is no feedCursor", "pass one as status or a killmail gave it, unchanged")
    if match[1] != epoch:
        raise BadInput(
            "this feedCursor is from before the database was restored or moved",
            "start anew from status { feedCursor }; killmails(orderBy: STORED_ASC) gives what is stored",
        )
    return int(match[2])
