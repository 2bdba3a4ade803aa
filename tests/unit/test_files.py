"""Files that a command writes whole or not at all."""

from __future__ import annotations

import os
import signal
import stat
import subprocess
import sys
from pathlib import Path

import pytest

from killsyncd.cli.files import PART, written

WRITES = """
import sys
from pathlib import Path
from killsyncd.cli.files import written
with written(Path(sys.argv[1])) as file:
    file.write(b"half")
    file.flush()
    print("ready", flush=True)
    sys.stdin.read()
"""


def writing(path: Path) -> subprocess.Popen[bytes]:
    """A process that is in the middle of writing this file."""
    process = subprocess.Popen(
        [sys.executable, "-c", WRITES, str(path)],
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        cwd=Path(__file__).parents[2],
    )
    assert process.stdout is not None
    assert process.stdout.readline() == b"ready\n"
    return process


def test_what_a_killed_command_left_goes_with_the_next(tmp_path: Path) -> None:
    for number in (signal.SIGKILL, signal.SIGTERM):
        with writing(tmp_path / "killsyncd-2026-11-18.tar") as process:
            process.send_signal(number)
            process.wait()
        assert len(list(tmp_path.glob(f".*{PART}"))) == 1
    (tmp_path / ".somebody-elses.part").write_bytes(b"x")
    with written(tmp_path / "killsyncd-2026-11-19.tar") as file:
        file.write(b"whole")
    assert sorted(each.name for each in tmp_path.iterdir()) == [
        ".somebody-elses.part",
        "killsyncd-2026-11-19.tar",
    ]


def test_who_is_at_work_is_left_alone(tmp_path: Path) -> None:
    with writing(tmp_path / "one") as process:
        with written(tmp_path / "two") as file:
            file.write(b"2")
        assert len(list(tmp_path.glob(f".*{PART}"))) == 1
        process.communicate(b"", timeout=20)
    assert (tmp_path / "one").read_bytes() == b"half"


def test_a_file_is_its_owner_s_alone_and_only_whole(tmp_path: Path) -> None:
    target = tmp_path / "export.jsonl"
    target.write_text("before")
    target.chmod(0o644)

    def fail() -> None:
        with written(target) as file:
            file.write(b"half")
            raise RuntimeError

    with pytest.raises(RuntimeError):
        fail()
    assert target.read_text() == "before"
    old = os.umask(0)
    try:
        with written(target) as file:
            file.write(b"whole")
    finally:
        os.umask(old)
    assert stat.S_IMODE(target.stat().st_mode) == 0o600
    assert [each.name for each in tmp_path.iterdir()] == ["export.jsonl"]
