from __future__ import annotations

import csv
from pathlib import Path

import yaml

from fervit.search.outcome.confirm import Confirmed
from fervit.search.outcome.leaderboard import write_leaderboard
from fervit.search.space.space_file import parse_space
from tests.conftest import SMALL_SPACE
from tests.helpers.records import trial


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
    assert "expected" not in rows[0]
    records[0].expected = 0.51
    write_leaderboard(records, space, tmp_path / "leaderboard.csv")
    rows = list(csv.DictReader((tmp_path / "leaderboard.csv").open()))
    assert [row["expected"] for row in rows] == ["", "0.510000", ""]
