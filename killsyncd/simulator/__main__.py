"""`python -m killsyncd.simulator`: the simulator alone, without the rest of killsyncd."""

from __future__ import annotations

import argparse
import sys

from .cli import add_arguments, run


def main() -> int:
    parser = argparse.ArgumentParser(prog="killsyncd simulate", description="EVE's SSO and ESI on one port.")
    add_arguments(parser)
    return run(parser.parse_args())


if __name__ == "__main__":
    sys.exit(main())
