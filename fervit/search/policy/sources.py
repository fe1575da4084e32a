"""Where the trials of a sweep come from: the sampler, then the best again with fresh seeds."""

from __future__ import annotations

import statistics
from collections.abc import Iterable, Sequence

from fervit.search.policy.expected_improvement import expected_gain
from fervit.search.policy.interfaces import Planned
from fervit.search.policy.sampler import SpaceSampler, outcome_of
from fervit.search.records.events import Purpose
from fervit.search.records.ranking import ranked
from fervit.search.records.record import TrialRecord
from fervit.search.space.search_space import SearchSpace

NOISE_AFTER = 10
"""Trials that have ended before the noise of the seed is measured."""
NOISE_SEEDS = 3
GAIN_EVERY = 4
"""Trials between two looks at what the next one can be expected to gain."""


class SearchSource:
    """Trials from the sampler; with `budget.until_noise` also runs that measure the noise of the seed.

    Args:
        space: what is searched.
        sampler: of the space.
        known: the trials that stand in the sweep's journal.
    """

    purposes: tuple[Purpose, ...] = ("search", "noise")

    def __init__(self, space: SearchSpace, sampler: SpaceSampler, known: Iterable[TrialRecord] = ()) -> None:
        self._space, self._sampler = space, sampler
        known = list(known)
        self._asked = sum(record.purpose == "search" for record in known)
        self._ended: list[TrialRecord] = []
        self._noise_runs = [record for record in known if record.purpose == "noise"]
        self._noise_plan: list[Planned] = []
        self._n_noise = 0
        if self._noise_runs:
            self._plan_noise(self._noise_runs[0])
        self.noise: float | None = None
        """Standard deviation over fresh seeds, once it has been measured."""
        self.gain: float | None = None
        """What the next trial can be expected to gain, once there is a noise to compare it with."""

    @property
    def total(self) -> int:
        """How many trials there will be at most, with those that measure the noise of the seed."""
        return int(min(self._space.search.trials, self._sampler.size)) + self._n_noise

    @property
    def enough(self) -> str:
        """Why no more trials are worth their time; "" while they are."""
        if self.noise is None or self.gain is None or self.gain >= self.noise:
            return ""
        name = self._space.metric.name
        return (
            f"the next trial can be expected to gain {self.gain:.4f} {name}, less than fresh seeds differ "
            f"({self.noise:.4f}, standard deviation)"
        )

    def ask(self) -> Planned | None:
        """The next trial: one that measures the noise of the seed, if that is due, else one from the sampler."""
        if self._noise_plan:
            return self._noise_plan.pop(0)
        if self._asked + self._n_noise >= self.total or self.enough:
            return None
        self._asked += 1
        number, params = self._sampler.ask()
        return Planned(number, trial_name(number), params, self._space.config(params))

    def report(self, number: int, epoch: int, value: float) -> None:
        """Passes a trial's best value so far on to the sampler."""
        self._sampler.report(number, epoch, value)

    def tell(self, record: TrialRecord) -> None:
        """Passes the end of a trial on to the sampler, and weighs whether the search is worth going on."""
        if record.purpose == "search":
            value = record.best_value(self._space.metric)
            self._sampler.tell(record.number, outcome_of(record), value, record.cost)
        if record.purpose != "confirm" and self._space.budget.until_noise:
            self._weigh(record)

    def _weigh(self, ended: TrialRecord) -> None:
        """Whether the search is worth going on: looks at the noise of the seed and at what is to be gained."""
        metric = self._space.metric
        if ended.purpose == "noise":
            self._noise_runs = [run for run in self._noise_runs if run is not ended] + [ended]
            done = [run for run in self._noise_runs if run.state != "running"]
            values = [run.best_value(metric) for run in done if run.state == "finished"]
            if len(done) == self._n_noise and len(values) > 1:
                self.noise = statistics.stdev(value for value in values if value is not None)
        else:
            self._ended.append(ended)
            ranking = ranked(self._ended, metric)
            if not self._n_noise and len(self._ended) >= NOISE_AFTER and ranking:
                self._plan_noise(ranking[0])
        if self.noise is not None and len(self._ended) % GAIN_EVERY == 0:
            self.gain = expected_gain(self._space, self._ended, self.noise)

    def _plan_noise(self, leading: TrialRecord) -> None:
        self._n_noise = NOISE_SEEDS
        known = {run.seed for run in self._noise_runs}
        plan = [rerun(self._space, leading, i, "noise") for i in range(NOISE_SEEDS)]
        self._noise_plan = [planned for planned in plan if planned.config.seed not in known]


class ConfirmSource:
    """Each of some trials with each of the fresh seeds, but for those runs that there are already.

    Args:
        space: what is searched.
        best: the trials to run again.
        known: the trials that stand in the sweep's journal.
    """

    purposes: tuple[Purpose, ...] = ("confirm",)
    enough = ""

    def __init__(self, space: SearchSpace, best: Sequence[TrialRecord], known: Iterable[TrialRecord]) -> None:
        known = list(known)
        names = {record.name for record in known}
        plan = [rerun(space, record, i, "confirm") for record in best for i in range(space.confirm.seeds)]
        self._plan = [planned for planned in plan if planned.name not in names]
        self.total = len(self._plan) + sum(record.purpose == "confirm" for record in known)

    def ask(self) -> Planned | None:
        """The next rerun with a fresh seed; None where there is none left."""
        return self._plan.pop(0) if self._plan else None

    def report(self, number: int, epoch: int, value: float) -> None:
        """Does nothing: no sampler listens."""

    def tell(self, record: TrialRecord) -> None:
        """Does nothing: no sampler listens."""


def rerun(space: SearchSpace, record: TrialRecord, i: int, purpose: Purpose) -> Planned:
    """A trial again, with the i-th fresh seed."""
    seed = space.search.seed + 1 + i
    name = f"{trial_name(record.number)}_seed{seed}"
    return Planned(record.number, name, record.params, space.config(record.params, seed), purpose)


def trial_name(number: int) -> str:
    """The name of a configuration's trial, such as trial_0003."""
    return f"trial_{number:04d}"
