"""The rule for the best, and what a sweep remembers of each trial. Pure: no Ray, no files."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, Literal

from fervit.search.settings import Metric

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


def ranked(records: Iterable[TrialRecord], metric: Metric) -> list[TrialRecord]:
    """The trials that have an epoch and did not fail, best first.

    The one rule: the best value of the metric over all epochs and trials; of equal values the earlier epoch, then the
    earlier trial.
    """
    sign = -1 if metric.goal == "maximize" else 1

    def key(record: TrialRecord) -> tuple[float, int, int, int]:
        best = record.best(metric)
        assert best is not None
        return sign * best[metric.name], best["epoch"], record.number, record.seed

    return sorted((r for r in records if r.epochs and r.state != "failed"), key=key)


def pareto_front(records: Iterable[TrialRecord], metric: Metric) -> list[TrialRecord]:
    """The trials of which none is both cheaper and at least as good, or as cheap and better; cheapest first."""
    with_cost = [record for record in ranked(records, metric) if record.cost is not None]
    front: list[TrialRecord] = []
    for record in sorted(with_cost, key=lambda record: record.cost or 0.0):  # stable: of equal cost the best first
        best, leading = record.best(metric), front[-1].best(metric) if front else None
        assert best is not None
        if metric.better(best[metric.name], leading[metric.name] if leading is not None else None):
            front.append(record)
    return front


def counts_by_state(records: Sequence[TrialRecord]) -> Counter[str]:
    return Counter(record.state for record in records)


def failures_by_kind(records: Iterable[TrialRecord]) -> Counter[str]:
    """How many trials failed of each kind; the kind is the failure's text up to the first colon."""
    return Counter(record.failure.partition(":")[0] for record in records if record.state == "failed")
