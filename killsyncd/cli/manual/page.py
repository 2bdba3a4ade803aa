"""A man page in roff's `man` macros (man(7)), of a command and everything below it."""

from __future__ import annotations

import re
from collections.abc import Collection, Iterable, Iterator, Sequence
from dataclasses import dataclass
from itertools import groupby, pairwise

from killsyncd.cli.manual.tree import Argument, Command, Option


@dataclass(frozen=True, slots=True)
class Section:
    """A section of one's own. entries: (term, text) each; a term "" is a paragraph."""

    title: str
    entries: Sequence[tuple[str, str]]


def man_page(command: Command, *, sections: Iterable[Section] = (), number: int = 1) -> str:
    """The page. sections: follow the commands, in this order."""
    lines = [
        '.\\" Generated from the parser: python -m killsyncd.cli.manual',
        f'.TH {_quoted(command.name.upper())} {number} "" "{command.name}" "User Commands"',
        ".nh",
        ".SH NAME",
        f"{_text(command.name)} \\- {_text(_first_sentence(command.description))}",
        ".SH SYNOPSIS",
        *_synopsis(command),
        ".SH DESCRIPTION",
        *_paragraphs(command.description),
    ]
    if command.options:
        lines += [".SH OPTIONS", *_options(command.options)]
    if command.commands:
        lines.append(".SH COMMANDS")
        for each in command.walk():
            if each is not command:
                # What every command takes is said once, under OPTIONS.
                lines += _command(each, known={option.flags for option in command.options})
    if command.epilog:
        lines += [".SH NOTES", *_paragraphs(command.epilog)]
    for section in sections:
        lines.append(f".SH {_quoted(section.title.upper())}")
        for term, text in section.entries:
            lines += [".TP", f".B {_text(term)}", *_lines(text)] if term else [".PP", *_lines(text)]
    return "\n".join(_without_idle_breaks(lines)) + "\n"


def _without_idle_breaks(lines: Sequence[str]) -> Iterator[str]:
    """A heading begins a paragraph by itself."""
    for before, line in pairwise(["", *lines]):
        if not (line == ".PP" and before.startswith((".SH ", ".SS "))):
            yield line


def _command(command: Command, known: Collection[tuple[str, ...]]) -> Iterator[str]:
    yield f".SS {_quoted(' '.join(command.path))}"
    yield from _synopsis(command)
    yield from _paragraphs(command.description or command.summary)
    yield from _arguments(command.arguments)
    yield from _options([option for option in command.options if option.flags not in known])
    if command.epilog:
        yield from _paragraphs(command.epilog)


def _synopsis(command: Command) -> Iterator[str]:
    yield ".SY " + _quoted(" ".join(command.path))
    for option in command.options:
        if "--help" not in option.flags:
            yield _spelled(option)
    for argument in command.arguments:
        yield _spelled_argument(argument)
    if command.commands:
        yield r".I COMMAND"
        yield ".RI [ ARGUMENT " + r"\&...]"
    yield ".YS"


def _spelled(option: Option) -> str:
    """As it stands in the synopsis: `[--output FILE]`."""
    flag = _text(option.long)
    body = rf"\fB{flag}\fR"
    if option.value:
        body += rf"\ \fI{_text(option.value)}\fR" + (r"\ ..." if option.many else "")
    if option.required:
        return body
    return f"[{body}]" + ("..." if option.repeatable else "")


def _spelled_argument(argument: Argument) -> str:
    body = rf"\fI{_text(argument.value)}\fR"
    if argument.nargs == "*":
        return f"[{body} ...]"
    if argument.nargs == "+":
        return f"{body} [...]"
    return f"[{body}]" if argument.nargs == "?" else body


def _options(options: Sequence[Option]) -> Iterator[str]:
    group = ""
    for option in options:
        if option.group != group:
            group = option.group
            yield ".PP"
            yield rf"\fI{_text(group)}\fR"
        yield ".TP"
        value = rf"\ \fI{_text(option.value)}\fR" if option.value else ""
        yield ", ".join(rf"\fB{_text(flag)}\fR{value}" for flag in option.flags)
        yield from _lines(option.help or "")


def _arguments(arguments: Sequence[Argument]) -> Iterator[str]:
    for argument in arguments:
        yield ".TP"
        yield rf"\fI{_text(argument.value)}\fR"
        yield from _lines(argument.help)


def _paragraphs(text: str) -> Iterator[str]:
    """Paragraphs are parted by empty lines; indented lines keep their shape."""
    for block in re.split(r"\n\s*\n", text):
        for indented, lines in groupby(block.splitlines(), key=lambda line: line.startswith("  ")):
            if indented:
                yield from (".PP", ".EX", *(_guarded(_text(line)) for line in lines), ".EE")
            else:
                yield from (".PP", *_lines(" ".join(lines)))


def _lines(text: str) -> Iterator[str]:
    """One sentence a line, as roff likes it."""
    for sentence in re.split(r"(?<=[.!?])\s+(?=[A-Z])", " ".join(text.split())):
        if sentence:
            yield _guarded(_text(sentence))


def _text(text: str) -> str:
    """Escaped, so that a hyphen stays one that can be copied to a shell."""
    escaped = text.replace("\\", "\\e").replace("-", "\\-").replace("'", "\\(aq").replace("`", "\\(ga")
    return "".join(each if each.isascii() else f"\\[u{ord(each):04X}]" for each in escaped)


def _guarded(line: str) -> str:
    """A line that begins with a dot is no request."""
    return "\\&" + line if line.startswith((".", "'")) else line


def _quoted(text: str) -> str:
    return '"' + _text(text).replace('"', '""') + '"'


def _first_sentence(text: str) -> str:
    return re.split(r"\.(?:\s|$)", text.strip(), maxsplit=1)[0]
