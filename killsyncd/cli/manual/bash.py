"""Completion for bash; needs nothing but bash itself."""

from __future__ import annotations

import re
from collections.abc import Iterable

from killsyncd.cli.manual.tree import Command, Option

_HEAD = """\
# Completion of {name} for bash. Generated from the parser: python -m killsyncd.cli.manual

{function}() {{
    local cur=${{COMP_WORDS[COMP_CWORD]}} prev='' at={name} i word
    # Which command we are in; an option's value is passed over.
    for ((i = 1; i < COMP_CWORD; i++)); do
        word=${{COMP_WORDS[i]}}
        case "$at $word" in
"""

_MIDDLE = """\
        esac
    done
    ((COMP_CWORD)) && prev=${{COMP_WORDS[COMP_CWORD - 1]}}
    COMPREPLY=()
    case "$at $prev" in
"""

_LAST = """\
    esac
    case $at in
"""

_TAIL = """\
    esac
}}

complete -o bashdefault -F {function} {name}
"""


def bash_completion(command: Command) -> str:
    """What goes to `share/bash-completion/completions/<name>`."""
    name, function = command.name, "_" + re.sub(r"\W", "_", command.name)
    text = _HEAD.format(name=name, function=function)
    everything = list(command.walk())
    for each in everything:
        at = " ".join(each.path)
        for below in each.commands:
            text += f"            '{at} {below.name}') at='{at} {below.name}' ;;\n"
        flags = [flag for option in each.options if option.value for flag in option.flags]
        if flags:
            text += "            " + _either(f"{at} {flag}" for flag in flags) + ") ((i++)) ;;\n"
    text += _MIDDLE.format()
    for each in everything:
        for option in each.options:
            if option.value:
                words = _either(f"{' '.join(each.path)} {flag}" for flag in option.flags)
                text += f"        {words}) {_values(option.completes, option.choices)}return ;;\n"
    text += _LAST.format()
    for each in everything:
        text += f"        '{' '.join(each.path)}')\n"
        text += f"            [[ $cur == -* ]] && {{ {_words(_flags(each.options))}; return; }}\n"
        if each.commands:
            text += f"            {_words([below.name for below in each.commands])}\n"
        for argument in each.arguments:
            if action := _values(argument.completes, argument.choices):
                text += f"            {action.removesuffix('; ')}\n"
        text += "            ;;\n"
    return text + _TAIL.format(name=name, function=function)


def _flags(options: tuple[Option, ...]) -> list[str]:
    return [flag for option in options for flag in option.flags]


def _values(completes: str, choices: tuple[str, ...]) -> str:
    if choices:
        return _words(list(choices)) + "; "
    if completes:
        # -o filenames: bash adds slashes and quotes.
        kind = "d" if completes == "folder" else "f"
        return f'compopt -o filenames; mapfile -t COMPREPLY < <(compgen -{kind} -- "$cur"); '
    return ""


def _words(words: list[str]) -> str:
    return f"mapfile -t COMPREPLY < <(compgen -W '{' '.join(words)}' -- \"$cur\")"


def _either(words: Iterable[str]) -> str:
    return " | ".join(f"'{each}'" for each in words)
