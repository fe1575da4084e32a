"""What a training leaves in its run folder, epoch by epoch: history, TensorBoard, checkpoints. Rank 0 alone has one."""

from __future__ import annotations

import json
import time
from typing import Any

import torch

from fervit.files import whole_file, write_json, write_text
from fervit.torch_files import load_untrusted
from fervit.training.checkpoint import Checkpoint, save_checkpoint
from fervit.training.run_folder import RunFolder
from fervit.training.tensorboard import log_best, log_classes, log_epoch, open_writer
from fervit.training.trainer import EpochResult, Trainer

SHARE_FOR_SAVING = 0.1
"""Of the time: the state is saved after every epoch that lasts ten times as long as saving it, else less often."""
CLASSES_EVERY = 10
"""Epochs between two confusion matrices in TensorBoard."""


class Recorder:
    """Writes the files of one run; made after `resume`, closed at the end.

    The state is saved whenever an epoch is the best so far, so that the best model and the state to go on from are
    always of one history.
    """

    def __init__(self, folder: RunFolder, trainer: Trainer) -> None:
        self._folder, self._trainer = folder, trainer
        self._writer = open_writer(folder.logs, trainer.config, trainer.epoch)
        self._saved_epoch, self._saved, self._saving = trainer.epoch, time.monotonic(), 0.0

    def epoch(self, result: EpochResult) -> bool:
        """Records an epoch; returns whether its state was saved."""
        trainer = self._trainer
        last = trainer.finished
        log_epoch(self._writer, result.to_json())
        if last or result.epoch % CLASSES_EVERY == 0 or result.epoch == 1:
            log_classes(self._writer, trainer.confusion, result.epoch)
        with self._folder.history.open("a", encoding="utf-8") as file:
            file.write(json.dumps(result.to_json()) + "\n")
        due = time.monotonic() - self._saved > self._saving / SHARE_FOR_SAVING
        if trainer.improved or due or last:
            self.save()
        return self._saved_epoch == result.epoch

    def save(self) -> None:
        """Writes what is needed to go on from here, and the best model if it is this epoch's."""
        if self._saved_epoch == self._trainer.epoch:
            return
        started = time.monotonic()
        with whole_file(self._folder.last) as aside:
            torch.save(self._trainer.state_dict(), aside)
        if self._trainer.improved:
            save_best(self._folder, self._trainer)
        self._saved_epoch, self._saved = self._trainer.epoch, time.monotonic()
        self._saving = self._saved - started

    def close(self, state: str, seconds: float) -> None:
        """Ends the run's record: `state` is finished, stopped, diverged or out of memory."""
        trainer, best = self._trainer, self._trainer.best
        if best is not None:
            log_best(self._writer, trainer.config, best.f1_macro, best.epoch)
        self._writer.close()
        summary = {
            "state": state,
            "epochs": trainer.epoch,
            "best": best.to_json() if best else None,
            "rule": f"the highest {trainer.metric} on validation, the earliest epoch of equal ones",
            "seconds": seconds,
        }
        write_json(self._folder.summary, summary)


def resume(folder: RunFolder, trainer: Trainer, *, first_rank: bool) -> None:
    """Brings a new trainer to where the run stood when it was last saved; nothing to do for one that was not."""
    if not folder.last.is_file():
        if first_rank:
            folder.history.unlink(missing_ok=True)
        return
    trainer.load_state_dict(load_untrusted(folder.last))
    if not first_rank:
        return
    for aside in folder.last.parent.glob(".*"):  # what a killed process was writing
        aside.unlink(missing_ok=True)
    if trainer.improved:  # killed between the two files
        save_best(folder, trainer)
    lines = [line for line in read_history(folder) if line["epoch"] <= trainer.epoch]
    write_text(folder.history, "".join(json.dumps(line) + "\n" for line in lines))


def read_history(folder: RunFolder) -> list[dict[str, Any]]:
    """The epochs of a run, without a line that was cut off."""
    rows = []
    if folder.history.is_file():
        for line in folder.history.read_text(encoding="utf-8").splitlines():
            try:
                rows.append(json.loads(line))
            except ValueError:
                break
    return rows


def save_best(folder: RunFolder, trainer: Trainer) -> None:
    assert trainer.best is not None
    row = trainer.best.to_json()
    checkpoint = Checkpoint(
        model_state_dict={name: value.cpu() for name, value in trainer.evaluated.state_dict().items()},
        config=trainer.config,
        epoch=row.pop("epoch"),
        metrics=row,
        encoder=trainer.train.latents.encoder,
        data={"train": trainer.train.latents.fingerprint, "val": trainer.val.latents.fingerprint},
    )
    save_checkpoint(checkpoint, folder.best)
