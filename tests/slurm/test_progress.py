from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import pytest

from fervit.runs.folder import RunFolder
from fervit.slurm.progress import progress
from fervit.slurm.script import JobFiles
from tests.helpers.ledger import Sweep, report

TUNE = ("python", "tune.py", "--space", "x.yaml")


@pytest.fixture
def files(tmp_path: Path) -> JobFiles:
    files = JobFiles(tmp_path)
    files.path.mkdir()
    files.script.touch()
    return files


def test_what_a_sweep_has_saved_is_progress_and_what_it_only_trained_is_not(files: JobFiles) -> None:
    assert progress(files.path, TUNE) == "0"
    sweep = Sweep(files.folder)
    sweep.begin()
    (trial,) = sweep.ledger.running
    assert progress(files.path, TUNE) == "0"
    sweep.ledger.report(trial.name, report(1, 0.1))
    assert progress(files.path, TUNE) == "0"
    sweep.ledger.report(trial.name, report(2, 0.2, saved=2))
    saved = progress(files.path, TUNE)
    assert saved not in ("", "0")
    sweep.ledger.report(trial.name, report(3, 0.3, saved=2))
    assert progress(files.path, TUNE) == saved
    Sweep(files.folder)  # the session of the next job
    assert progress(files.path, TUNE) == saved


def test_what_a_run_has_saved_is_progress(files: JobFiles) -> None:
    assert progress(files.path, TUNE) == "0"
    last = RunFolder(files.folder).last
    last.parent.mkdir()
    last.touch()
    saved = progress(files.path, TUNE)
    assert saved != "0"
    last.write_text("later")
    assert progress(files.path, TUNE) != saved


@pytest.mark.parametrize("flags", [("--latent_out", "{}"), ("--latent-out={}",)])
def test_codes_are_progress(files: JobFiles, tmp_path: Path, flags: tuple[str, ...]) -> None:
    words = [flag.format(tmp_path / "latents") for flag in flags]
    assert progress(files.path, words) == "0"
    (tmp_path / "latents" / "train").mkdir(parents=True)
    (tmp_path / "latents" / "train" / "part-0.parquet").write_bytes(b"codes")
    assert progress(files.path, words) == "1.5"
    assert progress(files.path, ["--latent_out", "s3://bucket/latents"]) == ""


def test_of_a_script_by_hand_nothing_is_known(tmp_path: Path) -> None:
    assert progress(tmp_path, TUNE) == ""


def test_it_needs_no_torch() -> None:
    code = "import sys; from fervit.slurm import progress; print('torch' in sys.modules)"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout == "False\n"
