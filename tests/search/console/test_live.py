from __future__ import annotations

import io
from pathlib import Path

import pytest
from rich.console import Console

from fervit.search.console.live import LiveScreen, PlainScreen, screen
from fervit.search.records.report import TrialReport
from fervit.training.failure import Failure
from tests.helpers.ledger import Sweep, report


def test_the_live_table_shows_the_trials_the_best_and_the_time_left(tmp_path: Path) -> None:
    console = Console(file=io.StringIO(), width=100, force_terminal=True)
    screen = LiveScreen(console)
    sweep = Sweep(tmp_path, screen, budget={"hours": 2.0})
    good, bad, going = (sweep.begin() for _ in range(3))
    for epoch in range(1, 10):
        sweep.ledger.report(good.name, report(epoch, epoch / 10))
    sweep.ledger.end(good.name)
    sweep.ledger.report(bad.name, TrialReport(failure=Failure("diverged", "the loss became nan")))
    sweep.ledger.end(bad.name)
    sweep.ledger.report(going.name, report(1, 0.25))
    console.print(screen._picture())
    assert isinstance(console.file, io.StringIO)
    shown = console.file.getvalue()
    heading, *rows, status = [line for line in shown.splitlines() if line.strip()]
    assert all(word in heading for word in ("trial", "state", "epoch", "macro-F1", "best", "age", "hyperparameters"))
    assert [name in row for name, row in zip((good.name, bad.name, going.name), rows, strict=True)] == [True] * 3
    assert "9/9" in rows[0]
    assert "0.900" in rows[0]
    assert "diverged" in rows[1]
    assert "running" in rows[2]
    assert "0.250" in rows[2]
    for words in ("2/20 trials", "best 0.900 (trial_0000)", "of 2 h", "left", "1 x diverged"):
        assert words in status


def test_nothing_of_a_configuration_is_cut_at_80_columns(tmp_path: Path) -> None:
    console = Console(file=io.StringIO(), width=80, force_terminal=True)
    screen = LiveScreen(console)
    values = {name: {"values": [value]} for name, value in {"embed_dim": 16, "dropout": 0.12345, "mixup": 0.8}.items()}
    parameters = {"lr": {"distribution": "log_uniform", "min": 1.0e-4, "max": 1.0e-2}, **values}
    sweep = Sweep(tmp_path, screen, parameters=parameters)
    for _ in range(12):
        sweep.ledger.report(sweep.begin().name, report(1, 0.25))
    console.print(screen._picture())
    assert isinstance(console.file, io.StringIO)
    shown = console.file.getvalue()
    assert "…" not in shown
    words = {word.strip(",") for word in shown.split()}
    assert words >= {"lr", "embed_dim", "16", "dropout", "0.123", "mixup", "0.8"}, words
    assert len(shown.splitlines()) <= 24


def test_a_sweep_that_goes_on_shows_the_trials_that_ended_before(tmp_path: Path) -> None:
    before = Sweep(tmp_path)
    ended = before.begin()
    for epoch in range(1, 10):
        before.ledger.report(ended.name, report(epoch, epoch / 10))
    before.ledger.end(ended.name)
    before.ledger.close()
    console = Console(file=io.StringIO(), width=100)
    screen = LiveScreen(console)
    sweep = Sweep(tmp_path, screen)
    going = sweep.begin()
    sweep.ledger.report(going.name, report(1, 0.25))
    console.print(screen._picture())
    assert isinstance(console.file, io.StringIO)
    shown = console.file.getvalue()
    assert shown.index(ended.name) < shown.index(going.name)


def test_a_terminal_that_cannot_move_its_cursor_gets_lines(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("sys.stdout", Terminal())
    monkeypatch.setenv("TERM", "dumb")
    with screen(print) as shown:
        assert isinstance(shown, PlainScreen)
    monkeypatch.setenv("TERM", "xterm")
    with screen(print) as shown:
        assert isinstance(shown, LiveScreen)


class Terminal(io.StringIO):
    def isatty(self) -> bool:
        return True
