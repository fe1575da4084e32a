"""Ctrl-C, SIGTERM, SIGHUP, SIGUSR1: each ends a command with a line and the signal's status, never with a traceback."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest

from fervit.system import interrupts
from tests.conftest import ROOT
from tests.helpers.processes import Running

BUSY = """
import sys, time
from fervit.cli import run
def main():
    {prepare}
    try:
        print("ready", flush=True)
        while True:
            time.sleep(0.01)
    except KeyboardInterrupt:
        print("cleaning", flush=True)
        {clean}
        raise KeyboardInterrupt("interrupted: 3 of 4 are saved; the same command goes on") from None
run(main)
"""


def busy(prepare: str = "pass", clean: str = "time.sleep(0.1)", **options: object) -> Running:
    words = [sys.executable, "-c", BUSY.format(prepare=prepare, clean=clean)]
    options.setdefault("preexec_fn", lambda: signal.signal(signal.SIGHUP, signal.SIG_DFL))  # ignored under nohup
    return Running(words, cwd=ROOT, **options)


@pytest.mark.parametrize(
    ("number", "status"),
    [(signal.SIGINT, 130), (signal.SIGTERM, 143), (signal.SIGHUP, 129), (signal.SIGUSR1, 130)],
)
def test_each_signal_lets_the_command_save_and_say_how_to_go_on(number: signal.Signals, status: int) -> None:
    command = busy()
    assert command.says("ready")
    os.kill(command.pid, number)
    assert command.ended() == "ready\ncleaning\ninterrupted: 3 of 4 are saved; the same command goes on\n"
    assert command.returncode == status


@pytest.mark.parametrize("numbers", [(signal.SIGINT,) * 2, (signal.SIGTERM,) * 3, (signal.SIGINT, signal.SIGTERM)])
def test_signals_at_once_are_one_request_and_cut_no_saving_short(numbers: tuple[signal.Signals, ...]) -> None:
    command = busy(clean="time.sleep(0.2); print('saved', flush=True)")
    assert command.says("ready")
    for number in numbers:
        os.kill(command.pid, number)
    assert command.ended() == "ready\ncleaning\nsaved\ninterrupted: 3 of 4 are saved; the same command goes on\n"


def test_a_signal_that_a_library_takes_for_itself_is_taken_back() -> None:
    seen: list[int] = []
    with interrupts.answering(seen.append):
        signal.signal(signal.SIGUSR1, signal.SIG_DFL)  # as Ray Tune sets a handler of its own
        interrupts.take_back()
        os.kill(os.getpid(), signal.SIGUSR1)
    assert seen == [signal.SIGUSR1]
    assert signal.getsignal(signal.SIGUSR1) == signal.SIG_DFL


@pytest.mark.parametrize(
    ("number", "notice", "seconds"),
    [
        (signal.SIGUSR1, "120", 75.0),
        (signal.SIGUSR1, "30", interrupts.SHORT_S),
        (signal.SIGUSR1, "soon", interrupts.SHORT_S),
        (signal.SIGINT, "120", interrupts.SHORT_S),
        (signal.SIGTERM, "120", interrupts.SHORT_S),
    ],
)
def test_the_notice_of_a_time_limit_leaves_long_epochs_their_time(
    monkeypatch: pytest.MonkeyPatch, number: signal.Signals, notice: str, seconds: float
) -> None:
    monkeypatch.setenv(interrupts.NOTICE, notice)
    monkeypatch.setattr(interrupts._Requests, "time", float("-inf"))
    monkeypatch.setattr(interrupts._Requests, "number", 0)
    with interrupts.answering(lambda number: None):
        os.kill(os.getpid(), number)
    assert interrupts.patience_s() == seconds


def test_a_later_signal_ends_the_saving_with_a_line_and_no_traceback() -> None:
    command = busy(clean="print('long', flush=True); time.sleep(600)")
    assert command.says("ready")
    command.interrupt()
    assert command.says("long")
    while command.returncode is None:  # until one comes after those that count as one request
        command.interrupt()
        time.sleep(0.1)
    printed = command.ended()
    assert command.returncode == 130
    assert "Traceback" not in printed
    assert printed.splitlines()[-1] == "interrupted"


def test_what_ignores_a_signal_goes_on_ignoring_it() -> None:
    command = busy(prepare="pass", preexec_fn=lambda: signal.signal(signal.SIGHUP, signal.SIG_IGN))
    assert command.says("ready")
    os.kill(command.pid, signal.SIGHUP)  # as under nohup, when the login ends
    os.kill(command.pid, signal.SIGTERM)
    command.ended()
    assert command.returncode == 143


def test_an_interruption_that_falls_into_a_destructor_is_not_lost() -> None:
    prepare = """class Slow:
        def __del__(self):
            print('in', flush=True)
            time.sleep(600)
    Slow()"""
    command = busy(prepare=prepare)
    assert command.says("in")
    command.interrupt()
    printed = command.ended()
    assert command.returncode == 130
    assert "Traceback" not in printed
    assert "Exception ignored" not in printed


def test_a_reader_that_ends_does_not_end_the_command(tmp_path: Path) -> None:
    script = f"""
from pathlib import Path
from fervit.cli import run
def main():
    for i in range(20000):
        print("line", i)
    Path({str(tmp_path / "done")!r}).write_text("all")
run(main)
"""
    file = tmp_path / "command.py"
    file.write_text(script)
    line = f"PYTHONPATH={ROOT} {sys.executable} {file} | head -1"
    done = subprocess.run(["bash", "-c", line], capture_output=True, text=True, check=False)
    assert done.stdout == "line 0\n"
    assert done.stderr == ""
    assert (tmp_path / "done").read_text() == "all"


def test_closed_streams_and_narrow_encodings_are_no_errors(tmp_path: Path) -> None:
    script = f"""
import sys
from pathlib import Path
from fervit.cli import run
def main():
    file = Path({str(tmp_path / "model")!r}).open("w")
    print("\\u540d\\u524d")
    print("to stderr", file=sys.stderr)
    file.write("only this")
    file.close()
run(main)
"""
    file = tmp_path / "command.py"
    file.write_text(script, encoding="utf-8")
    for closing in ("", "2>&-", ">&- 2>&- <&-"):
        line = f"PYTHONPATH={ROOT} PYTHONIOENCODING=ascii exec {sys.executable} {file} {closing}"
        done = subprocess.run(["bash", "-c", line], capture_output=True, check=False)
        assert done.returncode == 0, done.stderr
        assert done.stdout in (b"\\u540d\\u524d\n", b"")
        assert (tmp_path / "model").read_text() == "only this"  # not what was meant for standard error


def test_a_tilde_in_a_path_is_the_home(monkeypatch: pytest.MonkeyPatch) -> None:
    from fervit.cli import Parser

    monkeypatch.setenv("HOME", "/home/someone")
    parser = Parser(description="")
    parser.add_argument("--latent_out")
    parser.add_argument("rest", nargs="*")
    for words in (["--latent_out=~/lat"], ["--latent-out", "~/lat"]):
        assert parser.parse(words).latent_out == "/home/someone/lat"
    assert parser.parse(["~/a", "b~/c"]).rest == ["/home/someone/a", "b~/c"]
