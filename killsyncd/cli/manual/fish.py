"""Completion for fish."""

from __future__ import annotations

import re

from killsyncd.cli.manual.tree import Command, Option

_HEAD = """\
# Completion of {name} for fish. Generated from the parser: python -m killsyncd.cli.manual

# Whether the words so far lead to this command; an option's value is passed over.
function __{plain}_at
    set -l at {name}
    set -l skip 0
    for word in (commandline -opc)[2..-1]
        if test $skip = 1
            set skip 0
            continue
        end
        switch "$at $word"
"""

_TAIL = """\
        end
    end
    test "$at" = "$argv"
end

complete -c {name} -f
"""


def fish_completion(command: Command) -> str:
    """What goes to `share/fish/vendor_completions.d/<name>.fish`."""
    name, plain = command.name, re.sub(r"\W", "_", command.name)
    everything = list(command.walk())
    text = _HEAD.format(name=name, plain=plain)
    for each in everything:
        at = " ".join(each.path)
        for below in each.commands:
            text += f"            case {_quoted(f'{at} {below.name}')}\n"
            text += f"                set at {_quoted(f'{at} {below.name}')}\n"
        flags = [f"{at} {flag}" for option in each.options if option.value for flag in option.flags]
        if flags:
            text += f"            case {' '.join(map(_quoted, flags))}\n                set skip 1\n"
    text += _TAIL.format(name=name)
    for each in everything:
        here = f"complete -c {name} -n {_quoted(f'__{plain}_at ' + ' '.join(each.path))}"
        for below in each.commands:
            text += f"{here} -a {_quoted(below.name)} -d {_quoted(below.summary)}\n"
        for option in each.options:
            text += f"{here}{_option(option)}\n"
        for argument in each.arguments:
            if argument.choices:
                text += f"{here} -a {_quoted(' '.join(argument.choices))}\n"
            elif argument.completes:
                text += f"{here} -F\n"
    return text


def _option(option: Option) -> str:
    text = ""
    for flag in option.flags:
        text += f" -l {flag[2:]}" if flag.startswith("--") else f" -s {flag[1:]}"
    if option.choices:
        text += f" -x -a {_quoted(' '.join(option.choices))}"
    elif option.completes:
        text += " -r -F"
    elif option.value:
        text += " -x"
    return f"{text} -d {_quoted(option.help)}"


def _quoted(text: str) -> str:
    return "'" + text.replace("\\", "\\\\").replace("'", "\\'") + "'"
