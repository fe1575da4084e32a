"""launch/train.py in a process and on Ray: its files, how it resumes, and that no kill changes the numbers."""

from __future__ import annotations

import json
import os
import re
import shutil
import signal
import tempfile
import time
from contextlib import suppress
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
import torch
from tensorboard.backend.event_processing.event_accumulator import EventAccumulator

from fervit.cluster.nodes import Cluster
from fervit.cluster.preemption import NOTICE
from fervit.runs.folder import RunFolder
from tests.conftest import Command, latent_set, write_latents, write_splits
from tests.helpers.processes import COUNTED_GPU, MISSING_GPU, Running, alone, descendants, launch

SMALL = (
    *("--latent_dim", "16", "--seq_len", "0", "--embed_dim", "16", "--depth", "2", "--heads", "2", "--mlp_dim", "16"),
    *("--batch_size", "32", "--lr", "3e-3", "--precision", "float32"),
)
CLOCKS = ("seconds", "samples_per_second")


def flags(latents: Path, *more: object) -> list[str]:
    return [*map(str, ("--latent_train_dir", latents / "train", "--latent_val_dir", latents / "val", *SMALL, *more))]


def history(folder: Path) -> list[dict[str, Any]]:
    """Returns the epochs of a run without the fields that depend on the time."""
    rows = [json.loads(line) for line in (folder / "history.jsonl").read_text().splitlines()]
    return [{key: value for key, value in row.items() if key not in CLOCKS} for row in rows]


def only_run(where: Path) -> Path:
    (folder,) = (where / "experiments").iterdir()
    return folder


def test_a_run_leaves_what_it_promises(
    command: Command, cluster: Cluster, latents_folder: Path, tmp_path: Path
) -> None:
    ended = command("train", *flags(latents_folder, "--epochs", 11, "--use-class-weights"))
    assert ended.status == 0, ended.err
    folder = only_run(tmp_path)
    assert folder.name.startswith("latent_vit_d2_h2_lr0.003_bs32_ep11_20")
    assert ended.out.count("\nepoch ") == 11
    assert "started in" in ended.out
    for word in ("latents", "Ray ", "processes", "imports", "data and model", "first step"):
        assert word in ended.out[ended.out.index("started in") :]

    rows = history(folder)
    best = max(rows, key=lambda row: row["f1_macro"])
    summary = json.loads((folder / "experiment_summary.json").read_text())
    assert summary["state"] == "finished"
    assert summary["best"]["epoch"] == best["epoch"]
    assert f"Best: epoch {best['epoch']}, validation macro-F1 {best['f1_macro']:.3f}" in ended.out

    config = json.loads((folder / "config.json").read_text())
    assert (config["training"]["seq_len"], config["training"]["use_class_weights"]) == (4, True)
    environment = json.loads((folder / "environment.json").read_text())
    assert torch.__version__.startswith(environment["packages"]["torch"])
    assert environment["data"]["train"]["rows"] == 280
    assert (environment["seed"], environment["training"]["precision"]) == (42, "float32")

    events = EventAccumulator(str(folder / "logs"))
    events.Reload()
    for tag, name in (
        *(("Loss/Train", "train_loss"), ("Validation/accuracy", "accuracy"), ("Validation/f1_macro", "f1_macro")),
        ("Learning_Rate", "lr"),
    ):
        assert [event.value for event in events.Scalars(tag)] == pytest.approx([row[name] for row in rows])
    assert [event.step for event in events.Scalars("F1/happy")] == [1, 10, 11]
    assert len(events.Images("Confusion_Matrix")) == 3
    assert events.Scalars("hparam/best_f1_macro")[-1].value == pytest.approx(best["f1_macro"])
    assert events.SummaryMetadata("_hparams_/session_start_info").plugin_data.plugin_name == "hparams"

    for replaced in (False, True):
        evaluated = command(
            *("evaluate", "--checkpoint_path", folder / "checkpoints" / "best_model.pt"),
            *("--latent_test_dir", latents_folder / "val", "--output_dir", "evaluated"),
        )
        assert evaluated.status == 0, evaluated.err
        assert f"macro-F1 {best['f1_macro']:.3f}" in evaluated.out  # the number shown is that of the model kept
        assert ("in place of the evaluation that was in evaluated" in evaluated.out) == replaced

    again = command("train", "--resume", folder)
    assert again.status == 0
    assert "finished after 11 epochs" in again.out


@pytest.mark.long
def test_two_workers_give_the_curve_of_one(
    command: Command, cluster: Cluster, latents_folder: Path, tmp_path: Path
) -> None:
    curves = []
    for workers in (1, 2):
        options = ("--workers", workers, "--epochs", 4, "--mixup", 0.4, "--latent_noise", 0.1, "--use_class_weights")
        ended = command("train", *flags(latents_folder, *options, "--batch_size", 48))  # the last batch has 40 rows
        assert ended.status == 0, ended.err
        folder = only_run(tmp_path)
        curves.append(history(folder))
        shutil.rmtree(tmp_path / "experiments")
    for one, two in zip(*curves, strict=True):
        for name in ("train_loss", "train_accuracy", "val_loss", "accuracy", "f1_macro", "lr"):
            assert two[name] == pytest.approx(one[name], rel=1e-4), name


@pytest.mark.parametrize(
    ("args", "message"),
    [
        (("--seq_len", "18"), "holds codes of 4 x 16, but seq_len is 18"),
        (("--heads", "3"), "`embed_dim % heads == 0` must hold, but got embed_dim=16, heads=3"),
        (("--lr", "0"), "`lr > 0` must hold, but got lr=0.0"),
        (("--lr", "nan"), "command line.lr: must be a finite number"),
        (("--scheduler", "cosin"), "invalid choice: 'cosin'"),
        (("--epoch", "3"), "there is no flag --epoch; did you mean --epochs?"),
        (("--epochs", "three"), "argument --epochs: must be a whole number, but got 'three'"),
        (("--lr", "fast"), "argument --lr: must be a number, but got 'fast'"),
        (("--recipe", "weak"), "invalid choice: 'weak'"),
        (("--workers", "500"), "--workers 500: the cluster has"),
        (("--use_gpu",), "--use_gpu: this cluster has no GPU"),
        (("--latent_val_dir", "nowhere"), "nowhere: no latents here"),
    ],
)
def test_bad_input_is_one_line_and_status_2(
    command: Command, cluster: Cluster, latents_folder: Path, tmp_path: Path, args: tuple[str, ...], message: str
) -> None:
    if "--use_gpu" in args and cluster.gpus:
        pytest.skip("this machine has a GPU")
    ended = command("train", *flags(latents_folder), *args)
    assert ended.status == 2
    assert message in ended.err
    assert ended.err.count("\n") == 1
    assert not list((tmp_path / "experiments").glob("*"))


def test_latents_that_cannot_be_trained_on_are_one_line(command: Command, latents_folder: Path, tmp_path: Path) -> None:
    no_sad, labels_7, empty = (tmp_path / name for name in ("no_sad", "labels_7", "empty"))
    empty.mkdir()
    latents = latent_set(5, 1)
    write_latents(no_sad, latents, latents.labels != 5)
    latents.labels[0] = 7
    write_latents(labels_7, latents)
    other = latent_set(5, 1)
    write_latents(tmp_path / "other", other, encoder=replace(other.encoder, checkpoint_sha256="0123"))
    for folder, message in (
        (no_sad, "has no face of sad"),
        (labels_7, "labels must lie in 0..6"),
        (empty, "no latents here"),
        (tmp_path / "other", "come from another encoder"),
    ):
        ended = command("train", *flags(latents_folder, "--latent_val_dir", folder))
        assert ended.status == 2
        assert message in ended.err
        assert ended.err.count("\n") == 1


def test_faces_that_are_in_both_splits_are_told(latents_folder: Path, tmp_path: Path) -> None:
    same = ("--latent_train_dir", latents_folder / "train", "--latent_val_dir", latents_folder / "train")
    run = launch("train", *same, *SMALL, "--epochs", "1", cwd=tmp_path, env=alone())
    printed = run.ended()
    assert run.returncode == 0, printed
    assert "copies: 280 of 280 val faces are also in train: they reward a model that remembers" in printed


def test_missing_flags_and_runs_are_one_line(command: Command, tmp_path: Path) -> None:
    (tmp_path / "sweep").mkdir()
    (tmp_path / "sweep" / "sweep.yaml").touch()
    (tmp_path / "damaged").mkdir()
    (tmp_path / "damaged" / "config.json").write_text('{"training": {}')
    for args, message in (
        ((), "--latent_train_dir: is missing"),
        (("--resume", tmp_path), "holds no training run"),
        (("--resume", tmp_path / "sweep"), "it is a sweep's folder, with which `tune --resume` goes on"),
        (("--resume", tmp_path / "damaged" / "config.json"), "holds no training run"),
        (("--resume", tmp_path / "damaged"), "is damaged"),
    ):
        ended = command("train", *args)
        assert ended.status == 2
        assert message in ended.err
        assert ended.err.count("\n") == 1


@pytest.mark.extra
def test_a_loss_that_is_not_a_number_ends_the_run_and_keeps_the_best(
    command: Command, cluster: Cluster, latents_folder: Path, tmp_path: Path
) -> None:
    assert command("train", *flags(latents_folder, "--epochs", 2)).status == 0
    folder = only_run(tmp_path)
    kept = torch.load(folder / "checkpoints" / "best_model.pt", weights_only=True)
    # The learning rate of the third epoch is set so high that the training diverges.
    config = json.loads((folder / "config.json").read_text())
    config["training"].update(epochs=60, lr=1e30)
    (folder / "config.json").write_text(json.dumps(config))
    state = torch.load(folder / "checkpoints" / "last.pt", weights_only=True)
    trainer = state["trainer"]
    trainer["config"].update(epochs=60, lr=1e30)
    trainer["learning_rate"]["epoch_lr"] = trainer["optimizer"]["param_groups"][0]["lr"] = 1e30
    torch.save(state, folder / "checkpoints" / "last.pt")
    (folder / "experiment_summary.json").unlink()

    ended = command("train", "--resume", folder)
    assert ended.status == 1
    assert "the loss became nan in epoch 3, step 2 of 9, at lr 1e+30; try a lower lr" in ended.err
    assert ended.err.count("\n") == 1
    assert json.loads((folder / "experiment_summary.json").read_text())["state"] == "diverged"
    assert len(history(folder)) == 2
    still = torch.load(folder / "checkpoints" / "best_model.pt", weights_only=True)
    assert still["epoch"] == kept["epoch"]
    assert all(torch.equal(still["model_state_dict"][k], v) for k, v in kept["model_state_dict"].items())


@pytest.mark.long
def test_out_of_memory_names_the_batch_and_the_memory(
    command: Command, cluster: Cluster, latents_folder: Path, tmp_path: Path
) -> None:
    args = flags(latents_folder, "--mlp_dim", 10**12)
    ended = command("train", *args)
    process = start(tmp_path, *args)
    output = process.ended()
    for status, text in ((ended.status, ended.err), (process.returncode, output)):
        assert status == 1
        assert "out of memory on" in text
        assert "GiB" in text
        assert "with batch_size 32" in text
        assert "try a smaller batch_size" in text


def test_without_a_ray_to_join_a_process_of_this_machine_trains(latents_folder: Path, tmp_path: Path) -> None:
    process = start(tmp_path, *flags(latents_folder, "--epochs", 2))
    output = process.ended()
    assert process.returncode == 0, output
    assert "watch: tensorboard --logdir experiments/" in output  # and no dashboard of a Ray that does not run
    assert "1 x " in output
    folder = only_run(tmp_path)
    assert not (folder / "ray_train").exists()
    environment = json.loads((folder / "environment.json").read_text())
    assert environment["cluster"]["nodes"] == 1
    assert environment["training"]["workers"] == 1


def test_a_gpu_that_is_not_there_is_refused_without_ray(cluster: Cluster, latents_folder: Path, tmp_path: Path) -> None:
    if cluster.gpus:
        pytest.skip("this machine has a GPU")
    process = start(tmp_path, *flags(latents_folder, "--use_gpu"))
    output = process.ended()
    assert process.returncode == 2, output
    assert output.splitlines()[1:] == ["error: --use_gpu: this machine has no GPU; leave it out to train on the CPU"]
    assert not list((tmp_path / "experiments").glob("*"))


# The runs that are killed below train for at least twenty seconds, so that they are killed in the middle.
LONG = ("--epochs", "40", "--embed_dim", "64", "--depth", "4", "--mlp_dim", "256", "--scheduler", "plateau")


@pytest.fixture(scope="module")
def undisturbed(cluster: Cluster, tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, Path]:
    """The latents, and the folder of an undisturbed run on them."""
    where = tmp_path_factory.mktemp("undisturbed")
    for seed, (split, per_class) in enumerate({"train": 120, "val": 30}.items()):
        write_latents(where / "latents" / split, latent_set(per_class, seed, noise=2.0))
    process = start(where, *flags(where / "latents", *LONG))
    output = process.ended()
    assert process.returncode == 0, output
    return where / "latents", only_run(where)


WITH_RAY = ("--address", "local")
"""The flags with which the command starts a Ray of its own, which it would not need."""


def start(where: Path, *args: str, **more: str) -> Running:
    """Starts launch/train.py as a process of its own, with additional environment variables."""
    return launch("train", *args, cwd=where, env=alone(**more))


def wait_for_epoch(process: Running, epoch: int) -> None:
    assert process.says(f"epoch {epoch:>3}/"), f"the run ended before:\n{process.printed}"


@pytest.mark.long
def test_a_run_on_ray_train_is_placed_on_a_gpu_where_ray_counts_one(latents_folder: Path, tmp_path: Path) -> None:
    args = flags(latents_folder, "--epochs", 2, *WITH_RAY)
    run = start(tmp_path, *args, **COUNTED_GPU)
    printed = run.ended()
    assert run.returncode == 0, printed
    assert json.loads((only_run(tmp_path) / "environment.json").read_text())["cluster"]["gpus"] == 1
    assert len(history(only_run(tmp_path))) == 2
    refused = start(tmp_path, *args, "--workers", "2", **COUNTED_GPU)
    printed = refused.ended()
    assert refused.returncode == 2
    assert "--workers 2: the cluster has 1 GPUs, and each worker needs one" in printed


@pytest.mark.long
def test_a_run_on_ray_train_is_refused_a_gpu_that_cannot_be_used(latents_folder: Path, tmp_path: Path) -> None:
    refused = start(tmp_path, *flags(latents_folder, *WITH_RAY), "--use_gpu", **MISSING_GPU)
    printed = refused.ended()
    assert refused.returncode == 2
    reading, error = printed.splitlines()
    assert reading.startswith("reading ")
    assert error.startswith("error: --use_gpu: GPU of this machine: ")
    assert not list((tmp_path / "experiments").iterdir())


def assert_same_result(found: Path, expected: Path) -> None:
    assert history(found) == history(expected)
    models = [torch.load(run / "checkpoints" / "best_model.pt", weights_only=True) for run in (found, expected)]
    assert models[0]["epoch"] == models[1]["epoch"]
    for name, weight in models[1]["model_state_dict"].items():
        assert torch.equal(models[0]["model_state_dict"][name], weight), name
    states = [torch.load(run / "checkpoints" / "last.pt", weights_only=True) for run in (found, expected)]
    for name, weight in states[1]["trainer"]["model"].items():
        assert torch.equal(states[0]["trainer"]["model"][name], weight), name


def training_process(command: Running) -> int:
    """Returns the id of the process that trains; 0 for none."""
    for pid in descendants(command.pid):
        with suppress(OSError):
            if re.search(rb"RayTrainWorker|fervit\.runs\.process", Path(f"/proc/{pid}/cmdline").read_bytes()):
                return pid
    return 0


def ended(pid: int) -> bool:
    try:
        return Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[0] == "Z"
    except OSError:
        return True


@pytest.mark.kills
@pytest.mark.timeout(1800)
@pytest.mark.parametrize(
    "engine", [pytest.param((), id="process"), pytest.param(WITH_RAY, id="ray", marks=pytest.mark.chaos)]
)
def test_killed_and_resumed_a_run_ends_with_the_same_bits(
    undisturbed: tuple[Path, Path], tmp_path: Path, engine: tuple[str, ...]
) -> None:
    latents, expected = undisturbed
    process = start(tmp_path, *flags(latents, *LONG, *engine))
    wait_for_epoch(process, 3)
    os.kill(training_process(process), signal.SIGKILL)  # the command goes on by itself
    wait_for_epoch(process, 12)
    trains = training_process(process)
    process.kill()
    process.ended()
    folder = only_run(tmp_path)
    saved = len(history(folder))
    assert 3 <= saved < 40

    process = start(tmp_path, "--resume", str(folder), *engine)
    wait_for_epoch(process, 20)
    assert ended(trains)  # two processes never train in one folder
    process.interrupt(signal.SIGUSR1)  # the notice of a time limit does what Ctrl-C does
    output = process.ended()
    assert process.returncode == 130, output
    assert "is saved; `python launch/train.py --resume" in output
    assert "Traceback" not in output

    process = start(tmp_path, *flags(latents, *LONG), "--resume", str(folder))
    output = process.ended()
    assert process.returncode == 0, output
    assert "going on after epoch" in output
    assert_same_result(folder, expected)
    assert not list((folder / "checkpoints").glob(".*"))
    events = EventAccumulator(str(folder / "logs"))
    events.Reload()
    assert [event.step for event in events.Scalars("Validation/f1_macro")] == list(range(1, 41))


@pytest.fixture(scope="module")
def short(tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, Path]:
    """The latents, and the folder of a run of a few epochs on them."""
    where = tmp_path_factory.mktemp("short")
    process = start(where, *flags(write_splits(where / "latents"), "--epochs", 3, "--depth", 4))
    output = process.ended()
    assert process.returncode == 0, output
    return where / "latents", only_run(where)


@pytest.mark.kills
@pytest.mark.timeout(1800)
def test_a_process_that_dies_again_and_again_ends_the_run(undisturbed: tuple[Path, Path], tmp_path: Path) -> None:
    process = start(tmp_path, *flags(undisturbed[0], *LONG))
    wait_for_epoch(process, 1)
    while process.returncode is None:
        pid = training_process(process)
        if pid:
            os.kill(pid, signal.SIGKILL)
        time.sleep(0.02)
    output = process.ended()
    assert process.returncode == 1, output
    assert "(its process died 4 times, the last time of SIGKILL; if a worker was killed for want of memory" in output
    assert "--resume" in output


def give_notice(folder: Path) -> Path:
    """Gives notice of preemption to the processes with this temporary folder, and to no others of this machine."""
    notice = folder / NOTICE.name
    notice.write_text(f"{time.time() + 600:.0f} a test\n")
    return notice


@pytest.mark.kills
@pytest.mark.timeout(1800)
def test_a_notice_ends_a_run_on_this_machine_and_resume_goes_on(undisturbed: tuple[Path, Path], tmp_path: Path) -> None:
    latents, expected = undisturbed
    process = start(tmp_path, *flags(latents, *LONG), TMPDIR=str(tmp_path))
    wait_for_epoch(process, 3)
    notice = give_notice(tmp_path)
    output = process.ended()
    assert process.returncode == 130, output
    folder = only_run(tmp_path)
    saved = len(history(folder))
    assert f"this machine is about to be taken away: epoch {saved} of 40 is saved; `python" in output
    assert json.loads((folder / "experiment_summary.json").read_text())["state"] == "stopped"
    notice.unlink()

    process = start(tmp_path, "--resume", str(folder), TMPDIR=str(tmp_path))
    output = process.ended()
    assert process.returncode == 0, output
    assert f"going on after epoch {saved}" in output
    assert_same_result(folder, expected)


@pytest.mark.kills
@pytest.mark.timeout(1800)
def test_a_notice_moves_a_run_to_another_node(undisturbed: tuple[Path, Path], tmp_path: Path) -> None:
    latents, expected = undisturbed
    with tempfile.TemporaryDirectory(dir="/tmp", prefix="f") as short:  # Ray's sockets lie there, too
        spare = json.dumps({"spare": {"resources": {"CPU": 1}, "max_workers": 1}})  # a node that may join
        process = start(tmp_path, *flags(latents, *LONG, *WITH_RAY), TMPDIR=short, FERVIT_NODE_TYPES=spare)
        wait_for_epoch(process, 3)
        notice = give_notice(Path(short))
        assert process.says("a machine of the training is about to be"), process.printed
        said = next(line for line in process.lines if line.startswith("a machine of the training is about to be"))
        notice.unlink()
        output = process.ended()
    assert process.returncode == 0, output
    saved = int(said.split(" of 40")[0].rpartition(" ")[2])
    assert f"going on after epoch {saved}" in output
    assert "lost" not in output
    assert_same_result(only_run(tmp_path), expected)


@pytest.fixture
def unfinished(short: tuple[Path, Path], tmp_path: Path) -> Path:
    """A copy of the short run that looks as if it had more epochs to train."""
    folder = tmp_path / "run"
    shutil.copytree(short[1], folder)
    (folder / "experiment_summary.json").unlink()
    return folder


def test_other_settings_or_data_than_the_runs_are_refused(command: Command, unfinished: Path, tmp_path: Path) -> None:
    write_latents(tmp_path / "other" / "val", latent_set(30, seed=9))
    for args, messages in (
        (("--lr", 0.5, "--depth", 4, "--dropout", 0.2), ("(dropout 0.2, was 0.1; lr 0.5, was 0.003)",)),
        (("--recipe", "strong"), ("standardise True, was False", "depth 2, was 4")),
        (("--latent_val_dir", tmp_path / "other" / "val"), ("these are not the latents that",)),
    ):
        ended = command("train", "--resume", unfinished, *args)
        assert ended.status == 2
        assert all(message in ended.err for message in messages), ended.err
        assert ended.err.count("\n") == 1
    (unfinished / "checkpoints" / "last.pt").write_bytes(b"PK")
    ended = command("train", "--resume", unfinished)
    assert ended.status == 2
    assert "last.pt: is damaged" in ended.err
    assert ended.err.count("\n") == 1


def test_latents_that_have_moved_are_known_again_and_two_commands_do_not_share_a_run(
    command: Command, cluster: Cluster, short: tuple[Path, Path], unfinished: Path, tmp_path: Path
) -> None:
    latents, _ = short
    shutil.copytree(latents, tmp_path / "moved")
    args = ("--latent_train_dir", "moved/train", "--latent_val_dir", tmp_path / "moved" / "val")
    with RunFolder(unfinished).locked():
        ended = command("train", "--resume", unfinished, *args)
        assert ended.status == 2
        assert "another command is at this run" in ended.err
    ended = command("train", "--resume", "run", *args, "--recipe", "guide")
    assert ended.status == 0, ended.err
    assert "finished after 3 epochs" in ended.out


@pytest.mark.long
def test_an_error_in_a_worker_is_told_once_with_its_traceback_in_the_log(
    command: Command, cluster: Cluster, unfinished: Path
) -> None:
    best = RunFolder(unfinished).best
    best.unlink()
    best.mkdir()  # in the way of the model
    ended = command("train", "--resume", unfinished)
    assert ended.status == 1
    assert ended.err.count("\n") == 1
    assert "Error: " in ended.err
    assert "a worker was lost" not in ended.out
    assert "Traceback" in (unfinished / "ray.log").read_text()


@pytest.mark.parametrize("engine", [(), WITH_RAY], ids=["process", "ray"])
def test_ctrl_c_before_the_first_epoch_says_how_to_go_on(
    latents_folder: Path, tmp_path: Path, engine: tuple[str, ...]
) -> None:
    process = start(tmp_path, *flags(latents_folder, "--epochs", 1000, *engine))
    assert process.says("watch:"), process.printed
    time.sleep(1)  # somewhere in its start
    process.interrupt()
    output = process.ended()
    assert process.returncode == 130, output
    assert "interrupted: epoch" in output
    assert "Traceback" not in output
