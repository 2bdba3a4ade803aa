"""An argparse parser as plain values: commands, their options and arguments."""

from __future__ import annotations

import argparse
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path

FILE_WORDS = frozenset({"FILE", "PATH", "SOCKET", "OUTPUT"})
FOLDER_WORDS = frozenset({"DIR", "DIRECTORY", "FOLDER"})


@dataclass(frozen=True, slots=True)
class Option:
    """One option. value: what stands for its value (`FILE`), "" where it takes none.

    group: heading of the argument group it belongs to, "" for the usual ones.
    """

    flags: tuple[str, ...]
    value: str
    many: bool
    choices: tuple[str, ...]
    completes: str
    required: bool
    repeatable: bool
    group: str
    help: str

    @property
    def long(self) -> str:
        """The flag to name it by."""
        return next((flag for flag in self.flags if flag.startswith("--")), self.flags[0])


@dataclass(frozen=True, slots=True)
class Argument:
    """One positional argument. nargs: as argparse has it, None for exactly one."""

    value: str
    nargs: str | int | None
    choices: tuple[str, ...]
    completes: str
    help: str

    @property
    def many(self) -> bool:
        """Whether several words may stand for it."""
        return self.nargs in ("*", "+") or isinstance(self.nargs, int)


@dataclass(frozen=True, slots=True)
class Command:
    """A command with what is below it. path: `("killsyncd", "ctl", "queue")`."""

    path: tuple[str, ...]
    summary: str
    description: str
    epilog: str
    options: tuple[Option, ...]
    arguments: tuple[Argument, ...]
    commands: tuple[Command, ...] = field(default=())

    @property
    def name(self) -> str:
        """Its last word."""
        return self.path[-1]

    def walk(self) -> Iterator[Command]:
        """This command and every one below it, parents first."""
        yield self
        for each in self.commands:
            yield from each.walk()


def read_parser(parser: argparse.ArgumentParser, path: tuple[str, ...] = (), summary: str = "") -> Command:
    """Everything that a parser says of itself. Hidden options and commands are left out."""
    # killsyncd's own parsers get their arguments when they are used (cli.Lazy).
    if (fill := getattr(parser, "fill", None)) is not None:
        fill()
    path = path or (parser.prog,)
    options: list[Option] = []
    arguments: list[Argument] = []
    commands: list[Command] = []
    groups = {
        id(action): group.title or ""
        for group in parser._action_groups[2:]  # the first two are argparse's own
        for action in group._group_actions
    }
    for action in parser._actions:
        if isinstance(action, argparse._SubParsersAction):
            commands = list(_commands(action, path))
        elif action.help != argparse.SUPPRESS:
            if action.option_strings:
                options.append(_option(parser, action, groups.get(id(action), "")))
            else:
                arguments.append(_argument(parser, action))
    return Command(
        path,
        summary,
        (parser.description or "").strip(),
        (parser.epilog or "").strip(),
        tuple(options),
        tuple(arguments),
        tuple(commands),
    )


def _commands(
    action: argparse._SubParsersAction[argparse.ArgumentParser], path: tuple[str, ...]
) -> Iterator[Command]:
    # Only what has a help text shows in argparse's own help; an alias has none.
    for shown in action._choices_actions:
        if shown.help != argparse.SUPPRESS:
            yield read_parser(action.choices[shown.dest], (*path, shown.dest), shown.help or "")


def _option(parser: argparse.ArgumentParser, action: argparse.Action, group: str) -> Option:
    takes = action.nargs != 0
    return Option(
        tuple(action.option_strings),
        _value(action) if takes else "",
        action.nargs in ("*", "+"),
        _choices(action),
        _completes(action) if takes else "",
        action.required,
        isinstance(action, argparse._AppendAction),
        group,
        _help(parser, action),
    )


def _argument(parser: argparse.ArgumentParser, action: argparse.Action) -> Argument:
    return Argument(_value(action), action.nargs, _choices(action), _completes(action), _help(parser, action))


def _value(action: argparse.Action) -> str:
    if isinstance(action.metavar, tuple):
        return " ".join(action.metavar)
    if action.metavar:
        return action.metavar
    if action.choices is not None:
        return "{" + ",".join(map(str, action.choices)) + "}"
    return action.dest.upper().replace("_", "-")


def _choices(action: argparse.Action) -> tuple[str, ...]:
    return tuple(map(str, action.choices)) if action.choices is not None else ()


def _completes(action: argparse.Action) -> str:
    """What a shell should offer: `file`, `folder` or nothing."""
    words = set(_value(action).upper().replace("-", "_").split("_"))
    if words & FOLDER_WORDS:
        return "folder"
    return "file" if action.type is Path or words & FILE_WORDS else ""


def _help(parser: argparse.ArgumentParser, action: argparse.Action) -> str:
    """Its help with `%(default)s` and the like filled in."""
    text = parser._get_formatter()._expand_help(action) if action.help else ""
    return " ".join(text.split())
