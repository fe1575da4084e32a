"""The test split is opened once for each model that is chosen, and shows all its seeds."""

from __future__ import annotations

import json
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from fervit.checkpoints.checkpoint import Checkpoint, save_checkpoint
from fervit.errors import UserError
from fervit.evaluation.evaluate import predict
from fervit.latents import LatentSet
from fervit.latents.looks import looks_at, record_look
from fervit.search.console.after import summarise
from fervit.search.outcome.result import SweepResult
from fervit.search.outcome.sealed import open_test, read_looks, write_looks
from fervit.search.outcome.sweep_card import model_card
from fervit.search.records.record import TrialRecord
from fervit.search.records.sweep_folder import SweepFolder
from fervit.search.splits import Splits, open_splits
from tests.conftest import CONFIG, ROOT, trained
from tests.helpers.records import trial
from tests.helpers.sweeps import space


@pytest.fixture
def splits(latents_folder: Path) -> Splits:
    return open_splits(str(latents_folder), space())


@pytest.fixture(scope="module")
def models() -> list[Checkpoint]:
    return [trained(replace(CONFIG, seed=seed, epochs=2)) for seed in range(3)]


def run(number: int, seed: int, **more: Any) -> TrialRecord:
    record = replace(trial(number, [0.1, 0.2]), seed=seed, name=f"trial_{number}_seed{seed}")
    return replace(record, **more)


def test_one_look_shows_every_model_with_a_fresh_seed(splits: Splits, models: list[Checkpoint], tmp_path: Path) -> None:
    files = SweepFolder(tmp_path / "sweep")
    fresh = [run(4, seed, purpose="confirm") for seed in (1, 2)]
    for record in fresh:
        save_checkpoint(models[record.seed], files.trial(record.name).best_model)
    verdict = open_test(files, models[1], fresh[0], splits, [*fresh, run(4, 9)])
    assert splits.test is not None
    test = LatentSet.read(splits.test)
    right = [float((predict(model, test).argmax(axis=1) == test.labels).mean()) for model in models[1:]]
    assert verdict.look is not None
    assert [score.seed for score in verdict.look.seeds] == [1, 2]
    assert [score.accuracy for score in verdict.look.seeds] == pytest.approx(right)
    assert verdict.look.over_seeds("accuracy") == f"{np.mean(right):.3f} (sd {np.std(right, ddof=1):.3f})"
    assert verdict.look.over_seeds("accuracy") in verdict.look.seeds_text
    assert verdict.evaluation.metrics["accuracy"] == pytest.approx(right[0])  # of the exported one alone
    assert "of 3 runs with fresh seeds the models of 2 are there" in verdict.remark
    assert (verdict.look.others, read_looks(files)) == (0, [verdict.look])
    (beside,) = looks_at(splits.test)
    assert {seen.checkpoint: seen.accuracy for seen in beside.models} == {
        model.fingerprint: pytest.approx(accuracy) for model, accuracy in zip(models[1:], right, strict=True)
    }


def test_the_answer_shows_the_spread_over_seeds_beside_the_interval(
    splits: Splits, models: list[Checkpoint], tmp_path: Path
) -> None:
    given, files = space(), SweepFolder(tmp_path / "sweep")
    assert splits.test is not None
    record_look(LatentSet.read(splits.test), ["a model of somebody else"], tmp_path)
    fresh = [run(4, seed, purpose="confirm") for seed in (1, 2)]
    for record in fresh:
        save_checkpoint(models[record.seed], files.trial(record.name).best_model)
    verdict = open_test(files, models[1], fresh[0], splits, fresh)
    result = SweepResult(
        folder=files.path,
        space=given,
        records=[trial(4, [0.1, 0.2])],
        chosen=fresh[0],
        confirmed=[],
        ties=[],
        left_out=[],
        gain=None,
        front=[],
        ended_because="",
        verdict=verdict,
        encoder={},
        seconds=1.0,
    )
    assert verdict.look is not None
    low, high = verdict.evaluation.metrics["intervals_95"]["f1_macro"]
    text, card = summarise(result, ""), model_card(result, models[1])
    assert f"(95 %: {low:.3f} to {high:.3f})" in text
    assert verdict.look.seeds_text in text
    assert f"({low:.3f} to {high:.3f})" in card
    assert f"| {verdict.look.over_seeds('f1_macro')} | {verdict.look.over_seeds('accuracy')} |" in card
    assert "a calibrated model:" in card
    for words in (text, card):
        assert "others looked at this split before, once" in words


def test_a_look_that_was_made_before_is_shown_again_and_not_counted(
    splits: Splits, models: list[Checkpoint], tmp_path: Path
) -> None:
    files, (a, b) = SweepFolder(tmp_path / "sweep"), (run(0, 1), run(1, 1))
    of_a = open_test(files, models[0], a, splits)
    closed = open_test(files, models[1], b, splits)
    assert "stays closed" in closed.remark
    assert closed.evaluation.metrics == of_a.evaluation.metrics
    of_b = open_test(files, models[1], b, splits, again=True)
    assert of_b.looks == 2
    assert of_b.evaluation.metrics["checkpoint"]["fingerprint"] == models[1].fingerprint
    for again in (False, True):
        back = open_test(files, models[0], a, splits, again=again)
        assert (back.looks, back.remark) == (2, "")
        assert back.evaluation.metrics == of_a.evaluation.metrics
        assert back.evaluation.output_dir == of_a.evaluation.output_dir
    assert splits.test is not None
    assert len(looks_at(splits.test)) == 2
    # Other weights under the same name are another model.
    assert "stays closed" in open_test(files, models[2], a, splits).remark


def test_seeds_that_were_trained_after_the_look_are_named_and_evaluated_by_a_second_one(
    splits: Splits, models: list[Checkpoint], tmp_path: Path
) -> None:
    files, fresh = SweepFolder(tmp_path / "sweep"), [run(4, seed, purpose="confirm") for seed in (0, 1, 2)]
    for record in fresh:
        save_checkpoint(models[record.seed], files.trial(record.name).best_model)
    first = open_test(files, models[0], fresh[0], splits, fresh[:2])
    assert first.remark == ""
    closed = open_test(files, models[0], fresh[0], splits, fresh)
    assert "does not hold the seeds 2, which were trained after" in closed.remark
    assert closed.look == first.look
    for again in (True, False):  # the second look is then the result
        opened = open_test(files, models[0], fresh[0], splits, fresh, again=again)
        assert opened.looks == 2
        assert "does not hold" not in opened.remark
        assert opened.look is not None
        assert [score.seed for score in opened.look.seeds] == [0, 1, 2]


def test_records_of_earlier_versions_are_read_and_written_as_they_were(tmp_path: Path) -> None:
    files = SweepFolder(ROOT / "tests" / "data" / "version_0_1" / "finished")
    (look,) = read_looks(files)
    assert (look.trial, look.seed, look.epoch, look.n, look.complete, look.seeds_text) == (0, 2, 6, 105, True, "")
    copy = SweepFolder(tmp_path)
    write_looks(copy, [look])
    assert json.loads(copy.sealed_test.read_text()) == json.loads(files.sealed_test.read_text())
    for damaged in ('{"looks": [{"trial": 1}]}', '{"looks": ["a"]}', "{"):
        copy.sealed_test.write_text(damaged)
        with pytest.raises(UserError, match="is damaged"):
            read_looks(copy)
