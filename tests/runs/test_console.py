"""What the command prints about a training, from the messages that the workers write. Does not use Ray."""

from __future__ import annotations

import signal
import time
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

import pytest

from fervit.errors import JobError
from fervit.io.json_lines import text_of
from fervit.runs.console import Follower
from fervit.runs.folder import RunFolder
from fervit.runs.messages import (
    Ended,
    Entered,
    EpochDone,
    Failed,
    FirstStep,
    Hardware,
    Leaving,
    Message,
    MessageReader,
    MessageWriter,
    Ready,
    Remark,
    to_row,
)
from fervit.system import interrupts
from fervit.training.epoch import EpochResult

HARDWARE = Hardware(parameters=19_200_000, precision="bfloat16", workers=2, device="CPU", hosts=("a",))


@dataclass
class Elsewhere:
    """A job that writes a text at each poll, is interrupted at some polls, and then ends."""

    folder: RunFolder
    texts: list[str]
    interrupts: list[int] = field(default_factory=list)
    number: signal.Signals | None = None
    """The signal that interrupts; None for the exception alone."""
    error: BaseException | None = None
    looks: int = -1
    closed: bool = False

    @property
    def running(self) -> bool:
        self.looks += 1
        if self.looks in self.interrupts:
            if self.number is not None:
                signal.raise_signal(self.number)
            raise KeyboardInterrupt
        if self.texts:
            with self.folder.events.open("a") as file:
                file.write(self.texts.pop(0))
            return True
        return False

    def wait(self, seconds: float) -> None: ...

    def close(self) -> None:
        self.closed = True


def text(*messages: Message) -> str:
    return text_of(map(to_row, messages))


def epoch(number: int, seconds: float = 1.0, saved: bool = True) -> str:
    result = EpochResult(
        epoch=number,
        train_loss=1.5,
        train_accuracy=0.5,
        val_loss=1.6,
        accuracy=0.4,
        f1_macro=0.35,
        f1_weighted=0.4,
        balanced_accuracy=0.4,
        lr=1e-4,
        seconds=seconds,
        samples_per_second=1234.5,
    )
    return text(EpochDone(result=result, best=number == 1, saved=saved))


def start_of_run(done: int = 0) -> str:
    return text(
        Entered(time=107.0, imported=108.0), Ready(time=109.0, epoch=done, hardware=HARDWARE), FirstStep(time=109.5)
    )


FINISHED, STOPPED = text(Ended(state="finished")), text(Ended(state="stopped"))


def follow(tmp_path: Path, *texts: str, **more: Any) -> tuple[list[str], str]:
    said: list[str] = []
    folder = RunFolder(tmp_path)
    folder.path.mkdir(exist_ok=True)
    follower = Follower(folder, 3, 64, [("command", 100.0), ("Ray", 104.0)], said.append)
    return said, follower.follow(lambda: Elsewhere(folder, list(texts), **more))


def test_an_epoch_is_a_line_and_the_start_is_accounted_for(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(time, "time", lambda: 106.0)
    half = epoch(2)
    said, state = follow(tmp_path, start_of_run(), epoch(1) + half[:20], half[20:] + epoch(3), FINISHED)
    assert state == "finished"
    assert said == [
        "model: 19.2 M parameters, bfloat16, 2 x CPU",
        "started in 9.5 s, the first step included (Ray 4.0, Ray Train 2.0, processes 1.0, imports 1.0, "
        "data and model 1.0, first step 0.5)",
        "(val, acc, F1: loss, accuracy and macro-F1 on validation; *: best so far, kept)",
        "epoch   1/3  loss 1.500  val 1.600  acc 0.400  F1 0.350*  1,234/s  0:02 left",
        "epoch   2/3  loss 1.500  val 1.600  acc 0.400  F1 0.350   1,234/s  0:01 left",
        "epoch   3/3  loss 1.500  val 1.600  acc 0.400  F1 0.350   1,234/s  0:00 left",
    ]
    assert max(map(len, said[2:])) <= 80


def test_several_workers_on_gpus_are_told_what_they_lack(tmp_path: Path) -> None:
    on_gpus = replace(HARDWARE, device="NVIDIA H200")
    said, _ = follow(tmp_path, text(Ready(time=1.0, epoch=0, hardware=on_gpus)), FINISHED)
    assert said[1] == "several workers replay no captured graph: one GPU alone may be no slower (--workers 1)"


def test_a_lost_worker_is_said(tmp_path: Path) -> None:
    said, _ = follow(tmp_path, start_of_run(), epoch(1), start_of_run(1), epoch(2), epoch(3), FINISHED)
    assert "a worker was lost; the training goes on from the last saved epoch" in said
    assert "going on after epoch 1" in said
    assert sum(line.startswith("model:") for line in said) == 2


def test_a_training_that_leaves_a_machine_goes_on_elsewhere_or_says_how_to(tmp_path: Path) -> None:
    leaving = text(Leaving(epoch=1))
    said, _ = follow(
        tmp_path,
        *(start_of_run(), epoch(1), leaving, start_of_run(1), epoch(2), epoch(3), FINISHED),
    )
    assert "a machine of the training is about to be taken away; epoch 1 of 3 is saved" in said
    assert "going on after epoch 1" in said
    assert not any("lost" in line for line in said)
    with pytest.raises(KeyboardInterrupt, match=r"^this machine is about to be taken away: epoch 1 of 3 .*--resume"):
        follow(tmp_path / "alone", start_of_run(), epoch(1), leaving)
    with pytest.raises(KeyboardInterrupt, match=r"^interrupted: epoch 1 of 3 is saved"):  # nothing is trained by now
        follow(tmp_path / "interrupted", start_of_run(), epoch(1), leaving, "", interrupts=[4])


def test_a_training_is_ended_with_the_command(tmp_path: Path) -> None:
    job = Elsewhere(RunFolder(tmp_path), [start_of_run(), epoch(1, seconds=900.0)], interrupts=[2])
    with pytest.raises(KeyboardInterrupt):
        Follower(job.folder, 3, 64, [("command", 100.0)], lambda line: None).follow(lambda: job)
    assert job.closed


def test_what_went_wrong_is_the_error(tmp_path: Path) -> None:
    with pytest.raises(JobError, match=r"^the loss became nan$"):
        follow(tmp_path, start_of_run(), text(Failed(kind="diverged", message="the loss became nan")))
    with pytest.raises(JobError, match=r"before its last epoch \(three workers lost\); .*--resume"):
        follow(tmp_path / "lost", start_of_run(), epoch(1), error=RuntimeError("noise\nthree workers lost\n"))
    with pytest.raises(JobError, match="the run folder must lie where all nodes see it"):
        follow(tmp_path / "elsewhere")


def test_ctrl_c_ends_a_short_epoch_first(tmp_path: Path) -> None:
    with pytest.raises(KeyboardInterrupt, match=r"epoch 2 of 3 is saved; .*--resume"):
        follow(tmp_path, start_of_run(), epoch(1), epoch(2), STOPPED, interrupts=[2])
    assert (tmp_path / ".stop").exists()


def test_ctrl_c_gives_a_long_epoch_up(tmp_path: Path) -> None:
    with pytest.raises(KeyboardInterrupt, match="epoch 1 of 3 is saved"):
        follow(tmp_path, start_of_run(), epoch(1, seconds=900.0), epoch(2), interrupts=[2])
    assert not (tmp_path / ".stop").exists()


def test_the_notice_of_a_time_limit_lets_a_longer_epoch_end(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv(interrupts.NOTICE, "120")
    texts = (start_of_run(), epoch(1, seconds=40.0), epoch(2), STOPPED)
    for number, saved in ((signal.SIGINT, 1), (signal.SIGUSR1, 2)):
        monkeypatch.setattr(interrupts._Requests, "time", float("-inf"))
        with (
            interrupts.answering(interrupts.interrupt),
            pytest.raises(KeyboardInterrupt, match=f"epoch {saved} of 3 is saved"),
        ):
            follow(tmp_path / str(number), *texts, interrupts=[2], number=number)


def test_ctrl_c_waits_for_a_state_that_is_not_on_disk_yet(tmp_path: Path) -> None:
    with pytest.raises(KeyboardInterrupt, match="epoch 2 of 3 is saved"):
        follow(
            tmp_path,
            *(start_of_run(), epoch(1, 900.0, saved=False), epoch(2, 900.0), STOPPED),
            interrupts=[2],
        )


def test_ctrl_c_twice_leaves_at_once(tmp_path: Path) -> None:
    with pytest.raises(KeyboardInterrupt, match="epoch 1 of 3 is saved"):
        follow(tmp_path, start_of_run(), epoch(1), epoch(2), interrupts=[2, 3])


def test_every_message_is_read_as_it_was_written(tmp_path: Path) -> None:
    result = EpochResult(**dict.fromkeys(EpochResult.__annotations__, 0.5) | {"epoch": 3})
    messages: list[Message] = [
        Entered(time=1.0, imported=2.0),
        Ready(time=3.0, epoch=0, hardware=HARDWARE),
        FirstStep(time=4.0),
        EpochDone(result=result, best=True, saved=False),
        Remark(text="a remark"),
        Leaving(epoch=3),
        Failed(kind="failed", message="a fault", details="Traceback ..."),
        Ended(state="stopped"),
    ]
    write, reader = MessageWriter(tmp_path / "events.jsonl"), MessageReader(tmp_path / "events.jsonl")
    assert not reader.begun
    for message in messages:
        write(message)
    assert reader.new() == messages
    assert reader.begun
    assert reader.new() == []
