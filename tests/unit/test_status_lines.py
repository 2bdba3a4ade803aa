"""`ctl status` for people."""

from __future__ import annotations

from killsyncd.cli.ctl.status import lines


def test_nothing_is_claimed_while_the_database_is_away() -> None:
    """What is not known reads as nothing: no users, no run ever. Better not a word of it."""
    problem = {"stops": True, "reason": "the database does not answer", "remedy": "is it running?"}
    status = {
        "syncing": False,
        "problems": [problem],
        "queue": {"name": "", "messages": 0, "working": 0, "byPriority": {}},
        "version": "1.0",
        "uptime": 3600.0,
        "rssBytes": 50 << 20,
    }
    told = lines(status)
    assert told[:2] == ["NOT syncing", "  ! the database does not answer -> is it running?"]
    assert [line.split()[0] for line in told[2:]] == ["daemon"]
