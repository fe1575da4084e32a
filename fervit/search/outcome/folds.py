"""The chosen configuration over folds: mean, spread and interval of its results on faces that it was not trained on."""

from __future__ import annotations

import math
import statistics
from collections.abc import Iterable
from dataclasses import dataclass

from scipy import stats

from fervit.search.outcome.confirm import CONFIDENCE
from fervit.search.records.record import TrialRecord
from fervit.training.objective import Metric


@dataclass(frozen=True, kw_only=True)
class Folded:
    """The best value of the metric in each training of a configuration over folds."""

    number: int
    """The number of the configuration's trial."""
    folds: int
    """The number of folds."""
    values: tuple[float, ...]
    """The values of the folds that finished, in their order."""

    @property
    def missing(self) -> int:
        """The number of folds whose training failed, was stopped or has not run."""
        return self.folds - len(self.values)

    @property
    def mean(self) -> float:
        """The mean over the folds."""
        return statistics.fmean(self.values)

    @property
    def spread(self) -> float | None:
        """The standard deviation over the folds; None for a single one."""
        return statistics.stdev(self.values) if len(self.values) > 1 else None

    @property
    def half_width(self) -> float | None:
        """Half the width of the mean's 95 % interval; None for a single fold.

        Folds share most of their training rows, so that Student's interval would be too narrow. The variance is
        corrected as by Nadeau and Bengio, "Inference for the generalization error" (Machine Learning 52, 2003): a share
        of 1 / (folds - 1), the rows that validate by those that train, is added to 1 / n.
        """
        spread, n = self.spread, len(self.values)
        if spread is None:
            return None
        error = spread * math.sqrt(1 / n + 1 / (self.folds - 1))
        return float(stats.t.ppf(0.5 + CONFIDENCE / 2, n - 1) * error)

    @property
    def text(self) -> str:
        """The mean with its interval and the spread, such as "0.825 ± 0.045 (95 %), standard deviation 0.021"."""
        if self.spread is None or self.half_width is None:
            return f"{self.mean:.3f}"
        return f"{self.mean:.3f} ± {self.half_width:.3f} (95 %), standard deviation {self.spread:.3f}"

    @property
    def runs(self) -> str:
        """The number of folds in words, such as "5 folds" or "4 of 5 folds, the others FAILED or were stopped"."""
        if not self.missing:
            return f"{self.folds} folds"
        return f"{len(self.values)} of {self.folds} folds, the others FAILED or were stopped"


def folded(records: Iterable[TrialRecord], number: int, folds: int, metric: Metric) -> Folded | None:
    """Collects the results of a configuration over folds; None if no fold has finished, or none was asked for.

    Args:
        records: the trials and reruns of the sweep.
        number: the number of the configuration's trial.
        folds: the number of folds that were asked for. Runs over other numbers of folds do not count.
        metric: the metric of the sweep.
    """
    mine = [r for r in records if r.purpose == "fold" and (r.number, r.folds) == (number, folds)]
    done = sorted((r for r in mine if r.state == "finished"), key=lambda r: r.fold)
    values = tuple(value for r in done if (value := r.best_value(metric)) is not None)
    return Folded(number=number, folds=folds, values=values) if values else None


OPTIMISTIC = "the interval allows for shared rows; these faces chose each fold's best epoch, so optimistic"
"""What to know of results over folds."""
