"""How many epochs it takes until a sweep's choice is right, in replays of recorded sweeps by the sweep's own loop.

Each replay shuffles the 150 recorded configurations, draws for each the luck of a seed from the recorded reruns of a
configuration that is about as good, and lets a method search them in virtual time at 2 or 16 slots. The choice at any
time is what a sweep would confirm first: the trial with the best value so far or, of `thaw`, the one with the most
halfway between that and what the model of curves expects (`thaw_by_value` is the same search with the best value). It
is right if its true mean is within one standard deviation of the seed of the best true mean. A replay's number is the
epochs after which the choice was right and stayed so, as a share of training all to the end; 1 if it is not right at
the method's end.

The truth of a replay is known: the recorded curve of a configuration, drawn in towards the mean of all as far as the
seed's variance has spread it, is the mean over its seeds. Trained to the end in place of a search (`all`) is the floor
of what can be known from one seed each. `thaw` was made with `clean` and `flat_noisy`, and with three more that are in
`recordings/development` (`CHOSEN_ON`); the other recordings were held out.

    python -m benchmarks.epochs --recordings benchmarks/recordings [--only clean] [--methods thaw top5] [--replays 100]
"""

from __future__ import annotations

import json
import math
import time
from argparse import Namespace
from collections.abc import Callable, Collection, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import TypeVar

import numpy as np

from benchmarks.epochs_baselines import OneEpoch, Pasha, Promotion
from fervit.cli import Parser, positive_int, run
from fervit.search.ledger import Ledger, Observer
from fervit.search.packed import Packed, packed_in, read_packed
from fervit.search.policy.interfaces import Pausing, Planned
from fervit.search.policy.sampler import SpaceSampler
from fervit.search.policy.sources import SearchSource, trial_name
from fervit.search.policy.stopping import NeverStops, stopping_rule
from fervit.search.policy.thaw import Thaw
from fervit.search.records.events import Purpose
from fervit.search.records.journal import JournalInMemory
from fervit.search.records.record import TrialRecord
from fervit.search.simulated import Curve, VirtualClock, run_simulated
from fervit.search.space.coordinates import coordinates
from fervit.search.space.search_space import DEFAULTS, Params, SearchSpace
from fervit.search.space.settings import Budget, Confirm
from fervit.search.space.space_file import parse_space
from fervit.training.epoch import FIELDS, EpochResult

Result = TypeVar("Result")

CHOSEN_ON = ("clean", "flat_noisy", "clean_2", "noisy_2", "fer2013_2")
"""The recordings that the method was chosen on. The others only served the final statement."""
SLOTS = (2, 16)
METHODS = (
    *("all", "top3", "top5", "top10", "asha_stops", "tpe_asha", "hyperband"),
    *("asha_promotes", "pasha", "thaw_by_value", "thaw"),
)
STOPPING = {"asha_stops": "asha", "tpe_asha": "asha", "hyperband": "hyperband", "thaw": "thaw", "thaw_by_value": "thaw"}
RESAMPLES = 2000


@dataclass(frozen=True)
class Truth:
    """A recording as a population of which the true means are known."""

    packed: Packed
    means: np.ndarray
    """float64 [configurations, epochs]: the mean value over seeds at each epoch; a higher one is better."""
    luck: list[np.ndarray]
    """For each configuration: what seeds add to its means, float64 [seeds, epochs]."""
    final: np.ndarray
    """float64 [configurations]: the mean over seeds of the best value."""
    seed_sd: float
    """The standard deviation of the best value over the seeds of a good configuration."""

    @classmethod
    def of(cls, packed: Packed) -> Truth:
        """Separates the means and the luck of a recording with residuals."""
        metric = packed.space.metric
        values = np.array([[metric.sign * metric.value(row) for row in one.epochs] for one in packed.of("sweep")])
        groups = packed.by_configuration("residuals")
        place = {one.number: k for k, one in enumerate(packed.of("sweep"))}
        known: dict[int, np.ndarray] = {}
        bests = []
        for number, runs in groups.items():
            if len(runs) >= 3:
                again = np.array([[metric.sign * metric.value(row) for row in one.epochs] for one in runs])
                known[place[number]] = (again - again.mean(0)) * math.sqrt(len(runs) / (len(runs) - 1))
                bests.append((float(again.max(1).mean()), float(again.max(1).var(ddof=1))))
        if not known:
            raise SystemExit(f"{packed.name}: has no residuals yet")
        noise = np.mean([one.var(0) for one in known.values()], axis=0)
        spread = values.var(0, ddof=1)
        shrink = np.sqrt(np.maximum(0.0, 1 - noise / np.maximum(spread, 1e-12)))
        means = values.mean(0) + shrink * (values - values.mean(0))
        order = np.argsort(-np.maximum.accumulate(values, 1)[:, -1])
        rank = {int(k): i for i, k in enumerate(order)}
        nearest = [min(known, key=lambda k: (abs(rank[k] - rank[c]), k)) for c in range(len(values))]
        luck = [known[k] for k in nearest]
        final = np.array([(m + add).max(1).mean() for m, add in zip(means, luck, strict=True)])
        top = sorted(bests, reverse=True)[: max(1, len(bests) // 2)]
        return cls(packed, means, luck, final, math.sqrt(float(np.mean([variance for _, variance in top]))))

    @property
    def right(self) -> np.ndarray:
        """bool [configurations]: whether a choice is right."""
        return np.asarray(self.final >= self.final.max() - self.seed_sd)

    def drawn(self, seed: int) -> tuple[np.ndarray, np.ndarray]:
        """Returns an order of the configurations, and their curves with the luck of a seed each."""
        rng = np.random.default_rng(seed)
        order = rng.permutation(len(self.means))
        lucky = np.array([m + add[rng.integers(len(add))] for m, add in zip(self.means, self.luck, strict=True)])
        return order, lucky


class Shuffled:
    """A source that plans the recorded configurations in an order."""

    purposes: tuple[Purpose, ...] = ("search",)
    enough = ""

    def __init__(self, space: SearchSpace, packed: Packed, order: np.ndarray) -> None:
        self._space, self._trainings, self._order, self._asked = space, packed.of("sweep"), order, 0
        self.total = len(order)

    def ask(self) -> Planned | None:
        """Returns the next configuration; None if none is left."""
        if self._asked >= self.total:
            return None
        number, self._asked = self._asked, self._asked + 1
        params = self._trainings[int(self._order[number])].params
        return Planned(number, trial_name(number), params, self._space.config(params, 1))

    def add(self, params: Params) -> None:
        """Does nothing."""

    def report(self, number: int, epoch: int, value: float) -> None:
        """Does nothing."""

    def tell(self, record: TrialRecord) -> None:
        """Does nothing."""


class Choices(Observer):
    """Follows which configuration has the best value after each epoch."""

    def __init__(self, configuration_of: Callable[[int], int], sign: int) -> None:
        self._configuration_of, self._sign = configuration_of, sign
        self.chosen: list[int] = []
        self._best = -math.inf

    def epoch(self, ledger: Ledger, record: TrialRecord) -> None:
        value = record.best_value(ledger.space.metric)
        assert value is not None
        better = self._sign * value > self._best
        self._best = max(self._best, self._sign * value)
        self.chosen.append(self._configuration_of(record.number) if better else self.chosen[-1])

    def settled(self, right: np.ndarray) -> int | None:
        """Returns after how many epochs the choice was right and stayed so; None if it is not right at the end."""
        return settled(self.chosen, right)


class ByTheModel(Choices):
    """Follows which configuration `confirm` would take first after each epoch, by what `thaw` expects."""

    def __init__(self, configuration_of: Callable[[int], int], sign: int, thaw: Thaw) -> None:
        super().__init__(configuration_of, sign)
        self.thaw, self._values = thaw, dict[str, float]()

    def epoch(self, ledger: Ledger, record: TrialRecord) -> None:
        value = record.best_value(ledger.space.metric)
        assert value is not None
        self._values[record.name] = self._sign * value
        expected = self.thaw.expected()
        best = max(expected, key=lambda name: self._sign * expected[name] + self._values[name])
        self.chosen.append(self._configuration_of(int(best.removeprefix("trial_"))))


def settled(chosen: Sequence[int], right: np.ndarray) -> int | None:
    """Returns after how many epochs the choice was right and stayed so; None if it is not right at the end."""
    wrong = [k for k, one in enumerate(chosen) if not right[one]]
    last = wrong[-1] + 1 if wrong else 0
    return None if last == len(chosen) else last + 1


class Pool:
    """The recorded configurations, of which each is given once: the nearest free one to what is asked for."""

    def __init__(self, packed: Packed) -> None:
        self._space = packed.space
        self._points = np.array([coordinates(packed.space, one.params) for one in packed.of("sweep")])
        self._is_taken = np.zeros(len(self._points), dtype=bool)

    @property
    def is_empty(self) -> bool:
        """Whether all are taken."""
        return bool(self._is_taken.all())

    def take(self, params: Params) -> int:
        """Returns the place of the nearest free configuration, which is taken from now on."""
        apart = ((self._points - np.array(coordinates(self._space, params))) ** 2).sum(1)
        apart[self._is_taken] = np.inf
        nearest = int(apart.argmin())
        self._is_taken[nearest] = True
        return nearest


def replay_one(truth: Truth, method: str, slots: int, seed: int) -> tuple[float, float]:
    """Returns the share of epochs until the choice is right (1 for never), and that of all epochs of the method."""
    order, values = truth.drawn(seed)
    given = truth.packed.space
    sampler = "tpe" if method == "tpe_asha" else "random"
    stopping = replace(given.early_stopping, scheduler=STOPPING.get(method, "none"), grace_epochs=1, reduction_factor=3)  # type: ignore[arg-type]
    search = replace(given.search, sampler=sampler, seed=seed, trials=len(order))  # type: ignore[arg-type]
    space = replace(given, search=search, early_stopping=stopping, budget=Budget(), confirm=Confirm())
    trainings, name, sign = truth.packed.of("sweep"), space.metric.name, space.metric.sign
    pool = Pool(truth.packed)
    where: dict[int, int] = {} if method == "tpe_asha" else {number: int(k) for number, k in enumerate(order)}

    def curve_of(planned: Planned) -> Curve:
        if planned.number not in where:
            where[planned.number] = pool.take(planned.params)
        k = where[planned.number]
        rows = zip(trainings[k].epochs, sign * values[k], strict=True)
        return [EpochResult(**{**row.to_json(), name: float(value)}) for row, value in rows]

    clock, pauses, rule = VirtualClock(), pausing(method, space), stopping_rule(stopping, space.metric)
    of = where.__getitem__
    choices = ByTheModel(of, sign, pauses) if isinstance(pauses, Thaw) and method == "thaw" else Choices(of, sign)
    ledger = Ledger(space, JournalInMemory(clock), rule, [choices], pausing=pauses, clock=clock)
    ledger.use(SearchSource(space, SpaceSampler(space)) if sampler == "tpe" else Shuffled(space, truth.packed, order))
    run_simulated(ledger, curve_of, clock, slots=slots)
    return shares(choices.chosen, truth)


def shares(chosen: Sequence[int], truth: Truth) -> tuple[float, float]:
    """Returns the share of epochs until the choice is right (1 for never), and that of all epochs of the method."""
    right_after, epochs = settled(chosen, truth.right), truth.means.size
    return (1.0 if right_after is None else right_after / epochs), len(chosen) / epochs


def pausing(method: str, space: SearchSpace) -> Pausing | None:
    """Returns what lets trials pause; None where none does."""
    if method.startswith("thaw"):
        return Thaw(space)
    epochs, sign = space.early_stopping.max_epochs, space.metric.sign
    if method.startswith("top"):
        return OneEpoch(int(method[3:]), space.search.trials, sign)
    if method == "asha_promotes":
        return Promotion(epochs, sign)
    return Pasha(epochs, sign) if method == "pasha" else None


def interval(values: np.ndarray, statistic: Callable[..., np.ndarray]) -> tuple[float, float]:
    """Returns the 95 % interval of a statistic by the bootstrap over replays."""
    rng = np.random.default_rng(0)
    drawn = values[rng.integers(len(values), size=(RESAMPLES, len(values)))]
    low, high = np.quantile(statistic(drawn, axis=1), [0.025, 0.975])
    return float(low), float(high)


def show(truth: Truth, method: str, slots: int, shares: np.ndarray, spent: np.ndarray, seconds: float) -> None:
    """Prints a line of the table."""
    low, high = interval(shares, np.median)
    below, above = interval(shares, np.mean)
    print(
        f"{truth.packed.name:<13} {slots:>2}  {method:<14} {np.median(shares):7.2%} ({low:6.2%} to {high:6.2%})  "
        f"{np.mean(shares):7.2%} ({below:6.2%} to {above:6.2%})  {np.mean(shares < 1):6.0%}  {np.median(spent):7.2%}  "
        f"{seconds / len(shares):5.2f} s",
        flush=True,
    )


def time_decisions(trials: int) -> None:
    """Prints what the decisions of `thaw` take in a sweep of so many trials of 60 epochs, with made-up curves."""
    raw: dict[str, object] = {
        "name": "made_up",
        "search": {"sampler": "random", "trials": trials},
        "early_stopping": {"scheduler": "thaw", "max_epochs": 60},
    }
    names = ("dropout", "attention_dropout", "label_smoothing", "mixup", "ema_decay", "weight_decay", "data_fraction")
    raw["parameters"] = {
        name: {"distribution": "uniform", "min": 0.1, "max": 0.5} for name in names if name in DEFAULTS
    }
    space = parse_space(raw, "made up")
    thaw, rng = Timed(space), np.random.default_rng(0)

    def curve_of(planned: Planned) -> Curve:
        height = 0.6 - sum((float(value) - 0.3) ** 2 for value in planned.params.values())
        values = height * (1 - 0.93 ** np.arange(1, 61)) + rng.normal(0, 0.01, 60)
        return [
            EpochResult.from_json({**dict.fromkeys(FIELDS, float(value)), "epoch": i, "seconds": 60.0})
            for i, value in enumerate(values, start=1)
        ]

    clock = VirtualClock()
    ledger = Ledger(space, JournalInMemory(clock), NeverStops(), pausing=thaw, clock=clock)
    ledger.use(SearchSource(space, SpaceSampler(space)))
    run_simulated(ledger, curve_of, clock, slots=16)
    epochs = sum(len(record.epochs) for record in ledger.records)
    print(
        f"{trials} trials, {epochs} epochs: {thaw.seconds:.1f} s of decisions in all, "
        f"{1e3 * thaw.seconds / epochs:.0f} ms an epoch, at most {thaw.most:.2f} s at once"
    )


class Timed(Thaw):
    """Counts the seconds of CPU that the decisions take."""

    seconds = most = 0.0

    def learn(self, name: str, epoch: int, best_value: float) -> None:
        """Notes a value, by the clock."""
        self._timed(lambda: super(Timed, self).learn(name, epoch, best_value))

    def pauses(self, name: str, epoch: int, paused: Collection[str], busy: Collection[str]) -> bool:
        """Decides, by the clock."""
        return self._timed(lambda: super(Timed, self).pauses(name, epoch, paused, busy))

    def choose(self, paused: Collection[str], busy: Collection[str]) -> str | None:
        """Chooses, by the clock."""
        return self._timed(lambda: super(Timed, self).choose(paused, busy))

    def _timed(self, work: Callable[[], Result]) -> Result:
        began = time.process_time()
        result = work()
        took = time.process_time() - began
        self.seconds, self.most = self.seconds + took, max(self.most, took)
        return result


def main() -> None:
    """Replays the recordings and prints the table."""
    parser = flags(__doc__, METHODS)
    parser.add_argument("--out", type=Path, help="a file that gets a line of JSON for each row of the table")
    parser.add_argument("--time", type=positive_int, help="time the decisions of a sweep of so many trials instead")
    args = parser.parse()
    if args.time is not None:
        time_decisions(args.time)
        return
    table(args, replay_one)


def flags(text: str | None, methods: Sequence[str]) -> Parser:
    """Defines the flags of a command that replays recordings."""
    parser = Parser(description=text.partition("\n")[0] if text else "")
    parser.add_argument("--recordings", type=Path, default=Path(__file__).parent / "recordings")
    parser.add_argument("--only", nargs="+", help="some of the recordings")
    parser.add_argument("--methods", nargs="+", choices=methods, default=methods)
    parser.add_argument("--slots", type=positive_int, nargs="+", default=SLOTS)
    parser.add_argument("--replays", type=positive_int, default=100)
    parser.set_defaults(out=None)
    return parser


def table(args: Namespace, replay: Callable[[Truth, str, int, int], tuple[float, float]]) -> None:
    """Replays the recordings and prints a line for each, with each method at each number of slots."""
    print(
        "recording     slots method         median share (95 % interval)  mean, never as 1 (95 %)        right  spent"
    )
    for path in packed_in(args.recordings):
        packed = read_packed(path)
        if args.only is not None and packed.name not in args.only:
            continue
        truth = Truth.of(packed)
        print(
            f"{packed.name}: {int(truth.right.sum())} of {len(truth.right)} configurations are right, "
            f"the seed's deviation is {truth.seed_sd:.4f}; thaw was "
            f"{'chosen on it' if packed.name in CHOSEN_ON else 'not chosen on it'}",
            flush=True,
        )
        for slots in args.slots:
            for method in args.methods:
                started = time.process_time()
                found = np.array([replay(truth, method, slots, seed) for seed in range(args.replays)])
                show(truth, method, slots, found[:, 0], found[:, 1], time.process_time() - started)
                if args.out is not None:
                    row = {"recording": packed.name, "method": method, "slots": slots, "shares": found[:, 0].tolist()}
                    with args.out.open("a") as file:
                        file.write(json.dumps({**row, "spent": found[:, 1].tolist()}) + "\n")


if __name__ == "__main__":
    run(main)
