"""One training in one of its processes, whoever drives it: a run of `train.py` or a trial of a sweep.

A session starts a training or restores it, trains epoch by epoch, saves at a pace, and answers a request to stop and
the notice that its machine will be taken away. It knows nothing of Ray.
"""

from __future__ import annotations

import time
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

import torch

from fervit.checkpoints.checkpoint import save_checkpoint
from fervit.cluster.preemption import is_leaving
from fervit.latents import LatentSet
from fervit.runs.state import Weights, checkpoint_of, copy_weights, load_state, save_state
from fervit.training.data import DeviceLatents
from fervit.training.epoch import EpochResult
from fervit.training.trainer import Trainer


class NodeLeavingError(Exception):
    """The machine is about to be taken away; the training has saved and goes on elsewhere."""


@dataclass(frozen=True, kw_only=True)
class Saving:
    """When a training writes to disk what it needs to go on after its process dies."""

    share: float
    """The largest share of the time that saving the state may take: it is saved after every epoch that lasts long
    enough for that, otherwise less often."""
    best_at_once: bool
    """Whether the best model is written at each improvement, instead of together with the state."""
    at_end: bool
    """Whether the state is also saved after the last epoch."""


RUN = Saving(share=0.1, best_at_once=False, at_end=True)
"""How a run of `train.py` saves."""
TRIAL = Saving(share=0.02, best_at_once=True, at_end=False)
"""How a trial saves: a sweep may end a trial after any epoch and then takes its best model."""


@dataclass(frozen=True, kw_only=True)
class SessionFiles:
    """The files through which a training goes on and is asked to stop."""

    best: Path
    """The best model, a `Checkpoint`."""
    last: Path
    """The state that the training goes on from, as `fervit.runs.state` writes it."""
    stop: Path
    """A file that exists once somebody asks the training to save after its epoch."""


class Session:
    """One process of a training. All processes of the training call the same methods in the same order.

    Args:
        trainer: a new trainer of the configuration.
        files: the files of the training, on a disk that all its processes see; only the first process writes.
        saving: when those are written.
    """

    def __init__(self, trainer: Trainer, files: SessionFiles, saving: Saving) -> None:
        self.trainer = trainer
        self.on_epoch: Callable[[EpochResult], None] | None = None
        """Called with each epoch before it is saved, to record it."""
        self.saved_epoch = 0
        """The last epoch that the training can go on from. Only the first process knows it."""
        self.stopping = False
        """Whether somebody has asked the training to stop; its state is saved."""
        self.leaving = False
        """Whether a machine of the training is about to be taken away; its state is saved."""
        self._files, self._saving = files, saving
        self._writes = trainer.ranks.rank == 0
        self._best_weights: Weights = {}
        self._best_saved = 0
        self._saved_at, self._seconds = time.monotonic(), 0.0

    def restore(self) -> EpochResult | None:
        """Goes on from the saved state, if there is one, and returns the epoch after which it was saved.

        The best model on disk may be of a later epoch, which is now trained again: that of the state replaces it.

        Raises:
            UserError: the file of the state is damaged.
        """
        if self._writes:
            for aside in self._files.last.parent.glob(".*"):  # what a killed process was writing
                aside.unlink(missing_ok=True)
        if not self._files.last.is_file():
            return None
        state = load_state(self._files.last)
        self.trainer.load_state_dict(state["trainer"])
        self.saved_epoch, self._best_weights = self.trainer.epoch, state["best_weights"]
        if self._writes:
            self._save_best()
        return EpochResult.from_json(state["last"]) if state.get("last") else None

    def run_epoch(self) -> EpochResult | None:
        """Trains an epoch and saves what is due; None where nothing is trained, since the machine is leaving.

        After that, `stopping` and `leaving` say whether this training should go on here.

        Raises:
            DivergedError: the loss is not a finite number any more.
        """
        leaving, stopping, unsaved = self._requests()
        if leaving and not unsaved:  # what is not saved yet is given time for another epoch
            self.leaving, self.stopping = True, stopping
            return None
        result = self.trainer.run_epoch()
        leaving, self.stopping, _ = self._requests()
        self.leaving = leaving and not self.trainer.finished
        if self._writes:
            if self.on_epoch:
                self.on_epoch(result)
            self._keep(result, asked=leaving or self.stopping)
        return result

    def _requests(self) -> tuple[bool, bool, bool]:
        """Whether a machine leaves, whether the training is asked to stop, and whether the last epoch is not saved.

        All processes agree on the answers.
        """
        leaving, stop = is_leaving(), self._files.stop.exists()
        unsaved = self._writes and self.trainer.epoch != self.saved_epoch
        if self.trainer.ranks.world > 1:
            flags = torch.tensor([leaving, stop, unsaved], dtype=torch.float32, device=self.trainer.device)
            leaving, stop, unsaved = (flag > 0 for flag in self.trainer.ranks.sum(flags).tolist())
        return leaving, stop, unsaved

    def _keep(self, result: EpochResult, *, asked: bool) -> None:
        trainer = self.trainer
        if trainer.improved:
            self._best_weights = copy_weights(trainer)
            if self._saving.best_at_once:
                self._save_best()
        started = time.monotonic()
        due = asked or started - self._saved_at > self._seconds / self._saving.share
        if self._saving.at_end if trainer.finished else due:
            self._save_best()
            save_state(self._files.last, trainer, self._best_weights, result)
            self.saved_epoch, self._saved_at = trainer.epoch, time.monotonic()
            self._seconds = self._saved_at - started

    def _save_best(self) -> None:
        best = self.trainer.best
        if best is not None and best.epoch > self._best_saved:
            save_checkpoint(checkpoint_of(self.trainer, self._best_weights), self._files.best)
            self._best_saved = best.epoch


def prepare_process(
    train: LatentSet, val: LatentSet, *, device: str, threads: int, memory_share: float = 1.0
) -> tuple[DeviceLatents, DeviceLatents]:
    """Prepares this process for trainings and returns both splits on its device.

    Args:
        train: the training split.
        val: the validation split.
        device: the name of torch's device, such as "cpu" or "cuda".
        threads: the CPU threads that the process may use.
        memory_share: the largest share of the GPU's memory that the process may take; 1 for no limit.
    """
    torch.set_num_threads(threads)
    if torch.device(device).type == "cuda" and memory_share < 1:
        torch.cuda.set_per_process_memory_fraction(memory_share)
    return DeviceLatents(train, device), DeviceLatents(val, device)
