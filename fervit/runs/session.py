"""One training in one of its processes: a run of `train.py` or a trial of a sweep. Does not use Ray.

A session starts or restores a training, trains epoch by epoch, saves at intervals, and obeys requests to stop and
notices that its machine will be taken away.
"""

from __future__ import annotations

import os
import secrets
import socket
import time
from collections.abc import Callable, Collection
from dataclasses import dataclass
from pathlib import Path

import torch

from fervit.checkpoints.checkpoint import save_checkpoint
from fervit.cluster.preemption import is_leaving
from fervit.io.disk import remove
from fervit.io.files import write_text
from fervit.latents import LatentSet
from fervit.runs.state import Unreported, Weights, checkpoint_of, copy_weights, load_state, save_state, unreported_in
from fervit.system.gpu import memory_cap
from fervit.training.data import DeviceLatents
from fervit.training.epoch import EpochResult
from fervit.training.trainer import Trainer


class NodeLeavingError(Exception):
    """The machine is about to be taken away. The training has saved its state and can continue on another machine."""


class TakenOverError(NodeLeavingError):
    """Another process has begun to continue this training, whose files this process must not change any more.

    It happens where the network of a machine, or the driver of the training, was lost, and the training went on
    elsewhere before this process had noticed.
    """


@dataclass(frozen=True, kw_only=True)
class Saving:
    """When a training writes its state and its best model to disk."""

    share: float
    """The largest share of the time that saving the state may take. If epochs are short, the state is thus not saved
    after each of them."""
    best_share: float
    """The largest share of the time that writing the best model may take, beside that after epochs that may be the
    last ones; 0 writes it only together with the state."""
    at_end: bool
    """Whether the state is also saved after the last epoch."""


RUN = Saving(share=0.1, best_share=0.0, at_end=True)
"""How a run of `train.py` saves."""
TRIAL = Saving(share=0.02, best_share=0.03, at_end=False)
"""How a trial saves. A sweep may end a trial after some epochs and then needs its best model."""


@dataclass(frozen=True, kw_only=True)
class SessionFiles:
    """The files from which a training is resumed, and through which it is asked to stop."""

    best: Path
    """The best model, a `Checkpoint`."""
    last: Path
    """The saved state from which the training is resumed, written by `fervit.runs.state`."""
    stop: Path
    """A file that exists while the training is asked to save after its current epoch."""

    @property
    def owner(self) -> Path:
        """The file with the name of the process that writes the others: the one that began last."""
        return self.last.with_name("owner")


class Session:
    """One process of a training. All processes of the training call the same methods in the same order.

    Args:
        trainer: a new trainer of the configuration.
        files: the files of the training, on a disk that all its processes see; only the first process writes.
        saving: when the files are written.
        decided_after: the epochs after which others may end the training, so that its best model must then be on disk;
            None for any epoch.
        pauses: whether the training may pause after these epochs, so that its state must then be on disk, too.
    """

    def __init__(
        self,
        trainer: Trainer,
        files: SessionFiles,
        saving: Saving,
        decided_after: Collection[int] | None = None,
        *,
        pauses: bool = False,
    ) -> None:
        self.trainer = trainer
        self.on_epoch: Callable[[EpochResult], None] | None = None
        """Is called with the result of each epoch before the state is saved; None for no call."""
        self.before_saving: Callable[[], None] | None = None
        """Is called before the state is saved, so that what was recorded of its epochs outlives a power cut, as the
        state does; None for no call."""
        self.saved_epoch = 0
        """The last saved epoch, from which the training can continue. Only the first process knows it."""
        self.unreported: list[Unreported] = []
        """The epochs of the current group, which the caller has not reported; after `restore`, those of the process
        that saved. Only the first process knows them."""
        self.stopping = False
        """Whether the training has been asked to stop. Its state is then saved."""
        self.leaving = False
        """Whether a machine of the training is about to be taken away. The state of the training is then saved."""
        self.best_on_disk = 0
        """The epoch whose weights the file of the best model holds; 0 before it is written. Only the first process
        knows it. It may be of an earlier epoch than the best one, except after an epoch that may be the last."""
        self._files, self._saving, self._decided_after, self._pauses = files, saving, decided_after, pauses
        self._writes = trainer.ranks.rank == 0
        self._name = f"process {os.getpid()} on {socket.gethostname()}, {secrets.token_hex(8)}\n"
        self._best_weights: Weights = {}
        self._saved_at, self._seconds = time.monotonic(), 0.0
        self._best_saved_at, self._best_seconds = self._saved_at, 0.0

    def restore(self) -> EpochResult | None:
        """Restores the saved state, if there is one, and returns the result of its last epoch; None if there is none.

        The best model on disk may be of a later epoch, which is now trained again. It is replaced by that of the state.
        From now on, a process that trained this before does not write any more.

        Raises:
            UserError: the file of the state is damaged.
        """
        if self._writes:
            write_text(self._files.owner, self._name)
            for aside in self._files.last.parent.glob(".*"):  # what a killed process was writing
                remove(aside)
        if not self._files.last.is_file():
            return None
        state = load_state(self._files.last)
        self.trainer.load_state_dict(state["trainer"])
        self.saved_epoch, self._best_weights = self.trainer.epoch, state["best_weights"]
        if self._writes:
            self.save_best()
            self.unreported = unreported_in(state)
        return EpochResult.from_json(state["last"]) if state.get("last") else None

    def run_epoch(self, *, in_group: bool = False) -> EpochResult | None:
        """Trains an epoch, and saves the state if that is due. Returns None without training if the machine is leaving.

        Afterwards, `stopping` and `leaving` tell the caller whether to train another epoch in this process.

        Args:
            in_group: whether the caller reports this epoch together with the one before. If so, nothing is written
                unless it must be, so that what is on disk is rarely ahead of what was reported.

        Raises:
            DivergedError: the loss is no longer a finite number.
            TakenOverError: another process has begun to continue the training.
        """
        leaving, stopping, unsaved = self._requests()
        if leaving and not unsaved:  # an unsaved epoch is saved after one more epoch
            self.leaving, self.stopping = True, stopping
            return None
        result = self.trainer.run_epoch()
        leaving, self.stopping, _ = self._requests()
        self.leaving = leaving and not self.trainer.finished
        if self._writes:
            self._check_owner()
            if self.on_epoch:
                self.on_epoch(result)
            best = self.trainer.best
            one = Unreported(result, self.trainer.metric.value(best) if best else float("nan"))
            self.unreported = [*self.unreported, one] if in_group else [one]
            self._keep(result, asked=leaving or self.stopping, in_group=in_group)
        return result

    def _requests(self) -> tuple[bool, bool, bool]:
        """Returns whether a machine is leaving, whether the training must stop, and whether the last epoch is unsaved.

        All processes agree on the answers.
        """
        leaving, stop = is_leaving(), self._files.stop.exists()
        unsaved = self._writes and self.trainer.epoch != self.saved_epoch
        if self.trainer.ranks.world > 1:
            flags = torch.tensor([leaving, stop, unsaved], dtype=torch.float32, device=self.trainer.device)
            leaving, stop, unsaved = (flag > 0 for flag in self.trainer.ranks.sum(flags).tolist())
        return leaving, stop, unsaved

    def _keep(self, result: EpochResult, *, asked: bool, in_group: bool) -> None:
        trainer = self.trainer
        if trainer.improved:
            self._best_weights = copy_weights(trainer)
        started = time.monotonic()
        pauses = self._pauses and (self._decided_after is None or trainer.epoch in self._decided_after)
        due = asked or pauses or (not in_group and started - self._saved_at > self._seconds / self._saving.share)
        if self._saving.at_end if trainer.finished else due:
            if self.before_saving:
                self.before_saving()
            self.save_best()
            save_state(self._files.last, trainer, self._best_weights, result, self.unreported)
            self.saved_epoch, self._saved_at = trainer.epoch, time.monotonic()
            self._seconds = self._saved_at - started
        elif self._best_is_due(in_group):
            self.save_best()

    def _best_is_due(self, in_group: bool) -> bool:
        if not self._saving.best_share:
            return False
        if self.trainer.finished or self._decided_after is None or self.trainer.epoch in self._decided_after:
            return True
        return not in_group and time.monotonic() - self._best_saved_at > self._best_seconds / self._saving.best_share

    def save_best(self) -> None:
        """Writes the best model unless it is on disk. It must be called when others end the training.

        Raises:
            TakenOverError: another process has begun to continue the training.
        """
        best = self.trainer.best
        if self._writes and best is not None and best.epoch > self.best_on_disk:
            self._check_owner()
            started = time.monotonic()
            save_checkpoint(checkpoint_of(self.trainer, self._best_weights), self._files.best)
            self.best_on_disk, self._best_saved_at = best.epoch, time.monotonic()
            self._best_seconds = self._best_saved_at - started

    def _check_owner(self) -> None:
        try:
            owner = self._files.owner.read_text(encoding="utf-8")
        except OSError:  # the folder is gone, which the next file to be written tells
            return
        if owner != self._name:
            raise TakenOverError(f"{owner.partition(',')[0]} continues this training")


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
        total = torch.cuda.mem_get_info(device)[1]
        torch.cuda.set_per_process_memory_fraction(memory_cap(total, memory_share) / total)
    return DeviceLatents(train, device, memory_share), DeviceLatents(val, device, memory_share)
