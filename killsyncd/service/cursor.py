"""The place in the feed that a reader has come to, as text.

`<epoch>-<start>:<position>`: positions are given out by one counter, and the epoch is renewed whenever that
counter may have gone back (restore, migration), so that a cursor from before is refused and not silently
taken for another place. `start` names the start of the daemon that gave the position out, which only the
database's own history can know: where an older copy of the file was put back by hand, what was given out
since is refused for good, however far the feed grows again. Positions from before starts were written
down have none: `<epoch>:<position>`.
"""

from __future__ import annotations

import re

from killsyncd.core.errors import BadInput
from killsyncd.core.read_model import FeedEpoch, FeedPoint

_CURSOR = re.compile(r"([0-9A-Za-z]{1,64})(?:-([0-9A-Za-z]{1,64}))?:([0-9]{1,18})", re.ASCII)
_ANEW = "start anew from status { feedCursor }; killmails(orderBy: STORED_ASC) gives what is stored"


def feed_cursor(epoch: FeedEpoch, position: int) -> str:
    """The cursor of a mail, or of the feed's end."""
    start = epoch.start_of(position)
    return f"{epoch.id}-{start}:{position}" if start else f"{epoch.id}:{position}"


def parse_cursor(text: str, point: FeedPoint) -> int:
    """The position a cursor stands for. Raises BadInput for what is none, or is of another history.

    point: where the feed stands now.
    """
    match = _CURSOR.fullmatch(text)
    if match is None:
        raise BadInput("this is no feedCursor", "pass one as status or a killmail gave it, unchanged")
    position = int(match[3])
    if match[1] != point.epoch.id:
        raise BadInput("this feedCursor is from before the database was restored or moved", _ANEW)
    if position > point.position:
        raise BadInput("this feedCursor is ahead of the feed", _ANEW)
    if (match[2] or "") != point.epoch.start_of(position):
        raise BadInput(
            "this feedCursor is from a history that is gone: an older copy of the database was put back",
            _ANEW,
        )
    return position
