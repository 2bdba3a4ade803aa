"""The simulator as a process of its own, and its command line."""

from __future__ import annotations

import argparse
import json
import os
import signal
import subprocess
import sys
from pathlib import Path

import psutil
import pytest

from killsyncd.core.errors import EXIT_OK, BadInput, NotFound, Unavailable
from killsyncd.simulator import RemoteLevers, Simulator, SimulatorConfig, SimulatorProcess
from killsyncd.simulator.cli import add_arguments, config_of
from killsyncd.simulator.levers import Levers
from killsyncd.simulator.operations import RemoteOperations
from tests.support.simulator_caller import Caller

ROOT = Path(__file__).parents[2]


def test_it_is_driven_from_outside() -> None:
    with SimulatorProcess(pilots=2, history=3, bad_id=[34, 35]) as sim:
        assert psutil.pid_exists(sim.pid)
        one, two = (pilot["character_id"] for pilot in sim.pilots())
        assert len(sim.mails(one)) == 3
        assert len(sim.add_mails(2, [one, two])) == 4
        assert sim.bad_ids() == [34, 35]
        assert sim.state()["client_id"] == sim.client_id
        assert sim.script("reset", "status", count=1) == 1
        with pytest.raises(NotFound):
            sim.revoke(1)
        with pytest.raises(BadInput):
            sim.script("earthquake")
        assert sim.wait_for("counters", lambda counted: counted["total"] == 0)["breaches"] == 0
        with pytest.raises(TimeoutError):
            sim.wait_for("counters", lambda counted: counted["total"] > 0, timeout=0)
        pid = sim.pid
    assert not psutil.pid_exists(pid)
    with pytest.raises(Unavailable):
        sim.state()


async def test_it_is_a_context_of_coroutines_too() -> None:
    async with SimulatorProcess("--pilots", "1", no_limits=True) as sim, Caller(sim) as caller:
        answer = await caller.detail(sim.mails()[0])
        assert answer.status == 200
        assert int(answer.headers["X-Ratelimit-Remaining"]) > 1_000_000


def test_what_it_says_when_it_does_not_start(tmp_path: Path) -> None:
    with pytest.raises(Unavailable, match="cannot be read"):
        SimulatorProcess(killmails=tmp_path / "none").start()
    with pytest.raises(Unavailable, match="unrecognized arguments"):
        SimulatorProcess("--nonsense").start()


def test_it_does_not_outlive_who_started_it() -> None:
    code = (
        "import os; from killsyncd.simulator import SimulatorProcess\n"
        "print(SimulatorProcess(pilots=1).start().pid, flush=True); os._exit(0)"
    )
    said = subprocess.run([sys.executable, "-c", code], cwd=ROOT, capture_output=True, check=True, timeout=60)
    process = None
    try:
        process = psutil.Process(int(said.stdout))
        process.wait(20)
    except psutil.NoSuchProcess:
        pass


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM])
def test_the_command_prints_what_to_paste_and_ends_cleanly(number: int) -> None:
    process = subprocess.Popen(
        [sys.executable, "-m", "killsyncd.simulator", "--pilots", "12"],
        cwd=ROOT,
        stdout=subprocess.PIPE,
        env={**os.environ, "PYTHONPATH": str(ROOT)},
        text=True,
    )
    try:
        assert process.stdout is not None
        lines = []
        while not lines or "Ctrl-C" not in lines[-1]:
            lines.append(process.stdout.readline())
            assert lines[-1], "".join(lines)
        text = "".join(lines)
        assert "12 pilots" in text
        assert "... and 4 more" in text
        assert "[sso]\nbase_url = " in text
        assert 'contact = "you@example.com"' in text
        assert "/static-data/tranquility" in text, "a daemon of these lines asks nobody else"
        process.send_signal(number)
        rest, _ = process.communicate(timeout=20)
        assert "0 breaches" in rest
        assert process.returncode == EXIT_OK
    finally:
        process.kill()
        process.communicate()


async def test_a_taken_port_is_named() -> None:
    async with Simulator(SimulatorConfig(pilots=1)) as sim:
        with pytest.raises(Unavailable, match=str(sim.port)):
            await Simulator(SimulatorConfig(pilots=1, port=sim.port)).start()


def test_levers_from_inside_and_outside_are_the_same_operations() -> None:
    levers = {name for name in vars(Levers) if not name.startswith("_")}
    operations = {name for name in vars(RemoteOperations) if not name.startswith("_")}
    assert levers == operations
    assert issubclass(RemoteLevers, Levers)
    assert issubclass(Simulator, Levers)


class TestArguments:
    @staticmethod
    def config(*words: str) -> SimulatorConfig:
        parser = argparse.ArgumentParser(exit_on_error=False)
        add_arguments(parser)
        return config_of(parser.parse_args(words))

    def test_defaults_are_those_of_the_library(self) -> None:
        assert self.config() == SimulatorConfig()

    def test_files_are_read(self, tmp_path: Path) -> None:
        secret, faults = tmp_path / "secret", tmp_path / "faults.json"
        secret.write_text("abc\n")
        faults.write_text(json.dumps([{"kind": "reset"}]))
        config = self.config("--client-secret-file", str(secret), "--faults", str(faults))
        assert config.client_secret == "abc"
        assert config.faults == ({"kind": "reset"},)

    @pytest.mark.parametrize("text", ["{", "{}", "1"])
    def test_faults_must_be_a_list(self, tmp_path: Path, text: str) -> None:
        file = tmp_path / "faults.json"
        file.write_text(text)
        with pytest.raises(BadInput):
            self.config("--faults", str(file))

    def test_limits_by_group(self) -> None:
        assert self.config("--limit", "killmail=20").group_limits == {"killmail": 20}

    def test_without_limits_mails_are_encoded_beforehand(self) -> None:
        assert self.config("--no-limits").prebuild == 10_000
