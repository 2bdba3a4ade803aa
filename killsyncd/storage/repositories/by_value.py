"""Lists in the order of value: the most expensive first, what is not valued last."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import replace

from killsyncd.core.read_model import Mail
from killsyncd.storage.repositories import paging
from killsyncd.storage.repositories.filtering import looked_up
from killsyncd.storage.transaction import Row, Sql, Tx


def by_value(
    columns: str,
    make: Callable[[Row], Mail],
    conditions: Sequence[str],
    params: Mapping[str, object],
    limit: int,
    after: paging.Key | None,
    *,
    few: bool,
) -> Tx[list[Mail]]:
    """The next mails of the list. columns: of `killmails k`, of which `make` makes a mail.

    few: the conditions leave so few that they can be sorted; otherwise the index of values is walked.
    """
    total, killmail_id = (None, 0) if after is None else after
    assert total is None or isinstance(total, int), "a key in the order of value"
    told = {**params, "after_total": total, "after_id": killmail_id}

    def mails(text: str, most: int) -> Tx[list[Mail]]:
        rows = yield Sql(text, {**told, "limit": most})
        return [replace(make(row), total=None if row["total"] is None else int(row["total"])) for row in rows]

    if few:
        where = [*conditions]
        if after is not None:
            where.append(f"(COALESCE(v.total, {paging.UNVALUED}), k.killmail_id) < (:after_total, :after_id)")
        return (
            yield from mails(
                f"SELECT {columns}, v.total FROM killmails k "
                "LEFT JOIN killmail_values v ON v.killmail_id = k.killmail_id "
                f"WHERE {' AND '.join(where)} "
                f"ORDER BY COALESCE(v.total, {paging.UNVALUED}) DESC, k.killmail_id DESC LIMIT :limit",
                limit,
            )
        )
    found: list[Mail] = []
    if total is None or total >= 0:
        where = ["k.killmail_id = v.killmail_id", *conditions]
        if after is not None:
            where.append("(v.total, v.killmail_id) < (:after_total, :after_id)")
        mail = looked_up("killmails", "k", "k.killmail_id = v.killmail_id")
        found = yield from mails(
            f"SELECT {columns}, v.total FROM killmail_values v CROSS JOIN {mail} "
            f"WHERE {' AND '.join(where)} ORDER BY v.total DESC, v.killmail_id DESC LIMIT :limit",
            limit,
        )
    if len(found) < limit:
        where = [
            "NOT EXISTS (SELECT 1 FROM killmail_values v WHERE v.killmail_id = k.killmail_id)",
            *conditions,
        ]
        if total is not None and total < 0:
            where.append("k.killmail_id < :after_id")
        found += yield from mails(
            f"SELECT {columns}, NULL AS total FROM killmails k "
            f"WHERE {' AND '.join(where)} ORDER BY k.killmail_id DESC LIMIT :limit",
            limit - len(found),
        )
    return found
