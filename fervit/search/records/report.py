"""The report that a trial sends to the driver after its epochs, through Ray Tune, which transports flat dicts."""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import dataclass, replace
from typing import Any

from fervit.training.epoch import FIELDS, EpochResult
from fervit.training.failure import Failure

NO_METRIC = "metric missing"
"""The kind of failure of a trial whose report lacks the metrics of an epoch."""


@dataclass(frozen=True, kw_only=True)
class TrialReport:
    """A report of a trial: the result of an epoch, or a failure. Short epochs are reported in groups."""

    epoch: EpochResult | None = None
    """The result of the epoch; None if the trial failed."""
    best_value: float = float("nan")
    """The best value of the metric that the trial has reached so far."""
    finished: bool = False
    """Whether the trial has trained all its epochs."""
    saved: int = 0
    """The last saved epoch, from which the trial can continue; 0 for none."""
    again: bool = False
    """Whether an earlier process trained the epoch. That process may have died before it reported the epoch."""
    cost: float | None = None
    """The value of the second objective (`metric.against`); None if there is none."""
    failure: Failure | None = None
    started: float = 0.0
    """The Unix time at which the process began to work on the trial."""
    pid: int = 0
    """The id of that process, which Ray Tune adds."""
    earlier: tuple[TrialReport, ...] = ()
    """The reports of the group's earlier epochs, in order."""
    node: str = ""
    """The address of that process's node, which Ray Tune adds."""

    def to_tune(self) -> dict[str, Any]:
        """Returns the dict that a Trainable's `step` returns. Its key `done` ends the trial."""
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
            "earlier": json.dumps([one.to_tune() for one in self.earlier]),  # one string, since Ray Tune copies values
            "done": self.finished or self.failure is not None,
        }

    @classmethod
    def from_tune(cls, result: Mapping[str, Any]) -> TrialReport:
        """Reads a dict from Ray Tune. A report without an epoch's metrics becomes a failure of the kind `NO_METRIC`."""
        reported = json.loads(result.get("earlier") or "[]")
        process = {name: result[name] for name in ("pid", "node_ip") if name in result}
        earlier = tuple(cls.from_tune({**one, **process}) for one in reported)
        failure = Failure.parse(str(result.get("failure") or ""))
        missing = [name for name in ("best_value", *FIELDS) if name not in result]
        if failure is None and missing:
            failure = Failure(NO_METRIC, f"a report without {', '.join(missing[:3])}")
        if failure is not None:
            failure = replace(failure, details=str(result.get("details") or ""))
            return cls(failure=failure, earlier=earlier)
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
            earlier=earlier,
        )
