"""Commands in surroundings that others have reported, and their end by the signals of schedulers."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
from pathlib import Path

import pytest
import yaml

from fervit.latents import LatentSet
from fervit.search.records.journal import read_journal
from fervit.search.records.sweep_folder import SweepFolder
from tests.conftest import ROOT, SMALL_SPACE, Command
from tests.helpers.processes import Running, alone, launch

LONG = "x" * 100


@pytest.mark.long
def test_encoding_with_a_long_tmpdir_no_home_one_cpu_and_a_path_in_kanji(demo_faces: Path, tmp_path: Path) -> None:
    out = tmp_path / "名前 é" / "latents"
    temporary = tmp_path / LONG
    temporary.mkdir()
    words = ("--data_root", demo_faces, "--latent_out", out, "--encoder_type", "demo", "--limit", 42)
    one = {min(os.sched_getaffinity(0))}
    command = launch(
        "encode",
        *words,
        cwd=tmp_path,
        env=alone(RAY_ADDRESS="local", TMPDIR=str(temporary), HOME="/proc/nowhere", PYTHONIOENCODING="ascii"),
        preexec_fn=lambda: os.sched_setaffinity(0, one),
    )
    printed = command.ended()
    assert command.returncode == 0, printed
    assert "Traceback" not in printed
    assert "does not suit its sockets" in printed
    assert "1 encoder (CPU, 1 threads each)" in printed
    assert "all 77 files: 42 with codes, 0 failed, 0 passed over, 35 left out by --limit" in printed
    assert sum(len(LatentSet.read(str(out / split))) for split in ("train", "val", "test")) == 42


def test_a_folder_that_cannot_be_written_to_is_one_line(command: Command, tmp_path: Path, latents_folder: Path) -> None:
    (tmp_path / "experiments").write_text("in the way")  # root may write to read-only folders
    words = ("--latent_train_dir", latents_folder / "train", "--latent_val_dir", latents_folder / "val")
    ended = command("train", *words, "--seq_len", 0, "--latent_dim", 16, "--batch_size", 16)
    assert ended.status == 2
    assert "results cannot be written there" in ended.err
    assert "give --output_dir" in ended.err
    assert ended.err.count("\n") == 1


def test_sigterm_lets_a_training_save_and_say_how_to_go_on(latents_folder: Path, tmp_path: Path) -> None:
    small = {"embed_dim": 16, "depth": 1, "heads": 2, "mlp_dim": 16, "batch_size": 32, "epochs": 100000}
    words = [word for name, value in small.items() for word in (f"--{name}", value)]
    words += ["--latent_train_dir", latents_folder / "train", "--latent_val_dir", latents_folder / "val"]
    command = launch("train", *words, "--seq_len", 0, "--latent_dim", 16, cwd=tmp_path, start_new_session=True)
    assert command.says("epoch   3/"), command.printed
    os.killpg(command.pid, signal.SIGTERM)  # to all processes of the job, as schedulers do
    printed = command.ended()
    assert command.returncode == 143, printed
    assert "is saved; `python launch/train.py --resume" in printed.splitlines()[-1]
    assert "Traceback" not in printed


def sweeping(folder: Path, latents: Path, space: Path) -> Running:
    words = ("--space", space, "--latents", latents, "--resume")
    return launch("tune", *words, cwd=folder, env=alone(RAY_ADDRESS="local"), start_new_session=True)


@pytest.mark.long
@pytest.mark.timeout(900)
@pytest.mark.parametrize(("number", "status"), [(signal.SIGTERM, 143), (signal.SIGINT, 130), (signal.SIGUSR1, 130)])
def test_signals_to_all_processes_of_a_sweep_let_its_trials_save(
    latents_folder: Path, tmp_path: Path, number: signal.Signals, status: int
) -> None:
    raw = yaml.safe_load(SMALL_SPACE)
    raw["early_stopping"] |= {"scheduler": "none", "max_epochs": 4000}
    raw["name"] = "探索"  # no metric takes such a name as it stands
    space = tmp_path / "small.yaml"
    space.write_text(yaml.safe_dump(raw, allow_unicode=True), encoding="utf-8")
    command = sweeping(tmp_path, latents_folder, space)

    def epochs() -> int:
        journals = list(tmp_path.glob("experiments/*/trials.jsonl"))
        return journals[0].read_bytes().count(b'"epoch", "time"') if journals else 0

    assert command.reaches(lambda: epochs() > 3), command.printed
    os.kill(command.pid, number)
    os.killpg(command.pid, number)  # as `timeout` does: to the process, and to its group
    printed = command.ended()
    assert command.returncode == status, printed
    assert "Interrupted: " in printed
    assert "--resume" in printed.splitlines()[-1]
    assert "Traceback" not in printed
    (folder,) = (tmp_path / "experiments").iterdir()
    last = [event for event in read_journal(SweepFolder(folder).journal) if hasattr(event, "saved")][-1]
    assert last.saved == last.row.epoch


def test_what_a_process_of_its_own_may_use_is_what_a_training_takes() -> None:
    script = "from fervit.runs.process import WarmProcess; p = WarmProcess(); print(p.machine().cluster.cpus); p.kill()"
    one = {min(os.sched_getaffinity(0))}
    done = subprocess.run(
        [sys.executable, "-c", script],
        cwd=ROOT,
        capture_output=True,
        text=True,
        check=True,
        preexec_fn=lambda: os.sched_setaffinity(0, one),
    )
    assert done.stdout == "1\n"
