"""launch/tune.py and launch/replay.py as a user types them."""

from __future__ import annotations

import io
import json
from pathlib import Path

import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from rich.console import Console

from fervit.cluster.nodes import Cluster
from fervit.search.console.live import LiveScreen
from fervit.search.preflight import epochs_a_trial, forecast
from fervit.search.records.journal import FILE, read_journal
from fervit.search.space.space_file import read_space
from tests.commands.test_whole_way import Command
from tests.conftest import ROOT
from tests.search.test_ledger import Sweep, report
from tests.search.test_pipeline import leaderboard


def looks(folder: Path) -> list[dict[str, object]]:
    found: list[dict[str, object]] = json.loads((folder / "sealed_test.json").read_text())["looks"]
    return found


def test_trials_are_added_to_a_sweep_and_its_test_result_stays_sealed(
    command: Command, cluster: Cluster, latents_folder: Path, small_space: Path, tmp_path: Path
) -> None:
    args = ("--space", small_space, "--latents", latents_folder, "--resume", "--set", "search.sampler=random")
    args = (*args, "--set", "early_stopping.max_epochs=2", "--set", "parameters.lr.min=1e-6")
    args = (*args, "--set", "search.warm_start=[{lr: 1.0e-6}]")
    first = command("tune", *args, "--set", "search.trials=1")
    assert first.status == 0, first.err
    assert "opened once, after the choice" in first.out
    (folder,) = (tmp_path / "experiments").iterdir()
    sealed = looks(folder)
    assert [(look["trial"], look["n"]) for look in sealed] == [(0, 105)]

    again = command("tune", *args, "--set", "search.trials=1")  # nothing to do
    assert again.status == 0, again.err
    assert "going on with" in again.out
    assert looks(folder) == sealed

    more = command("tune", *args, "--set", "search.trials=8")
    assert more.status == 0, more.err
    assert len(leaderboard(folder)) == 8
    assert len([event for event in read_journal(folder / FILE) if event["event"] == "start"]) == 8
    (chosen,) = [row for row in leaderboard(folder) if row["chosen"] == "yes"]
    assert chosen["trial"] != "0"  # its learning rate is the lowest
    assert looks(folder) == sealed
    assert "the test split was opened for trial 0" in more.out
    assert "--second_look opens it again" in more.out

    second = command("tune", *args, "--set", "search.trials=8", "--second_look")
    assert second.status == 0, second.err
    assert "look 2 at the test split" in second.out
    assert [str(look["trial"]) for look in looks(folder)] == ["0", chosen["trial"]]
    assert (folder / "evaluation_2" / "evaluation_results.json").is_file()
    assert looks(folder)[0] == sealed[0]

    other = command("tune", *args, "--set", "search.trials=8", "--set", "search.seed=2")
    assert other.status == 2
    assert "began with another space (search.seed 2, was 1)" in other.err
    assert other.err.count("\n") == 1
    (latents_folder / "test" / "part-00000.parquet").replace(latents_folder / "val" / "part-00000.parquet")
    moved = command("tune", *args, "--set", "search.trials=8")
    assert moved.status == 2
    assert "began with other latents" in moved.err


def test_a_dry_run_says_what_the_sweep_would_take_and_starts_nothing(
    command: Command, cluster: Cluster, latents_folder: Path, small_space: Path, tmp_path: Path
) -> None:
    ended = command("tune", "--space", small_space, "--latents", latents_folder, "--dry_run")
    assert ended.status == 0, ended.err
    assert ended.out.count("an epoch  lr ") == 5
    for words in ("a continuous space", "2 trials at once", "free for at most", "GPU-hours", "nothing was started"):
        assert words in ended.out
    assert not list((tmp_path / "experiments").iterdir())
    ended = command("tune", "--space", small_space, "--latents", latents_folder, "--dry_run", "--set", "trial.cpus=99")
    assert ended.status == 2
    assert "needs 99 CPUs on one node, the largest has 2 CPUs" in ended.err


def test_the_forecast_counts_rungs_and_checkpoints() -> None:
    space = read_space(ROOT / "search_spaces" / "vit.yaml")
    # 6 epochs for all, 12 more for a third, 36 more for a ninth, 6 more for a 27th.
    assert epochs_a_trial(space) == pytest.approx(6 + 12 / 3 + 36 / 9 + 6 / 27)
    expected = forecast(space, running=2, rows=28_709)
    assert expected.parameters == pytest.approx(67e6, rel=0.1)  # depth 12, width 768
    assert expected.checkpoint_bytes == 4 * expected.parameters * (3 * 4 + 2 * 5)


def test_a_test_split_that_cannot_be_read_is_told_before_the_sweep_and_not_after_it(
    command: Command, latents_folder: Path, small_space: Path, tmp_path: Path
) -> None:
    path = latents_folder / "test" / "part-00000.parquet"
    table = pq.read_table(path)
    labels = pa.array([9] * len(table), table.schema.field("label").type)
    pq.write_table(table.set_column(table.schema.get_field_index("label"), table.schema.field("label"), labels), path)
    ended = command("tune", "--space", small_space, "--latents", latents_folder)
    assert ended.status == 2
    assert "labels must lie in 0..6" in ended.err
    assert not (tmp_path / "experiments").exists()


def test_resume_of_what_is_no_sweep_is_one_line(
    command: Command, latents_folder: Path, small_space: Path, tmp_path: Path
) -> None:
    ended = command("tune", "--space", small_space, "--latents", latents_folder, "--resume", tmp_path)
    assert ended.status == 2
    assert "holds no sweep.yaml" in ended.err


def test_a_recorded_sweep_is_replayed_with_other_samplers_and_schedulers(
    command: Command, cluster: Cluster, latents_folder: Path, small_space: Path, tmp_path: Path
) -> None:
    recorded = ("--set", "early_stopping.scheduler=none", "--set", "early_stopping.max_epochs=4")
    ended = command(
        *("tune", "--space", small_space, "--latents", latents_folder, "--set", "search.trials=10", *recorded)
    )
    assert ended.status == 0, ended.err
    (folder,) = (tmp_path / "experiments").iterdir()
    best = max(float(row["f1_macro"]) for row in leaderboard(folder))
    ways = ("--sampler", "tpe", "random", "--scheduler", "asha", "none", "--told", "fervit", "optunasearch")
    replayed = command("replay", folder, *ways, "--seeds", 3, "--epochs", 40)
    assert replayed.status == 0, replayed.err
    assert "10 curves, 40 epochs (0 trials left out" in replayed.out
    table = [line.split() for line in replayed.out.splitlines()[2:]]
    assert [line[:3] for line in table[:2]] == [["tpe", "asha", "fervit"], ["tpe", "asha", "optunasearch"]]
    assert len(table) == 8
    for line in table:
        assert 0 < float(line[5]) <= best + 1e-4
        assert (float(line[4]) > 0) == (line[1] == "asha")  # trials stopped
    endless = command("replay", folder, "--sampler", "grid")
    assert endless.status == 2
    assert "grid needs values" in endless.err
    nothing = command("replay", tmp_path)
    assert nothing.status == 2
    assert "give the folder of a sweep" in nothing.err


def test_the_live_table_shows_the_trials_the_best_and_the_time_left(tmp_path: Path) -> None:
    sweep = Sweep(tmp_path, budget={"hours": 2.0})
    console = Console(file=io.StringIO(), width=100, force_terminal=True)
    screen = LiveScreen(console)
    sweep.ledger._screen = screen
    good, bad, going = (sweep.begin() for _ in range(3))
    for epoch in range(1, 10):
        sweep.ledger.epoch(good.name, report(epoch, epoch / 10))
    sweep.ledger.end(good.name)
    sweep.ledger.epoch(bad.name, {"failure": "diverged: the loss became nan"})
    sweep.ledger.end(bad.name)
    sweep.ledger.epoch(going.name, report(1, 0.25))
    console.print(screen._picture())
    assert isinstance(console.file, io.StringIO)
    shown = console.file.getvalue()
    heading, *rows, status = [line for line in shown.splitlines() if line.strip()]
    assert all(word in heading for word in ("trial", "state", "epoch", "f1_macro", "best", "age"))
    assert [name in row for name, row in zip((good.name, bad.name, going.name), rows, strict=True)] == [True] * 3
    assert "9/9" in rows[0]
    assert "0.900" in rows[0]
    assert "diverged" in rows[1]
    assert "running" in rows[2]
    assert "0.250" in rows[2]
    for words in ("2/20 trials", "best 0.900 (trial_0000)", "of 2 h", "left", "1 x diverged"):
        assert words in status
