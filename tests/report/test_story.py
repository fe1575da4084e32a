from __future__ import annotations

import json
import shutil
from collections.abc import Callable
from pathlib import Path

import pytest

from fervit.errors import UserError
from fervit.files import locked, write_json, write_text
from fervit.report.importance import importances
from fervit.report.story import read_story
from fervit.report.times import account
from fervit.report.write import write_report
from tests.conftest import Ended
from tests.report.conftest import CONFIG, ENVIRONMENT, write_sweep


def test_the_answer_stands_first_with_its_interval_and_baselines(sweep: Path) -> None:
    page = write_report(sweep).read_text()
    story = read_story(sweep)
    assert story.state == "finished"
    assert story.chosen is not None
    best = story.chosen.best(story.metric)
    assert best is not None
    results = json.loads((sweep / "evaluation" / "evaluation_results.json").read_text())
    low, high = results["intervals_95"]["f1_macro"]
    answer = page[page.index('id="answer"') : page.index('id="curves"')]
    for text in (
        f"trial {story.chosen.number}, seed 3",
        f"{results['f1_macro']:.3f}",
        f"95 %: {low:.3f} to {high:.3f}",
        "3 are copies of training faces",
        "the guide&#39;s configuration, trial 0",
        "always the largest class",
        "54.5 % accuracy",
        f"{best['f1_macro']:.3f}",
    ):
        assert text in answer
    assert "python launch/tune.py --space &#39;a space.yaml&#39;" in page
    assert "4 x diverged" not in page
    assert ">diverged</th><td>4</td>" in page


def test_what_decided_is_found(sweep: Path) -> None:
    story = read_story(sweep)
    assert story.space is not None
    shares = importances(story.records, story.space)
    assert next(iter(shares)) == "lr"
    assert shares["lr"] > 0.5
    assert sum(shares.values()) == pytest.approx(1)
    assert importances(story.records[:5], story.space) == {}


def test_the_time_adds_up(sweep: Path) -> None:
    story = read_story(sweep)
    times = account(story.events, story.records, train_rows=1000)
    assert times is not None
    assert times.slots == 2
    epochs = sum(len(record.epochs) for record in story.records)
    assert times.training == pytest.approx(0.8 * epochs)
    assert times.validation == pytest.approx(0.1 * epochs)
    whole = times.training + times.validation + times.starting + times.idle
    assert whole == pytest.approx(times.slots * times.elapsed, rel=0.02)


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


def test_an_evaluation_of_an_earlier_version_is_passed_over(sweep: Path, tmp_path: Path) -> None:
    folder = tmp_path / "sweep"
    shutil.copytree(sweep, folder)
    write_json(folder / "evaluation" / "evaluation_results.json", {"accuracy": 0.5})
    page = write_report(folder).read_text()
    assert "was written by an earlier version; run launch/evaluate.py again" in page
    assert 'id="curves"' in page
    with pytest.raises(UserError, match="earlier version"):
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
    page = write_report(run, evaluation=sweep / "evaluation").read_text()
    assert "Training run latent_vit_d1" in page
    assert "One training; it has ended." in page
    assert 'id="curves"' in page
    assert 'id="model"' in page
    (run / "history.jsonl").unlink()
    with pytest.raises(UserError, match=r"lacks history\.jsonl"):
        write_report(run)
