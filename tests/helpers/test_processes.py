from __future__ import annotations

import sys

from tests.helpers.processes import DRIVER, Running, descendants, kill

TALKATIVE = """
import sys, time
for i in range(20_000):
    print("line", i)
print("to stderr", file=sys.stderr, flush=True)
print("ready", flush=True)
time.sleep(float(sys.argv[1]))
print("end")
"""


def test_nothing_that_a_command_prints_is_lost() -> None:
    command = Running([sys.executable, "-c", TALKATIVE, 0])
    assert command.says("ready")
    assert command.says("line 19999")  # though it came before
    assert not command.says("never")
    assert command.ended().splitlines()[:20_000] == [f"line {i}" for i in range(20_000)]
    assert command.lines[-1] == "end\n"
    assert "to stderr\n" in command.lines
    assert command.returncode == 0


def test_a_command_that_is_killed_leaves_what_it_had_printed() -> None:
    command = Running([sys.executable, "-c", TALKATIVE, 3600])
    assert command.says("ready")
    assert kill(DRIVER, command)
    assert command.ended().endswith("ready\n")
    assert not kill(DRIVER, command)
    assert not command.reaches(lambda: False)
    assert command.returncode == -9


def test_processes_below_one_are_found() -> None:
    command = Running(["bash", "-c", "sleep 3600 & sleep 3600 & wait"])
    assert command.reaches(lambda: len(descendants(command.pid)) == 2)
    assert kill("sleep", command)
    assert command.reaches(lambda: len(descendants(command.pid)) == 1)
    assert kill("sleep", command)
    command.ended()
    assert command.returncode == 0
