"""One trial as a Ray Tune Trainable: a Trainer driven an epoch a step, in an actor that later trials reuse."""

from __future__ import annotations

import gc
import json
import socket
import statistics
import time
import traceback
from contextlib import nullcontext
from pathlib import Path
from typing import Any

import torch
from ray import tune

from fervit.checkpoints.checkpoint import BEST_MODEL, save_checkpoint
from fervit.cluster.preemption import is_leaving
from fervit.parsing import build
from fervit.runs.state import Weights, checkpoint_of, copy_weights, save_state
from fervit.search.records.sweep_folder import SweepFolder, TrialFolder
from fervit.search.workers.worker_group import Setup, SharedLatents, Team, Worker, WorkerLostError, describe
from fervit.training.config import TrainConfig
from fervit.training.epoch import EpochResult
from fervit.training.failure import DivergedError
from fervit.training.objective import Metric
from fervit.training.trainer import Trainer

SHARE_FOR_SAVING = 0.02
"""Of the time, at most, goes to saving what a trial needs to go on after its process dies."""
STOP = ".stop"
"""In the folder of a sweep: asks the trials to save after the epoch that they are in."""


class NodeLeavingError(Exception):
    """The trial's node is about to be taken away; the trial has saved and goes on elsewhere."""


class LatentTrial(tune.Trainable):  # type: ignore[misc]
    """Trains the configuration `config["train"]`, a text of JSON; its files go to the folder `config["folder"]`.

    Each `step` is an epoch and reports `EpochResult`'s fields and: `best_value`, the best value of the metric so far,
    by which trials are compared; `finished`, whether it ran all its epochs; `saved`, the last epoch that it can go on
    from; `again`, whether the epoch may have been reported before, as a trial that goes on begins with the one it was
    saved after; `cost`, what the metric is weighed against; `failure`, "" or what went wrong, and its `details`. An
    exception is such a failure and is not tried again; only the death of a process is.
    """

    @classmethod
    def default_resource_request(cls, config: dict[str, Any]) -> tune.PlacementGroupFactory:
        """Asked for here rather than by `tune.with_resources`, which would hide this class's name in the dashboard."""
        return tune.PlacementGroupFactory([config["resources"]] * config["workers"])

    def setup(
        self, config: dict[str, Any], *, latents: SharedLatents, metric: Metric, device: str, threads: int
    ) -> None:
        self._metric = metric
        self._setup = Setup(
            latents=latents,
            metric=metric,
            device=device,
            threads=threads,
            memory_share=min(1.0, config["resources"]["GPU"] or 1.0),
        )
        self._team: Team | None = None
        self._worker: Worker | None = None
        self._start(config)

    def reset_config(self, new_config: dict[str, Any]) -> bool:
        """The next trial, in this same process."""
        self._start(new_config)
        return True

    def step(self) -> dict[str, Any]:
        if not self._failure:
            try:
                return self._epoch()
            except (WorkerLostError, NodeLeavingError):
                raise  # it is started again, in new processes
            except Exception as error:
                self._note(error)
        return self._failed()

    def cleanup(self) -> None:
        self._free()
        self._dissolve()

    @property
    def _trainer(self) -> Trainer:
        assert self._worker is not None
        assert self._worker.trainer is not None
        return self._worker.trainer

    def _start(self, config: dict[str, Any]) -> None:
        self._started = time.time()
        self._failure, self._details = "", ""
        self._folder = Path(config["folder"])
        self._best_weights: Weights = {}
        self._untold: dict[str, Any] | None = None
        self._saved_epoch, self._saved, self._saving = 0, time.monotonic(), 0.0
        self._free()  # its memory goes before the next one's is taken
        self._cost: float | None = None
        try:
            _check_shared(self._folder.parent.parent)
            self._make_trainer(config)
        except WorkerLostError:
            raise
        except Exception as error:
            self._note(error)

    def _make_trainer(self, config: dict[str, Any]) -> None:
        if self._worker is None:
            self._worker = Worker(self._setup)
        hyperparameters, last = build(TrainConfig, json.loads(config["train"]), "trial"), TrialFolder(self._folder).last
        if config["workers"] > 1 and self._team is None:
            self._team = Team(self._worker, self._setup, config["workers"], config["resources"])
        others = self._team.begin(hyperparameters, last) if self._team else []
        with self._team.together(others) if self._team else nullcontext():
            state = self._worker.start(hyperparameters, last)
        if state is not None:
            self._saved_epoch, self._best_weights = self._trainer.epoch, state["best_weights"]
            self._untold = state["last"]
            # The one there may be of a later epoch, which is now trained again.
            save_checkpoint(checkpoint_of(self._trainer, self._best_weights), self._folder / BEST_MODEL)
        if self._metric.against == "parameters":
            self._cost = float(sum(weight.numel() for weight in self._trainer.model.parameters()))
        elif self._metric.against == "latency_ms":
            self._cost = latency_ms(self._trainer)

    def _epoch(self) -> dict[str, Any]:
        if self._untold is not None:  # saved, but the driver may have been killed before it heard of it
            row, self._untold = self._untold, None
            return {**row, **self._report(self._trainer.best), "again": True}
        if self._is_leaving() and self._trainer.epoch == self._saved_epoch:
            time.sleep(1)  # where there is no other node, it is begun again at once
            raise NodeLeavingError(f"its node leaves; nothing is trained here after epoch {self._saved_epoch}")
        others = self._team.epoch() if self._team else []
        with self._team.together(others) if self._team else nullcontext():
            result = self._trainer.run_epoch()
        trainer = self._trainer
        if trainer.improved:
            self._best_weights = copy_weights(trainer)
            save_checkpoint(checkpoint_of(trainer, self._best_weights), self._folder / BEST_MODEL)
        leaving = self._is_leaving()
        asked = leaving or (self._folder.parent.parent / STOP).exists()
        started = time.monotonic()
        if not trainer.finished and (asked or started - self._saved > self._saving / SHARE_FOR_SAVING):
            save_state(TrialFolder(self._folder).last, trainer, self._best_weights, result)
            self._saved_epoch, self._saved = trainer.epoch, time.monotonic()
            self._saving = self._saved - started
            if leaving:
                raise NodeLeavingError(f"its node leaves; saved after epoch {trainer.epoch}")
        return {**result.to_json(), **self._report(trainer.best, finished=trainer.finished)}

    def _is_leaving(self) -> bool:
        return is_leaving() or (self._team is not None and self._team.is_leaving())

    def _note(self, error: Exception) -> None:
        """Why this trial has failed. Other ranks may wait for this one: they are given up."""
        self._failure, self._details = describe(error), traceback.format_exc()
        if not isinstance(error, DivergedError):
            self._dissolve()

    def _failed(self) -> dict[str, Any]:
        return self._report(None, failure=self._failure, details=self._details)

    def _report(
        self, best: EpochResult | None, *, finished: bool = False, failure: str = "", details: str = ""
    ) -> dict[str, Any]:
        return {
            "best_value": getattr(best, self._metric.name) if best else float("nan"),
            "finished": finished,
            "saved": self._saved_epoch,
            "cost": self._cost,
            "failure": failure,
            "details": details,
            "started": self._started,
            "done": finished or bool(failure),
        }

    def _free(self) -> None:
        if self._worker is not None:
            self._worker.trainer = None
            gc.collect()
            if self._worker.train.device.type == "cuda":
                torch.cuda.empty_cache()

    def _dissolve(self) -> None:
        if self._team is not None:
            self._team.dissolve()
            self._team = None


def _check_shared(sweep: Path) -> None:
    """Of nodes that join later nobody has asked whether they see the sweep's folder.

    Raises:
        OSError: this one does not.
    """
    if not SweepFolder(sweep).journal.is_file():
        raise OSError(f"{sweep} is not the sweep's folder on {socket.gethostname()}: all nodes have to share it")


@torch.inference_mode()
def latency_ms(trainer: Trainer, passes: int = 50) -> float:
    """Milliseconds from one code to its emotion: the median of some passes, after a few to warm up."""
    model = trainer.evaluated.eval()
    codes, _ = trainer.val.batch(torch.zeros(1, dtype=torch.int64, device=trainer.device))
    times = []
    for _ in range(passes + 5):
        started = time.perf_counter()
        model(codes)
        if trainer.device.type == "cuda":
            torch.cuda.synchronize()
        times.append(1000 * (time.perf_counter() - started))
    return statistics.median(times[5:])
