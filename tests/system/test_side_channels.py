"""Side channels may fail: each is said once, and no job stops for it."""

from __future__ import annotations

import threading
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest

from fervit.encoding import job
from fervit.progress import Progress
from fervit.report import live
from fervit.runs.folder import RunFolder
from fervit.runs.recorder import Recorder, read_history
from fervit.system.side_channels import SideChannel, ascii_tag
from fervit.training.data import DeviceLatents
from fervit.training.trainer import Trainer
from tests.conftest import CONFIG, latent_set


def test_the_first_error_is_told_and_turns_the_channel_off() -> None:
    told: list[str] = []
    channel, calls = SideChannel("metrics", told.append), []

    def fails(value: int) -> int:
        calls.append(value)
        if value:
            raise ConnectionError("the agent has gone\nmore")
        return 7

    assert [channel(fails, 0), channel(fails, 1), channel(fails, 0)] == [7, None, None]
    assert calls == [0, 1]
    assert told == ["metrics failed and is left out from now on: the agent has gone"]


def test_an_error_of_the_message_itself_is_no_error() -> None:
    def closed(text: str) -> None:
        raise BrokenPipeError

    assert SideChannel("metrics", closed)(int, "x") is None


def test_tags_are_ascii_and_tell_names_apart() -> None:
    assert ascii_tag("caf\u00e9 \u540d\u524d") == "caf\\xe9 \\u540d\\u524d"


def fails(*args: Any, **kwargs: Any) -> Any:
    raise OSError("broken")


def record_a_run(folder: Path) -> tuple[list[str], int]:
    """Trains five epochs with a recorder, and returns what it told and how many epochs it recorded."""
    told: list[str] = []
    run = RunFolder(folder)
    run.history.parent.mkdir(exist_ok=True)
    trainer = Trainer(CONFIG, DeviceLatents(latent_set(5)), DeviceLatents(latent_set(3, seed=1)))
    recorder = Recorder(run, trainer, told.append)
    while not trainer.finished:
        recorder.epoch(trainer.run_epoch())
    recorder.close("finished")
    assert run.finished
    return told, len(read_history(run))


def test_a_training_goes_on_without_tensorboards_folder(tmp_path: Path) -> None:
    (tmp_path / "run").mkdir()
    (tmp_path / "run" / "logs").write_text("in the way")
    told, epochs = record_a_run(tmp_path / "run")
    assert epochs == CONFIG.epochs
    (line,) = told
    assert line.startswith("TensorBoard failed and is left out from now on: ")


@pytest.mark.parametrize("name", ["open_writer", "log_epoch", "log_classes", "log_best"])
def test_whatever_of_tensorboard_fails_a_training_goes_on(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, name: str
) -> None:
    monkeypatch.setattr(f"fervit.runs.recorder.{name}", fails)
    told, epochs = record_a_run(tmp_path / "run")
    assert epochs == CONFIG.epochs
    assert told == ["TensorBoard failed and is left out from now on: broken"]


def test_progress_that_cannot_be_shown_counts_on() -> None:
    progress = Progress(total=3, unit="faces", label="encode", say=fails)
    progress._bar.disable, progress._bar.delay, progress._bar.mininterval = False, 0.0, 0.0
    progress.add(1)
    progress.add(1, failed=1)
    progress.close()
    assert (progress.done, progress.failed) == (2, 1)


def test_a_report_that_cannot_be_started_is_tried_again_later(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    begun, done = [], threading.Event()

    def no_memory(*args: Any, **kwargs: Any) -> Any:
        begun.append(args)
        if len(begun) == 2:
            done.set()
        (tmp_path / "trials.jsonl").write_text("x" * (len(begun) + 1))
        raise OSError("Cannot allocate memory")

    monkeypatch.setattr(live.Writer, "write", no_memory)
    (tmp_path / "trials.jsonl").write_text("x")
    live._keep_writing(tmp_path, 0.01, done)
    assert len(begun) == 2


def test_an_encoding_job_goes_on_without_its_metrics(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    receipts = [[{"image_id": "a", "split": "train", "error": "", "host": "h", "fatal": "", "in_float32": False}]]
    monkeypatch.setattr(job, "_receipts", lambda plan, placement: receipts * 2)
    monkeypatch.setattr(job, "_Meter", lambda folder: SimpleNamespace(add=fails))
    told: list[str] = []
    plan = Plan(latent_out=str(tmp_path), folders={}, failures={}, leftovers=(), present=0, failed_before=0)
    assert job.encode_faces(plan, None, told.append).done == 2  # type: ignore[arg-type]
    assert told[0] == "metrics failed and is left out from now on: broken"


class Plan(SimpleNamespace):
    """The plan of a job whose blocks are given."""

    def __len__(self) -> int:
        return 2
