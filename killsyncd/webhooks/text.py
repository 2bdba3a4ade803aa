"""Text of strangers in a message of Discord: names of pilots, corporations and ships are theirs. Pure.

Discord renders markdown in titles, descriptions and fields, turns `<@id>` and `@everyone` into mentions, and
addresses into links. Mentions are closed by `allowed_mentions`; what is here keeps the rest from looking like
something it is not, and from breaking the message's form.
"""

from __future__ import annotations

import re
import unicodedata

LONGEST_NAME = 64
"""Characters of one name; EVE's longest (a corporation's) has 50."""

_MARKDOWN = re.compile(r"([\\*_~`|>\[\]()#+<{}!:-])")
_STANDING_IN = str.maketrans(
    {
        # What looks alike and means nothing: Discord makes mentions and links of the others.
        "@": "＠",
        "/": "∕",
    }
)
_GONE = frozenset({"Cc", "Cf", "Cs", "Co", "Cn", "Zl", "Zp"})
"""Categories of characters that nobody sees, or that turn the direction of writing."""

_BLANKS = frozenset("\u115f\u1160\u3164\uffa0\u2800\u034f")
"""Letters by their category that show nothing: fillers, the empty braille cell."""

_MARKS = 2
"""Marks in a row that a letter may carry; more of them cover the lines above."""


def clean(text: str) -> str:
    """A name on one line, without what is invisible, and not too long; empty where nothing is left."""
    kept: list[str] = []
    marks = 0
    for each in unicodedata.normalize("NFC", text[:4096]):
        category = unicodedata.category(each)
        if each.isspace():
            kept.append(" ")
        elif category in _GONE or each in _BLANKS:
            continue
        elif category in ("Mn", "Me"):
            marks += 1
            if marks <= _MARKS and kept:
                kept.append(each)
            continue
        else:
            kept.append(each)
        marks = 0
    line = " ".join("".join(kept).split())
    return line if len(line) <= LONGEST_NAME else line[: LONGEST_NAME - 1].rstrip() + "…"


def escaped(text: str) -> str:
    """A name as Discord shows it letter by letter, wherever markdown is rendered."""
    return _MARKDOWN.sub(r"\\\1", clean(text).translate(_STANDING_IN))


def plain(text: str) -> str:
    """A name where Discord renders no markdown (footers)."""
    return clean(text).translate(_STANDING_IN)


def size(text: str) -> int:
    """Its length as Discord counts: UTF-16 units."""
    return len(text.encode("utf-16-le", "surrogatepass")) // 2


def cut(text: str, limit: int) -> str:
    """At most so many UTF-16 units, with an ellipsis where something is gone; never within an escape."""
    if size(text) <= limit:
        return text
    units, kept = 0, []
    for each in text:
        units += size(each)
        if units > limit - 1:
            break
        kept.append(each)
    shorter = "".join(kept)
    slashes = len(shorter) - len(shorter.rstrip("\\"))
    if slashes % 2:
        shorter = shorter[:-1]
    return shorter.rstrip() + "…"


def isk(value: float) -> str:
    """`1.23 b ISK`, `45.6 m ISK`, `980 k ISK`, `12 ISK`."""
    for unit, size_ in (("k", 1e3), ("m", 1e6), ("b", 1e9), ("t", 1e12)):
        shown = float(f"{value / size_:.3g}")
        if shown < 1.0:
            break
        if shown < 1000.0:
            return f"{shown:g} {unit} ISK"
        if unit == "t":
            return f"{value / size_:,.0f} t ISK"
    return f"{value:,.0f} ISK"
