"""Numbers and times as people read them."""

from __future__ import annotations

import pytest

from killsyncd.cli.command import printable
from killsyncd.core.text import ago, count, day_time, fight, size, soon, span, table


@pytest.mark.parametrize(
    ("seconds", "text"),
    [(0, "0 s"), (59.9, "59 s"), (60, "1 m"), (3600, "1 h"), (3900, "1 h 5 m"), (90000, "1 d 1 h")],
)
def test_spans(seconds: float, text: str) -> None:
    assert span(seconds) == text


def test_times() -> None:
    assert ago(None) == "never"
    assert ago("2026-01-01T00:00:00Z").endswith(" ago")
    assert ago("9999-01-01T00:00:00Z").startswith("in ")
    assert soon("9999-01-01T00:00:00Z").startswith("in ")
    assert soon("2026-01-01T00:00:00Z") == "now"
    assert day_time("2026-01-01T01:02:03.5Z") == "2026-01-01 01:02 UTC"
    assert day_time(None) == "-"


def test_numbers() -> None:
    assert (count(1, "mail"), count(2500, "mail")) == ("1 mail", "2,500 mails")
    assert (size(512), size(64 << 20), size(3 << 30)) == ("512 B", "64 MiB", "3.0 GiB")


def test_fights() -> None:
    told = {"ship": "Rifter", "system": "Jita"}
    assert (
        fight(victim="Jane", final_blow="John", attackers=4, **told)
        == "Rifter of Jane in Jita, by John and 3 more"
    )
    assert fight(victim=None, final_blow=None, attackers=1, **told) == "Rifter in Jita, by NPCs"


def test_tables() -> None:
    assert table(("A", "BB"), [("ccc", "d"), ("e", "f")]) == ["A    BB", "ccc  d", "e    f"]


def test_names_do_not_steer_terminals() -> None:
    assert printable("Zoë O'Neil 漢字") == "Zoë O'Neil 漢字"
    assert printable("a\x1b[2Jb\rc\nd") == "a?[2Jb?c\nd"
