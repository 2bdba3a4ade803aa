"""Which named queries a source text runs, and with which parameters, as its syntax tells."""

from __future__ import annotations

import ast
import gc
import re
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any

ANY = "[a-z0-9]+"
"""What a part of a parameter's name may be that is only known at run time."""


class Unclear(Exception):
    """A use that this module cannot follow: write it so that a reader can, too."""


@dataclass(frozen=True)
class Use:
    """One `Run` or `Many`. given: a pattern for each parameter."""

    name: str
    given: frozenset[str]
    line: int

    def fits(self, parameters: tuple[str, ...]) -> bool:
        """Whether exactly these parameters are given."""
        every = all(any(re.fullmatch(each, name) for each in self.given) for name in parameters)
        return every and all(any(re.fullmatch(each, name) for name in parameters) for each in self.given)


def uses(source: str) -> list[Use]:
    """Every `Run(...)` and `Many(...)`. Raises Unclear."""
    if "Run(" not in source and "Many(" not in source:
        return []
    # CPython 3.11 loses count of its depth where the collector runs Python code while it builds a tree
    # (python/cpython issue 106905).
    gc.disable()
    try:
        module = ast.parse(source)
    finally:
        gc.enable()
    found: list[Use] = []
    for scope, call in _calls(module, module):
        names, given = _Scope(module, scope, call.lineno), call.args[1]
        try:
            keys = names.keys(given) if _called(call) == "Run" else names.keys_of_each(given)
            found += [Use(name, keys, call.lineno) for name in names.texts(call.args[0])]
        except Unclear as error:
            raise Unclear(f"line {call.lineno}: {ast.unparse(call)}: {error}") from None
    return found


def _called(call: ast.Call) -> str:
    return call.func.id if isinstance(call.func, ast.Name) else ""


def _calls(scope: ast.AST, node: ast.AST) -> Iterator[tuple[ast.AST, ast.Call]]:
    for child in ast.iter_child_nodes(node):
        if isinstance(child, ast.Call) and _called(child) in ("Run", "Many"):
            yield scope, child
        yield from _calls(
            child if isinstance(child, ast.FunctionDef | ast.AsyncFunctionDef) else scope, child
        )


class _Scope:
    """What the names in a function stand for, at one of its lines."""

    def __init__(self, module: ast.AST, scope: ast.AST, line: int) -> None:
        self._module, self._scope, self._line = module, scope, line

    def texts(self, node: ast.expr) -> list[str]:
        """The texts that an expression can be."""
        match node:
            case ast.Constant(value=str(text)):
                return [text]
            case ast.IfExp(body=body, orelse=orelse):
                return self.texts(body) + self.texts(orelse)
            case ast.JoinedStr(values=parts):
                found = [""]
                for part in parts:
                    ends = self.texts(part.value if isinstance(part, ast.FormattedValue) else part)
                    found = [start + end for start in found for end in ends]
                return found
            case ast.Name(id=name):
                return self._in_loop(name)
        raise Unclear(f"which text is {ast.unparse(node)}?")

    def keys(self, node: ast.expr) -> frozenset[str]:
        """The keys of a dict."""
        match node:
            case ast.Dict(keys=keys, values=values):
                found: set[str] = set()
                for key, value in zip(keys, values, strict=True):
                    found |= self.keys(value) if key is None else {self._pattern(key)}
                return frozenset(found)
            case ast.DictComp(key=key):
                return frozenset({self._pattern(key)})
            case ast.Name(id=name):
                return self.keys(self._assigned(name))
        raise Unclear(f"which keys has {ast.unparse(node)}?")

    def keys_of_each(self, node: ast.expr) -> frozenset[str]:
        """The keys of each dict in a list."""
        match node:
            case ast.ListComp(elt=each):
                return self.keys(each)
            case ast.Name(id=name):
                for call in ast.walk(self._scope):
                    if isinstance(call, ast.Call) and ast.unparse(call.func) == f"{name}.append":
                        return self.keys(call.args[0])
                return self.keys_of_each(self._assigned(name))
        raise Unclear(f"which dicts are in {ast.unparse(node)}?")

    def _pattern(self, key: ast.expr) -> str:
        match key:
            case ast.Constant(value=str(text)):
                return text
            case ast.JoinedStr(values=parts):
                return "".join(str(each.value) if isinstance(each, ast.Constant) else ANY for each in parts)
        raise Unclear(f"which key is {ast.unparse(key)}?")

    def _assigned(self, name: str) -> ast.expr:
        """The last value before our line that a name got."""
        found: ast.expr | None = None
        for node in ast.walk(self._scope):
            if isinstance(node, ast.Assign) and node.lineno <= self._line:
                for target in node.targets:
                    if isinstance(target, ast.Name) and target.id == name:
                        found = node.value
        if found is None:
            raise Unclear(f"what is {name}?")
        return found

    def _in_loop(self, name: str) -> list[str]:
        for loop in ast.walk(self._scope):
            if not isinstance(loop, ast.For):
                continue
            rows = self._constant(loop.iter)
            match loop.target:
                case ast.Name(id=target) if target == name:
                    return [str(each) for each in rows]
                case ast.Tuple(elts=targets):
                    for place, target in enumerate(targets):
                        if isinstance(target, ast.Name) and target.id == name:
                            return [str(each[place]) for each in rows]
        raise Unclear(f"which values has {name}?")

    def _constant(self, node: ast.expr) -> tuple[Any, ...]:
        if isinstance(node, ast.Name):
            node = next(
                (
                    each.value
                    for each in ast.walk(self._module)
                    if isinstance(each, ast.Assign) and ast.unparse(each.targets[0]) == node.id
                ),
                node,
            )
        try:
            return tuple(ast.literal_eval(node))
        except (ValueError, TypeError):
            return ()
