from __future__ import annotations

import csv
from pathlib import Path
from typing import Any

import yaml

from fervit.search.outcome.confirm import Confirmed, choose
from fervit.search.outcome.leaderboard import write_leaderboard
from fervit.search.records.ranking import failures_by_kind, ranked
from fervit.search.records.record import TrialRecord, TrialState
from fervit.search.space.space_file import parse_space
from fervit.training.objective import Metric
from tests.conftest import SMALL_SPACE

F1 = Metric()
LOSS = Metric(name="val_loss", goal="minimize")


def trial(number: int, values: list[float], state: TrialState = "finished", **more: Any) -> TrialRecord:
    epochs = [
        {"epoch": i + 1, "f1_macro": v, "val_loss": 1 - v, "accuracy": v / 2, "seconds": 1.0}
        for i, v in enumerate(values)
    ]
    params = {"lr": 0.001 * (number + 1), "heads": 2, "embed_dim": 8}
    return TrialRecord(number=number, name=f"trial_{number}", seed=1, params=params, state=state, epochs=epochs, **more)


def test_the_best_epoch_is_the_highest_and_of_equal_ones_the_earliest() -> None:
    record = trial(0, [0.1, 0.5, 0.3, 0.5, 0.2])
    assert record.best(F1) == record.epochs[1]
    assert record.best(LOSS) == record.epochs[1]
    assert trial(0, []).best(F1) is None


def test_trials_rank_by_their_best_epoch_wherever_it_is() -> None:
    records = [
        trial(0, [0.1, 0.6, 0.2]),
        trial(1, [0.5, 0.5, 0.5]),
        trial(2, [0.7], "stopped"),
        trial(3, [0.9], "failed"),
    ]
    assert [record.number for record in ranked(records, F1)] == [2, 0, 1]
    assert [record.number for record in ranked(records, LOSS)] == [2, 0, 1]


def test_ties_go_to_the_earlier_epoch_then_to_the_earlier_trial() -> None:
    records = [trial(0, [0.1, 0.5]), trial(1, [0.5, 0.1]), trial(2, [0.5])]
    assert [record.number for record in ranked(records, F1)] == [1, 2, 0]


def test_failures_are_counted_by_kind() -> None:
    records = [
        trial(0, [], "failed", failure="diverged: the loss became nan in epoch 1"),
        trial(1, [], "failed", failure="diverged: the loss became inf in epoch 2"),
        trial(2, [], "failed", failure="out of memory: ..."),
        trial(3, [0.1]),
    ]
    assert failures_by_kind(records) == {"diverged": 2, "out of memory": 1}


def confirmed(number: int, *values: float) -> Confirmed:
    return Confirmed(record=trial(number, [0.5]), values=values)


def test_the_best_mean_of_fresh_seeds_wins_and_what_noise_explains_ties() -> None:
    clear, near, far = confirmed(0, 0.80, 0.81, 0.82), confirmed(1, 0.79, 0.81, 0.80), confirmed(2, 0.60, 0.61, 0.62)
    winner, ties = choose([near, clear, far], F1)
    assert winner is clear
    assert ties == [near]
    assert clear.mean == sum(clear.values) / 3
    assert clear.half_width is not None
    assert 0.0248 < clear.half_width < 0.0249  # 4.303 * 0.01 / sqrt(3)


def test_a_single_rerun_cannot_tell_trials_apart() -> None:
    one, two = confirmed(0, 0.8), confirmed(1, 0.5)
    assert choose([one, two], F1) == (one, [two])
    assert choose([one, two], LOSS) == (two, [one])
    assert one.half_width is None


def test_the_leaderboard_has_a_row_a_trial_best_first(tmp_path: Path) -> None:
    space = parse_space(yaml.safe_load(SMALL_SPACE), "small.yaml")
    records = [trial(0, [0.2, 0.4]), trial(1, [0.9], "failed", failure="diverged: nan"), trial(2, [0.1, 0.6, 0.5])]
    again = [Confirmed(record=records[2], values=(0.5, 0.6)), Confirmed(record=records[0], values=(0.6, 0.6))]
    write_leaderboard(records, space, tmp_path / "leaderboard.csv", again, records[0])
    rows = list(csv.DictReader((tmp_path / "leaderboard.csv").open()))
    assert [row["trial"] for row in rows] == ["2", "0", "1"]
    assert [row["rank"] for row in rows] == ["1", "2", ""]
    assert (rows[0]["epoch"], float(rows[0]["f1_macro"]), rows[0]["epochs"]) == ("2", 0.6, "3")
    assert [row["chosen"] for row in rows] == ["", "yes", ""]
    assert [row["confirmed_mean"] for row in rows] == ["0.550000", "0.600000", ""]
    assert rows[2]["failure"] == "diverged: nan"
