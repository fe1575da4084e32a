"""Runs sweeps of trials that do nothing, to measure the overhead of the driver and of Ray Tune."""

from __future__ import annotations

import json
import math
import time
from pathlib import Path
from typing import Any, NamedTuple, cast

from ray import tune

from fervit.search.ledger import Ledger
from fervit.search.opening import open_ledger, open_search
from fervit.search.records.events import Event
from fervit.search.records.sweep_folder import SweepFolder
from fervit.search.space.search_space import SearchSpace
from fervit.search.space.settings import TrialResources
from fervit.search.workers.tuner import run_trials
from fervit.search.workers.worker_group import SharedLatents
from fervit.training.epoch import FIELDS


class Ran(NamedTuple):
    """The measurements of a sweep that has ended."""

    ledger: Ledger
    events: list[Event]
    cpu: float
    """The CPU seconds of the driver."""
    wall: float


def run_instant(space: SearchSpace, folder: Path, seconds: float = 0.0) -> Ran:
    """Runs a sweep whose trials do nothing on the Ray that this process is connected to.

    Args:
        space: the search space. Its `max_epochs` is the number of reports of a trial.
        folder: the folder of the sweep.
        seconds: the seconds between a trial's first report and its last.
    """
    folder.mkdir(exist_ok=True)
    files = SweepFolder(folder)
    ledger = open_ledger(space, files)
    open_search(space, files, ledger)
    cpu, wall = time.process_time(), time.perf_counter()
    trainable = instant(space.early_stopping.max_epochs, seconds)
    # There are no latents, since their class would import torch in the process of each trial.
    run_trials(ledger, files, cast(SharedLatents, None), TrialResources(), name="trials", trainable=trainable)
    cpu, wall = time.process_time() - cpu, time.perf_counter() - wall
    ledger.close()
    return Ran(ledger, list(ledger.events), cpu, wall)


def instant(reports: int, seconds: float) -> type[tune.Trainable]:
    """Makes the class of a trial that does nothing. As a local class, its process imports neither torch nor fervit."""
    fields = FIELDS

    class Instant(tune.Trainable):  # type: ignore[misc]
        @classmethod
        def default_resource_request(cls, config: dict[str, Any]) -> tune.PlacementGroupFactory:
            return tune.PlacementGroupFactory([config["resources"]])

        def setup(self, config: dict[str, Any], **given: Any) -> None:
            self.epoch = 0

        def reset_config(self, new_config: dict[str, Any]) -> bool:
            self.epoch = 0
            return True

        def step(self) -> dict[str, Any]:
            if self.epoch:
                time.sleep(seconds / (reports - 1))
            self.epoch += 1
            lr, finished = json.loads(self.config["train"])["lr"], self.epoch == reports
            row = dict.fromkeys(fields, 0.0)
            value = 1 / (1 + abs(math.log10(lr) + 3.5))
            told = {"best_value": value, "finished": finished, "saved": 0, "cost": None, "started": time.time()}
            return {**row, "epoch": self.epoch, "f1_macro": value, **told, "done": finished}

    return Instant
