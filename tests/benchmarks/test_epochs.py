"""The replays that say how many epochs a sweep's choice takes: what they call the choice is what a sweep confirms."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

from benchmarks.epochs import ByTheModel, Truth
from benchmarks.transfer import search
from fervit.search.outcome.confirm import candidates
from fervit.search.packed import read_packed
from fervit.search.records.ranking import ranked
from fervit.search.space.settings import Confirm

RECORDING = Path(__file__).parents[2] / "benchmarks" / "recordings" / "development" / "noisy_2.json.xz"


def test_the_choice_of_a_replay_is_what_a_sweep_would_confirm_first() -> None:
    truth = Truth.of(read_packed(RECORDING))
    order, values = truth.drawn(5)
    drawn = order[:40].tolist()
    records, choices = search(truth, drawn, values, 2, None)
    assert isinstance(choices, ByTheModel)
    for name, value in choices.thaw.expected().items():
        next(record for record in records if record.name == name).expected = value
    space = replace(truth.packed.space, confirm=Confirm(top=1, seeds=1))
    first, *_ = candidates(ranked(records, space.metric), records, space)
    assert choices.chosen[-1] == drawn[first.number]
    assert len(choices.chosen) == sum(len(record.epochs) for record in records)
