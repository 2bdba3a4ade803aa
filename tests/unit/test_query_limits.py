"""What is refused before a query is validated, and what is not."""

from __future__ import annotations

import gc

import pytest
from graphql import Token, get_introspection_query, parse

from killsyncd.api.graphql.limits import Limits, check_document, check_text, unlink
from killsyncd.core.read_model import TooMuch

LIMITS = Limits()


def look(text: str) -> None:
    check_text(text, LIMITS)
    check_document(parse(text), LIMITS)


def nested(depth: int) -> str:
    return "{ " + "a { " * (depth - 1) + "a" + " }" * (depth - 1) + " }"


@pytest.mark.parametrize(
    "text",
    [
        "{ a }",
        nested(12),
        "{ " + " ".join(f"a{n}: b" for n in range(30)) + " }",
        "{ " + " ".join(f"a{n}" for n in range(998)) + " }",
        get_introspection_query(),
        "{ ...f } fragment f on Query { ...f }",
        "{ ...missing }",
        "{ a(x: [[[[[[[[[[[[[[1]]]]]]]]]]]]]]) }",
        '{ a(x: "# no comment # at # all") }',
    ],
)
def test_within_the_limits(text: str) -> None:
    look(text)


@pytest.mark.parametrize(
    ("text", "words"),
    [
        ("{ " + "a " * 999 + "}", "1000 tokens"),
        (nested(13), "deeper than 12"),
        ("{ a " * 400 + "}" * 400, "deeper than 12"),
        ("{ a(x: " + "[" * 480 + "]" * 480 + ") }", "deeper than 12"),
        ("{ " + " ".join(f"a{n}: b" for n in range(31)) + " }", "30 aliases"),
        ("{ " + "b " * 32 + "}", "30 aliases"),
        ("{ " + "... { b } " * 32 + "}", "30 aliases"),
        ("{ x { ...f } } fragment f on A " + nested(12), "deeper than 12"),
        ("fragment unused on A " + nested(13) + " { a }", "deeper than 12"),
        # Aliases multiply through fragments: 6 * 6 of them.
        (
            "{ "
            + " ".join(f"a{n}: b {{ ...f }}" for n in range(6))
            + " } fragment f on A { "
            + " ".join(f"c{n}: d" for n in range(6))
            + " }",
            "30 aliases",
        ),
        ("{ " + " ".join(f"a{n}: __schema {{ description }}" for n in range(4)) + " }", "schema more than 3"),
        (" ".join(f"query q{n} {{ a }}" for n in range(51)), "50 operations"),
        ("#\n" * 2000 + "{ a }", "too many comments"),
    ],
)
def test_beyond_the_limits(text: str, words: str) -> None:
    with pytest.raises(TooMuch, match=words):
        look(text)


def test_a_document_that_is_forgotten_is_free_without_the_collector() -> None:
    def tokens() -> int:
        return sum(isinstance(each, Token) for each in gc.get_objects())

    gc.collect()
    gc.disable()
    try:
        before = tokens()
        document = parse("{ " + " ".join(f"a{n}" for n in range(900)) + " }")
        unlink(document)
        assert document.loc is not None
        assert tokens() - before > 900
        del document
        assert tokens() == before
    finally:
        gc.enable()
