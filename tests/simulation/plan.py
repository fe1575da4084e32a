"""What one seed stands for: a search space, machines, how trainings go, and the faults that happen to them."""

from __future__ import annotations

import math
import random
from dataclasses import dataclass
from functools import cached_property
from typing import Any

from fervit.search.policy.interfaces import Planned
from fervit.search.space.search_space import SearchSpace
from fervit.search.space.space_file import parse_space
from fervit.training.epoch import FIELDS, EpochResult
from fervit.training.failure import DIVERGED, OUT_OF_MEMORY, Failure

PARAMETERS: dict[str, Any] = {
    "lr": {"distribution": "log_uniform", "min": 1e-5, "max": 1e-1},
    "depth": {"values": [1, 2, 4]},
}
FAULTS = (
    *("process dies", "process dies", "memory", "node dies", "silence", "notice", "wall clock", "others"),
    *("ctrl-c", "stale report", "disk full"),
)
"""The kinds of faults, the frequent ones more than once."""


@dataclass(frozen=True)
class Ending:
    """How a training goes on after some epochs: it fails, or the whole of it is reported."""

    epoch: int
    failure: Failure | None


class Plan:
    """All that is drawn for a seed before the sweep begins.

    Args:
        seed: the seed of the simulation, which is not that of the sweep.
    """

    def __init__(self, seed: int) -> None:
        self.seed = seed
        rng = random.Random(seed)
        self.nodes = [rng.randint(1, 4) for _ in range(rng.randint(1, 4))]
        """The places for trials on each node."""
        self.epoch_s = rng.choice([5.0, 30.0, 60.0, 300.0])
        self.fault_every_s = rng.choice([0.0, 200.0, 1000.0, 5000.0]) * self.epoch_s / 60
        """The mean seconds between two faults; 0 for none."""
        self.kill_every = rng.choice([0, 0, 40, 200, 1000])
        """After how many points the driver is killed, on average; 0 for never."""
        self.most_sessions = 12
        """After so many sessions, nothing fails any more."""
        self.most_steps = 100_000
        """After so many steps, the sweep is held to be endless."""
        self.wobbles = rng.random() < 0.2
        """Whether an epoch that is trained again gives another value, as on a GPU."""
        self.failing = rng.choice([0.0, 0.0, 0.1, 0.4])
        """The share of configurations that diverge or need more memory than there is."""
        self.save_every = rng.choice([1, 1, 2, 5])
        self.added_trials = rng.choice([0, 0, 0, 3])
        """How many trials a later session adds to the sweep that has ended."""
        self.larger_budget = rng.random() < 0.5
        """Whether a later session has no budget any more."""
        self.raw = self._space(rng)
        if self.raw["confirm"]["top"]:  # of a generator of its own, so that all else is as it was
            self.raw["confirm"]["folds"] = random.Random(f"{seed} folds").choice([0, 0, 2, 3])
        pauses = random.Random(f"{seed} trials")
        if pauses.random() < 0.2 and "until_noise" not in self.raw["budget"]:
            self.raw["early_stopping"] |= {"scheduler": "thaw", "max_paused": pauses.choice([1, 2, 24])}

    def space(self, *, extended: bool = False) -> SearchSpace:
        """Returns the search space, at first or as a later session is given it."""
        raw = dict(self.raw)
        if extended:
            raw["search"] = {**raw["search"], "trials": raw["search"]["trials"] + self.added_trials}
            if self.larger_budget:
                raw["budget"] = {"until_noise": raw["budget"].get("until_noise", False)}
        return parse_space(raw, "simulated.yaml")

    @property
    def is_extended(self) -> bool:
        """Whether a later session has more trials or another budget."""
        return self.added_trials > 0 or (self.larger_budget and len(self.raw["budget"]) > 0)

    def _space(self, rng: random.Random) -> dict[str, Any]:
        epochs = rng.choice([1, 3, 6, 9])
        trials = rng.randint(1, 16)
        samplers = ["random"] * 8 + ["qmc", "tpe", "grid"]
        parameters = PARAMETERS
        sampler = rng.choice(samplers)
        if sampler == "grid":
            parameters = {"lr": {"values": [1e-4, 1e-3, 1e-2]}, "depth": {"values": [1, 2, 4]}}
        budget: dict[str, Any] = {}
        whole_s = trials * epochs * self.epoch_s / sum(self.nodes)
        if rng.random() < 0.2:
            budget["hours"] = rng.uniform(0.1, 1.0) * whole_s / 3600
        if rng.random() < 0.1:
            budget["gpu_hours"] = rng.uniform(0.1, 1.0) * whole_s * sum(self.nodes) / 3600
        if rng.random() < 0.05:
            budget["until_noise"] = True
        search: dict[str, Any] = {"sampler": sampler, "trials": trials, "seed": rng.randint(0, 5)}
        if rng.random() < 0.2:
            search["max_concurrent_trials"] = rng.randint(1, 3)
        if rng.random() < 0.3:
            search["warm_start"] = [{"lr": 1e-3, "depth": 2}]
        return {
            "name": "simulated",
            "search": search,
            "early_stopping": {
                "scheduler": rng.choice(["asha", "asha", "hyperband", "median", "none", "none"]),
                "max_epochs": epochs,
                "grace_epochs": 1,
                "reduction_factor": rng.choice([2, 3]),
            },
            "parameters": parameters,
            "trial": {"gpus": rng.choice([0, 0.5, 1]), "max_failures": rng.choice([0, 3, 1000])},
            "confirm": {
                "top": rng.choice([0, 1, 2, 3]),
                "seeds": rng.choice([1, 2, 3]),
                "hours": rng.choice([None, None, None, 2 * self.epoch_s * epochs / 3600]),
            },
            "budget": budget,
        }

    def ending(self, planned: Planned) -> Ending:
        """Returns how a training ends if nothing comes in between."""
        known = self._endings.get(planned.name)
        if known is None:
            epochs, rng = planned.config.epochs, self._rng(planned)
            known = Ending(epochs, None)
            if rng.random() < self.failing:
                kind = rng.choice([DIVERGED, OUT_OF_MEMORY, "ValueError"])
                known = Ending(rng.randint(0, epochs - 1), Failure(kind, "drawn", "Traceback: drawn\n"))
            self._endings[planned.name] = known
        return known

    def seconds(self, planned: Planned) -> float:
        """Returns how long an epoch of a configuration takes."""
        return self.epoch_s * (0.5 + 0.5 * float(planned.params["depth"]) / 4)

    def result(self, planned: Planned, epoch: int, pid: int) -> EpochResult:
        """Returns what an epoch of a training gives.

        Args:
            planned: the trial.
            epoch: the epoch, from 1.
            pid: the process, which matters where trainings wobble.
        """
        values = self._curves.get(planned.name)
        if values is None:
            rng = self._rng(planned)
            best = 0.7 - 0.06 * (math.log10(planned.params["lr"]) + 3) ** 2 + rng.gauss(0, 0.02)
            values = [best * (1 - 0.7**i) + rng.gauss(0, 0.02) for i in range(1, planned.config.epochs + 1)]
            self._curves[planned.name] = values
        value = values[epoch - 1]
        if self.wobbles:
            value += random.Random(f"{planned.name} {epoch} {pid}").gauss(0, 0.01)
        return EpochResult(**{**dict.fromkeys(FIELDS, value), "epoch": epoch, "seconds": self.seconds(planned)})  # type: ignore[arg-type]

    @cached_property
    def _curves(self) -> dict[str, list[float]]:
        return {}

    @cached_property
    def _endings(self) -> dict[str, Ending]:
        return {}

    def _rng(self, planned: Planned) -> random.Random:
        return random.Random(f"{self.seed} {sorted(planned.params.items())} {planned.config.seed}")
