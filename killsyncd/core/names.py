"""Names as they are searched for: by the beginnings of their words, whatever their case and accents."""

from __future__ import annotations

import re
import unicodedata
from collections.abc import Sequence

MAX_WORDS = 8
MAX_WORD = 40
"""Characters; longer words are cut, on both sides of a comparison."""

_WORD = re.compile(r"\w+")


def words_of(text: str) -> list[str]:
    """The words of a name or of a search, each once: lower case, no accents, no punctuation."""
    plain = "".join(
        each for each in unicodedata.normalize("NFKD", text.casefold()) if not unicodedata.combining(each)
    )
    return list(dict.fromkeys(each[:MAX_WORD] for each in _WORD.findall(plain)))[:MAX_WORDS]


def begins_with(name: str, words: Sequence[str]) -> bool:
    """Whether each of these words is the beginning of a word of the name."""
    if not words:
        return True
    own = words_of(name)
    return all(any(each.startswith(word) for each in own) for word in words)
