"""Pages by keyset: cursors and orders. What a filter becomes is in `filtering`.

A cursor holds the order key of the last mail that was seen. It stays good whatever is stored
meanwhile, and reading after it costs the same on page one and on page thousand.
"""

from __future__ import annotations

import base64
import binascii
from datetime import UTC, datetime, timedelta
from typing import Any

import orjson

from killsyncd.core.errors import BadInput
from killsyncd.core.read_model import Mail, Order
from killsyncd.storage.transaction import Ids

MAX_CURSOR = 120
UNVALUED = -1
"""Stands for the value of a mail that has none."""

_MAX_INT = 2**63 - 1
_EPOCH = datetime(1970, 1, 1, tzinfo=UTC)
_LAST = datetime(9999, 12, 31, tzinfo=UTC)

Key = tuple[int | datetime, int]


def encode_cursor(mail: Mail, order: Order) -> str:
    """The cursor right after a mail: opaque, URL-safe."""
    if order.by_time:
        # Microseconds as a whole number: a float loses some, and text would be longer.
        key = [0, (mail.killmail_time - _EPOCH) // timedelta(microseconds=1), mail.killmail_id]
    elif order is Order.VALUE_DESC:
        key = [2, UNVALUED if mail.total is None else mail.total, mail.killmail_id]
    else:
        key = [1, mail.feed_position, mail.killmail_id]
    return base64.urlsafe_b64encode(orjson.dumps(key)).decode().rstrip("=")


def decode_cursor(cursor: str, order: Order) -> Key:
    """The order key in a cursor. Raises BadInput unless it was made here, for an order of this kind."""
    wrong = BadInput(
        "after is not a cursor of this list", "pass endCursor of the page before, with the same orderBy"
    )
    if len(cursor) > MAX_CURSOR or not cursor.isascii():
        raise wrong
    try:
        raw = base64.b64decode(cursor + "=" * (-len(cursor) % 4), altchars=b"-_", validate=True)
        key = orjson.loads(raw)
    except (binascii.Error, ValueError):
        raise wrong from None
    whole = isinstance(key, list) and len(key) == 3 and all(type(each) is int for each in key)
    if (
        not whole
        or key[0] != (0 if order.by_time else 2 if order is Order.VALUE_DESC else 1)
        or any(abs(each) > _MAX_INT for each in key)
    ):
        raise wrong
    if not order.by_time:
        return key[1], key[2]
    try:
        return _EPOCH + timedelta(microseconds=key[1]), key[2]
    except OverflowError:
        raise wrong from None


def whole_seconds(moment: datetime) -> datetime:
    """The next whole second: kill times have none below, and SQLite's text ends there.

    Right for both ends of a half-open range. Kept between 1970 and 9999, where text sorts like time.
    """
    moment = min(max(moment, _EPOCH), _LAST)
    return moment if not moment.microsecond else moment.replace(microsecond=0) + timedelta(seconds=1)


def anybody_of(characters: frozenset[int]) -> tuple[str, dict[str, Any]]:
    """The condition that one of these characters is on the mail."""
    # Ids from an index of each table: no OR over two tables, which neither database can use one for.
    return (
        "k.killmail_id IN (SELECT killmail_id FROM victims WHERE character_id {in_ids} "
        "UNION ALL SELECT killmail_id FROM attackers WHERE character_id {in_ids})"
    ), {"ids": Ids(sorted(characters))}


def order_by(order: Order) -> str:
    """ORDER BY for `killmails k`; the id breaks ties, so that no two mails share a place."""
    way = "DESC" if order.descending else "ASC"
    return f"k.killmail_time {way}, k.killmail_id {way}" if order.by_time else f"k.feed_position {way}"


def beyond(order: Order, key: Key) -> tuple[str, dict[str, Any]]:
    """The condition that a mail comes after this key."""
    sign = "<" if order.descending else ">"
    if order.by_time:
        after = {"after_time": key[0], "after_id": key[1]}
        return f"(k.killmail_time, k.killmail_id) {sign} (:after_time, :after_id)", after
    return f"k.feed_position {sign} :after_position", {"after_position": key[0]}
