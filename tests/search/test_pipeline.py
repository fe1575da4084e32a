"""Whole sweeps on a real Ray Tune, over small synthetic latents."""

from __future__ import annotations

import json
import os
import re
import shutil
import signal
import threading
from pathlib import Path

import pytest
import yaml
from tensorboard.backend.event_processing.event_accumulator import EventAccumulator

import fervit
from fervit.checkpoints.checkpoint import load_checkpoint
from fervit.cluster.nodes import Cluster
from fervit.evaluation.evaluate import evaluate
from fervit.latents import LatentSet
from fervit.latents.folds import Fold
from fervit.latents.looks import looks_at
from fervit.report.plots.plot import label
from fervit.report.results import read_results
from fervit.report.sections import sections_of
from fervit.search.console.after import summarise
from fervit.search.ledger import Ledger, exceeded
from fervit.search.outcome.result import SweepResult
from fervit.search.outcome.sealed import read_looks
from fervit.search.pipeline import run_sweep
from fervit.search.policy.sources import FIRST_FOLD
from fervit.search.records.sweep_folder import SweepFolder
from fervit.search.space.search_space import SearchSpace
from fervit.search.space.settings import Budget, Confirm
from fervit.search.space.space_file import parse_space
from fervit.search.splits import open_splits
from fervit.training.data import DeviceLatents
from fervit.training.trainer import Trainer
from tests.conftest import write_splits
from tests.helpers.processes import ancestors
from tests.helpers.sweeps import leaderboard, space, study, sweep


@pytest.mark.long
def test_a_sweep_ends_with_a_model_whose_numbers_agree_everywhere(
    latents_folder: Path, tmp_path: Path, cluster: Cluster
) -> None:
    lines: list[str] = []
    given = space(search={"trials": 10}, confirm={"top": 2, "seeds": 2, "folds": 2})
    result = sweep(given, latents_folder, tmp_path / "sweep", cluster, lines)
    folder = result.folder

    # Every trial ran once. ASHA stopped some of them early, and others ran to the end.
    rows = leaderboard(folder)
    trials = [row for row in rows if row["seed"] == "1"]
    assert sorted(int(row["trial"]) for row in trials) == list(range(10))
    assert {row["state"] for row in trials} == {"finished", "stopped"}
    assert all((row["epochs"] == "6") == (row["state"] == "finished") for row in rows)
    assert all(int(row["embed_dim"]) % int(row["heads"]) == 0 for row in rows)

    # The ranking, the checkpoint and the evaluation use the same best epoch.
    assert [float(row["f1_macro"]) for row in rows] == sorted((float(row["f1_macro"]) for row in rows), reverse=True)
    (chosen,) = [row for row in rows if row["chosen"] == "yes"]
    checkpoint = load_checkpoint(folder / "best" / "best_model.pt")
    assert checkpoint.epoch == int(chosen["epoch"])
    assert checkpoint.metrics["f1_macro"] == pytest.approx(float(chosen["f1_macro"]), abs=1e-6)
    validation = evaluate(checkpoint, LatentSet.read(str(latents_folder / "val")), tmp_path / "again", split="val")
    assert validation.metrics["f1_macro"] == pytest.approx(float(chosen["f1_macro"]), abs=1e-6)
    assert fervit.load(folder / "best").config.embed_dim == int(chosen["embed_dim"])

    # The best two ran again with fresh seeds, to the end. The best run of the one with the higher mean is exported.
    again = [row for row in rows if row["seed"] != "1"]
    assert sorted((row["trial"], row["seed"]) for row in again) == sorted(
        (row["trial"], seed) for row in trials[:2] for seed in ("2", "3")
    )
    assert all(row["epochs"] == "6" for row in again)
    means = {row["trial"]: float(row["confirmed_mean"]) for row in trials[:2]}
    assert chosen["trial"] == max(means, key=lambda trial: means[trial])
    assert chosen == next(row for row in rows if row["trial"] == chosen["trial"])
    for row in trials[:2]:
        values = [float(r["f1_macro"]) for r in again if r["trial"] == row["trial"]]
        assert means[row["trial"]] == pytest.approx(sum(values) / 2, abs=1e-6)

    # The test split was opened once, and the record says so.
    results = json.loads((folder / "evaluation" / "evaluation_results.json").read_text())
    assert (results["split"], results["n"]) == ("test", 105)
    assert results["f1_macro"] > 0.4
    assert (folder / "evaluation" / "confusion_matrix.png").stat().st_size > 10_000
    (look,) = read_looks(SweepFolder(folder))
    assert (look.f1_macro, look.others) == (results["f1_macro"], 0)
    fresh = {int(row["seed"]): int(row["epoch"]) for row in again if row["trial"] == chosen["trial"]}
    assert {score.seed: score.epoch for score in look.seeds} == fresh
    (beside,) = looks_at(str(latents_folder / "test"))
    assert {seen.f1_macro for seen in beside.models} == {look.f1_macro, *(score.f1_macro for score in look.seeds)}
    assert look.seeds_text in summarise(result, "")

    # Optuna knows which trials were stopped, and after which epoch.
    of_row = {"finished": "COMPLETE", "stopped": "PRUNED"}
    expected = {int(row["trial"]): (of_row[row["state"]], int(row["epochs"])) for row in trials}
    assert {t.number: (t.state.name, max(t.intermediate_values)) for t in study(folder).trials} == expected

    # The best run of each confirmed configuration and those with fresh seeds keep their models.
    kept = [next(row for row in rows if row["trial"] == confirmed["trial"]) for confirmed in trials[:2]] + again
    names = {f"trial_{int(r['trial']):04d}" + (f"_seed{r['seed']}" if r["seed"] != "1" else "") for r in kept}
    assert {str(path.relative_to(folder / "checkpoints")) for path in (folder / "checkpoints").rglob("*.*")} == {
        f"{name}/best_model.pt" for name in names
    }
    card = (folder / "best" / "README.md").read_text()
    assert f"{float(chosen['f1_macro']):.3f}" in card
    assert f"{results['f1_macro']:.3f}" in card
    events = EventAccumulator(str(folder / "logs" / result.chosen.name)).Reload()
    tags = {"Loss/Train", "Validation/accuracy", "Validation/f1_macro", "Learning_Rate"}
    assert tags <= set(events.Tags()["scalars"])
    values = [event.value for event in events.Scalars("Validation/f1_macro")]
    assert max(values) == pytest.approx(float(chosen["f1_macro"]), abs=1e-6)
    assert look.over_seeds("f1_macro") in card
    environment = json.loads((folder / "environment.json").read_text())
    assert environment["seed"] == 1
    assert environment["data"]["test"]["sha256"] == LatentSet.read(str(latents_folder / "test")).fingerprint
    assert environment["copies"] == {"val in train": 0, "test in train": 0, "test in val": 0}
    assert environment["data"]["train"]["sha256"] == LatentSet.read(str(latents_folder / "train")).fingerprint
    assert parse_space(yaml.safe_load((folder / "sweep.yaml").read_text()), "sweep.yaml") == given
    assert len(lines) == 10 + 1 + 4 + 1 + 2
    check_folds(result, latents_folder, card)


def check_folds(result: SweepResult, latents: Path, card: str) -> None:
    """The chosen configuration was trained on each of two folds, as by hand, and every record says what came of it."""
    train, val = (LatentSet.read(str(latents / split)) for split in ("train", "val"))
    expected = []
    for k in (1, 2):
        config = result.space.config(result.chosen.params, 1 + FIRST_FOLD + k)
        trainer = Trainer(config, *(DeviceLatents(part) for part in Fold(k, 2, 1).split(train, val)))
        while not trainer.finished:
            trainer.run_epoch()
        assert trainer.best is not None
        expected.append(trainer.best.f1_macro)
    assert result.folds is not None
    assert result.folds.values == pytest.approx(expected, abs=1e-6)
    text = f"{sum(expected) / 2:.3f} ± "
    assert f"Folds: macro-F1 {text}" in summarise(result, "")
    assert f"| training and validation, 2 folds | f1_macro {text}" in card
    shown = read_results(result.folder)
    assert shown.folds == result.folds
    assert f"trial {result.chosen.number}, fold 2 of 2" in {label(run) for run in shown.fold_runs}
    page = " ".join(str(section) for section in sections_of(shown))
    assert "macro-F1, 2 folds" in page
    assert "which each fold validates once" in page


@pytest.mark.long
def test_trials_that_diverge_are_counted_and_stop_nothing(
    latents_folder: Path, tmp_path: Path, cluster: Cluster
) -> None:
    given = space(search={"trials": 8, "sampler": "random"}, parameters={"lr": {"values": [1e-3, 1e30, 1e35]}})
    result = sweep(given, latents_folder, tmp_path / "sweep", cluster, [])
    rows = leaderboard(result.folder)
    failed = [row for row in rows if row["state"] == "failed"]
    assert {row["lr"] for row in failed} == {"1e+30", "1e+35"}
    assert all(row["failure"].startswith("diverged: the loss became nan") for row in failed)
    assert len(rows) == 8
    assert all(row["rank"] == "" for row in failed)
    infeasible = [trial for trial in study(result.folder).trials if trial.constraints]
    assert len(infeasible) == len(failed)


@pytest.mark.long
def test_a_killed_trial_process_costs_no_trial(latents_folder: Path, tmp_path: Path, cluster: Cluster) -> None:
    killed = threading.Event()

    def kill_one() -> None:
        while not killed.wait(0.02):
            for process in Path("/proc").glob("[0-9]*"):
                try:
                    ours = (process / "cmdline").read_bytes().startswith(b"ray::LatentTrial.train")
                    if ours and os.getpid() in ancestors(int(process.name)):
                        os.kill(int(process.name), signal.SIGKILL)
                        killed.set()
                        return
                except OSError:
                    continue

    killer = threading.Thread(target=kill_one, daemon=True)
    killer.start()
    given = space(search={"trials": 3}, early_stopping={"scheduler": "none", "max_epochs": 25}, fixed={"batch_size": 8})
    result = sweep(given, latents_folder, tmp_path / "sweep", cluster, [])
    was_killed = killed.is_set()
    killed.set()
    killer.join()
    assert was_killed
    assert [record.state for record in result.records] == ["finished"] * 3
    for record in result.records:
        assert [epoch.epoch for epoch in record.epochs] == list(range(1, 26))


@pytest.fixture(scope="module")
def weighed(tmp_path_factory: pytest.TempPathFactory, cluster: Cluster) -> SweepResult:
    """A sweep with two objectives, f1_macro and the size of the model, on latents without a test split."""
    where = tmp_path_factory.mktemp("weighed")
    shutil.rmtree(write_splits(where / "latents") / "test")
    given = space(
        metric={"against": "parameters"},
        search={"trials": 8},
        early_stopping={"scheduler": "none", "max_epochs": 3},
        parameters={"depth": {"values": [1, 2]}},
        fixed={"depth": None},
    )
    return sweep(given, where / "latents", where / "sweep", cluster, [])


def test_without_a_test_split_the_evaluation_is_marked(weighed: SweepResult) -> None:
    result = weighed
    assert result.verdict.evaluation.split == "val"
    results = json.loads((result.folder / "evaluation" / "evaluation_results.json").read_text())
    assert results["split"] == "val"


def held_seconds(ledger: Ledger, part: str = "search") -> float:
    """Counts a second for each epoch of a part, at whatever speed this machine trains."""
    return float(
        sum(len(record.epochs) for record in ledger.records if (record.purpose == "confirm") == (part != "search"))
    )


@pytest.mark.long
def test_the_budget_ends_a_search_and_the_best_is_confirmed_all_the_same(
    latents_folder: Path, tmp_path: Path, cluster: Cluster, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(Ledger, "held_seconds", held_seconds)
    given = space(
        search={"trials": 1000},
        early_stopping={"scheduler": "none", "max_epochs": 10},
        budget={"hours": 24 / 3600},
        confirm={"top": 1, "seeds": 1},
    )
    result = sweep(given, latents_folder, tmp_path / "sweep", cluster, [])
    assert 1 <= len(result.records) < 1000
    assert {record.state for record in result.records} <= {"finished", "stopped"}
    assert [len(confirmed.values) for confirmed in result.confirmed] == [1]
    assert f"hours is spent after {len(result.records)} of 1000 trials" in summarise(result, "")
    assert "RUNNING" not in {t.state.name for t in study(result.folder).trials}


@pytest.mark.long
def test_a_budget_that_ends_in_mid_epoch_leaves_one_epoch_in_all_that_is_written(
    latents_folder: Path, tmp_path: Path, cluster: Cluster, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The loss falls in every epoch, so the epoch that the end of the budget cuts off has written a better model."""
    monkeypatch.setattr(Ledger, "held_seconds", held_seconds)
    given = space(
        metric={"name": "val_loss", "goal": "minimize"},
        search={"trials": 2},
        early_stopping={"scheduler": "none", "max_epochs": 100_000},
        parameters={"lr": {"distribution": "log_uniform", "min": 1e-6, "max": 1.1e-6}},
        budget={"hours": 12 / 3600},
    )
    result = sweep(given, latents_folder, tmp_path / "sweep", cluster, [])
    best = result.chosen.best(given.metric)
    assert best is not None
    checkpoint = load_checkpoint(result.folder / "best")
    (row,) = [row for row in leaderboard(result.folder) if row["chosen"] == "yes"]
    (look,) = json.loads((result.folder / "sealed_test.json").read_text())["looks"]
    assert {best.epoch, int(row["epoch"]), look["epoch"]} == {checkpoint.epoch}
    assert best.val_loss == checkpoint.metrics["val_loss"] == pytest.approx(float(row["val_loss"]), abs=1e-6)
    assert f"at epoch {checkpoint.epoch} of" in summarise(result, "")
    assert f"epoch {checkpoint.epoch}, seed" in (result.folder / "best" / "README.md").read_text()


@pytest.mark.long
def test_what_was_confirmed_stays_a_candidate_when_trials_are_added(
    latents_folder: Path, tmp_path: Path, cluster: Cluster
) -> None:
    def of(trials: int) -> SearchSpace:
        return space(
            search={"trials": trials, "warm_start": [{"lr": 1e-2}], "sampler": "random"},
            early_stopping={"scheduler": "none", "max_epochs": 2},
            confirm={"top": 1, "seeds": 2},
        )

    first = sweep(of(2), latents_folder, tmp_path / "sweep", cluster, [])
    before = {one.record.number: one.values for one in first.confirmed}
    assert 0 in before  # warm start 1 is confirmed wherever it stands
    second = run_sweep(of(6), open_splits(str(latents_folder), of(6)), of(6).trial, first.folder, cluster, print)
    after = {one.record.number: one.values for one in second.confirmed}
    assert before.items() <= after.items()
    best = max(second.confirmed, key=lambda one: one.mean)
    assert second.chosen.number in (best.record.number, 0)  # the baseline may stay
    if best.record.number != 0:
        stays = second.chosen.number == 0
        words = "The baseline (trial 0) stays: trial" if stays else "Better than warm start 1 (trial 0) by "
        assert words in summarise(second, "")
    # The models of a sweep that has ended were removed to save space; the exported one is enough to go on.
    shutil.rmtree(first.folder / "checkpoints")
    lines: list[str] = []
    third = run_sweep(of(6), open_splits(str(latents_folder), of(6)), of(6).trial, first.folder, cluster, lines.append)
    assert (third.chosen.number, third.chosen.seed) == (second.chosen.number, second.chosen.seed)


def test_a_score_is_weighed_against_the_size_of_the_model(weighed: SweepResult) -> None:
    result = weighed
    rows = [(float(row["parameters"]), float(row["f1_macro"]), int(row["trial"])) for row in leaderboard(result.folder)]
    assert len({cost for cost, _, _ in rows}) > 1
    best = [(c, f, n) for c, f, n in rows if not any(c2 <= c and f2 >= f and (c2, f2) != (c, f) for c2, f2, _ in rows)]
    assert {record.number for record in result.front} <= {number for _, _, number in best}
    assert [record.cost for record in result.front] == sorted({cost for cost, _, _ in best})
    for trial in study(result.folder).trials:
        assert trial.values[1] == next(cost for cost, _, number in rows if number == trial.number)
    text = summarise(result, "")
    assert "Best at its cost (parameters, macro-F1):" in text
    assert f"trial {result.front[0].number}: " in text


@pytest.mark.extra
def test_a_search_ends_when_there_is_less_to_gain_than_the_seeds_differ(
    latents_folder: Path, tmp_path: Path, cluster: Cluster
) -> None:
    given = space(
        search={"trials": 200, "sampler": "random"},
        early_stopping={"scheduler": "none", "max_epochs": 2},
        parameters={"lr": {"distribution": "log_uniform", "min": 1e-6, "max": 1.1e-6}},  # all the same
        budget={"until_noise": True},
        confirm={"top": 1, "seeds": 2},
    )
    result = sweep(given, latents_folder, tmp_path / "sweep", cluster, [])
    assert 10 <= len(result.records) < 60
    assert re.search(r"to gain 0\.\d+ f1_macro, less than fresh seeds differ", result.ended_because)
    assert "ended early: the next trial" in summarise(result, "")
    rows = leaderboard(result.folder)
    noise = [row for row in rows if row["seed"] != "1" and row["state"] == "finished"]
    assert len(noise) >= 3
    assert {t.number for t in study(result.folder).trials} == {record.number for record in result.records}


def test_the_budget_counts_hours_and_gpu_hours() -> None:
    assert exceeded(Budget(), 1e9, 1e9) is None
    assert [exceeded(Budget(hours=1), seconds, 1e9) for seconds in (3599, 3601)] == [None, "hours"]
    assert [exceeded(Budget(gpu_hours=2), 1e9, seconds) for seconds in (7199, 7201)] == [None, "gpu_hours"]
    assert [exceeded(Confirm(hours=1), seconds, 1e9) for seconds in (3599, 3601)] == [None, "hours"]
