"""`make bench`: one table; every figure with its floor or rival from the same run.

About half an hour without `scale` (two hours, and run by its name alone), most of it waiting for ESI's window
of 15 minutes; `--quick` takes a window of 5 and smaller loads. It wants a machine that does nothing else.
"""

from __future__ import annotations

import argparse
import platform
import sys
import tempfile
from pathlib import Path

import psutil

from bench.rig import Figure
from bench.rows import BY_NAME, ROWS


def main() -> int:
    """Run the rows and print the table as Markdown; 1 where a row failed or fell short."""
    parser = argparse.ArgumentParser(prog="python -m bench", description=__doc__)
    parser.add_argument(
        "rows",
        nargs="*",
        metavar="ROW",
        help=f"of {', '.join(ROWS)}; without one all but {', '.join(BY_NAME)}",
    )
    parser.add_argument("--quick", action="store_true", help="smaller loads, a shorter window")
    args = parser.parse_args()
    unknown = sorted(set(args.rows) - set(ROWS))
    if unknown:
        parser.error(f"no such row: {', '.join(unknown)}")
    figures: list[Figure] = []
    failed = False
    for name in args.rows or [each for each in ROWS if each not in BY_NAME]:
        print(f"{name} ...", file=sys.stderr, flush=True)
        with tempfile.TemporaryDirectory(prefix="killsyncd-bench-") as folder:
            try:
                figures += ROWS[name](Path(folder), args.quick)
            except Exception as error:
                print(f"{name} failed: {type(error).__name__}: {error}", file=sys.stderr, flush=True)
                failed = True
    print(_table(figures))
    return 1 if failed or any(each.ok is False for each in figures) else 0


def _table(figures: list[Figure]) -> str:
    lines = [
        f"{platform.python_implementation()} {platform.python_version()}, {psutil.cpu_count()} cores",
        "",
        "| row | killsyncd | against | ratio | wanted | |",
        "|---|---|---|---|---|---|",
    ]
    for each in figures:
        ratio = f"{each.ratio:.2f}" if each.ratio is not None else ""
        verdict = {True: "yes", False: "NO", None: ""}[each.ok]
        lines.append(f"| {each.row} | {each.value} | {each.floor} | {ratio} | {each.wanted} | {verdict} |")
    return "\n".join(lines)


if __name__ == "__main__":
    sys.exit(main())
