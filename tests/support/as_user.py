"""Commands as other users. `run_as` runs a list of them, each in a process that became that user for good.

Run as root. Everything is imported before, because the interpreter may lie where those users cannot read.
"""

from __future__ import annotations

import contextlib
import json
import os
import pkgutil
import subprocess
import sys
import tempfile
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from importlib import import_module
from pathlib import Path

ROOT = Path(__file__).parents[2]
LATE = (
    *("difflib", "encodings.idna", "encodings.utf_8_sig", "stringprep", "grp", "pwd", "traceback", "uvloop"),
    *("linecache", "tokenize", "importlib.readers", "importlib.resources.readers"),
)
"""Modules that are imported when they are needed, by the project or by a library of it."""


@dataclass(frozen=True, slots=True)
class Done:
    """What a command ended with."""

    words: tuple[str, ...]
    code: int
    out: str
    err: str


def run_as(
    uid: int, groups: Sequence[int], commands: Sequence[Sequence[str]], environ: Mapping[str, str]
) -> list[Done]:
    """Run `killsyncd WORDS` for each; the first group is the user's own."""
    asked = json.dumps({"uid": uid, "groups": list(groups), "commands": [list(each) for each in commands]})
    ended = subprocess.run(
        [sys.executable, "-m", "tests.support.as_user"],
        input=asked,
        capture_output=True,
        text=True,
        cwd=ROOT,
        env={"PATH": os.environ["PATH"], "PYTHONDONTWRITEBYTECODE": "1", **environ},
        timeout=300,
        check=True,
    )
    return [Done(tuple(words), code, out, err) for words, code, out, err in json.loads(ended.stdout)]


def _become(uid: int, groups: Sequence[int]) -> None:
    os.setgroups(groups)
    os.setresgid(groups[0], groups[0], groups[0])
    os.setresuid(uid, uid, uid)


def _run(uid: int, groups: Sequence[int], words: Sequence[str]) -> tuple[list[str], int, str, str]:
    from killsyncd.cli.main import main as run

    with tempfile.TemporaryFile("w+") as out, tempfile.TemporaryFile("w+") as err:
        pid = os.fork()
        if pid == 0:
            code = 255
            with contextlib.suppress(BaseException):
                os.dup2(out.fileno(), 1)
                os.dup2(err.fileno(), 2)
                os.chdir("/")
                _become(uid, groups)
                try:
                    code = run(words)
                except BaseException:
                    import traceback

                    traceback.print_exc()
                    code = 1
                sys.stdout.flush()
                sys.stderr.flush()
            os._exit(code)
        _, status = os.waitpid(pid, 0)
        out.seek(0)
        err.seek(0)
        return list(words), os.waitstatus_to_exitcode(status), out.read(), err.read()


def _main() -> None:
    import killsyncd

    asked = json.load(sys.stdin)
    for each in pkgutil.walk_packages(killsyncd.__path__, "killsyncd."):
        if not each.name.endswith("__main__"):
            import_module(each.name)
    for name in LATE:
        import_module(name)
    done = [_run(asked["uid"], asked["groups"], words) for words in asked["commands"]]
    print(json.dumps(done))


if __name__ == "__main__":
    _main()
