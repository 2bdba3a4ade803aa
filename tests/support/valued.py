"""Static data, prices and values in a daemon's database: whole at any moment, and done in the end."""

from __future__ import annotations

import json
import sqlite3

from killsyncd.pricing.price_day import PriceDay
from tests.support.daemon import DaemonProcess


def all_valued(daemon: DaemonProcess) -> bool:
    """Whether there are killmails, and each has a value."""
    return bool(
        daemon.value(
            "SELECT COUNT(*) > 0 AND COUNT(*) = SUM(w.killmail_id IS NOT NULL) FROM killmails k"
            " LEFT JOIN killmail_values w ON w.killmail_id = k.killmail_id"
        )
    )


def change(daemon: DaemonProcess, *statements: str) -> None:
    """Change the database of a daemon that does not run."""
    with sqlite3.connect(daemon.database) as connection:
        for statement in statements:
            connection.execute(statement)


def values(daemon: DaemonProcess) -> dict[int, tuple[object, ...]]:
    """What every killmail is worth, and how that is known."""
    with daemon.rows() as rows:
        found = rows.execute(
            "SELECT killmail_id, total, method, priced_on, unpriced, unknown FROM killmail_values"
        )
        return {row[0]: tuple(row[1:]) for row in found}


def open_work(daemon: DaemonProcess) -> list[str]:
    """What is still to be done for values, in names."""
    with daemon.rows() as rows:
        passes = rows.execute("SELECT name FROM background_tasks WHERE until IS NOT NULL").fetchall()
        days = rows.execute(
            "SELECT day FROM esi_prices WHERE NOT applied UNION ALL"
            " SELECT day FROM market_history WHERE NOT applied AND prices IS NOT NULL"
        ).fetchall()
        missing = rows.execute(
            "SELECT DISTINCT date(killmail_time) FROM killmails WHERE killmail_time < date('now', '-2 days')"
            " AND CAST(strftime('%Y%m%d', killmail_time) AS INTEGER)"
            " NOT IN (SELECT day FROM market_history UNION SELECT day FROM esi_prices)"
        ).fetchall()
        behind = rows.execute(
            "SELECT 'values' FROM background_tasks t, feed f"
            " WHERE t.name = 'values' AND t.position < f.position"
        ).fetchall()
    return [str(each[0]) for each in (*passes, *days, *missing, *behind)]


def check_whole(daemon: DaemonProcess) -> None:
    """What holds at any moment of static data, prices and values; raises AssertionError where it does not."""
    if not daemon.database.exists():
        return
    with daemon.rows() as rows:
        build = rows.execute("SELECT MAX(build), COUNT(*) FROM static_builds").fetchone()
        counts = [
            rows.execute(f"SELECT COUNT(*) FROM {table}").fetchone()[0]
            for table in ("types", "type_groups", "solar_systems", "regions", "constellations")
        ]
        assert all(counts) if build[0] else not any(counts)
        if build[0]:
            prototypes = rows.execute("SELECT MAX(type_id) FROM types WHERE type_id >= 990000").fetchone()[0]
            assert (prototypes or 989_999) - 989_999 == build[0] - 3_100_000
        for (packed,) in rows.execute(
            "SELECT prices FROM esi_prices UNION ALL SELECT prices FROM market_history WHERE prices NOT NULL"
        ):
            assert len(PriceDay.unpacked(packed)) > 100
        for row in rows.execute(
            "SELECT total, destroyed, dropped, ship, fitted, cargo, unpriced FROM killmail_values"
        ):
            assert row[0] == row[1] + row[2] == row[3] + row[4] + row[5]
            assert row[6] is None or json.loads(row[6])
        ahead = rows.execute(
            "SELECT COUNT(*) FROM killmails k, background_tasks t WHERE t.name = 'values'"
            " AND k.feed_position <= t.position"
            " AND NOT EXISTS (SELECT 1 FROM killmail_values w WHERE w.killmail_id = k.killmail_id)"
            " AND CAST(strftime('%Y%m%d', k.killmail_time) AS INTEGER) <= (SELECT MAX(day) FROM esi_prices)"
        ).fetchone()[0]
        assert ahead == 0, "the cursor never passes a mail that could be valued"
    left = list((daemon.folder / ".local").rglob("*.zip.part"))
    assert len(left) <= 1, "what a killed process left is removed by the next"
