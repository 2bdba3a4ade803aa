"""`ctl status` for people."""

from __future__ import annotations

from killsyncd.cli.ctl.status import _waiting, lines


def test_nothing_is_claimed_while_the_database_is_away() -> None:
    """What is not known reads as nothing: no users, no run ever. Better not a word of it."""
    problem = {"stops": True, "reason": "the database does not answer", "remedy": "is it running?"}
    status = {
        "syncing": False,
        "problems": [problem],
        "queue": {"name": "", "messages": 0, "working": 0, "byPriority": {}},
        "queues": [],
        "version": "1.0",
        "uptime": 3600.0,
        "rssBytes": 50 << 20,
    }
    told = lines(status)
    assert told[:2] == ["NOT syncing", "  ! the database does not answer -> is it running?"]
    assert [line.split()[0] for line in told[2:]] == ["daemon"]


def test_what_waits_has_its_reason_and_time() -> None:
    def waits(code: str, reason: str, until: str) -> dict[str, object]:
        return {"what": "list", "code": code, "reason": reason, "until": until, "count": 1}

    spent = waits(
        "budget", "Ada (1): the budget of this pilot's list is spent; asked again at 12:07:10 UTC", "x"
    )
    cached = [waits("cache", "", f"2026-11-30T12:0{minute}:00Z") for minute in (3, 1)]
    assert _waiting({"waiting": [spent, *cached]}) == [
        spent["reason"],
        "2 lists for ESI's cache, the first until 12:01:00 UTC",
    ]
    many = _waiting({"waiting": [spent] * 7})
    assert many[-1] == "and 2 lists more"
    assert _waiting({"waiting": []}) == []
