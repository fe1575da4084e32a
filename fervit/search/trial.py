"""One trial as a Ray Tune Trainable: a Trainer driven an epoch a step, in an actor that later trials reuse."""

from __future__ import annotations

import gc
import time
from pathlib import Path
from typing import Any

import torch
from ray import tune

from fervit.files import whole_file
from fervit.latents import LatentSet
from fervit.search.space import Metric
from fervit.structure import build
from fervit.training.checkpoint import BEST_MODEL, save_checkpoint
from fervit.training.config import TrainConfig
from fervit.training.data import DeviceLatents
from fervit.training.recorder import checkpoint_of
from fervit.training.trainer import DivergedError, Trainer, is_out_of_memory

LAST = "last.pt"
SAVE_EVERY_S = 20.0
"""Seconds between two saves of what a trial needs to go on after its process dies."""


class LatentTrial(tune.Trainable):  # type: ignore[misc]
    """Trains the configuration `config["train"]`; its files go to the folder `config["folder"]`.

    Each `step` is an epoch and reports `EpochResult`'s fields and: `best_value`, the best value of the metric so far,
    by which trials are compared; `finished`, whether it ran all its epochs; `failure`, "" or what went wrong.
    """

    @classmethod
    def default_resource_request(cls, config: dict[str, Any]) -> tune.PlacementGroupFactory:
        """Asked for here rather than by `tune.with_resources`, which would hide this class's name in the dashboard."""
        return tune.PlacementGroupFactory([config["resources"]])

    def setup(
        self, config: dict[str, Any], *, train: LatentSet, val: LatentSet, metric: Metric, device: str, threads: int
    ) -> None:
        torch.set_num_threads(threads)
        # The arrays are views of Ray's shared memory: one copy a machine, however many trials it runs.
        self._train, self._val = DeviceLatents(train, device), DeviceLatents(val, device)
        self._metric = metric
        self._start(config)

    def reset_config(self, new_config: dict[str, Any]) -> bool:
        """The next trial, in this same process."""
        self._start(new_config)
        return True

    def _start(self, config: dict[str, Any]) -> None:
        self._started = time.time()
        self._trainer: Trainer | None = None  # its memory goes before the next one's is taken
        gc.collect()
        if self._train.device.type == "cuda":
            torch.cuda.empty_cache()
        self._folder = Path(config["folder"])
        self._saved = time.monotonic()
        self._trainer = Trainer(
            build(TrainConfig, config["train"], "trial"), self._train, self._val, metric=self._metric.name
        )
        self._resume()

    def step(self) -> dict[str, Any]:
        assert self._trainer is not None
        try:
            result = self._trainer.run_epoch()
        except DivergedError as error:
            return self._failed(f"diverged: {error}")
        except (MemoryError, RuntimeError) as error:
            if not is_out_of_memory(error):
                raise
            return self._failed(f"out of memory: {error}")
        row = result.to_json()
        if self._trainer.improved:
            weights = self._trainer.evaluated.state_dict()
            save_checkpoint(checkpoint_of(self._trainer, weights), self._folder / BEST_MODEL)
        finished = self._trainer.finished
        if not finished and time.monotonic() - self._saved > SAVE_EVERY_S:
            self._save_last()
        return {**row, **self._report(finished=finished)}

    def cleanup(self) -> None:
        self._trainer = None

    def _failed(self, failure: str) -> dict[str, Any]:
        assert self._trainer is not None
        whole_epochs = self._trainer.epoch - 1  # the rungs of ASHA never see a value that is not there
        return {"epoch": whole_epochs, **self._report(failure=" ".join(failure.split())[:300])}

    def _report(self, *, finished: bool = False, failure: str = "") -> dict[str, Any]:
        assert self._trainer is not None
        best = self._trainer.best
        return {
            "best_value": getattr(best, self._metric.name) if best else float("nan"),
            "finished": finished,
            "failure": failure,
            "started": self._started,
            "reported": time.time(),
            "done": finished or bool(failure),
        }

    def _save_last(self) -> None:
        assert self._trainer is not None
        self._folder.mkdir(parents=True, exist_ok=True)
        with whole_file(self._folder / LAST) as aside:
            torch.save(self._trainer.state_dict(), aside)
        self._saved = time.monotonic()

    def _resume(self) -> None:
        """Goes on from LAST if an earlier process of this trial left one."""
        path = self._folder / LAST
        if not path.is_file():
            return
        assert self._trainer is not None
        self._trainer.load_state_dict(torch.load(path, map_location="cpu", weights_only=True))
