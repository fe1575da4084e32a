"""launch/tune.py and launch/replay.py as a user types them."""

from __future__ import annotations

import json
import os
import shutil
import tempfile
from pathlib import Path

import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from fervit.cluster.nodes import Cluster
from fervit.search.records.events import TrialStarted
from fervit.search.records.journal import read_journal
from fervit.search.records.sweep_folder import SweepFolder
from tests.conftest import Command
from tests.helpers.processes import COUNTED_GPU, MISSING_GPU, alone, launch
from tests.helpers.sweeps import leaderboard


def looks(folder: Path) -> list[dict[str, object]]:
    found: list[dict[str, object]] = json.loads((folder / "sealed_test.json").read_text())["looks"]
    return found


@pytest.mark.long
def test_trials_are_added_to_a_sweep_and_its_test_result_stays_sealed(
    command: Command, cluster: Cluster, latents_folder: Path, small_space: Path, tmp_path: Path
) -> None:
    args = ("--space", small_space, "--latents", latents_folder, "--resume", "--set", "search.sampler=random")
    args = (*args, "--set", "early_stopping.max_epochs=2", "--set", "parameters.lr.min=1e-6")
    args = (*args, "--set", "search.warm_start=[{lr: 1.0e-6}]")
    first = command("tune", *args, "--set", "search.trials=1")
    assert first.status == 0, first.err
    assert "opened once, after the choice" in first.out
    (folder,) = (tmp_path / "experiments").iterdir()
    sealed = looks(folder)
    assert [(look["trial"], look["n"]) for look in sealed] == [(0, 105)]

    again = command("tune", *args, "--set", "search.trials=1")  # nothing to do
    assert again.status == 0, again.err
    assert "going on with" in again.out
    assert looks(folder) == sealed

    dry = command("tune", *args, "--set", "search.trials=8", "--dry_run")
    assert dry.status == 0, dry.err
    assert "left: 7 of 8 trials to begin, 0 to go on; " in dry.out
    assert " to 14 epochs in all" in dry.out

    more = command("tune", *args, "--set", "search.trials=8")
    assert more.status == 0, more.err
    assert len(leaderboard(folder)) == 8
    assert len([event for event in read_journal(SweepFolder(folder).journal) if isinstance(event, TrialStarted)]) == 8
    (chosen,) = [row for row in leaderboard(folder) if row["chosen"] == "yes"]
    assert chosen["trial"] != "0"  # its learning rate is the lowest
    assert looks(folder) == sealed
    assert "the test split was opened for trial 0" in more.out
    assert "--second_look opens it again" in more.out

    second = command("tune", *args, "--set", "search.trials=8", "--second_look")
    assert second.status == 0, second.err
    assert "look 2 at the test split" in second.out
    assert [str(look["trial"]) for look in looks(folder)] == ["0", chosen["trial"]]
    assert (folder / "evaluation_2" / "evaluation_results.json").is_file()
    assert looks(folder)[0] == sealed[0]

    other = command("tune", *args, "--set", "search.trials=8", "--set", "search.seed=2")
    assert other.status == 2
    assert "began with another space (search.seed 2, was 1)" in other.err
    assert other.err.count("\n") == 1
    (latents_folder / "test" / "part-00000.parquet").replace(latents_folder / "val" / "part-00000.parquet")
    moved = command("tune", *args, "--set", "search.trials=8")
    assert moved.status == 2
    assert "began with other latents" in moved.err


def test_a_dry_run_says_what_the_sweep_would_take_and_starts_nothing(
    command: Command, cluster: Cluster, latents_folder: Path, small_space: Path, tmp_path: Path
) -> None:
    ended = command("tune", "--space", small_space, "--latents", latents_folder, "--dry_run")
    assert ended.status == 0, ended.err
    assert ended.out.count("an epoch  lr ") == 5
    for words in (
        "endlessly many configurations",
        "2 trials at once",
        "free for at most",
        "nothing was started",
    ):
        assert words in ended.out
    assert "GPU-hours" not in ended.out  # none is asked for
    assert not list((tmp_path / "experiments").iterdir())
    ended = command("tune", "--space", small_space, "--latents", latents_folder, "--dry_run", "--set", "trial.cpus=99")
    assert ended.status == 2
    assert "needs 99 CPUs on one node, the largest has 2 CPUs" in ended.err


def test_a_test_split_that_cannot_be_read_is_told_before_the_sweep_and_not_after_it(
    command: Command, latents_folder: Path, small_space: Path, tmp_path: Path
) -> None:
    path = latents_folder / "test" / "part-00000.parquet"
    table = pq.read_table(path)
    labels = pa.array([9] * len(table), table.schema.field("label").type)
    pq.write_table(table.set_column(table.schema.get_field_index("label"), table.schema.field("label"), labels), path)
    ended = command("tune", "--space", small_space, "--latents", latents_folder)
    assert ended.status == 2
    assert "labels must lie in 0..6" in ended.err
    assert not (tmp_path / "experiments").exists()


def test_a_folder_that_a_job_of_slurm_has_prepared_is_resumed(
    command: Command, small_space: Path, tmp_path: Path
) -> None:
    (tmp_path / "prepared" / "slurm").mkdir(parents=True)
    ended = command("tune", "--space", small_space, "--latents", "none", "--resume", tmp_path / "prepared")
    assert (ended.status, "none/train: no latents here" in ended.err) == (2, True), ended.err


def test_resume_of_what_is_no_sweep_is_one_line(
    command: Command, latents_folder: Path, small_space: Path, tmp_path: Path
) -> None:
    ended = command("tune", "--space", small_space, "--latents", latents_folder, "--resume", tmp_path)
    assert ended.status == 2
    assert "holds no sweep.yaml" in ended.err


@pytest.mark.parametrize(
    ("args", "message"),
    [
        (("--latents", "nowhere"), "nowhere/train: no latents here; make them with `python launch/encode.py"),
        (("--set", "search.trails=3"), "there is no key 'trails'; did you mean 'trials'?"),
        (("--set", "search.trials=many"), "search.trials: must be a whole number, but got 'many'"),
        (("--set", "parameters.lr.min=1"), "`min <= max` must hold, but got min=1.0, max=0.01"),
        (("--set", "parameters.heads.values=[]"), "must hold at least one value, but is empty"),
        (("--set", "parameters.heads.values=[5]"), "no value of heads divides one of embed_dim"),
        (("--set", "trial.cpus=512"), "needs 512 CPUs on one node, the largest has"),
        (("--space", "none.yaml"), "none.yaml: there is no such file"),
        (("--spce", "x"), "there is no flag --spce; did you mean --space?"),
    ],
)
def test_bad_input_to_tune_is_one_line_and_status_2(
    command: Command, cluster: Cluster, latents_folder: Path, small_space: Path, args: tuple[str, ...], message: str
) -> None:
    ended = command("tune", "--space", small_space, "--latents", latents_folder, *args)
    assert ended.status == 2
    assert message in ended.err
    assert ended.err.count("\n") == 1


def test_a_split_without_a_class_is_refused_by_tune(command: Command, latents_folder: Path, small_space: Path) -> None:
    import numpy as np

    from tests.conftest import latent_set, write_latents

    shutil.rmtree(latents_folder / "val")
    latents = latent_set(5, 1)
    write_latents(latents_folder / "val", latents, np.flatnonzero(latents.labels != 6))
    ended = command("tune", "--space", small_space, "--latents", latents_folder)
    assert ended.status == 2
    assert "val: has no face of surprise" in ended.err
    assert ended.err.count("\n") == 1


MPS_CONTROL = """#!/bin/bash
say() { echo "$*" >> "$STAND_IN_LOG"; }
if [ "${1-}" = -f ]; then
    say "started with $(basename "$(dirname "$CUDA_MPS_PIPE_DIRECTORY")") and ${CUDA_VISIBLE_DEVICES-all GPUs}"
    mkfifo "$CUDA_MPS_PIPE_DIRECTORY/control"
    read -r < "$CUDA_MPS_PIPE_DIRECTORY/control"
    say ended
else
    [ -p "$CUDA_MPS_PIPE_DIRECTORY/control" ] || { echo "Cannot find MPS control daemon process"; exit 1; }
    read -r command || true
    say "$command"
    [[ $command != quit* ]] || echo quit > "$CUDA_MPS_PIPE_DIRECTORY/control"
fi
"""


@pytest.mark.long
def test_a_sweep_in_which_nothing_finishes_says_why_and_ends_in_status_1(
    command: Command, cluster: Cluster, latents_folder: Path, small_space: Path
) -> None:
    args = ("--set", "parameters.lr={values: [1.0e+30]}", "--set", "search.trials=2")
    ended = command("tune", "--space", small_space, "--latents", latents_folder, *args)
    assert ended.status == 1
    assert "no trial finished (2 x diverged)" in ended.err
    (report,) = Path("experiments").glob("*/report.html")
    assert [row["state"] for row in leaderboard(report.parent)] == ["failed", "failed"]
    assert "No trial finished an epoch." in report.read_text()
    assert "it has ended" in report.read_text()


@pytest.mark.long
def test_trials_share_a_gpu_where_ray_counts_one(latents_folder: Path, small_space: Path, tmp_path: Path) -> None:
    """NVIDIA's daemon is a program that stands in for it: it answers, and ends when it is asked to."""
    program = tmp_path / "bin" / "nvidia-cuda-mps-control"
    program.parent.mkdir()
    program.write_text(MPS_CONTROL)
    program.chmod(0o755)
    half = ("--set", "trial.gpus=0.5", "--set", "search.trials=4", "--set", "early_stopping.max_epochs=2")
    args = ("--space", small_space, "--latents", latents_folder, *half)
    path = f"{program.parent}:{os.environ['PATH']}"
    env = alone(**COUNTED_GPU, PATH=path, STAND_IN_LOG=str(tmp_path / "mps.log"))
    sweep = launch("tune", *args, "--set", "trial.mps=true", cwd=tmp_path, env=env)
    printed = sweep.ended()
    assert sweep.returncode == 0, printed
    started, *asked, ended = (tmp_path / "mps.log").read_text().splitlines()
    assert started.startswith("started with fervit_mps_")
    assert started.endswith("all GPUs")
    assert "get_server_list" in asked
    assert ended == "ended"
    assert "no MPS" not in printed
    assert not list(Path(tempfile.gettempdir()).glob(started.split()[2]))
    assert "1 GPUs; 2 trials at once" in printed
    (folder,) = (tmp_path / "experiments").glob("small_*")
    assert [row["failure"] for row in leaderboard(folder)] == [""] * 4
    refused = launch("tune", *args, "--set", "trial.gpus=2", cwd=tmp_path, env=alone(**COUNTED_GPU))
    printed = refused.ended()
    assert refused.returncode == 2
    assert "trial.gpus: a worker trains on one GPU, but got 2" in printed


@pytest.mark.long
def test_a_space_without_gpus_gets_one_a_worker_and_a_sweep_of_before_keeps_the_cpu(
    latents_folder: Path, small_space: Path, tmp_path: Path
) -> None:
    short = ("--set", "search.trials=1", "--set", "early_stopping.max_epochs=1")
    args = ("--space", small_space, "--latents", latents_folder, *short)
    sweep = launch("tune", *args, cwd=tmp_path, env=alone(**COUNTED_GPU))
    printed = sweep.ended()
    assert sweep.returncode == 0, printed
    assert "trial.gpus is not given: a GPU for each worker" in printed
    (folder,) = (tmp_path / "experiments").glob("small_*")
    written = (folder / "sweep.yaml").read_text()
    assert "gpus: 1.0" in written
    (folder / "sweep.yaml").write_text(written.replace("gpus: 1.0", "gpus: 0"))  # as earlier versions wrote it
    resumed = launch("tune", *args, "--resume", cwd=tmp_path, env=alone(**COUNTED_GPU))
    printed = resumed.ended()
    assert resumed.returncode == 0, printed
    assert "going on with" in printed
    assert "trial.gpus is not given" not in printed
    assert "gpus: 0" in (folder / "sweep.yaml").read_text()


@pytest.mark.long
def test_a_sweep_goes_on_on_the_cpu_where_a_gpu_cannot_be_used_unless_it_was_asked_for(
    latents_folder: Path, small_space: Path, tmp_path: Path
) -> None:
    args = ("--space", small_space, "--latents", latents_folder, "--dry_run")
    sweep = launch("tune", *args, cwd=tmp_path, env=alone(**MISSING_GPU))
    printed = sweep.ended()
    assert sweep.returncode == 0, printed
    (said,) = [line for line in printed.splitlines() if line.startswith("GPU of this machine: ")]
    assert said.endswith("trials run on the CPU (--set trial.gpus=0 does so without a look)")
    assert ", 0 GPUs; " in printed
    refused = launch("tune", *args, "--set", "trial.gpus=0.5", cwd=tmp_path, env=alone(**MISSING_GPU))
    printed = refused.ended()
    assert refused.returncode == 2
    assert printed.splitlines()[-1].startswith("error: trial.gpus=0.5: GPU of this machine: ")
