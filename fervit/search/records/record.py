"""The rule for the best, and what a sweep remembers of each trial. Pure: no Ray, no files."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any, Literal

from fervit.training.objective import Metric

TrialState = Literal["running", "finished", "stopped", "failed"]
Purpose = Literal["search", "noise", "confirm"]


@dataclass(kw_only=True)
class TrialRecord:
    """One trial, or its rerun with another seed: its configuration, its curve, its end."""

    number: int
    name: str
    """Of its folder, such as trial_0003 or trial_0003_seed43."""
    seed: int
    params: dict[str, Any]
    purpose: Purpose = "search"
    """noise: the leading configuration with a fresh seed; confirm: one of the best, again, at the end."""
    warmup_epochs: float = 0.0
    state: TrialState = "running"
    epochs: list[dict[str, Any]] = field(default_factory=list)
    """`EpochResult` of each epoch as a dict, in order."""
    failure: str = ""
    """What went wrong, such as "diverged: the loss became nan ..."."""
    finished: bool = False
    """It ran all its epochs."""
    seconds: float = 0.0
    """Of training and validation."""
    cost: float | None = None
    """What the metric is weighed against (`metric.against`): weights, or milliseconds a code."""
    started: float = 0.0
    ended: float = 0.0
    """Unix times: when a process turned to it first, and of its last report."""
    pid: int = 0
    """Of the process that ran it last."""
    saved: int = 0
    """The last epoch that it can go on from."""

    def best(self, metric: Metric) -> dict[str, Any] | None:
        """The epoch with the best value; of equal ones the earlier. None before the first epoch."""
        best: dict[str, Any] | None = None
        for row in self.epochs:
            if metric.better(row[metric.name], best[metric.name] if best is not None else None):
                best = row
        return best


def params_text(params: Mapping[str, Any]) -> str:
    """Such as "lr 0.0001, depth 6"."""
    return ", ".join(f"{name} {short(value)}" for name, value in params.items())


def short(value: object) -> str:
    """A hyperparameter as people read it: numbers with three digits."""
    return f"{value:.3g}" if isinstance(value, float) else str(value)
