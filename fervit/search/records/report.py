"""What a trial tells the sweep after each epoch, through Ray Tune, which passes on flat dicts."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from fervit.training.epoch import FIELDS, EpochResult
from fervit.training.failure import Failure

NO_METRIC = "metric missing"
"""The kind of failure of a report without an epoch's metrics."""


@dataclass(frozen=True, kw_only=True)
class TrialReport:
    """An epoch of a trial, or its failure."""

    epoch: EpochResult | None = None
    """None if the trial failed."""
    best_value: float = float("nan")
    """The best value of the metric so far."""
    finished: bool = False
    """The trial has run all its epochs."""
    saved: int = 0
    """The last epoch that it can go on from; 0 for none."""
    again: bool = False
    """The epoch was trained by an earlier process, which may have died before it reported it."""
    cost: float | None = None
    """What the metric is weighed against (`metric.against`)."""
    failure: Failure | None = None
    started: float = 0.0
    """Unix time at which a process turned to the trial."""
    pid: int = 0
    """Of that process; Ray Tune adds it."""
    node: str = ""
    """Address of its node; Ray Tune adds it."""

    def to_tune(self) -> dict[str, Any]:
        """The dict that a Trainable's `step` returns; `done` ends the trial."""
        return {
            **(self.epoch.to_json() if self.epoch else {}),
            "best_value": self.best_value,
            "finished": self.finished,
            "saved": self.saved,
            "again": self.again,
            "cost": self.cost,
            "started": self.started,
            "failure": str(self.failure) if self.failure else "",
            "details": self.failure.details if self.failure else "",
            "done": self.finished or self.failure is not None,
        }

    @classmethod
    def from_tune(cls, result: Mapping[str, Any]) -> TrialReport:
        """Reads what Ray Tune passes on; a report without an epoch's metrics is a failure of the kind `NO_METRIC`."""
        failure = Failure.parse(str(result.get("failure") or ""))
        missing = [name for name in ("best_value", *FIELDS) if name not in result]
        if failure is None and missing:
            failure = Failure(NO_METRIC, f"a report without {', '.join(missing[:3])}")
        if failure is not None:
            return cls(failure=Failure(failure.kind, failure.message, str(result.get("details") or "")))
        return cls(
            epoch=EpochResult.from_json(result),
            best_value=result["best_value"],
            finished=bool(result.get("finished")),
            saved=int(result.get("saved", 0)),
            again=bool(result.get("again")),
            cost=result.get("cost"),
            started=float(result.get("started", 0.0)),
            pid=int(result.get("pid", 0)),
            node=str(result.get("node_ip", "")),
        )
