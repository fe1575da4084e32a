from __future__ import annotations

import threading
from pathlib import Path

from fervit.files import locked
from fervit.report.live import live_report, write
from tests.helpers.processes import wait_until
from tests.report.conftest import write_sweep


def test_the_report_is_there_while_the_sweep_runs(tmp_path: Path) -> None:
    folder = tmp_path / "sweep"
    write_sweep(folder, trials=6)
    report = folder / "report.html"
    with locked(folder, "sweep"), live_report(folder, pause_s=0.1):
        assert wait_until(report.is_file)
        assert "it is still running" in report.read_text()
    assert [path.name for path in folder.iterdir() if path.name.startswith(".report")] == []


def test_whatever_goes_wrong_with_it_disturbs_nothing(tmp_path: Path) -> None:
    folder = tmp_path / "sweep"
    write_sweep(folder, trials=2)
    (folder / "sweep.yaml").write_text("no space at all")
    write(folder, threading.Event())
    assert not (folder / "report.html").exists()


def test_it_ends_with_the_sweep(tmp_path: Path) -> None:
    folder = tmp_path / "sweep"
    write_sweep(folder, trials=400, epochs=20)
    over = threading.Event()
    over.set()
    write(folder, over)
    assert [path.name for path in folder.iterdir() if "report" in path.name] == []
