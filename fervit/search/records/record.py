"""What a sweep remembers of each trial. Pure: no Ray, no files."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

from fervit.search.records.events import Purpose, TrialState
from fervit.search.space.search_space import Params
from fervit.training.epoch import EpochResult
from fervit.training.failure import Failure
from fervit.training.objective import Metric


@dataclass(kw_only=True)
class TrialRecord:
    """One trial, or its rerun with another seed: its configuration, its curve, its end."""

    number: int
    """Of the configuration, from 0; reruns of a configuration share it."""
    name: str
    """The name of the trial's folder, such as trial_0003 or trial_0003_seed43."""
    seed: int
    params: Params
    """The hyperparameters that are searched."""
    purpose: Purpose = "search"
    """noise: the leading configuration with a fresh seed; confirm: one of the best, again, at the end."""
    warmup_epochs: float = 0.0
    state: TrialState = "running"
    epochs: list[EpochResult] = field(default_factory=list)
    """The results of its epochs, in order."""
    failure: Failure | None = None
    """Why it failed, if it did."""
    finished: bool = False
    """Whether it ran all its epochs."""
    seconds: float = 0.0
    """Seconds of training and validation."""
    cost: float | None = None
    """What the metric is weighed against (`metric.against`): number of weights, or milliseconds a code."""
    started: float = 0.0
    """Unix time at which the last of its processes turned to it."""
    ended: float = 0.0
    """Unix time of its last report."""
    pid: int = 0
    """The process that ran it last."""
    saved: int = 0
    """The last epoch from which it can go on."""

    def best(self, metric: Metric) -> EpochResult | None:
        """The epoch with the best value, the earliest of equal ones; None before the first epoch."""
        return metric.best(self.epochs)

    def best_value(self, metric: Metric) -> float | None:
        """The best value of the metric; None before the first epoch."""
        best = self.best(metric)
        return None if best is None else metric.value(best)


def params_text(params: Mapping[str, Any]) -> str:
    """Such as "lr 0.0001, depth 6"."""
    return ", ".join(f"{name} {short(value)}" for name, value in params.items())


def short(value: object) -> str:
    """A hyperparameter as people read it: numbers with three digits."""
    return f"{value:.3g}" if isinstance(value, float) else str(value)
