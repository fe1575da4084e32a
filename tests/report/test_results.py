from __future__ import annotations

import json
import shutil
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import pytest

from fervit.errors import UserError
from fervit.evaluation.evaluate import evaluate
from fervit.io.files import locked, write_json, write_text
from fervit.report.results import read_results
from fervit.report.times import account
from fervit.report.write import write_report
from fervit.search.policy import importance
from fervit.search.policy.importance import importances
from fervit.search.records.events import (
    EpochEnded,
    Event,
    ModelChosen,
    SessionBegan,
    SweepDone,
    TrialEnded,
    TrialStarted,
    TrialWentOn,
    to_row,
)
from fervit.search.records.history import History
from fervit.search.records.ranking import with_best
from tests.conftest import Ended, latent_set, trained
from tests.helpers.epochs import epoch_result
from tests.report.conftest import CONFIG, ENVIRONMENT, START, finish, write_sweep


def test_the_answer_stands_first_with_its_interval_and_baselines(sweep: Path) -> None:
    page = write_report(sweep).read_text()
    results = read_results(sweep)
    assert results.state == "finished"
    assert results.chosen is not None
    best = results.chosen.best(results.metric)
    assert best is not None
    evaluation = json.loads((sweep / "evaluation" / "evaluation_results.json").read_text())
    low, high = evaluation["intervals_95"]["f1_macro"]
    answer = page[page.index('id="answer"') : page.index('id="curves"')]
    for text in (
        f"trial {results.chosen.number}, seed 3",
        f"{evaluation['f1_macro']:.3f}",
        f"95 %: {low:.3f} to {high:.3f}",
        "3 are copies of training faces",
        "the guide&#39;s configuration, trial 0",
        "always the largest class (on test)",
        "55.48 % accuracy and 54.75 % macro-F1",
        f"{best.f1_macro:.3f}",
    ):
        assert text in answer
    assert "python launch/tune.py --space &#39;a space.yaml&#39;" in page
    assert "4 x diverged" not in page
    assert ">diverged</th><td>4</td>" in page


def test_what_decided_is_found(sweep: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    results = read_results(sweep)
    assert results.space is not None
    shares = importances(results.records, results.space)
    assert next(iter(shares)) == "lr"
    assert shares["lr"] > 0.5
    assert sum(shares.values()) == pytest.approx(1)
    assert importances(results.records[:5], results.space) == {}
    monkeypatch.setattr(importance, "MOST", 20)  # of a long sweep, some trials tell
    some = importances(results.records, results.space)
    assert next(iter(some)) == "lr"
    assert some != shares


def test_the_time_adds_up(sweep: Path) -> None:
    results = read_results(sweep)
    times = account(results.events, results.records, train_rows=1000)
    assert times is not None
    assert times.slots == 2
    epochs = sum(len(record.epochs) for record in results.records)
    assert times.training == pytest.approx(0.8 * epochs)
    assert times.validation == pytest.approx(0.1 * epochs)
    whole = times.training + times.validation + times.starting + times.idle
    assert whole == pytest.approx(times.slots * times.elapsed, rel=0.02)
    halves = account(results.events, results.records, 1000, {record.name: 0.5 for record in results.records})
    assert halves is not None
    assert halves.training == pytest.approx(0.4 * epochs)
    assert halves.validation == pytest.approx(0.5 * epochs)


def test_a_sweep_that_runs_and_one_that_was_interrupted(tmp_path: Path) -> None:
    folder = tmp_path / "sweep"
    write_sweep(folder, trials=4)
    with locked(folder, "sweep"):
        page = write_report(folder).read_text()
    assert "it is still running" in page
    assert "The best so far: trial" in page
    assert 'id="model"' not in page
    assert "it was interrupted; the same command with --resume goes on" in write_report(folder).read_text()


def test_a_sweep_without_a_finished_trial_says_so(tmp_path: Path, command: Callable[..., Ended]) -> None:
    folder = tmp_path / "sweep"
    write_sweep(folder, trials=3)
    lines = [line for line in (folder / "trials.jsonl").read_text().splitlines() if '"epoch"' not in line]
    lines = [
        line.replace('"finished"', '"failed"').replace('"failure": ""', '"failure": "oom: 3 GB"') for line in lines
    ]
    write_text(folder / "trials.jsonl", "\n".join(lines) + "\n")
    ended = command("report", folder)
    assert ended.status == 0
    page = (folder / "report.html").read_text()
    assert "No trial finished an epoch." in page
    assert "oom" in page[page.index('id="failures"') :]


def test_trials_that_all_failed_later_are_shown(tmp_path: Path, command: Callable[..., Ended]) -> None:
    folder = tmp_path / "sweep"
    write_sweep(folder, trials=3)
    text = (folder / "trials.jsonl").read_text().replace('"state": "finished"', '"state": "failed"')
    write_text(folder / "trials.jsonl", text.replace('"state": "stopped"', '"state": "failed"'))
    ended = command("report", folder)
    assert ended.status == 0, ended.err
    page = (folder / "report.html").read_text()
    assert "No trial finished an epoch." not in page
    assert "Every trial failed." in page
    assert "Learning curves of 3 trials (3 failed)" in page


def test_a_test_result_of_another_run_is_not_taken_for_the_chosen_ones(sweep: Path, tmp_path: Path) -> None:
    folder = tmp_path / "sweep"
    shutil.copytree(sweep, folder)
    look = {"trial": 1, "seed": 3, "epoch": 2, "opened": "2026-01-02T03:04:05+00:00", "f1_macro": 0.5}
    write_json(folder / "sealed_test.json", {"looks": [look]})
    page = write_report(folder).read_text()
    assert "macro-F1, test, of trial 1, seed 3" in page
    assert "Another run has been chosen since" in page
    chosen = read_results(folder).chosen
    assert chosen is not None
    best = chosen.best(read_results(folder).metric)
    assert best is not None
    write_json(folder / "sealed_test.json", {"looks": [{**look, "trial": chosen.number, "epoch": best.epoch}]})
    page = write_report(folder).read_text()
    assert "of trial 1" not in page
    assert "opened once, after the choice was frozen" in page


def test_other_evaluations_in_the_folder_are_not_the_sweeps_result(sweep: Path, tmp_path: Path) -> None:
    folder = tmp_path / "sweep"
    shutil.copytree(sweep, folder)
    other = trained(replace(CONFIG, seed=8))
    evaluate(other, latent_set(30), folder / "evaluation_train", split="train", samples=0)
    results = read_results(folder)
    assert results.evaluation is not None
    assert results.evaluation["split"] == "test"
    assert results.evaluation_dir == folder / "evaluation"
    evaluate(other, latent_set(20, seed=2), folder / "evaluation", samples=0)
    results = read_results(folder)
    assert results.evaluation is None
    assert any("is the evaluation of another model" in remark for remark in results.remarks)


def test_the_spread_over_seeds_and_the_looks_of_others_stand_in_the_answer(sweep: Path, tmp_path: Path) -> None:
    folder = tmp_path / "sweep"
    shutil.copytree(sweep, folder)
    results = read_results(folder)
    assert results.chosen is not None
    best = results.chosen.best(results.metric)
    assert best is not None
    scores = [
        {"seed": seed, "epoch": 2, "checkpoint": str(seed), "f1_macro": value, "accuracy": value}
        for seed, value in ((4, 0.5), (5, 0.6), (6, 0.7))
    ]
    look = {"trial": results.chosen.number, "seed": 3, "epoch": best.epoch, "opened": "2026-01-02T03:04:05+00:00"}
    write_json(folder / "sealed_test.json", {"looks": [{**look, "f1_macro": 0.5, "seeds": scores, "others": 4}]})
    environment = json.loads((folder / "environment.json").read_text())
    write_json(folder / "environment.json", {**environment, "copies": {"val in train": 7, "test in val": 0}})
    page = write_report(folder).read_text()
    assert "macro-F1, test, 3 fresh seeds" in page
    assert "0.600 (sd 0.100)" in page
    assert "others looked at this split before, 4 times" in page
    assert "7 val faces are also in train" in page
    assert "0 is perfect" not in page


def test_a_sweep_resumed_for_more_and_interrupted_has_not_ended(sweep: Path, tmp_path: Path) -> None:
    folder = tmp_path / "sweep"
    shutil.copytree(sweep, folder)
    with (folder / "trials.jsonl").open("a") as file:
        file.write(json.dumps({"event": "done", "time": START + 500}) + "\n")
    assert read_results(folder).state == "finished"
    with (folder / "trials.jsonl").open("a") as file:
        file.write(json.dumps({"event": "session", "time": START + 9000}) + "\n")
    assert read_results(folder).state == "interrupted"


def test_the_time_of_a_trial_that_went_on_after_a_crash(tmp_path: Path) -> None:
    """There are two sessions, an hour apart, and the trial's second process repeats an epoch."""
    events: list[Event] = [
        SessionBegan(time=0.0),
        TrialStarted(time=0.0, name="trial_0000", number=0, seed=3, purpose="search", params={}),
    ]

    def epoch(time: float, number: int, started: float) -> EpochEnded:
        row = epoch_result(number, seconds=9.0, samples_per_second=100.0, f1_macro=0.1)
        of_trial = {"name": "trial_0000", "started": started, "pid": 1, "saved": number, "finished": False}
        return EpochEnded(time=time, row=row, best_value=0.1, **of_trial)

    events += [epoch(20.0, 1, 10.0), epoch(30.0, 2, 10.0), SessionBegan(time=3630.0)]
    events += [
        TrialWentOn(time=3632.0, name="trial_0000", epoch=1),
        epoch(3650.0, 2, 3640.0),
        epoch(3660.0, 3, 3640.0),
    ]
    times = account(events, list(History(events).records.values()), train_rows=800)
    assert times is not None
    assert (times.elapsed, times.slots, len(times.lanes)) == (60.0, 1, 2)
    assert [(lane.begin, lane.end) for lane in times.lanes] == [(10.0, 30.0), (40.0, 60.0)]
    assert (times.training, times.validation, times.starting, times.idle) == (32.0, 4.0, 4.0, 20.0)


def test_trials_that_were_added_are_told_with_their_command_and_the_choice_with_its_reason(
    sweep: Path, tmp_path: Path
) -> None:
    folder = tmp_path / "sweep"
    shutil.copytree(sweep, folder)
    environment = json.loads((folder / "environment.json").read_text())
    more = {**ENVIRONMENT, "command": ["launch/tune.py", "--resume", "--set", "search.trials=40"]}
    write_json(folder / "environment.json", {**environment, "sessions": [more, more]})
    first, second = (record for record, _ in with_best(read_results(folder).records, read_results(folder).metric)[:2])
    runs: list[Event] = []
    for record, value in ((first, 0.1), (second, 0.2)):
        rerun = replace(first, number=record.number, name=f"{record.name}_seed4")
        row = epoch_result(1, f1_macro=value)
        runs.append(
            TrialStarted(
                time=START, name=rerun.name, number=record.number, seed=4, purpose="confirm", params=record.params
            )
        )
        runs.append(EpochEnded(time=START, name=rerun.name, row=row, best_value=value, started=START, finished=True))
        runs.append(TrialEnded(time=START, name=rerun.name, state="finished"))
    confirmed = (first.number, second.number)
    runs.append(ModelChosen(time=START, number=second.number, seed=4, epoch=1, confirmed=confirmed))
    with (folder / "trials.jsonl").open("a") as file:
        file.writelines(json.dumps(to_row(event)) + "\n" for event in [*runs, SweepDone(time=START)])
    page = write_report(folder).read_text()
    assert "The commands that made it, in their order" in page
    assert page.count("--set search.trials=40") == 1
    value = first.best_value(read_results(folder).metric)
    lines = (folder / "trials.jsonl").read_text().splitlines(keepends=True)
    damaged = ["{\n" if '"start"' in line and f'"name": "{second.name}_seed4"' in line else line for line in lines]
    assert damaged != lines
    write_text(folder / "trials.jsonl", "".join(damaged))
    without = read_results(folder)
    assert without.chosen is None
    assert any(f"the chosen run, trial {second.number}, is lost" in remark for remark in without.remarks)
    assert "is lost" in write_report(folder).read_text()
    assert f"Trial {first.number} has the highest value of a single run ({value:.3f}) in the search" in page


def test_without_a_test_split_one_card_shows_the_validation_metric(tmp_path: Path) -> None:
    folder = tmp_path / "sweep"
    write_sweep(folder, trials=4)
    finish(folder, split="val")
    page = write_report(folder).read_text()
    assert "macro-F1, val" in page
    assert "macro-F1, validation" not in page


def test_a_damaged_journal_and_the_reason_of_the_end_are_lines_of_the_page(tmp_path: Path) -> None:
    folder = tmp_path / "sweep"
    write_sweep(folder, trials=4)
    lines = (folder / "trials.jsonl").read_text().splitlines()
    lines = ["{" if '"start"' in line and "trial_0001" in line else line for line in lines]
    over = {
        "event": "over",
        "time": START + 99,
        "part": "search",
        "by": "hours",
        "why": "the budget of 1 hours is spent",
    }
    write_text(folder / "trials.jsonl", "\n".join([*lines, json.dumps(over)]) + "\n")
    page = write_report(folder).read_text()
    assert "3 trials" in page
    assert "is damaged or of another version, and left out" in page
    assert "events of trial_0001 are left out, since the line of their start is missing" in page
    assert "Ended early: the budget of 1 hours is spent." in page


def test_the_time_of_a_sweep_whose_clock_was_set_back_between_its_sessions() -> None:
    events: list[Event] = [SessionBegan(time=1e9)]
    events += [TrialStarted(time=1e9, name="trial_0000", number=0, seed=3, purpose="search", params={})]
    row = epoch_result(1, seconds=9.0, samples_per_second=100.0)
    events += [EpochEnded(time=1e9 + 20, name="trial_0000", row=row, best_value=0.1, started=1e9 + 5)]
    events += [SessionBegan(time=1e6), ModelChosen(time=1e6 + 10, number=0, seed=3, epoch=1)]
    times = account(events, list(History(events).records.values()), train_rows=800)
    assert times is not None
    assert times.elapsed == 30.0
    assert [(lane.begin, lane.end) for lane in times.lanes] == [(5.0, 20.0)]


def test_bad_folders_are_told_in_a_line(tmp_path: Path, command: Callable[..., Ended], sweep: Path) -> None:
    broken = tmp_path / "broken"
    shutil.copytree(sweep, broken)
    (broken / "trials.jsonl").unlink()
    (tmp_path / "empty").mkdir()
    damaged = tmp_path / "damaged"
    shutil.copytree(sweep, damaged)
    write_text(damaged / "environment.json", "{")
    for folder, message in (
        (tmp_path / "nowhere", "there is no such folder"),
        (tmp_path / "empty", "holds no results (no sweep.yaml of a sweep"),
        (broken, "lacks trials.jsonl, which every sweep has"),
        (damaged, "is damaged (no JSON)"),
    ):
        ended = command("report", folder)
        assert ended.status == 2
        assert message in ended.err
        assert ended.err.count("\n") == 1
        assert not (folder / "report.html").exists() or folder in (broken, damaged)


def test_an_evaluation_that_says_nothing_is_passed_over(sweep: Path, tmp_path: Path) -> None:
    folder = tmp_path / "sweep"
    shutil.copytree(sweep, folder)
    write_json(folder / "evaluation" / "evaluation_results.json", {"accuracy": 0.5})
    page = write_report(folder).read_text()
    assert "nor what evaluations of today say; run python launch/evaluate.py again" in page
    assert 'id="curves"' in page
    with pytest.raises(UserError, match="holds neither accuracy and f1_macro"):
        write_report(folder, evaluation=folder / "evaluation")


def test_a_training_run_and_an_evaluation_alone(sweep: Path, tmp_path: Path) -> None:
    page = write_report(sweep / "evaluation").read_text()
    assert "Evaluation evaluation" in page
    assert 'id="model"' in page
    assert 'id="curves"' not in page
    run = tmp_path / "latent_vit_d1"
    run.mkdir()
    rows = [json.loads(line)["row"] for line in (sweep / "trials.jsonl").read_text().splitlines() if '"row"' in line]
    write_text(run / "history.jsonl", "".join(json.dumps(row) + "\n" for row in rows[:9]))
    write_json(run / "environment.json", ENVIRONMENT)
    write_json(run / "experiment_summary.json", {"state": "finished"})
    latents = {"train": "latents/train", "val": "latents/val"}
    record = {"training": CONFIG.to_json(), "latents": latents, "data": {}, "encoder": {}, "recipe": "guide"}
    write_json(run / "config.json", {**record, "run": {"workers": 1, "use_gpu": None}})
    shutil.copytree(sweep / "best", run / "checkpoints")
    page = write_report(run, evaluation=sweep / "evaluation").read_text()
    assert "Training run latent_vit_d1" in page
    assert "One training; it has ended." in page
    assert 'id="curves"' in page
    assert 'id="model"' in page
    other = latent_set(5, seed=9)
    evaluate(trained(replace(CONFIG, seed=8)), other, tmp_path / "other", samples=0)
    with pytest.raises(UserError, match="is the evaluation of another model"):
        write_report(run, evaluation=tmp_path / "other")
    (run / "history.jsonl").unlink()
    with pytest.raises(UserError, match=r"lacks history\.jsonl"):
        write_report(run)
