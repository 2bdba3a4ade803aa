"""Libraries that are loaded into a daemon (LD_PRELOAD), compiled from the C beside this file."""

from __future__ import annotations

import os
import shutil
import subprocess
from pathlib import Path

from bench.torture.rig import Scene

_COMPILER = os.environ.get("CC", "cc")


def has_compiler() -> bool:
    """Whether the rows that need one can be played; else they are left out."""
    return shutil.which(_COMPILER) is not None


def library(scene: Scene, name: str) -> Path:
    """The shared object of NAME.c. Raises CalledProcessError where it does not compile."""
    made, source = scene.folder / f"{name}.so", Path(__file__).with_name(f"{name}.c")
    subprocess.run([_COMPILER, "-shared", "-fPIC", "-O1", "-o", made, source, "-ldl"], check=True)
    return made
