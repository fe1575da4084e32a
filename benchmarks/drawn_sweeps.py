"""Sweeps whose truth is known: recorded curves, onto which what seeds do to a training is drawn.

A recording (`benchmarks/recordings.py`) has a curve of each of its configurations, and residuals: what each of 20 seeds
adds to the mean of 10 configurations, in each epoch, on the validation faces and on fresh ones. In a drawn sweep the
recorded curve of a configuration is its mean, and each training adds a residual that is drawn anew. All trials of a
search have one seed: what it does to all configurations alike is drawn once, and the rest of any configuration and seed
for each trial. In the confirmation each configuration has residuals of one recorded configuration, another for each,
and the same fresh seed of a sweep is the same recorded seed for all of them. All else is a real sweep's: sampler,
stopping rule, ledger and loop, candidates, confirmation and choice.
"""

from __future__ import annotations

from dataclasses import dataclass, replace
from functools import cached_property
from pathlib import Path

import numpy as np

from fervit.search.forecast import Forecast, forecast
from fervit.search.ledger import Ledger, Observer
from fervit.search.outcome.confirm import (
    Confirmed,
    Gain,
    baseline_among,
    candidates,
    choose,
    confirmations,
    gain_over_baseline,
)
from fervit.search.packed import Packed, Training
from fervit.search.policy.interfaces import Planned
from fervit.search.policy.sampler import SpaceSampler
from fervit.search.policy.sources import ConfirmSource
from fervit.search.policy.stopping import stopping_rule
from fervit.search.records.journal import JournalInMemory
from fervit.search.records.ranking import ranked
from fervit.search.records.record import TrialRecord
from fervit.search.replay import Curves, RecordedSearch, Recording, recording_of, space_of_replay
from fervit.search.simulated import Curve, VirtualClock, run_simulated
from fervit.search.space.search_space import SearchSpace

SLOTS = 4
POLICIES = (("tpe", "asha"), ("random", "none"), ("random", "asha"), ("tpe", "median"), ("tpe", "hyperband"))
"""The samplers and schedulers, in turn."""
SHARES = (0.0, 0.25, 0.5)
"""When the epochs of a sweep are forecast: the share of the trials that have ended."""
LEAST_SPREAD = 0.25
"""The least that the truths of configurations differ in a recording that is shrunk, in units of the seeds' spread."""


class World:
    """A recording with its residuals, onto which sweeps are drawn. The metric is macro-F1: more is better.

    Args:
        packed: the recording.
        shrunk: whether the recorded curves are drawn together until they differ as much as the configurations do.
            A recorded curve holds what its own seed did, so that curves differ more than configurations.

    Attributes:
        values, fresh: the mean curves [configurations, epochs] on validation and on fresh faces. A fresh value is that
            of the model of the best epoch so far.
        moves, fresh_moves: the residuals [10, seeds, epochs].
        spread: the standard deviation over seeds of the best value of a training, pooled over the residuals.
    """

    def __init__(self, packed: Packed, *, shrunk: bool = False) -> None:
        self.packed, self.name = packed, packed.name + (", shrunk" if shrunk else "")
        trials = packed.of("sweep")
        self.recording: Recording = recording_of(packed.space, [one.record() for one in trials], Path(packed.name))
        self.values, self.fresh = _curves(trials), _fresh(trials)
        groups = list(packed.by_configuration("residuals").values())
        groups = [group for group in groups if len(group) == max(map(len, groups))]  # the last one may be incomplete
        self.moves = np.stack([_residuals(_curves(group)) for group in groups])
        self.fresh_moves = np.stack([_residuals(_fresh(group)) for group in groups])
        best = np.array([_curves(group).max(axis=1) for group in groups])
        self.spread = float(np.sqrt(best.var(axis=1, ddof=1).mean()))
        if shrunk:
            self.values, self.fresh = self._shrunk(groups)

    def _shrunk(self, groups: list[list[Training]]) -> tuple[np.ndarray, np.ndarray]:
        """Returns the curves, drawn together so that they differ as much as the configurations do."""
        of_seeds = float(np.mean([_fresh(group)[:, -1].var(ddof=1) for group in groups]))
        pairs = ((self.values, self.values.max(axis=1), self.spread**2), (self.fresh, self.fresh[:, -1], of_seeds))
        found = []
        for curves, ends, noise in pairs:
            wanted = max(float(ends.var(ddof=1)) - noise, LEAST_SPREAD**2 * noise)
            mean = curves.mean(axis=0)
            found.append(mean + (curves - mean) * min(1.0, (wanted / float(ends.var(ddof=1))) ** 0.5))
        return found[0], found[1]

    @cached_property
    def own_spread(self) -> float:
        """The standard deviation over configurations of their best value, in units of `spread`."""
        return float(self.values.max(axis=1).std(ddof=1)) / self.spread

    def curve(self, index: int, moves: np.ndarray) -> Curve:
        """Returns a training of a recorded configuration that a seed moves by `moves`, float [epochs]."""
        values = self.values[index] + moves
        rows = self.recording.trials[index].epochs
        return [replace(row, f1_macro=float(value)) for row, value in zip(rows, values, strict=True)]

    def trainings(self, index: int, residual: int) -> tuple[np.ndarray, np.ndarray]:
        """Returns what trainings of a configuration with each seed give.

        Returns:
            The best value on validation, and that of the same model on fresh faces, float [seeds] each.
        """
        values = self.values[index] + self.moves[residual]
        epochs = values.argmax(axis=1)
        fresh = self.fresh[index][epochs] + self.fresh_moves[residual, np.arange(len(epochs)), epochs]
        return values.max(axis=1), fresh


def _curves(trainings: list[Training]) -> np.ndarray:
    return np.array([[row.f1_macro for row in one.epochs] for one in trainings])


def _fresh(trainings: list[Training]) -> np.ndarray:
    return np.array([one.fresh["f1_macro"] for one in trainings])


def _residuals(values: np.ndarray) -> np.ndarray:
    """What each seed adds to the mean, of [seeds, epochs]."""
    return np.asarray(values - values.mean(axis=0))


class DrawnCurves(Curves):
    """Gives each trial the recorded curve of the nearest configuration with a residual drawn onto it.

    The fresh seeds of a sweep are different recorded seeds, so that two of them never give the same value. Then their
    mean would be too near that of all 20; so what separates the mean of 20 seeds from that of all seeds is drawn for
    each sweep, too, with the variance that the seeds say. Both together vary as a mean of fresh seeds does.
    """

    def __init__(self, world: World, rng: np.random.Generator) -> None:
        super().__init__(world.recording)
        self._world, self._rng = world, rng
        n, seeds = world.moves.shape[:2]
        self._seeds, self._of_search = rng.permutation(seeds), int(rng.integers(seeds))
        self._alike = world.moves.mean(axis=0)
        self._alone = (world.moves - self._alike) * (n / max(1, n - 1)) ** 0.5
        self._off = rng.normal(size=seeds) / (seeds * (seeds - 1)) ** 0.5
        self._order = rng.permutation(n)
        self.residual: dict[int, int] = {}
        """The number of a confirmed trial -> whose residuals its reruns have."""
        self._seed: dict[int, int] = {}

    def __call__(self, planned: Planned) -> Curve:
        """Returns the epochs that a trial or rerun will report."""
        if planned.purpose == "search":
            residual, seed = (int(self._rng.integers(size)) for size in self._alone.shape[:2])
            moves = self._alike[self._of_search] + self._alone[residual, seed]
        else:
            if planned.number not in self.residual:
                self.residual[planned.number] = int(self._order[len(self.residual) % len(self._order)])
            if planned.config.seed not in self._seed:
                self._seed[planned.config.seed] = int(self._seeds[len(self._seed) % len(self._seeds)])
            of_seeds = self._world.moves[self.residual[planned.number]]
            moves = of_seeds[self._seed[planned.config.seed]] - self._off @ of_seeds
        return self._world.curve(self.given[planned.number], moves)


class Forecasts(Observer):
    """Forecasts the epochs that are left when shares of the trials have ended."""

    def __init__(self, space: SearchSpace, rows: int) -> None:
        self._space, self._rows = space, rows
        self._reported = 0
        self._due = list(SHARES[1:])
        self.made: list[tuple[Forecast, int]] = [(forecast(space, SLOTS, rows), 0)]
        """The forecasts, each with the epochs that had been reported."""

    def epoch(self, ledger: Ledger, record: TrialRecord) -> None:
        """Counts an epoch."""
        self._reported += 1

    def ended(self, ledger: Ledger, record: TrialRecord) -> None:
        """Forecasts what is left, if that is due."""
        if self._due and ledger.part == "search" and ledger.n_ended >= self._due[0] * self._space.search.trials:
            self._due.pop(0)
            self.made.append((forecast(self._space, SLOTS, self._rows, ledger.records), self._reported))

    def held(self) -> list[bool]:
        """Returns for each forecast whether the truth lay within it."""
        return [self._reported - before in made.epochs for made, before in self.made]


@dataclass(frozen=True, kw_only=True)
class Drawn:
    """A drawn sweep that has ended, as it would be reported, with the truth."""

    confirmed: list[Confirmed]
    chosen: Confirmed
    ties: list[Confirmed]
    gain: Gain | None
    first: int
    """The number of the first trial, which is the baseline."""
    trainings: dict[int, tuple[np.ndarray, np.ndarray]]
    """The number of each confirmed trial -> what `World.trainings` says of it."""
    forecasts: list[bool]
    """Whether the epochs were within each forecast, of those after `SHARES` of the trials."""

    def truth(self, number: int) -> float:
        """Returns the mean of a configuration over all seeds, of the best epoch on these validation faces."""
        return float(self.trainings[number][0].mean())

    def fresh(self, number: int) -> float:
        """Returns the mean of a configuration over all seeds on fresh faces."""
        return float(self.trainings[number][1].mean())

    @property
    def highest(self) -> Confirmed:
        """The configuration with the highest mean over the fresh seeds."""
        return max(self.confirmed, key=lambda one: one.mean)


def drawn_sweep(world: World, seed: int, *, trials: int) -> Drawn:
    """Runs a sweep, whose first trial is any configuration of the recording, as a warm start.

    Args:
        world: the recording.
        seed: the number of the sweep, which its policy and all that is drawn depend on.
        trials: the number of trials of the search.
    """
    rng = np.random.default_rng([seed, *world.name.encode()])
    sampler, scheduler = POLICIES[seed % len(POLICIES)]
    space = space_of_replay(world.recording, sampler, scheduler, seed)
    start = world.recording.trials[int(rng.integers(len(world.recording.trials)))].params
    search = replace(space.search, trials=min(trials, len(world.recording.trials)), warm_start=[dict(start)])
    space = replace(space, search=search, confirm=world.packed.space.confirm)
    clock, curves = VirtualClock(), DrawnCurves(world, rng)
    forecasts = Forecasts(space, int(world.packed.data["train"]["rows"]))
    rule = stopping_rule(space.early_stopping, space.metric)
    ledger = Ledger(space, JournalInMemory(clock), rule, [forecasts], clock=clock)
    ledger.use(RecordedSearch(curves, space, SpaceSampler(space)))
    run_simulated(ledger, curves, clock, slots=SLOTS)
    ranking = ranked(ledger.records, space.metric)
    best = candidates(ranking, ledger.records, space)
    ledger.use(ConfirmSource(space, best, ledger.records))
    run_simulated(ledger, curves, clock, slots=SLOTS)
    confirmed = confirmations(best, ledger.records, space)
    first = baseline_among(space, ranking, confirmed)
    assert first is not None
    chosen, ties = choose(confirmed, space.metric, first, int(world.packed.data["val"]["rows"]))
    known = {number: world.trainings(curves.given[number], residual) for number, residual in curves.residual.items()}
    return Drawn(
        confirmed=confirmed,
        chosen=chosen,
        ties=ties,
        gain=gain_over_baseline(space, ranking, chosen.record.number, confirmed),
        first=first.record.number,
        trainings=known,
        forecasts=forecasts.held(),
    )
