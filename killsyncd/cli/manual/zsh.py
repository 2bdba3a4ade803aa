"""Completion for zsh, on its own `_arguments`."""

from __future__ import annotations

import re

from killsyncd.cli.manual.tree import Argument, Command, Option


def zsh_completion(command: Command) -> str:
    """What goes to `share/zsh/site-functions/_<name>`."""
    text = f"#compdef {command.name}\n# Generated from the parser: python -m killsyncd.cli.manual\n"
    for each in command.walk():
        text += "\n" + _function(each)
    # Loaded by the completion system this file is the body of the function: call it.
    return f'{text}\n{_name(command)} "$@"\n'


def _name(command: Command) -> str:
    return "_" + "_".join(re.sub(r"\W", "_", word) for word in command.path)


def _function(command: Command) -> str:
    specs = [spec for option in command.options for spec in _option(option)]
    if command.commands:
        specs += ["'1: :->command'", "'*:: :->arguments'"]
    else:
        specs += [_argument(each, number) for number, each in enumerate(command.arguments, 1)]
    body = " \\\n        ".join(["_arguments -C -S" if command.commands else "_arguments -S", *specs])
    text = f"{_name(command)}() {{\n"
    if command.commands:
        text += "    local curcontext=$curcontext state line\n    typeset -A opt_args\n"
    text += f"    {body}\n"
    if command.commands:
        text += "    case $state in\n        command)\n            local -a commands=(\n"
        for below in command.commands:
            text += f"                {_quoted(f'{below.name}:{_plain(below.summary)}')}\n"
        text += "            )\n            _describe -t commands command commands\n            ;;\n"
        text += "        arguments)\n            case $line[1] in\n"
        for below in command.commands:
            text += f"                {below.name}) {_name(below)} ;;\n"
        text += "            esac\n            ;;\n    esac\n"
    return text + "}\n"


def _option(option: Option) -> list[str]:
    """One spec a flag; a flag excludes its other spelling and, unless it may be repeated, itself."""
    again = option.repeatable
    excluded = "" if again else f"({' '.join(option.flags)})"
    value = f":{_plain(option.value)}:{_action(option.completes, option.choices)}" if option.value else ""
    star = "*" if again else ""
    return [_quoted(f"{excluded}{star}{flag}[{_plain(option.help)}]{value}") for flag in option.flags]


def _argument(argument: Argument, number: int) -> str:
    place = "*" if argument.many else f"{number}:" if argument.nargs == "?" else str(number)
    return _quoted(f"{place}:{_plain(argument.value)}:{_action(argument.completes, argument.choices)}")


def _action(completes: str, choices: tuple[str, ...]) -> str:
    if choices:
        return f"({' '.join(choices)})"
    return {"file": "_files", "folder": "_files -/"}.get(completes, " ")


def _plain(text: str) -> str:
    """Without what _arguments and _describe would take for their own: colons and brackets."""
    return re.sub(r"([:\[\]\\])", r"\\\1", text)


def _quoted(text: str) -> str:
    return "'" + text.replace("'", "'\\''") + "'"
