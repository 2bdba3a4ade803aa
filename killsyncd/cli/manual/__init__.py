"""Man page and shell completions, generated from the command line's own parser.

    python -m killsyncd.cli.manual DIRECTORY

writes them below DIRECTORY as they are installed (`share/man/man1/killsyncd.1` and so on). `make man` and
`make completions` keep the copies in `share/` up to date; a test compares them. The single-file executable
can give them out too: `PEX_MODULE=killsyncd.cli.manual killsyncd DIRECTORY`. Knows cli alone.
"""

from __future__ import annotations

from killsyncd.cli.manual.bash import bash_completion
from killsyncd.cli.manual.fish import fish_completion
from killsyncd.cli.manual.page import Section, man_page
from killsyncd.cli.manual.tree import Argument, Command, Option, read_parser
from killsyncd.cli.manual.zsh import zsh_completion

__all__ = [
    "Argument",
    "Command",
    "Option",
    "Section",
    "bash_completion",
    "fish_completion",
    "man_page",
    "read_parser",
    "zsh_completion",
]
