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
    GraphQLNamedType,
    GraphQLObjectType,
    GraphQLSchema,
    InlineFragmentNode,
    IntValueNode,
    ListValueNode,
    ObjectValueNode,
    OperationDefinitionNode,
    SelectionSetNode,
    ValueNode,
    VariableNode,
    get_named_type,
    get_nullable_type,
    is_list_type,
)

_STATEMENTS = {
    ("Query", "activity"): 5_000,
    ("Query", "killmails"): 50,
    ("Query", "status"): 500,
    ("Query", "workerStatus"): 500,
    ("KillmailConnection", "totalCount"): 50,
}
"""Fields that are statements of their own, as values: work of the database counts, too."""

_DEFAULT_PAGE = 50


_A_FILTER = 50
"""Each filter in an `any` is a part of the statement, as values."""


def _given_alternatives(value: Any) -> int:
    """How many filters stand in the `any` of a filter that came as a variable, whatever that is."""
    found, pending = 0, [value]
    while pending:
        one = pending.pop()
        inner = one.get("any") if isinstance(one, dict) else None
        inner = inner if isinstance(inner, list) else [inner] if isinstance(inner, dict) else []
        found += len(inner)
        pending += inner
    return found


class Costs:
    """Costs of the parts of one operation.

    variables: as they were given; the schema's own defaults stand in for those that were not.
    page: the longest page there is.
    """

    def __init__(
        self,
        schema: GraphQLSchema,
        fragments: Mapping[str, FragmentDefinitionNode],
        variables: Mapping[str, Any],
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
        own += sum(_A_FILTER * self._alternatives(each) for each in nodes)
        field = kind.fields.get(name) if isinstance(kind, GraphQLObjectType) else None
        inner = [each.selection_set for each in nodes if each.selection_set]
        if not inner:
            return own
        first = _DEFAULT_PAGE if field is None or "first" not in field.args else self._first(nodes[0])
        inside = get_named_type(field.type) if field is not None else None
        if field is not None and is_list_type(get_nullable_type(field.type)):
            rows = first if "first" in field.args else page if name == "edges" else 1
            return own + rows * (1 + self._of(inside, inner, 1))
        return own + self._of(inside, inner, first)

    def _first(self, node: FieldNode) -> int:
        """How long a page is to be; what is wrong with it is said later."""
        for argument in node.arguments or ():
            if argument.name.value != "first":
                continue
            value: Any = None
            if isinstance(argument.value, IntValueNode) and len(argument.value.value) < 10:
                value = int(argument.value.value)
            elif isinstance(argument.value, VariableNode):
                value = self._variables.get(argument.value.name.value)
            if isinstance(value, int):
                return max(1, min(self._page, value))
        return _DEFAULT_PAGE

    def _alternatives(self, node: FieldNode) -> int:
        """How many filters stand in the `any` of this field's filter."""
        for argument in node.arguments or ():
            if argument.name.value == "filter":
                if isinstance(argument.value, VariableNode):
                    return _given_alternatives(self._variables.get(argument.value.name.value))
                return self._written_alternatives(argument.value)
        return 0

    def _written_alternatives(self, value: ValueNode) -> int:
        if not isinstance(value, ObjectValueNode):
            return 0
        found = 0
        for each in value.fields:
            if each.name.value != "any":
                continue
            if isinstance(each.value, VariableNode):
                found += _given_alternatives({"any": self._variables.get(each.value.name.value)})
                continue
            # Where a list is wanted, one value alone is a list of it.
            inner = each.value.values if isinstance(each.value, ListValueNode) else [each.value]
            found += len(inner) + sum(map(self._written_alternatives, inner))
        return found

    def _collect(
        self, selections: SelectionSetNode, into: dict[str, list[FieldNode]], seen: set[str]
    ) -> None:
        for each in selections.selections:
            if isinstance(each, FieldNode):
                into.setdefault(each.alias.value if each.alias else each.name.value, []).append(each)
            elif isinstance(each, InlineFragmentNode):
                self._collect(each.selection_set, into, seen)
            elif isinstance(each, FragmentSpreadNode) and each.name.value not in seen:
                seen.add(each.name.value)
                fragment = self._fragments.get(each.name.value)
                if fragment is not None:
                    self._collect(fragment.selection_set, into, seen)
