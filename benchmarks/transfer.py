"""How many epochs `search.learn_from` saves `scheduler: thaw`, in replays of recorded sweeps by the sweep's own loop.

The configurations of a recording are parted by chance: half of them are searched here, the other half was the earlier
sweep, which `thaw` searched as well, on the same recording (other seeds) or on another one (other faces). Each replay
searches its half twice, alone and with the earlier sweep's curves; the difference is paired. `starts` are the best
two of the earlier sweep, which the search then also begins with: where both are on one recording, they are usually
among the right ones already, so they stand apart. What is right, and the share of epochs until it is chosen, are as in
`benchmarks.epochs`, among the configurations of the half and the starts. Curves of another encoder are measured like
the others, although a sweep leaves them out: that is why.

    python -m benchmarks.transfer [--only noisy] [--sources noisy clean_2] [--replays 60]
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path

import numpy as np

from benchmarks.epochs import ByTheModel, Choices, Shuffled, Truth, interval
from fervit.cli import Parser, positive_int, run
from fervit.search.ledger import Ledger
from fervit.search.packed import packed_in, read_packed
from fervit.search.policy.interfaces import Planned
from fervit.search.policy.learned import ALIKE, OTHER_CODES, OTHER_FACES, EarlierCurve, Learned, Source, here
from fervit.search.policy.stopping import NeverStops
from fervit.search.policy.thaw import Thaw
from fervit.search.records.journal import JournalInMemory
from fervit.search.records.ranking import best_values
from fervit.search.records.record import TrialRecord
from fervit.search.simulated import Curve, VirtualClock, run_simulated
from fervit.search.space.settings import Budget, Confirm
from fervit.training.epoch import EpochResult

N_STARTS = 2


def search(
    truth: Truth, order: Sequence[int], values: np.ndarray, slots: int, learned: Learned | None
) -> tuple[list[TrialRecord], Choices]:
    """Searches some configurations of a recording, in an order, with the luck of a seed each."""
    given = truth.packed.space
    stopping = replace(given.early_stopping, scheduler="thaw")
    settings = replace(given.search, sampler="random", trials=len(order), warm_start=[])
    space = replace(given, search=settings, early_stopping=stopping, budget=Budget(), confirm=Confirm())
    trainings, name, sign = truth.packed.of("sweep"), space.metric.name, space.metric.sign

    def curve_of(planned: Planned) -> Curve:
        k = order[planned.number]
        rows = zip(trainings[k].epochs, sign * values[k], strict=True)
        return [EpochResult(**{**row.to_json(), name: float(value)}) for row, value in rows]

    thaw, clock = Thaw(space, learned), VirtualClock()
    choices = ByTheModel(order.__getitem__, sign, thaw)
    ledger = Ledger(space, JournalInMemory(clock), NeverStops(), [choices], pausing=thaw, clock=clock)
    ledger.use(Shuffled(space, truth.packed, np.array(order)))
    run_simulated(ledger, curve_of, clock, slots=slots)
    return ledger.records, choices


def learned_from(truth: Truth, records: Sequence[TrialRecord], target: Truth) -> Learned:
    """The curves of an earlier search, as `fervit.tune` would read them from its folder."""
    same = truth is target
    curves = []
    for record in records:
        params = here(target.packed.space, truth.packed.space, record.params) if record.epochs else None
        if params is not None:
            best = tuple(value for _, value in best_values(record, target.packed.space.metric))
            curves.append(EarlierCurve(source=0, params=params, values=best))
    source = Source(
        folder=truth.packed.name,
        likeness=ALIKE if same else OTHER_FACES if encoder_of(truth) == encoder_of(target) else OTHER_CODES,
        differs=() if same else ("other faces",),
        curves=len(curves),
        left_out=len(records) - len(curves),
    )
    return Learned(sources=(source,), starts=(), importance={}, curves=tuple(curves))


def encoder_of(truth: Truth) -> str:
    """The real faces have codes of the demo encoder; the others are drawn in W+."""
    return "demo" if "fer2013" in truth.packed.name else "drawn"


def replay(target: Truth, source: Truth, slots: int, seed: int) -> list[float]:
    """Returns the share of epochs until the choice is right: alone, with curves, with curves and starts."""
    rng = np.random.default_rng([seed, 7])
    order, values = target.drawn(seed)
    half = len(order) // 2
    mine, theirs = order[:half].tolist(), order[half:].tolist()
    if source is not target:
        theirs = rng.permutation(len(source.means))[:half].tolist()
    _, lucky = source.drawn(10_000 + seed)
    before, _ = search(source, theirs, lucky, slots, None)
    learned = learned_from(source, before, target)
    found: list[float] = []
    for way in ("alone", "curves", "starts"):
        searched = list(mine)
        if way == "starts" and source is target:  # other recordings have other configurations
            finished = [record for record in before if record.state == "finished"]
            best = sorted(finished, key=lambda record: -(source.packed.space.metric.sign * _value(record, source)))
            searched = [theirs[record.number] for record in best[:N_STARTS]] + searched
        elif way == "starts":
            found.append(found[-1])
            continue
        limit = target.final[searched].max() - target.seed_sd
        right = target.final >= limit
        _, choices = search(target, searched, values, slots, None if way == "alone" else learned)
        settled = choices.settled(right)
        found.append(1.0 if settled is None else settled / (half * values.shape[1]))
    return found


def _value(record: TrialRecord, truth: Truth) -> float:
    value = record.best_value(truth.packed.space.metric)
    assert value is not None
    return value


def main() -> None:
    """Prints a line for each pair of recordings."""
    parser = Parser(description=__doc__.partition("\n")[0] if __doc__ else "")
    folder = Path(__file__).parent / "recordings"
    parser.add_argument("--recordings", type=Path, nargs="+", default=[folder, folder / "development"])
    parser.add_argument("--only", nargs="+", help="the recordings that are searched")
    parser.add_argument("--sources", nargs="+", default=["clean", "noisy", "fer2013"], help="the earlier sweeps")
    parser.add_argument("--slots", type=positive_int, default=2)
    parser.add_argument("--replays", type=positive_int, default=60)
    args = parser.parse()
    packed = {one.name: one for folder in args.recordings for one in map(read_packed, packed_in(folder))}
    truths = {name: Truth.of(one) for name, one in packed.items() if name in {*args.sources, *(args.only or ())}}
    print("searched      earlier       mean share of the epochs until right: alone, curves; difference (95 %); starts")
    for name in args.only or args.sources:
        for source in args.sources:
            rows = np.array([replay(truths[name], truths[source], args.slots, seed) for seed in range(args.replays)])
            alone, curves, starts = rows.T
            low, high = interval(curves - alone, np.mean)
            print(
                f"{name:<13} {source:<13} {alone.mean():7.2%} {curves.mean():7.2%}  {(curves - alone).mean():+7.2%} "
                f"({low:+6.2%} to {high:+6.2%})  {starts.mean():7.2%}; right at the end "
                f"{(alone < 1).mean():4.0%} {(curves < 1).mean():4.0%} {(starts < 1).mean():4.0%}",
                flush=True,
            )


if __name__ == "__main__":
    run(main)
