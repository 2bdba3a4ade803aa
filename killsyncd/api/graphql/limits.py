"""Limits, and what of a query can be measured before it is validated.

Validation is quadratic in places, so a query is measured first: everything refused
here costs some milliseconds at most.
"""

from __future__ import annotations

from dataclasses import dataclass, replace

from graphql import (
    DocumentNode,
    FieldNode,
    FragmentDefinitionNode,
    FragmentSpreadNode,
    InlineFragmentNode,
    Lexer,
    OperationDefinitionNode,
    SelectionSetNode,
    Source,
    TokenKind,
)

from killsyncd.core.read_model import TooMuch

_OPENING = frozenset({TokenKind.BRACE_L, TokenKind.PAREN_L, TokenKind.BRACKET_L})
_CLOSING = frozenset({TokenKind.BRACE_R, TokenKind.PAREN_R, TokenKind.BRACKET_R})
_MAX_NESTING = 64  # brackets of all kinds; far above `depth`, far below Python's stack


@dataclass(frozen=True, slots=True)
class Limits:
    """What one client may ask for. Sizes in bytes, times in seconds.

    aliases: with fragments written out; a field that stands twice in one selection counts as one.
    definitions: operations and fragments; comparing fragments is quadratic.
    introspections: of `__schema` and `__type` in one query; their insides don't count as depth.
    ids: in one argument. alternatives: filters within the `any` of one filter, those within these included.
    connections: in all, where the system gives so many files. sockets, subscriptions: WebSockets in all,
    and subscriptions on one. init_seconds: until a socket has introduced itself. send_seconds: for a reader
    to take what was sent.
    values: fields times rows of one answer, see `budget`. values_together: of all smaller queries in flight,
    beside one larger one. patience: how long a query waits for these to become free.
    sending: bytes of all answers that are being sent; those of up to `small` bytes don't count.
    cached_tokens: of the queries that are remembered. subscribed_tokens, subscribed_bytes: of all different
    subscriptions, and of all messages that subscribed, beyond 1 KiB each. operations: on all sockets.
    replay: mails of the feed read at once. ring: the last mails of the feed kept for all subscribers.
    payloads: bytes of answers kept for all subscribers.

    Together they bound what all clients at once can make the daemon take, whatever they ask for: 150 MB
    (`make bench BENCH_ARGS=memory`). A value is some 300 bytes while a query works; what is sent is there
    twice, once for the connection; a remembered token of a query is some 1.5 KB.
    """

    body: int = 64 * 1024
    tokens: int = 1000
    depth: int = 12
    aliases: int = 30
    definitions: int = 50
    introspections: int = 3
    page: int = 100
    ids: int = 1000
    alternatives: int = 20
    days: int = 90
    values: int = 200_000
    values_together: int = 100_000
    patience: float = 5.0
    sending: int = 12 * 1024 * 1024
    small: int = 4 * 1024
    seconds: float = 5.0
    cached_queries: int = 256
    cached_tokens: int = 10_000
    connections: int = 2560
    sockets: int = 2000
    subscriptions: int = 20
    operations: int = 4000
    subscribed_tokens: int = 15_000
    subscribed_bytes: int = 1024 * 1024
    init_seconds: float = 3.0
    ping_seconds: float = 20.0
    send_seconds: float = 20.0
    replay: int = 100
    ring: int = 1000
    payloads: int = 2 * 1024 * 1024


@dataclass(frozen=True, slots=True)
class Size:
    """A selection, measured with its fragments written out."""

    depth: int = 0
    aliases: int = 0
    introspections: int = 0

    def beside(self, other: Size) -> Size:
        """Both, in one selection."""
        return Size(
            max(self.depth, other.depth),
            self.aliases + other.aliases,
            self.introspections + other.introspections,
        )


def check_text(text: str, limits: Limits) -> int:
    """Refuse too many tokens and brackets in brackets without end, before anything recursive sees them.

    Answers the number of tokens. Raises TooMuch, and GraphQLSyntaxError for what is no token.
    """
    if text.count("#") > limits.tokens:  # comments are no tokens, and yet work for the lexer
        raise TooMuch("the query has too many comments", "leave them out")
    lexer = Lexer(Source(text))
    tokens = nesting = 0
    while (token := lexer.advance()).kind is not TokenKind.EOF:
        tokens += 1
        if tokens > limits.tokens:
            raise TooMuch(
                f"the query has more than {limits.tokens} tokens",
                "ask for less at once, or in several queries",
            )
        if token.kind in _OPENING:
            nesting += 1
            if nesting > _MAX_NESTING:
                raise TooMuch(f"the query nests deeper than {limits.depth}", "ask for less depth at once")
        elif token.kind in _CLOSING:
            nesting -= 1
    return tokens


def unlink(document: DocumentNode) -> None:
    """Make a document's tokens forget the ones before them.

    They would hold each other in circles, of which only the collector frees them, and rarely: what 300 long
    queries had left took 90 MB. Nothing asks a token for the one before it once a document is parsed.
    """
    token = document.loc.start_token if document.loc is not None else None
    while token is not None:
        token.prev = None
        token = token.next


def check_document(document: DocumentNode, limits: Limits) -> None:
    """Refuse what is too deep or asks for the same too often. Raises TooMuch."""
    if len(document.definitions) > limits.definitions:
        raise TooMuch(
            f"the document has more than {limits.definitions} operations and fragments",
            "ask in several queries",
        )
    fragments = {
        each.name.value: each for each in document.definitions if isinstance(each, FragmentDefinitionNode)
    }
    measured: dict[str, Size] = {}
    for each in document.definitions:
        if isinstance(each, OperationDefinitionNode):
            _refuse(_measure(each.selection_set, fragments, measured), limits)
    for name in fragments:
        # Also those that no operation uses: validation goes through them all.
        _refuse(_of_fragment(name, fragments, measured), limits)


def _refuse(size: Size, limits: Limits) -> None:
    if size.depth > limits.depth:
        raise TooMuch(f"the query nests deeper than {limits.depth}", "ask for less depth at once")
    if size.aliases > limits.aliases:
        raise TooMuch(
            f"the query has more than {limits.aliases} aliases or repeated fields", "ask in several queries"
        )
    if size.introspections > limits.introspections:
        raise TooMuch(
            f"the query asks for the schema more than {limits.introspections} times", "once will do"
        )


def _measure(
    selections: SelectionSetNode | None,
    fragments: dict[str, FragmentDefinitionNode],
    measured: dict[str, Size],
    seen: set[str] | None = None,
) -> Size:
    """Measure a selection. seen: keys of the answer that the selection around it has already."""
    size = Size()
    if selections is None:
        return size
    seen = set() if seen is None else seen
    for each in selections.selections:
        if isinstance(each, FieldNode):
            key = each.alias.value if each.alias else each.name.value
            inner = _measure(each.selection_set, fragments, measured)
            introspects = each.name.value in ("__schema", "__type")
            repeated = each.alias is not None or key in seen
            seen.add(key)
            one = Size(
                1 if introspects else 1 + inner.depth,
                inner.aliases + repeated,
                inner.introspections + introspects,
            )
        elif isinstance(each, FragmentSpreadNode):
            one = _of_fragment(each.name.value, fragments, measured)
        elif isinstance(each, InlineFragmentNode):
            one = _measure(each.selection_set, fragments, measured, seen)
        else:  # pragma: no cover - there is no fourth kind
            continue
        size = size.beside(one)
    return size


def _of_fragment(name: str, fragments: dict[str, FragmentDefinitionNode], measured: dict[str, Size]) -> Size:
    if name not in measured:
        measured[name] = Size()  # a fragment in itself ends here; validation says what is wrong with it
        fragment = fragments.get(name)
        if fragment is not None:
            size = _measure(fragment.selection_set, fragments, measured)
            if fragment.type_condition.name.value.startswith("__"):
                size = replace(size, depth=0)  # inside of the schema, which has a rule of its own
            measured[name] = size
    return measured[name]
