"""Decides which trials of a sweep train now: trials pause with their checkpoints and go on when the evidence says so.

All configurations are drawn at the beginning; those that have not begun are candidates like those that have paused. At
certain epochs, the looks, a trial goes on as long as no candidate has more to gain for each epoch until its end, by the
model of curves (`curves.py`): the expected improvement over the best, as far as it exceeds what luck may do, divided by
the epochs left. The decisions depend on the order of the journal's events alone, so that a resumed sweep decides as one
that was never interrupted.
"""

from __future__ import annotations

import math
from collections.abc import Collection, Sequence
from typing import NamedTuple

import numpy as np
from scipy.special import ndtr

from fervit.search.policy.curves import CurveModel, EarlierCurves
from fervit.search.policy.learned import Learned
from fervit.search.records.record import TrialRecord
from fervit.search.space.coordinates import coordinates
from fervit.search.space.search_space import Range, SearchSpace

FIRST = 5
"""So many trials begin without the model: the first trains to its end, the others half the looks."""
FIRST_WITH_EARLIER = 2
"""So many if curves of earlier sweeps are known."""
FIT_EVERY = 1.3
"""The model is fitted again when the number of epochs has grown by this factor."""
RATIO = 1.4
"""The factor between two looks."""
TOLERANCE = 0.03
"""The search ends when no candidate's expected improvement is more than this share of what the own luck of trials, its
seed among it, makes out at the last epoch."""
MATTERS = 0.5
"""Only what exceeds the best by this share of that luck counts as an improvement: less could not be told from luck, and
where configurations hardly differ, the search would go on for it."""


class Candidate(NamedTuple):
    """What the model says of a trial."""

    name: str
    worth: float
    """The expected improvement over the best, as far as it matters, for each epoch left."""
    improvement: float
    """The expected improvement over the best at the last epoch, as far as it matters."""
    chance: float
    """The chance to be better than the best at the last epoch, by as much as matters."""
    leads: bool
    """Whether it is the best by the model."""


def looks(epochs: int) -> tuple[int, ...]:
    """Returns the epochs after which a trial may pause, in growing distances; the last one is not among them."""
    found = [1]
    while found[-1] < epochs:
        found.append(max(found[-1] + 1, round(found[-1] * RATIO)))
    return tuple(epoch for epoch in found if epoch < epochs)


class Thaw:
    """The evidence of a sweep's curves, and what follows from it for its trials.

    Args:
        space: the search space.
        learned: what earlier sweeps tell; None for nothing.
    """

    def __init__(self, space: SearchSpace, learned: Learned | None = None) -> None:
        self._space, self._epochs = space, space.early_stopping.max_epochs
        self.looks = looks(self._epochs)
        self._sign = space.metric.sign
        groups: list[int] = []
        for i, distribution in enumerate(space.parameters.values()):
            groups += [i] * (1 if isinstance(distribution, Range) else len(distribution.values))
        earlier = self._earlier(learned)
        self._first = FIRST if earlier is None else FIRST_WITH_EARLIER
        self._model = CurveModel(groups, self._epochs, (*self.looks, self._epochs), earlier)
        self._index: dict[str, int] = {}
        """The name of each trial of the search -> its place in the order in which they were drawn."""
        self._names: list[str] = []
        self._points = np.zeros((0, len(groups)))
        self._curves: dict[int, list[float]] = {}
        self._n_seen, self._n_fitted = 0, 8
        self._failed: set[int] = set()
        self._predicted: dict[tuple[int, ...], tuple[np.ndarray, np.ndarray]] = {}
        """The trials that are training -> what the model predicts from the evidence so far."""
        if earlier is not None:
            self._model.fit(self._points, self._curves)

    def drawn(self, record: TrialRecord) -> None:
        """Notes a trial of the search, before its first epoch."""
        if record.name not in self._index:
            self._index[record.name] = len(self._names)
            self._names.append(record.name)
            self._points = np.vstack([self._points, coordinates(self._space, record.params)])
            self._predicted.clear()

    def learn(self, name: str, epoch: int, best_value: float) -> None:
        """Notes the best value that a trial has reached by an epoch, and fits the model where that is due."""
        curve = self._curves.setdefault(self._index[name], [])
        value = self._sign * best_value
        if not math.isfinite(value):
            return
        if epoch <= len(curve):
            curve[epoch - 1] = value  # trained again
        else:
            curve.extend([value] * (epoch - len(curve)))  # a power cut may have taken the epochs before it
            self._n_seen += 1
        self._n_seen += 1
        self._predicted.clear()
        if self._n_seen >= self._n_fitted:
            self._model.fit(self._points, self._curves)
            self._n_fitted = math.ceil(FIT_EVERY * self._n_seen)

    def failed(self, name: str) -> None:
        """Notes that a trial has failed, which can no longer be the best. Its curve stays evidence."""
        self._failed.add(self._index[name])

    def pauses(self, name: str, epoch: int, paused: Collection[str], busy: Collection[str]) -> bool:
        """Returns whether a trial pauses after an epoch: another one has more to gain.

        Args:
            name: the name of the trial.
            epoch: the epoch that it has reported.
            paused: the names of the trials that could train in its place.
            busy: the names of the other trials that are training.
        """
        if epoch not in self.looks or epoch < self._least(name):
            return False
        mine, *others = self.candidates([name, *sorted(paused)], busy)
        best = max((one for one in others), key=lambda one: one.worth, default=None)
        if not self.is_worth(mine):
            return True
        return best is not None and self.is_worth(best) and best.worth > mine.worth

    def choose(self, paused: Collection[str], busy: Collection[str]) -> str | None:
        """Returns the name of the trial that trains next; None if none is worth its epochs.

        Args:
            paused: the names of the trials that are paused or have not begun.
            busy: the names of those that are training.
        """
        fresh = [name for name in self._names if name in paused and self._index[name] not in self._curves]
        begun = self._curves.keys() | {self._index[name] for name in busy}
        if fresh and (len(begun) < self._first or not self._knows()):
            return fresh[0]
        if not paused or not self._knows():
            return None
        worth = [one for one in self.candidates(sorted(paused), busy) if self.is_worth(one)]
        return max(worth, key=lambda one: one.worth).name if worth else None

    def surplus(self, paused: Sequence[str]) -> str | None:
        """Returns the trial whose saved state is given up, if more are paused than may be; None if not."""
        begun = [name for name in paused if self._curves.get(self._index[name])]
        if len(begun) <= self._space.early_stopping.max_paused:
            return None
        found = [one for one in self.candidates(sorted(begun), ()) if not one.leads]
        return min(found, key=lambda one: one.worth).name

    def expected(self) -> dict[str, float]:
        """Returns what the model expects each configuration to reach at the last epoch, by the name of its trial.

        Trials that have no epoch or have failed are left out.
        """
        if not self._knows():
            return {}
        mean, _ = self._any_prediction()
        able = [index for index, curve in sorted(self._curves.items()) if curve and index not in self._failed]
        return {self._names[index]: self._sign * float(mean[index]) for index in able}

    def reason(self, name: str) -> str:
        """Returns what the model says of a trial, for the user, such as "4 % to reach 0.41"."""
        if not self._knows():
            return "nothing is known yet"
        found = self._judged([name], *self._any_prediction())[0]
        if found.leads:
            return f"it leads, {self._sign * self._best:.3g} expected"
        return f"{_percent(found.chance)} to reach {self._sign * self._bar:.3g}"

    def is_worth(self, one: Candidate) -> bool:
        """Returns whether a trial is worth its epochs: it leads, or may gain more than luck would."""
        return one.leads or one.improvement > TOLERANCE * self._model.luck

    def candidates(self, names: Sequence[str], busy: Collection[str]) -> list[Candidate]:
        """Returns what the model says of trials, in the given order; at least one trial must have an epoch."""
        return self._judged(names, *self._prediction(tuple(sorted(self._index[name] for name in busy))))

    def _prediction(self, pending: tuple[int, ...]) -> tuple[np.ndarray, np.ndarray]:
        """Returns the means and the standard deviations that the model predicts while some trials are training."""
        if pending not in self._predicted:
            curves = {index: curve for index, curve in self._curves.items() if curve}
            self._predicted[pending] = self._model.predict(self._points, curves, pending)
        return self._predicted[pending]

    def _any_prediction(self) -> tuple[np.ndarray, np.ndarray]:
        """Returns what has been predicted from the evidence so far: the means do not depend on what is training."""
        return next(iter(self._predicted.values())) if self._predicted else self._prediction(())

    def _judged(self, names: Sequence[str], mean: np.ndarray, deviation: np.ndarray) -> list[Candidate]:
        begun = [index for index, curve in self._curves.items() if curve]
        able = [index for index in begun if index not in self._failed] or begun
        lead, *others = sorted(able, key=lambda index: (-mean[index], index))
        self._best = float(mean[lead])
        indices = np.array([self._index[name] for name in names], dtype=np.int64)
        self._bar = self._best + MATTERS * self._model.luck
        bars = np.full(len(names), self._bar)
        bars[indices == lead] = mean[others[0]] if others else self._best - 10 * deviation[lead]
        z = np.clip((mean[indices] - bars) / deviation[indices], -37.0, 37.0)
        chances = ndtr(z)
        gains = deviation[indices] * (np.exp(-0.5 * z * z) / math.sqrt(2 * math.pi) + z * chances)
        left = np.array([max(1, self._epochs - len(self._curves.get(index, ()))) for index in indices.tolist()])
        rows = zip(names, (gains / left).tolist(), gains.tolist(), chances.tolist(), indices.tolist(), strict=True)
        return [Candidate(name, worth, gain, chance, index == lead) for name, worth, gain, chance, index in rows]

    def _earlier(self, learned: Learned | None) -> EarlierCurves | None:
        """Returns the curves of earlier sweeps as the model reads them."""
        if learned is None or not learned.curves:
            return None
        return EarlierCurves(
            points=np.array([coordinates(self._space, curve.params) for curve in learned.curves]),
            curves=[[self._sign * value for value in curve.values] for curve in learned.curves],
            sources=np.array([curve.source for curve in learned.curves]),
            likeness=np.array([source.likeness for source in learned.sources]),
        )

    def _knows(self) -> bool:
        """Returns whether any trial has an epoch."""
        return any(self._curves.values())

    def _least(self, name: str) -> int:
        """Returns how many epochs a trial trains whatever the others do."""
        index = self._index[name]
        if index == 0:
            return self._epochs
        return self.looks[len(self.looks) // 2] if index < self._first and self.looks else 1


def _percent(share: float) -> str:
    return f"{100 * share:.0f} %" if share >= 0.01 else f"{100 * share:.1f} %" if share >= 0.001 else "less than 0.1 %"
