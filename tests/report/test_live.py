from __future__ import annotations

import threading
from pathlib import Path

import pytest

from fervit.io.files import locked
from fervit.report.live import Writer, live_report
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


@pytest.mark.long
def test_whatever_goes_wrong_with_it_disturbs_nothing_and_is_tried_again(tmp_path: Path) -> None:
    folder, report = tmp_path / "sweep", tmp_path / "sweep" / "report.html"
    write_sweep(folder, trials=2)
    space = (folder / "sweep.yaml").read_text()
    (folder / "sweep.yaml").write_text("no space at all")
    writer = Writer(folder)
    writer.write(threading.Event())
    assert not report.exists()
    (folder / "sweep.yaml").write_text(space)
    writer.write(threading.Event())
    assert "2 trials" in report.read_text()
    journal = folder / "trials.jsonl"
    second = [line for line in journal.read_text().splitlines(keepends=True) if '"trial_0001"' in line]
    with journal.open("a") as file:
        file.write("".join(second).replace("trial_0001", "trial_0002").replace('"number": 1', '"number": 2'))
    writer.write(threading.Event())
    writer.close()
    assert "3 trials" in report.read_text()


def test_it_ends_with_the_sweep(tmp_path: Path) -> None:
    folder = tmp_path / "sweep"
    write_sweep(folder, trials=400, epochs=20)
    over = threading.Event()
    over.set()
    writer = Writer(folder)
    writer.write(over)
    writer.close()
    assert [path.name for path in folder.iterdir() if "report" in path.name] == []
