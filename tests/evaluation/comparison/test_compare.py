from __future__ import annotations

import csv
import io
import json
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from PIL import Image
from scipy.stats import binom, norm

from fervit.checkpoints.checkpoint import save_checkpoint
from fervit.evaluation.comparison.compare import compare, holm, mcnemar
from fervit.evaluation.comparison.confidence_set import confidence_set
from fervit.evaluation.comparison.contenders import Contender
from fervit.evaluation.evaluate import evaluate
from fervit.evaluation.predictions import Predictions
from fervit.latents.looks import looks_at
from tests.conftest import CONFIG, Ended, latent_set, trained, write_latents


def predictions(right: float, n: int = 700, seed: int = 0, latents: str = "rows") -> Predictions:
    """Makes the predictions of a model with about this accuracy, on the same labels."""
    labels = np.arange(n) % 7
    rng = np.random.default_rng(seed)
    said = np.where(rng.random(n) < right, labels, rng.integers(0, 7, n))
    return Predictions(
        image_ids=[str(i) for i in range(n)],
        labels=labels,
        probabilities=np.eye(7, dtype=np.float32)[said],
        split="test",
        latents=latents,
        checkpoint=str(seed),
    )


def test_mcnemar_is_the_sign_test_on_what_only_one_gets_right() -> None:
    one, other = predictions(0.7, seed=1), predictions(0.6, seed=2)
    a = int(((one.predicted == one.labels) & (other.predicted != one.labels)).sum())
    b = int(((one.predicted != one.labels) & (other.predicted == one.labels)).sum())
    assert mcnemar(one, other) == pytest.approx(min(1.0, 2 * binom.cdf(min(a, b), a + b, 0.5)))
    assert mcnemar(one, one) == 1.0
    assert holm([0.01, 0.04, 0.03]) == pytest.approx([0.03, 0.06, 0.06])


def test_equal_models_tie_and_a_worse_one_does_not() -> None:
    said = {"a": predictions(0.7, seed=1), "b": predictions(0.69, seed=2), "c": predictions(0.4, seed=3)}
    said["d"] = predictions(0.9, seed=4, latents="others")
    contenders = [Contender(name=name, validation={}, predictions=p) for name, p in said.items()]
    contenders.append(Contender(name="e", validation={"f1_macro": 0.3}, predictions=None))
    rows = {row.name: row for row in compare(contenders)}
    assert list(rows) == [*sorted("ab", key=lambda n: -(rows[n].f1_macro or 0)), "c", "d", "e"]
    assert sorted([rows["a"].standing, rows["b"].standing]) == ["best", "tie"]
    assert rows["c"].standing == "worse"
    assert rows["c"].p_mcnemar is not None
    assert rows["c"].p_mcnemar < 1e-6
    assert (rows["d"].standing, rows["d"].p_mcnemar) == ("other rows", None)
    assert (rows["e"].standing, rows["e"].validation_f1_macro) == ("not evaluated", 0.3)


def test_two_of_one_name_and_a_more_accurate_one() -> None:
    """Rare classes right and common ones wrong give the higher macro-F1 and the lower accuracy."""
    labels = np.repeat(np.arange(7), [700, 10, 10, 10, 10, 10, 10])
    rng = np.random.default_rng(0)
    fair = np.where((labels == 0) & (rng.random(len(labels)) < 0.3), rng.integers(1, 7, len(labels)), labels)
    common = np.where((labels > 0) & (rng.random(len(labels)) < 0.9), 0, labels)
    fair_one, common_one = (
        replace(predictions(1.0), labels=labels, image_ids=[""] * len(labels), probabilities=np.eye(7)[said])
        for said in (fair, common)
    )
    rows = compare([Contender(name="x", validation={}, predictions=p) for p in (fair_one, common_one)])
    accuracy = [row.accuracy for row in rows]
    assert accuracy[0] is not None
    assert accuracy[1] is not None
    assert accuracy[1] > accuracy[0]
    assert [(row.standing, row.more_accurate) for row in rows] == [("best", False), ("worse", True)]


def equally_good(k: int, rng: np.random.Generator, right: float = 0.6, n: int = 1000) -> tuple[np.ndarray, list[Any]]:
    """Makes labels and the predictions of k equally good models, which are often wrong on the same faces."""
    labels, hard = rng.integers(0, 7, n), rng.normal(size=n)
    return labels, [worse_by(0.0, labels, hard, rng, right) for _ in range(k)]


def worse_by(
    less: float, labels: np.ndarray, hard: np.ndarray, rng: np.random.Generator, right: float = 0.6
) -> np.ndarray:
    """Makes the predictions of a model that is right in this share of the faces, less some."""
    fit = norm.cdf((hard + rng.normal(size=len(labels))) / np.sqrt(2)) < right - less
    return np.where(fit, labels, (labels + rng.integers(1, 7, len(labels))) % 7)


@pytest.mark.parametrize(("k", "repeats"), [(3, 120), (10, 60)])
def test_equally_good_models_are_called_so_at_the_stated_rate_whatever_their_number(k: int, repeats: int) -> None:
    """The rate is 5 %; comparing each with the best of the rows at 5 % gave 13 % for 3 models and 62 % for 10."""
    rng = np.random.default_rng(k)
    wrong = 0
    for i in range(repeats):
        labels, said = equally_good(k, rng)
        wrong += bool(confidence_set(labels, said, resamples=300, seed=i).out.any())
    assert wrong <= binom.ppf(0.999, repeats, 0.05)


def test_worse_models_are_called_worse_among_many() -> None:
    rng = np.random.default_rng(0)
    found = []
    for i in range(10):
        labels, hard = rng.integers(0, 7, 1000), rng.normal(size=1000)
        said = [worse_by(less, labels, hard, rng) for less in (0.0, 0.0, *[0.1] * 8)]
        found.append(confidence_set(labels, said, resamples=300, seed=i).out)
    assert np.mean([out[2:].mean() for out in found]) > 0.9
    assert np.sum([out[:2].any() for out in found]) <= 2


def test_a_handful_of_rows_proves_nothing() -> None:
    for n in (1, 4, 5):
        labels = np.arange(n)
        assert not confidence_set(labels, [labels, labels + 1, labels]).out.any()
    labels = np.arange(20) % 7
    which = confidence_set(labels, [labels, (labels + 1) % 7, labels])
    assert which.out.tolist() == [False, True, False]
    assert which.behind[2, 0] < 0 < which.behind[2, 1]
    assert which.behind[1, 0] > 0


def test_the_command_compares_runs_checkpoints_and_evaluations(command: Callable[..., Ended], tmp_path: Path) -> None:
    latents = latent_set(20, seed=2)
    write_latents(tmp_path / "latents" / "test", latents)
    good, bad = trained(CONFIG), trained(replace(CONFIG, lr=1e-6, seed=1))
    save_checkpoint(good, tmp_path / "run_good" / "checkpoints" / "best_model.pt")
    save_checkpoint(bad, tmp_path / "run_bad" / "checkpoints" / "best_model.pt")
    evaluate(good, latents, tmp_path / "run_good" / "evaluation", samples=0)
    (tmp_path / "empty").mkdir()
    ended = command("compare", "run_bad", "run_good", "empty")
    assert ended.status == 0
    assert ended.out.splitlines()[1].startswith("run_good")
    assert "not evaluated" in ended.out.splitlines()[2]
    assert "left out: empty: holds no model" in ended.err
    evaluate(bad, latents, tmp_path / "eval_results_2", samples=0)  # as `evaluate` names its folders, for this model
    evaluate(good, latent_set(20, seed=3), tmp_path / "eval_results", samples=0)
    (tmp_path / "eval_results_3").mkdir()
    (tmp_path / "eval_results_3" / "evaluation_results.json").write_text("{")
    rows = [line.split() for line in command("compare", "run_bad", "run_good").out.splitlines()[1:3]]
    assert [(row[0], row[-1]) for row in rows] == [("run_good", "best"), ("run_bad", "worse")]
    given = ("run_bad/checkpoints/best_model.pt", "run_good", "--latent_test_dir", "latents/test")
    ended = command("compare", *given, "--format", "json", "--picture", "there/picture.png")
    rows = json.loads(ended.out)
    assert [row["name"] for row in rows] == ["run_good", "run_bad"]
    assert [row["standing"] for row in rows] == ["best", "worse"]
    (look,) = looks_at("latents/test")
    assert {seen.checkpoint for seen in look.models} == {good.fingerprint, bad.fingerprint}
    assert "others looked" not in ended.err
    ended = command("compare", "run_good", "--latent_test_dir", "latents/test")
    assert "others looked at this split before, once" in ended.err
    results = json.loads((tmp_path / "run_good" / "evaluation" / "evaluation_results.json").read_text())
    assert rows[0]["f1_macro"] == pytest.approx(results["f1_macro"])
    assert rows[0]["f1_macro_95"] == pytest.approx(results["intervals_95"]["f1_macro"])
    with Image.open(tmp_path / "there" / "picture.png") as picture:
        assert picture.width > 800
    evaluate(good, latent_set(30), tmp_path / "run_good" / "evaluation_train", split="train", samples=0)
    evaluate(bad, latents, tmp_path / "run_good" / "evaluation_2", samples=0)  # of a choice that was taken back
    ended = command("compare", "run_good", "--format", "csv")
    row = next(csv.DictReader(io.StringIO(ended.out)))
    assert float(row["accuracy"]) == pytest.approx(results["accuracy"])
    for given, message in ((("empty",), "holds no model"), (("nowhere",), "there is no such run")):
        ended = command("compare", *given)
        assert ended.status == 2
        assert message in ended.err
