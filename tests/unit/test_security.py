"""Security as the game shows it, kinds of space, and the words of names."""

from __future__ import annotations

import pytest

from killsyncd.core.names import begins_with, words_of
from killsyncd.core.security import SecurityClass, class_of, displayed
from tests.support import real_static


@pytest.mark.parametrize(
    ("security", "shown"),
    [
        (1.0, 1.0),
        (0.9459, 0.9),
        (0.45, 0.5),
        (0.4499, 0.4),
        (0.05, 0.1),
        (0.0499, 0.1),
        (0.000001, 0.1),
        (0.0, 0.0),
        (-0.04, 0.0),
        (-0.06, -0.1),
        (-0.99, -1.0),
    ],
)
def test_what_is_above_nothing_is_never_shown_as_nothing(security: float, shown: float) -> None:
    assert str(displayed(security)) == str(shown)


@pytest.mark.parametrize(
    ("region", "security", "kind"),
    [
        (10_000_002, 0.45, SecurityClass.HIGH),
        (10_000_002, 0.4499, SecurityClass.LOW),
        (10_000_002, 0.0001, SecurityClass.LOW),
        (10_000_002, 0.0, SecurityClass.NULL),
        (10_000_060, -0.3, SecurityClass.NULL),
        (10_000_070, 0.7, SecurityClass.POCHVEN),
        (11_000_033, -0.99, SecurityClass.WORMHOLE),
        (12_000_001, 0.9, SecurityClass.ABYSSAL),
        (14_000_001, 0.9, SecurityClass.VOID),
    ],
)
def test_kinds_of_space(region: int, security: float, kind: SecurityClass) -> None:
    assert class_of(region, security) is kind


def test_words_of_names() -> None:
    assert words_of("  D'Ábrakov & Sons [OLD]  d ") == ["d", "abrakov", "sons", "old"]
    assert words_of("\x00%_'\";--") == ["_"]
    assert len(words_of("a1 b2 c3 d4 e5 f6 g7 h8 i9 j0")) == 8
    assert words_of("x" * 99) == ["x" * 40]
    assert begins_with("Aldo Abrakov", words_of("ABR ald"))
    assert not begins_with("Aldo Abrakov", words_of("brakov"))


@real_static.needs_static
def test_every_system_of_the_export_has_a_kind() -> None:
    import zipfile

    import orjson

    with zipfile.ZipFile(real_static.ARCHIVE) as archive:
        for each in map(orjson.loads, archive.open("mapSolarSystems.jsonl")):
            kind = class_of(each["regionID"], each["securityStatus"])
            shown = displayed(each["securityStatus"])
            if kind is SecurityClass.HIGH:
                assert shown >= 0.5
            elif kind is SecurityClass.LOW:
                assert 0.1 <= shown <= 0.4
            elif kind is SecurityClass.NULL:
                assert shown <= 0.0
