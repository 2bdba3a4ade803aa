"""What a query costs by its text: fields times rows, as far as page sizes tell the rows.

Lists whose length only the database knows count as one row here; `executor` charges the rest once it knows.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from typing import Any

from graphql import (
    FieldNode,
    FragmentDefinitionNode,
    FragmentSpreadNode,
    GraphQLError,
    GraphQLField,
    GraphQLIncludeDirective,
    GraphQLNamedType,
    GraphQLObjectType,
    GraphQLSchema,
    GraphQLSkipDirective,
    InlineFragmentNode,
    OperationDefinitionNode,
    SelectionNode,
    SelectionSetNode,
    get_argument_values,
    get_directive_values,
    get_named_type,
    get_nullable_type,
    is_list_type,
)
from graphql.execution.values import VariableValues

_LATER = 20
"""Values of a field that waits for something that is read: what waits for it takes 6 KB meanwhile."""

_STATEMENTS = {
    **{
        ("Killmail", name): _LATER
        for name in ("victim", "attackers", "finalBlow", "items", "users", "raw", "value", "fitting")
    },
    ("User", "killmails"): _LATER,
    ("Query", "activity"): 5_000,
    ("Query", "killmails"): 50,
    ("Query", "search"): 500,
    ("Query", "statistics"): 2_000,
    ("Query", "ranking"): 5_000,
    **{
        ("Statistics", name): 2_000
        for name in ("shipsFlown", "shipsKilled", "shipsLost", "systems", "regions", "opponents")
    },
    ("Fitting", "eft"): 10,
    ("Query", "status"): 500,
    ("Query", "webhooks"): 1_000,
    ("Query", "workerStatus"): 500,
    ("KillmailConnection", "totalCount"): 50,
}
"""Fields that are statements of their own, as values: work of the database counts, too."""

_DEFAULT_PAGE = 50


_A_FILTER = 50
"""Each filter in an `any` is a part of the statement, as values."""


def _alternatives(given: Mapping[str, Any] | None) -> int:
    """How many filters stand in the `any` of a filter, and in theirs."""
    found, pending = 0, [given or {}]
    while pending:
        inner = pending.pop().get("any") or ()
        found += len(inner)
        pending += inner
    return found


class Costs:
    """Costs of the parts of one operation.

    variables: as executing knows them: with the operation's own defaults for those that were not given.
    page: the longest page there is.
    """

    def __init__(
        self,
        schema: GraphQLSchema,
        fragments: Mapping[str, FragmentDefinitionNode],
        variables: VariableValues,
        page: int,
    ) -> None:
        self._schema = schema
        self._fragments = fragments
        self._variables = variables
        self._page = page
        self._known: dict[tuple[int, ...], int] = {}

    def of_operation(self, operation: OperationDefinitionNode) -> int:
        """The whole operation."""
        root = self._schema.get_root_type(operation.operation)
        return self._of(root, [operation.selection_set], 1) if root is not None else 0

    def of_item(self, kind: GraphQLNamedType, nodes: Iterable[FieldNode]) -> int:
        """One row of a list field, which stands at these places of the query. kind: the row's type."""
        return self._of(kind, [each.selection_set for each in nodes if each.selection_set], 1)

    def _of(self, kind: GraphQLNamedType | None, selections: list[SelectionSetNode], page: int) -> int:
        """One object with these selections. page: rows of its `edges`."""
        key = (page, *map(id, selections))
        if key not in self._known:
            self._known[key] = 0  # a fragment in itself; validation refuses it
            fields: dict[str, list[FieldNode]] = {}
            for each in selections:
                self._collect(each, fields, set())
            self._known[key] = sum(self._of_field(kind, nodes, page) for nodes in fields.values())
        return self._known[key]

    def _of_field(self, kind: GraphQLNamedType | None, nodes: list[FieldNode], page: int) -> int:
        name = nodes[0].name.value
        own = 1 + (_STATEMENTS.get((kind.name, name), 0) if kind is not None else 0)
        field = kind.fields.get(name) if isinstance(kind, GraphQLObjectType) else None
        inner = [each.selection_set for each in nodes if each.selection_set]
        if field is None or not inner:
            return own
        given = self._arguments(field, nodes[0])
        own += _A_FILTER * _alternatives(given.get("filter"))
        paged = "first" in field.args
        first = max(1, min(self._page, given.get("first") or _DEFAULT_PAGE))
        inside = get_named_type(field.type)
        if is_list_type(get_nullable_type(field.type)):
            rows = first if paged else page if name == "edges" else 1
            return own + rows * (1 + self._of(inside, inner, 1))
        return own + self._of(inside, inner, first)

    def _arguments(self, field: GraphQLField, node: FieldNode) -> Mapping[str, Any]:
        """The arguments, whatever gives them: the query, variables and their defaults, the schema.

        What is wrong with them is said later, and costs as much as the longest page.
        """
        try:
            return get_argument_values(field, node, self._variables)
        except GraphQLError:
            return {"first": self._page}

    def _left_out(self, node: SelectionNode) -> bool:
        """Whether a directive, with these variables, leaves it out."""
        try:
            skip = get_directive_values(GraphQLSkipDirective, node, self._variables)
            include = get_directive_values(GraphQLIncludeDirective, node, self._variables)
        except GraphQLError:
            return False
        return bool(skip and skip["if"]) or bool(include and not include["if"])

    def _collect(
        self, selections: SelectionSetNode, into: dict[str, list[FieldNode]], seen: set[str]
    ) -> None:
        for each in selections.selections:
            if self._left_out(each):
                continue
            if isinstance(each, FieldNode):
                into.setdefault(each.alias.value if each.alias else each.name.value, []).append(each)
            elif isinstance(each, InlineFragmentNode):
                self._collect(each.selection_set, into, seen)
            elif isinstance(each, FragmentSpreadNode) and each.name.value not in seen:
                seen.add(each.name.value)
                fragment = self._fragments.get(each.name.value)
                if fragment is not None:
                    self._collect(fragment.selection_set, into, seen)
