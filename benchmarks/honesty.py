"""How often what a sweep states holds, in sweeps whose truth is known.

    python -m benchmarks.honesty [--sweeps 400] [--recordings benchmarks/recordings] [--json honesty.json]

Sweeps are drawn onto recordings (`benchmarks/drawn_sweeps.py`) and run by the loop of a real one; what each then states
is compared with the truth. A statement is taken at its word: the interval of a confirmed mean is "of the seeds alone",
so its truth is the mean over all seeds on the same validation faces; overtuning is about fresh faces. Recordings whose
configurations hardly differ come twice: with their curves as they are, and drawn together (`World`).

Test splits and equal models are made of the predictions of 20 real trainings (`benchmarks/predictions.py`): a test
split draws faces anew, and models are equal because for each face the predictions are dealt out to them at random, so
that what is hard in a face stays. The check needs no residuals: 30 real seeds of a configuration of each recording.

Each share has its 95 % interval (Clopper and Pearson, 1934). The goals are those of the table.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, field
from pathlib import Path

import numpy as np
from scipy.stats import binomtest

from benchmarks.drawn_sweeps import SHARES, Drawn, World, drawn_sweep
from benchmarks.predictions import SUFFIX, Answers
from benchmarks.recordings import HERE
from fervit.cli import Parser, positive_int, run
from fervit.errors import UserError
from fervit.evaluation.comparison.compare import compare
from fervit.evaluation.comparison.contenders import Contender
from fervit.evaluation.intervals import intervals_of
from fervit.evaluation.paired.resampling import differences
from fervit.evaluation.predictions import Predictions
from fervit.evaluation.statistics import confusion
from fervit.io.files import JsonObject, write_json
from fervit.labels.label_set import SEVEN
from fervit.progress import clock
from fervit.search.outcome.confirm import Confirmed, choose
from fervit.search.packed import SUFFIX as RECORDING
from fervit.search.packed import Packed, packed_in, read_packed
from fervit.search.records.record import TrialRecord
from fervit.training.metrics import metrics_of_counts

EQUAL = (2, 3, 5, 10, 20)
"""How many equal models are compared."""
FACES = (150, 400)
"""The numbers of faces of the test splits that are drawn."""


@dataclass(kw_only=True)
class Statement:
    """A statement of the program, and how often it held."""

    name: str
    goal: str
    held: dict[str, list[bool]] = field(default_factory=dict)
    """By the name of a recording."""

    def note(self, recording: str, held: bool) -> None:
        """Notes whether the statement held once more."""
        self.held.setdefault(recording, []).append(bool(held))

    def share(self, recording: str) -> tuple[float, float, float]:
        """Returns how often it held, with the 95 % interval."""
        held = self.held[recording]
        interval = binomtest(sum(held), len(held)).proportion_ci()
        return sum(held) / len(held), float(interval.low), float(interval.high)

    def cell(self, recording: str) -> str:
        """Returns the cell of the table."""
        if recording not in self.held:
            return ""
        share, low, high = (100 * value for value in self.share(recording))
        return f"{share:.1f} ({low:.1f} to {high:.1f})"

    def to_json(self) -> JsonObject:
        """The statement with its counts."""
        counts = {
            name: {"held": sum(held), "of": len(held), "interval_95": list(self.share(name)[1:])}
            for name, held in self.held.items()
        }
        return {"name": self.name, "goal": self.goal, "recordings": counts}


class Statements:
    """All statements, in the order in which they were first noted."""

    def __init__(self) -> None:
        self.all: dict[str, Statement] = {}

    def expect(self, name: str, goal: str) -> Statement:
        """Returns a statement, which is put last if it is new."""
        return self.all.setdefault(name, Statement(name=name, goal=goal))

    def note(self, name: str, goal: str, recording: str, held: bool) -> None:
        """Notes whether a statement held once more."""
        self.expect(name, goal).note(recording, held)

    def table(self, recordings: Sequence[str]) -> Iterator[str]:
        """Yields the lines of the table in Markdown."""
        yield f"| share in % (95 %) | goal | {' | '.join(recordings)} |"
        yield f"|---|---|{'---|' * len(recordings)}"
        for one in self.all.values():
            yield f"| {one.name} | {one.goal} | {' | '.join(one.cell(name) for name in recordings)} |"


def note_sweep(found: Statements, world: World, drawn: Drawn, rng: np.random.Generator) -> None:
    """Compares what a sweep states with the truth."""
    chosen, highest = drawn.chosen, drawn.highest.record.number
    number, tied = chosen.record.number, {one.record.number for one in (chosen, *drawn.ties)}
    some = drawn.confirmed[int(rng.integers(len(drawn.confirmed)))]

    def note(name: str, goal: str, held: bool) -> None:
        found.note(name, goal, world.name, held)

    def best(truth: Callable[[int], float]) -> int:
        return max(drawn.trainings, key=truth)

    note("mean of a confirmed configuration, in its interval", "93 to 97", _covers(some, drawn))
    note("mean of the chosen configuration, in its interval", "93 to 97", _covers(chosen, drawn))
    gain = found.expect("gain over the baseline, in its interval", ">= 95")
    if drawn.gain is not None and drawn.gain.half_width is not None:
        error = drawn.gain.difference - drawn.truth(number) + drawn.truth(drawn.first)
        gain.note(world.name, abs(error) <= drawn.gain.half_width)
    note("ties hold the best of the confirmed, same faces", ">= 95", best(drawn.truth) in tied)
    note("ties hold the best of the confirmed, fresh faces", "", best(drawn.fresh) in tied)
    note("overtuning: chosen worse on fresh faces than the first tried", "<= 1", _worse(drawn, number))
    note("the same, were the highest mean chosen", "", _worse(drawn, highest))
    note("the first tried is chosen", "", number == drawn.first)
    for share, held in zip(SHARES, drawn.forecasts, strict=True):
        note(f"epochs forecast after {share:.0%} of the trials", ">= 90", held)


def _covers(one: Confirmed, drawn: Drawn) -> bool:
    assert one.half_width is not None
    return abs(one.mean - drawn.truth(one.record.number)) <= one.half_width


def _worse(drawn: Drawn, number: int) -> bool:
    return drawn.fresh(number) < drawn.fresh(drawn.first)


def note_check(found: Statements, packed: Packed, draws: int) -> None:
    """Draws from 30 real seeds of a configuration: three for an interval, and twelve for four equal configurations."""
    rng = np.random.default_rng(1)
    for trainings in packed.by_configuration("check").values():
        values = packed.best_values(trainings)[:, -1]
        for _ in range(draws):
            some = _as_confirmed(0, rng.choice(values, 3))
            held = abs(some.mean - values.mean()) <= (some.half_width or 0.0)
            found.note(f"check: mean of {len(values)} real seeds, in the interval of 3", "93 to 97", packed.name, held)
            equal = [_as_confirmed(i, rng.choice(values, 3)) for i in range(4)]
            ties = choose(equal, packed.space.metric)[1]
            found.note("check: four equal configurations all tie", ">= 95", packed.name, len(ties) == 3)


def _as_confirmed(number: int, values: np.ndarray) -> Confirmed:
    record = TrialRecord(number=number, name=f"trial_{number:04d}", seed=0, params={})
    return Confirmed(record=record, values=tuple(float(value) for value in values))


def note_answers(found: Statements, name: str, answers: Answers, draws: int) -> None:
    """Draws test splits from the faces whose predictions are known, and compares intervals and equal models."""
    rng, n_models = np.random.default_rng(2), len(answers.predicted)
    truths = [metrics_of_counts(confusion(answers.labels, said, len(SEVEN))) for said in answers.predicted]
    for _ in range(draws):
        for n in FACES:
            rows = rng.integers(0, len(answers.labels), n)
            one, other = rng.choice(n_models, 2, replace=False)
            labels, said, others = answers.labels[rows], answers.predicted[one][rows], answers.predicted[other][rows]
            intervals = intervals_of(confusion(labels, said, len(SEVEN)))
            for metric, words in (("f1_macro", "macro-F1"), ("accuracy", "accuracy")):
                (low, high), truth = intervals[metric], truths[one][metric]
                found.note(f"test: {words} on {n} faces, in its interval", "93 to 97", name, low <= truth <= high)
            low, high = differences(labels, said, [others], len(SEVEN), resamples=400).macro_95[0]
            lead = truths[one]["f1_macro"] - truths[other]["f1_macro"]
            found.note(f"test: lead of one model on {n} faces, in its interval", "93 to 97", name, low <= lead <= high)
    for k in EQUAL:
        if k <= n_models:
            for _ in range(draws):
                goal, held = "<= 5", any_worse(equal_models(answers, k, FACES[-1], rng))
                found.note(f"compare.py: one of {k} equal models called worse", goal, name, held)


def equal_models(answers: Answers, k: int, n: int, rng: np.random.Generator) -> list[Contender]:
    """Makes k models that are equally good: for each face the predictions of k trainings are dealt out at random."""
    rows, some = rng.integers(0, len(answers.labels), n), rng.choice(len(answers.predicted), k, replace=False)
    dealt = rng.permuted(answers.predicted[some][:, rows], axis=0)
    ids = [f"{i:05d}" for i in range(n)]
    made = []
    for i, said in enumerate(dealt):
        given = {"image_ids": ids, "labels": answers.labels[rows], "probabilities": np.eye(len(SEVEN))[said]}
        made.append(
            Contender(
                name=str(i),
                validation={},
                predictions=Predictions(**given, split="test", latents="drawn", checkpoint=str(i)),
            )
        )
    return made


def any_worse(models: list[Contender]) -> bool:
    """Returns whether `compare.py` calls one of the models worse."""
    return any(row.standing == "worse" for row in compare(models))


def main() -> None:
    """Draws the sweeps, and prints the table."""
    parser = Parser(description=__doc__.partition("\n")[0] if __doc__ else "")
    parser.add_argument(
        "--recordings", type=Path, default=HERE / "recordings", help="what benchmarks.recordings packed"
    )
    parser.add_argument("--sweeps", type=positive_int, default=400, help="of each recording")
    parser.add_argument("--trials", type=positive_int, default=50, help="of the search of each sweep")
    parser.add_argument("--draws", type=positive_int, default=1000, help="of test splits and of real seeds")
    parser.add_argument("--only", nargs="+", help="the names of some recordings")
    parser.add_argument("--json", type=Path, help="where the counts are written, too")
    args = parser.parse()
    paths = [p for p in packed_in(args.recordings) if args.only is None or p.name.removesuffix(RECORDING) in args.only]
    if not paths:
        raise UserError(f"{args.recordings}: holds no recordings (NAME{RECORDING}); benchmarks.recordings makes them")
    found, started, names, about = Statements(), time.monotonic(), [], {}
    for path in paths:
        packed = read_packed(path)
        for shrunk in (False, True) if not packed.headroom else (False,):
            if packed.of("residuals"):
                world = World(packed, shrunk=shrunk)
                names.append(world.name)
                about[world.name] = note_sweeps(found, world, args.sweeps, args.trials)
        if packed.name not in names:
            names.append(packed.name)
        note_check(found, packed, args.draws)
        answers = path.with_name(path.name.replace(RECORDING, SUFFIX))
        if answers.is_file():
            note_answers(found, packed.name, Answers.read(answers), args.draws)
    print("\n".join(found.table(names)))
    print(f"\nin {clock(time.monotonic() - started)}")
    if args.json is not None:
        write_json(args.json, {"about": about, "statements": [one.to_json() for one in found.all.values()]})


def note_sweeps(found: Statements, world: World, sweeps: int, trials: int) -> JsonObject:
    """Draws sweeps onto a recording, notes what held, and prints what the choice of the baseline costs."""
    rng = np.random.default_rng(0)
    fresh: dict[str, list[float]] = {"first": [], "highest": [], "chosen": []}
    for seed in range(sweeps):
        drawn = drawn_sweep(world, seed, trials=trials)
        note_sweep(found, world, drawn, rng)
        numbers = (drawn.first, drawn.highest.record.number, drawn.chosen.record.number)
        for values, number in zip(fresh.values(), numbers, strict=True):
            values.append(drawn.fresh(number))
    means = {name: float(np.mean(values)) for name, values in fresh.items()}
    configurations, seeds = world.moves.shape[:2]
    print(
        f"{world.name}: {sweeps} sweeps, residuals of {configurations} configurations x {seeds} seeds; best values "
        f"differ {world.own_spread:.2f} times as much by configuration as by seed (whose sd is {world.spread:.4f}); "
        f"macro-F1 on fresh faces of the first tried {means['first']:.4f}, the highest mean {means['highest']:.4f}, "
        f"the chosen {means['chosen']:.4f}",
        flush=True,
    )
    return {
        "sweeps": sweeps,
        "residuals": [configurations, seeds],
        "spread_of_seeds": world.spread,
        "times_of_configurations": world.own_spread,
        **means,
    }


if __name__ == "__main__":
    run(main)
