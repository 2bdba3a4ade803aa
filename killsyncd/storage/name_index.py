"""The words of names that were resolved before names were searched: once in a database's life."""

from __future__ import annotations

from collections.abc import Sequence

from killsyncd.core.clock import Clock
from killsyncd.core.errors import Unavailable
from killsyncd.core.names import words_of
from killsyncd.core.retry import retry
from killsyncd.storage.transaction import Bulk, Row, Run, Store, Tx, one

INDEXED_TO = "names_indexed_to"
"""Key of `meta`: the highest id whose name was taken apart, or `ALL`. Later names are put in at once."""

ALL = "all"
BATCH = 500
RETRY_SECONDS = 60.0


def words(names: Sequence[tuple[int, str]]) -> Bulk:
    """The rows of names in the index."""
    return Bulk("name_words", ("id", "word"), ((id_, word) for id_, name in names for word in words_of(name)))


def _step() -> Tx[bool]:
    row = one((yield Run("meta.get", {"key": INDEXED_TO})))
    reached = "0" if row is None else str(row["value"])
    if reached == ALL:
        return False
    rows: Sequence[Row] = yield Run("catalogue.named_after", {"after": int(reached), "limit": BATCH})
    if rows:
        yield words([(int(each["id"]), str(each["name"])) for each in rows])
    yield Run("meta.put", {"key": INDEXED_TO, "value": str(rows[-1]["id"]) if rows else ALL})
    return bool(rows)


async def index_names(store: Store, clock: Clock) -> None:
    """Go through every name once. Goes on where it was interrupted."""

    async def go_on() -> None:
        while await store.write(_step):
            await clock.sleep(0.02)  # others write, too

    await retry(go_on, on=Unavailable, wait=RETRY_SECONDS, sleep=clock.sleep)
