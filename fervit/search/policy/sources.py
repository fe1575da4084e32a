"""The sources of a sweep's trials: the sampler for the search, and reruns of the best trials for the confirmation."""

from __future__ import annotations

import statistics
from collections import Counter
from collections.abc import Iterable, Sequence

from fervit.latents.folds import Fold
from fervit.search.policy.expected_improvement import expected_improvement
from fervit.search.policy.interfaces import Planned
from fervit.search.policy.sampler import SpaceSampler, outcome_of
from fervit.search.records.events import Purpose
from fervit.search.records.ranking import configuration, ranked
from fervit.search.records.record import TrialRecord
from fervit.search.space.search_space import Params, SearchSpace
from fervit.search.space.settings import NOISE_SEEDS

NOISE_AFTER = 10
"""The number of ended trials after which the noise of the seed is measured."""
GAIN_EVERY = 4
"""The number of ended trials between two computations of the expected improvement."""
FIRST_REPETITION = 1001
"""The seed of the first repetition of a configuration, counted from the seed of the search: none of a rerun's."""


FIRST_FOLD = 1_000_000
"""The seeds of the folds come after this one, counted from the seed of the search: none of another run's."""


class SearchSource:
    """The trials of the search, which the sampler suggests.

    With `budget.until_noise`, the source also plans reruns that measure the noise of the seed, and ends the search when
    the expected improvement falls below that noise.

    Args:
        space: the search space.
        sampler: the sampler of the space.
        known: the trials of the sweep's journal.
        added: the configurations that users added.
        wanted: those of them that have not begun.
    """

    purposes: tuple[Purpose, ...] = ("search", "noise")

    def __init__(
        self,
        space: SearchSpace,
        sampler: SpaceSampler,
        known: Iterable[TrialRecord] = (),
        *,
        added: Sequence[Params] = (),
        wanted: Sequence[Params] = (),
    ) -> None:
        self._space, self._sampler = space, sampler
        self._n_added, self._wanted = len(added), list(wanted)
        known = list(known)
        searched = [record for record in known if record.purpose == "search"]
        self._asked = len(searched)
        self._configurations = Counter(configuration(record.params) for record in searched)
        self._ended: list[TrialRecord] = []
        self._noise_runs = [record for record in known if record.purpose == "noise"]
        self._confirmed = [record for record in known if record.purpose == "confirm" and record.state == "finished"]
        self._noise_plan: list[Planned] = []
        self._n_noise = 0
        self.noise: float | None = None
        """The standard deviation of the metric over fresh seeds; None until it has been measured."""
        if self._noise_runs:
            self._plan_noise(self._noise_runs[0])
        self.expected_improvement: float | None = None
        """The expected improvement of the next trial; None until the noise of the seed has been measured."""

    @property
    def total(self) -> int:
        """The largest number of trials that there can be, including those that measure the noise of the seed."""
        return int(min(self._space.search.trials, self._sampler.size)) + self._n_noise + self._n_added

    @property
    def enough(self) -> str:
        """Why further trials are not worth their time, for the user; "" as long as they are."""
        if self.noise is None or self.expected_improvement is None or self.expected_improvement >= self.noise:
            return ""
        name = self._space.metric.name
        return (
            f"the next trial can be expected to gain {self.expected_improvement:.4f} {name}, less than fresh seeds "
            f"differ ({self.noise:.4f}, standard deviation)"
        )

    def ask(self) -> Planned | None:
        """Returns the next trial: a rerun that measures the noise of the seed, if one is due, or one of the sampler."""
        if self._noise_plan:
            return self._noise_plan.pop(0)
        takes = bool(self._wanted) and self._asked >= min(len(self._space.search.warm_start), self._space.search.trials)
        if not takes and (self._asked + self._n_noise >= self.total or self.enough):
            return None
        self._asked += 1
        number, params = self._sampler.take(self._wanted.pop(0)) if takes else self._sampler.ask()
        return Planned(number, trial_name(number), params, self._space.config(params, self._seed(params)))

    def add(self, params: Params) -> None:
        """Makes a configuration of the user the next trial, one more than the space says."""
        self._n_added += 1
        self._wanted.append(params)

    def _seed(self, params: Params) -> int:
        """Returns the seed of a trial: that of the search, or a fresh one where the configuration is a repetition.

        With the same seed, the training would repeat an earlier one and teach nothing.
        """
        repetitions = self._configurations[configuration(params)]
        self._configurations[configuration(params)] += 1
        seed = self._space.search.seed
        return seed if not repetitions else (seed + FIRST_REPETITION + repetitions - 1) % 2**31

    def report(self, number: int, epoch: int, value: float) -> None:
        """Reports the best value of a trial so far to the sampler."""
        self._sampler.report(number, epoch, value)

    def tell(self, record: TrialRecord) -> None:
        """Reports the end of a trial to the sampler, and updates the noise of the seed and the expected improvement."""
        if record.purpose == "search":
            value = record.best_value(self._space.metric)
            self._sampler.tell(record.number, outcome_of(record), value, record.cost)
        if record.purpose in self.purposes and self._space.budget.until_noise and not record.cut:
            self._weigh(record)

    def _weigh(self, ended: TrialRecord) -> None:
        """Updates the noise of the seed and the expected improvement after a trial has ended."""
        metric = self._space.metric
        if ended.purpose == "noise":
            self._noise_runs = [run for run in self._noise_runs if run is not ended] + [ended]
            self._measure_noise()
        else:
            self._ended.append(ended)
            # With hardly a trial left, to know the noise could save less than it takes.
            worth = self.total - self._asked > NOISE_SEEDS
            if not self._n_noise and len(self._ended) >= NOISE_AFTER and worth:
                for leading in ranked(self._ended, metric)[:1]:
                    self._plan_noise(leading)
        if self.noise is not None and len(self._ended) % GAIN_EVERY == 0:
            self.expected_improvement = expected_improvement(self._space, self._ended, self.noise)

    def _plan_noise(self, leading: TrialRecord) -> None:
        """Plans the runs that measure the noise; what an earlier confirmation has run of them is not run again."""
        self._n_noise = NOISE_SEEDS
        plan = [rerun(self._space, leading, i, "noise") for i in range(NOISE_SEEDS)]
        names = {planned.name for planned in plan}
        self._noise_runs += [run for run in self._confirmed if run.name in names]
        known = {run.name for run in self._noise_runs}
        self._noise_plan = [planned for planned in plan if planned.name not in known]
        if not self._noise_plan:
            self._measure_noise()

    def _measure_noise(self) -> None:
        """Computes the noise of the seed once all of its runs have ended."""
        done = [run for run in self._noise_runs if run.state != "running"]
        values = [run.best_value(self._space.metric) for run in done if run.state == "finished"]
        if len(done) == self._n_noise and len(values) > 1:
            self.noise = statistics.stdev(value for value in values if value is not None)


class RerunSource:
    """Reruns that are planned when the source is made.

    Args:
        purpose: their purpose.
        plan: the reruns, in order.
        known: the trials and reruns of the sweep's journal. A rerun that has finished or failed is not planned again.
            One that a budget stopped has no value to compare, and is run again from its beginning.
    """

    enough = ""

    def __init__(self, purpose: Purpose, plan: Iterable[Planned], known: Iterable[TrialRecord]) -> None:
        self.purposes: tuple[Purpose, ...] = (purpose,)
        known = list(known)
        state = {record.name: record.state for record in known}
        self._plan = [planned for planned in plan if state.get(planned.name, "stopped") == "stopped"]
        planned = {one.name for one in self._plan}
        kept = [record for record in known if record.purpose == purpose and record.name not in planned]
        self.total = len(self._plan) + len(kept)

    def ask(self) -> Planned | None:
        """Returns the next rerun; None if none is left."""
        return self._plan.pop(0) if self._plan else None

    def add(self, params: Params) -> None:
        """Does nothing: what users add begins when the search goes on."""

    def report(self, number: int, epoch: int, value: float) -> None:
        """Does nothing, since no sampler learns from reruns."""

    def tell(self, record: TrialRecord) -> None:
        """Does nothing, since no sampler learns from reruns."""


class ConfirmSource(RerunSource):
    """The reruns of the confirmation: each of the best trials again with each of the fresh seeds.

    Args:
        space: the search space.
        best: the trials to run again.
        known: the trials and reruns of the sweep's journal.
    """

    def __init__(self, space: SearchSpace, best: Sequence[TrialRecord], known: Iterable[TrialRecord]) -> None:
        plan = (rerun(space, record, i, "confirm") for record in best for i in range(space.confirm.seeds))
        super().__init__("confirm", plan, known)


class FoldSource(RerunSource):
    """The chosen configuration again over each of `confirm.folds` folds, each with a seed of its own.

    Args:
        space: the search space.
        chosen: the chosen run.
        known: the trials and reruns of the sweep's journal.
    """

    def __init__(self, space: SearchSpace, chosen: TrialRecord, known: Iterable[TrialRecord]) -> None:
        plan = (fold_run(space, chosen, k) for k in range(1, space.confirm.folds + 1))
        super().__init__("fold", plan, known)


def fold_run(space: SearchSpace, chosen: TrialRecord, k: int) -> Planned:
    """Plans a training of the chosen configuration that fold k validates, counted from 1."""
    seed, of = (space.search.seed + FIRST_FOLD + k) % 2**31, space.confirm.folds
    name, config = f"{trial_name(chosen.number)}_fold{k}of{of}", space.config(chosen.params, seed)
    return Planned(chosen.number, name, chosen.params, config, "fold", Fold(k, of, space.search.seed))


def fresh_seeds(space: SearchSpace) -> list[int]:
    """Returns the seeds of the confirmation."""
    return [fresh_seed(space, i) for i in range(space.confirm.seeds)]


def fresh_seed(space: SearchSpace, i: int) -> int:
    """Returns the i-th fresh seed of a rerun, counted from 0."""
    return space.search.seed + 1 + i


def rerun(space: SearchSpace, record: TrialRecord, i: int, purpose: Purpose) -> Planned:
    """Plans a rerun of a trial with the i-th fresh seed, counted from 0."""
    seed = fresh_seed(space, i)
    name = f"{trial_name(record.number)}_seed{seed}"
    return Planned(record.number, name, record.params, space.config(record.params, seed), purpose)


def trial_name(number: int) -> str:
    """Returns the name of the trial with this number, such as trial_0003."""
    return f"trial_{number:04d}"
