"""The record of a trial."""

from __future__ import annotations

from collections.abc import Mapping, MutableSequence
from dataclasses import dataclass, field
from typing import Any

from fervit.search.records.epochs import Epochs
from fervit.search.records.events import Purpose, TrialState
from fervit.search.space.search_space import Params
from fervit.training.epoch import EpochResult
from fervit.training.failure import Failure
from fervit.training.objective import Metric


@dataclass(kw_only=True)
class TrialRecord:
    """A trial, or a rerun of its configuration with another seed: its hyperparameters, its epochs and how it ended."""

    number: int
    """The number of the configuration, from 0. Reruns have the number of their configuration."""
    name: str
    """The name of the trial's folder, such as trial_0003 or trial_0003_seed43."""
    seed: int
    params: Params
    """The values of the hyperparameters that are searched."""
    purpose: Purpose = "search"
    """Why the trial runs. "search": a new configuration. "noise": the best configuration so far with a fresh seed, to
    measure the noise of the seed. "confirm": one of the best configurations with a fresh seed, after the search.
    "fold": the chosen configuration on other rows, after the confirmation."""
    fold: int = 0
    """The number of the fold that validates, from 1; 0 for a run on the splits of the sweep."""
    folds: int = 0
    """The number of folds; 0 for a run on the splits of the sweep."""
    warmup_epochs: float = 0.0
    state: TrialState = "running"
    epochs: MutableSequence[EpochResult] = field(default_factory=Epochs)
    """The results of the trial's epochs, in order."""
    failure: Failure | None = None
    """Why the trial failed; None if it did not."""
    finished: bool = False
    """Whether the trial has trained all its epochs."""
    cut: bool = False
    """Whether the end of the search or of its budget ended the trial, rather than its own results. Its state is then
    "stopped"; the sampler does not learn from it, and with a larger budget it goes on."""
    paused: bool = False
    """Whether the trial waits with its saved state, or to begin, until it is worth a place (`scheduler: thaw`). Its
    state is then "running", unless the end of the search or of its budget cut it."""
    why: str = ""
    """Why the trial paused or went on last, such as "paused at epoch 3: 4 % to reach 0.41"; "" if it never did."""
    expected: float | None = None
    """The mean value of the metric over seeds that the model of curves expected of the configuration at the end of the
    search; None without such a model."""
    seconds: float = 0.0
    """The seconds of training and validation."""
    cost: float | None = None
    """The value of the second objective (`metric.against`): the number of weights, or milliseconds for one code."""
    started: float = 0.0
    """The Unix time at which the trial's latest process began to work on it."""
    ended: float = 0.0
    """The Unix time of the trial's last report."""
    pid: int = 0
    """The process id of the trial's latest process."""
    saved: int = 0
    """The last saved epoch, from which the trial can continue."""

    @property
    def last_epoch(self) -> int:
        """The last epoch that is recorded; 0 before the first."""
        if not self.epochs:
            return 0
        return self.epochs.number(-1) if isinstance(self.epochs, Epochs) else self.epochs[-1].epoch

    @property
    def never_begun(self) -> bool:
        """Whether the trial was drawn and stopped before it was worth a place (`scheduler: thaw`)."""
        return self.state == "stopped" and bool(self.why) and not self.epochs

    def judged_by(self, row: EpochResult) -> TrialRecord:
        """Returns the trial as a stopping rule sees it after an epoch: with that epoch alone."""
        seen = object.__new__(TrialRecord)  # a copy by `dataclasses.replace` takes twenty times as long
        seen.__dict__.update(self.__dict__, epochs=[row])
        return seen

    def best(self, metric: Metric) -> EpochResult | None:
        """Returns the epoch with the best value, the earliest of equal ones; None before the first epoch."""
        if not isinstance(self.epochs, Epochs) or not self.epochs:
            return metric.best(self.epochs)
        values = self.epochs.column(metric.name)  # the same rule, without making an object of each epoch
        best = max(values) if metric.goal == "maximize" else min(values)
        return self.epochs[values.index(best)] if best == best else metric.best(self.epochs)

    def best_value(self, metric: Metric) -> float | None:
        """Returns the best value of the metric; None before the first epoch."""
        best = self.best(metric)
        return None if best is None else metric.value(best)


def params_text(params: Mapping[str, Any]) -> str:
    """Writes hyperparameters on a line, such as "lr 0.0001, depth 6"."""
    return ", ".join(f"{name} {short(value)}" for name, value in params.items())


def short(value: object) -> str:
    """Writes the value of a hyperparameter, with three significant digits if it is a float."""
    return f"{value:.3g}" if isinstance(value, float) else str(value)
