"""EVE Ref's days, whole and broken: memory does not grow with them, and what is bad hides nothing good."""

from __future__ import annotations

import bz2
import io
import json
import tarfile
import tracemalloc
from collections.abc import Iterable
from datetime import date
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest

from killsyncd.archives import everef
from killsyncd.archives.everef import Wanted, import_line, look, members, pairs, totals
from killsyncd.cli import history
from killsyncd.core.errors import BadInput

HASH = "0123456789abcdef0123456789abcdef01234567"


def mail(killmail_id: int, victim: int = 1, attacker: int = 2, **more: Any) -> bytes:
    document = {
        "attackers": [
            {"character_id": attacker, "corporation_id": 98, "alliance_id": 99, "final_blow": True}
        ],
        "killmail_id": killmail_id,
        "victim": {"character_id": victim, "ship_type_id": 587},
        "killmail_hash": HASH,
        "http_last_modified": "2026-01-01T00:00:00Z",
        **more,
    }
    return json.dumps(document).encode()


def packed(path: Path, bodies: Iterable[bytes], *, cut: int = 0) -> Path:
    raw = io.BytesIO()
    with tarfile.open(fileobj=raw, mode="w", format=tarfile.PAX_FORMAT) as tar:
        folder = tarfile.TarInfo("killmails")
        folder.type = tarfile.DIRTYPE
        tar.addfile(folder)
        for number, body in enumerate(bodies):
            member = tarfile.TarInfo(f"killmails/{number}{'x' * 120}.json")
            member.size = len(body)
            tar.addfile(member, io.BytesIO(body))
    data = bz2.compress(raw.getvalue())
    path.write_bytes(data[: len(data) - cut] if cut else data)
    return path


@pytest.mark.parametrize(
    ("wanted", "ids"),
    [
        (Wanted(everybody=True), [1, 2, 3]),
        (Wanted(characters=frozenset({7})), [2, 3]),
        (Wanted(corporations=frozenset({98})), [1, 2, 3]),
        (Wanted(alliances=frozenset({99})), [1, 2, 3]),
        (Wanted(characters=frozenset({1234})), []),
        (Wanted(), []),
    ],
)
def test_whose_mails_are_kept(tmp_path: Path, wanted: Wanted, ids: list[int]) -> None:
    day = packed(tmp_path / "day", [mail(1), mail(2, victim=7), mail(3, attacker=7)])
    assert [each.killmail_id for each in members(day, wanted) if each.wanted] == ids


def test_what_is_no_killmail_is_passed_over(tmp_path: Path) -> None:
    bad = [b"", b"[]", b"null", b"{}", mail(0).replace(b'"killmail_id": 0', b'"killmail_id": "x"')]
    day = packed(tmp_path / "day", [mail(1), *bad, mail(2)])
    found = list(members(day, Wanted(everybody=True)))
    assert [each.killmail_id for each in found] == [1, None, None, None, None, None, 2]
    assert [each.wanted for each in found] == [True, *[False] * 5, True]


@pytest.mark.parametrize(
    "body",
    [
        mail(3, note=0).replace(b": 0", b": " + b"[" * 100_000 + b"]" * 100_000),
        mail(3).replace(b'": 3', b'": ' + b"3" * 400),
        mail(3).replace(b'": 3', b'": -3'),
        mail(3, killmail_hash="0" * 1_000_000),
    ],
    ids=["deep", "an id beyond all bounds", "an id below them", "a hash that is none"],
)
def test_a_hostile_killmail_is_none(body: bytes) -> None:
    assert look(body, Wanted(everybody=True)).killmail_id is None


@pytest.mark.parametrize("inside", [b'"\xff"', b"1e999", b"9" * 5000])
def test_what_is_no_json_throughout_is_no_line(inside: bytes) -> None:
    found = look(mail(3, note=0).replace(b'"note": 0', b'"note": ' + inside), Wanted(everybody=True))
    with pytest.raises(BadInput):
        import_line(found)


def test_a_member_too_long_is_not_read(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(everef, "MOST_MEMBER", 1000)
    day = packed(tmp_path / "day", [b" " * 1001, mail(1)])
    assert [each.killmail_id for each in members(day, Wanted(everybody=True))] == [None, 1]


def test_an_archive_that_is_none_or_ends_in_the_middle_says_so(tmp_path: Path) -> None:
    day = packed(tmp_path / "day", [mail(number, note="n" * number) for number in range(1, 400)], cut=20)
    with pytest.raises(BadInput, match="cannot be read to its end"):
        list(members(day, Wanted(everybody=True)))
    for text in (b"", b"<html>", bz2.compress(b"no tar at all" * 100)):
        (tmp_path / "none").write_bytes(text)
        with pytest.raises(BadInput):
            list(members(tmp_path / "none", Wanted(everybody=True)))


def test_a_day_beyond_all_bounds_is_given_up(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(everef, "MOST_UNPACKED", 10_000)
    day = packed(tmp_path / "day", [mail(number) for number in range(100)])
    with pytest.raises(BadInput, match="longer than any day"):
        list(members(day, Wanted(everybody=True)))


@pytest.mark.parametrize("kind", [tarfile.REGTYPE, tarfile.XHDTYPE], ids=["empty", "passed over"])
def test_what_is_not_read_counts_too(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, kind: bytes) -> None:
    """Headers of empty members without end, and one member of another kind that has no end."""
    monkeypatch.setattr(everef, "MOST_UNPACKED", 4 << 20)
    member = tarfile.TarInfo("a")
    member.type, member.size = kind, 0 if kind == tarfile.REGTYPE else 1 << 50
    blocks = member.tobuf(tarfile.GNU_FORMAT) * (1 << 14 if kind == tarfile.REGTYPE else 1) + bytes(8 << 20)
    (tmp_path / "day").write_bytes(bz2.compress(blocks))
    with pytest.raises(BadInput, match="longer than any day"):
        list(members(tmp_path / "day", Wanted(everybody=True)))


def test_memory_does_not_grow_with_the_day(tmp_path: Path) -> None:
    def peak(count: int) -> int:
        day = packed(tmp_path / str(count), (mail(number, note="x" * 2000) for number in range(count)))
        tracemalloc.start()
        try:
            assert sum(1 for _ in members(day, Wanted(everybody=True))) == count
            return tracemalloc.get_traced_memory()[1]
        finally:
            tracemalloc.stop()

    assert peak(4000) < peak(500) + 200_000


def test_a_line_is_esis_json_with_the_hash() -> None:
    line = import_line(look(mail(5), Wanted(everybody=True)))
    assert json.loads(line) == {
        name: value for name, value in json.loads(mail(5)).items() if name != "http_last_modified"
    }
    assert line.endswith(b"\n")
    assert line.count(b"\n") == 1


def test_scopes_tell_whose_mails_were_kept() -> None:
    one = Wanted(characters=frozenset({3, 2}), corporations=frozenset({98}))
    assert one.scope == "characters 2 3; corporations 98"
    many = Wanted(characters=frozenset(range(90_000_000, 90_005_000)))
    assert len(many.scope) < 100
    assert many.scope != Wanted(characters=frozenset(range(90_000_001, 90_005_000))).scope
    assert Wanted(everybody=True).scope == "everybody"
    assert Wanted().scope == ""


def test_lists_of_days_and_of_hashes() -> None:
    assert totals(b'{"20260101":15000,"20260102":3,"total":5}') == {20260101: 15000, 20260102: 3}
    good, bad = pairs(json.dumps({"1": HASH, "2": HASH.upper(), "x": HASH, "3": "short", "4": None}).encode())
    assert (good, bad) == ([(1, HASH), (2, HASH)], 3)
    named = {"\u00b2": HASH, "5": "z" * 40, "6": [[]]}
    assert pairs(json.dumps(named, ensure_ascii=False).encode()) == ([], 3)
    assert totals('{"\u00b2\u00b2\u00b2\u00b2\u00b2\u00b2\u00b2\u00b2": 1}'.encode()) == {}
    for body in (b"", b"[]", b"<html>", b'{"1":' + b"[" * 100_000):
        with pytest.raises(BadInput):
            totals(body)
        with pytest.raises(BadInput):
            pairs(body)
    with pytest.raises(BadInput):
        totals(b'{"20260101":' + b"9" * 300 + b"}")


class Noted:
    """What an import writes down."""

    def __init__(self) -> None:
        self.days: dict[int, int] = {}

    def state(self, archive: str, scope: str) -> Any:
        return {"days": {str(day): mails for day, mails in self.days.items()}, "refused": []}

    def day_read(self, archive: str, scope: str, day: history.Day) -> None:
        self.days[history.number_of(day.day)] = day.mails


CONFIG: Any = SimpleNamespace(
    history=SimpleNamespace(everef_url="x", zkillboard_url="x"), esi=SimpleNamespace(contact="a@b.c")
)


def test_a_day_with_less_than_its_list_says_is_read_again(monkeypatch: pytest.MonkeyPatch) -> None:
    """The list of days may be ahead of the archive: what was not in it is not written down as read."""
    noted: Any = Noted()
    runner: Any = None
    reads = history.Everef(runner, noted, CONFIG, verify=False)
    there = iter((3, 5))

    def read(day: history.Day, wanted: Wanted) -> None:
        day.mails = next(there)

    monkeypatch.setattr(reads, "_totals", lambda: {20200102: 5})
    monkeypatch.setattr(reads, "_day", read)
    runs = [reads.run([date(2020, 1, 2)], Wanted(everybody=True)).days[0] for _ in range(3)]
    assert [each.state for each in runs] == ["read", "read", "known"]


def test_an_empty_day_says_nothing(monkeypatch: pytest.MonkeyPatch) -> None:
    noted: Any = Noted()
    runner: Any = None
    reads = history.ZkillboardDays(runner, noted, CONFIG)
    monkeypatch.setattr(reads, "_day", lambda day: None)
    for _ in range(2):
        assert reads.run([date(2020, 1, 2)]).days[0].state == "read"
    assert noted.days == {}
