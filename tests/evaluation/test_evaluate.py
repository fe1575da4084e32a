from __future__ import annotations

import json
import warnings
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import numpy as np
import pyarrow.parquet as pq
import pytest
from PIL import Image
from sklearn.metrics import accuracy_score, balanced_accuracy_score, classification_report, f1_score

from fervit.checkpoints.checkpoint import Checkpoint, save_checkpoint
from fervit.errors import UserError
from fervit.evaluation.evaluate import evaluate, predict, steps_of
from fervit.evaluation.intervals import intervals_of, wilson
from fervit.evaluation.predictions import Predictions
from fervit.evaluation.statistics import calibrate, confusion, describe, ece_if_calibrated
from fervit.labels.emotions import EMOTIONS
from fervit.latents import LatentSet
from fervit.latents.looks import looks_at
from fervit.training.metrics import metrics_of_counts
from tests.conftest import CONFIG, ENCODER, Ended, latent_set, trained, write_latents


@pytest.fixture(scope="module")
def checkpoint() -> Checkpoint:
    return trained(CONFIG)


def test_the_files_hold_what_the_model_says(checkpoint: Checkpoint, tmp_path: Path) -> None:
    latents = latent_set(20, seed=2)
    evaluate(checkpoint, latents, tmp_path, split="test")
    results = json.loads((tmp_path / "evaluation_results.json").read_text())
    predicted = predict(checkpoint, latents).argmax(axis=1)
    report = classification_report(
        latents.labels, predicted, target_names=EMOTIONS, labels=range(7), output_dict=True, zero_division=0
    )
    assert results["classification_report"].keys() == report.keys()
    for name, row in report.items():
        assert results["classification_report"][name] == pytest.approx(row)
    assert results["f1_macro"] == pytest.approx(report["macro avg"]["f1-score"])
    assert np.sum(results["confusion_matrix"]) == results["n"] == 140
    assert results["latents"]["fingerprint"] == latents.fingerprint
    assert results["checkpoint"]["fingerprint"] == checkpoint.fingerprint
    assert results["accuracy"] == pytest.approx((predicted == latents.labels).mean())
    low, high = results["intervals_95"]["f1_macro"]
    assert 0 < low < results["f1_macro"] < high < 1
    assert high - low < 0.25  # 140 faces
    expected = {"confusion_matrix", "class_metrics", "prediction_confidence", "attention_mean"}
    expected |= {f"attention_sample_{i}" for i in range(5)}
    assert {path.stem for path in tmp_path.glob("*.png")} == expected
    for path in tmp_path.glob("*.png"):
        with Image.open(path) as picture:
            assert picture.width > 800
            assert len(set(picture.convert("L").resize((64, 64)).tobytes())) > 20  # something is drawn
    evaluate(checkpoint, latents, tmp_path, samples=2)
    assert len(list(tmp_path.glob("attention_sample_*.png"))) == 2


def test_predictions_are_read_by_any_reader_of_parquet(checkpoint: Checkpoint, tmp_path: Path) -> None:
    latents = latent_set(20, seed=2)
    evaluate(checkpoint, latents, tmp_path, samples=0)
    table = pq.read_table(tmp_path / "predictions.parquet")
    assert table.column_names == ["image_id", "label", "predicted", "probabilities"]
    probabilities = np.array(table["probabilities"].to_pylist())
    np.testing.assert_allclose(probabilities, predict(checkpoint, latents), atol=1e-6)
    assert table["predicted"].to_pylist() == probabilities.argmax(axis=1).tolist()
    assert table["image_id"].to_pylist() == latents.image_ids
    again = Predictions.read(tmp_path / "predictions.parquet")
    assert (again.split, again.latents, again.checkpoint) == ("test", latents.fingerprint, checkpoint.fingerprint)
    pq.write_table(table.replace_schema_metadata(None), tmp_path / "other.parquet")
    with pytest.raises(UserError, match="is Parquet but no predictions of fervit"):
        Predictions.read(tmp_path / "other.parquet")


def test_copies_of_training_faces_are_counted_and_left_out(checkpoint: Checkpoint, tmp_path: Path) -> None:
    latents = latent_set(20, seed=2)
    copied = latents.sha256[:30]
    results = evaluate(checkpoint, latents, tmp_path, samples=0, training_sha256=[*copied, "another", ""]).metrics
    predicted = predict(checkpoint, latents).argmax(axis=1)[30:]
    assert results["copies_of_training"]["n"] == 30
    without = results["copies_of_training"]["without_copies"]
    assert without["n"] == 110
    assert without["accuracy"] == pytest.approx((predicted == latents.labels[30:]).mean())
    assert evaluate(checkpoint, latents, tmp_path, samples=0).metrics["copies_of_training"] is None


def test_what_others_wrote_is_not_replaced_nor_told_as_written(
    checkpoint: Checkpoint, command: Callable[..., Ended], tmp_path: Path
) -> None:
    write_latents(tmp_path / "latents" / "val", latent_set(10, seed=2))
    save_checkpoint(checkpoint, tmp_path / "best_model.pt")
    given = ("--checkpoint_path", "best_model.pt", "--latent_test_dir", "latents/val", "--visualize_samples", 0)
    (tmp_path / "mine").mkdir()
    (tmp_path / "mine" / "notes.txt").write_text("mine")
    (tmp_path / "mine" / "evaluation_results.json").write_text('{"mine": true}')
    for there, message in (
        ("mine", "mine: its evaluation_results.json is of no evaluation; give another folder"),
        ("best_model.pt", "--output_dir best_model.pt: is a file; give a folder"),
    ):
        ended = command("evaluate", *given, "--output_dir", there)
        assert (ended.status, message in ended.err) == (2, True), ended.err
    assert (tmp_path / "mine" / "evaluation_results.json").read_text() == '{"mine": true}'
    (tmp_path / "mine" / "evaluation_results.json").unlink()
    ended = command("evaluate", *given, "--output_dir", "mine")
    assert (ended.status, "notes.txt" in ended.out) == (0, False), ended.err
    assert (tmp_path / "mine" / "notes.txt").read_text() == "mine"


def test_faces_that_chose_the_model_are_said_to_be_seen(
    checkpoint: Checkpoint, command: Callable[..., Ended], tmp_path: Path
) -> None:
    latents = latent_set(10, seed=2)
    write_latents(tmp_path / "latents" / "val", latents)
    fingerprint = LatentSet.read(str(tmp_path / "latents" / "val")).fingerprint
    save_checkpoint(replace(checkpoint, data={"train": "a", "val": fingerprint}), tmp_path / "best_model.pt")
    given = ("--checkpoint_path", "best_model.pt", "--latent_test_dir", "latents/val", "--visualize_samples", 0)
    ended = command("evaluate", *given)
    assert "NOT unseen: these faces chose the model, so the numbers are optimistic" in ended.out
    results = json.loads((tmp_path / "eval_results" / "evaluation_results.json").read_text())
    assert results["seen"] == "val"
    compared = command("compare", "best_model.pt", "--latent_test_dir", "latents/val")
    assert "NOT unseen, so the numbers are optimistic: these rows trained or chose " in compared.err
    assert "NOT unseen" in command("compare", "best_model.pt").err  # by the predictions of that evaluation
    assert looks_at("latents/val") == []
    assert results["latents"]["path"] == str(tmp_path / "latents" / "val")


def test_the_command_finds_copies_in_the_split_beside(
    checkpoint: Checkpoint, command: Callable[..., Ended], tmp_path: Path
) -> None:
    latents = latent_set(10, seed=2)
    write_latents(tmp_path / "latents" / "test", latents)
    write_latents(tmp_path / "latents" / "train", latents, slice(5))
    save_checkpoint(checkpoint, tmp_path / "best_model.pt")
    given = ["--checkpoint_path", "best_model.pt", "--latent_test_dir", "latents/test"]
    ended = command("evaluate", *given, "--output-dir", "there", "--visualize-samples", 0)
    assert ended.status == 0
    assert "copies of training faces: 5 of 70; without them accuracy" in ended.out
    assert "ECE" in ended.out
    assert "a calibrated model:" in ended.out
    assert "others looked" not in ended.out
    (look,) = looks_at("latents/test")
    assert [seen.checkpoint for seen in look.models] == [checkpoint.fingerprint]
    assert look.models[0].accuracy is not None
    assert "attention_sample" not in ended.out
    assert (tmp_path / "there" / "class_metrics.png").is_file()
    (tmp_path / "nothing").mkdir()
    ended = command("evaluate", *given[:3], "nothing")
    assert ended.status == 2
    assert ended.err.startswith("error: nothing: no latents here; make them with")


def test_metrics_equal_scikit_learns_on_random_label_sets() -> None:
    rng = np.random.default_rng(0)
    for _ in range(100):
        classes = rng.choice(7, size=rng.integers(1, 8), replace=False)
        labels = rng.choice(classes, size=rng.integers(2, 60))
        probabilities = rng.integers(0, 4, (len(labels), 7)).astype(float)  # many ties
        predicted = probabilities.argmax(axis=1)
        ours, counted = describe(labels, predicted), metrics_of_counts(confusion(labels, predicted, 7))
        expected = {
            "accuracy": accuracy_score(labels, predicted),
            "f1_macro": f1_score(labels, predicted, average="macro", zero_division=0),
            "f1_weighted": f1_score(labels, predicted, average="weighted", zero_division=0),
        }
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")  # predictions of classes that have no row
            if len(set(labels)) > 1:
                expected["balanced_accuracy"] = balanced_accuracy_score(labels, predicted)
        for name, value in expected.items():
            assert ours[name] == pytest.approx(value), name
            assert counted[name] == pytest.approx(value), name
        assert ours["n"] == len(labels)


def test_intervals_are_about_those_of_rows_drawn_anew_where_there_are_many() -> None:
    rng = np.random.default_rng(1)
    labels = rng.integers(0, 7, 1400)
    predicted = np.where(rng.random(1400) < 0.6, labels, rng.integers(0, 7, 1400))
    counts = confusion(labels, predicted, 7)
    drawn = [metrics_of_counts(cells.reshape(7, 7)) for cells in rng.multinomial(1400, counts.ravel() / 1400, 2000)]
    for name, value in metrics_of_counts(counts).items():
        low, high = intervals_of(counts)[name]
        assert low < value < high
        assert (low, high) == pytest.approx(np.percentile([one[name] for one in drawn], [2.5, 97.5]), abs=0.005), name


def test_twenty_of_twenty_right_is_not_certain() -> None:
    labels = np.arange(20) % 7
    found = intervals_of(confusion(labels, labels, 7))
    assert found["accuracy"] == pytest.approx([0.8389, 1.0], abs=1e-4)  # binconf(20, 20, method="wilson") of R's Hmisc
    for name, (low, high) in found.items():
        assert 0.4 < low < 0.95, name
        assert high == 1, name
    nothing_right = intervals_of(confusion(labels, (labels + 1) % 7, 7))
    assert all(low == 0 < high < 1 for low, high in nothing_right.values())
    one_class = intervals_of(confusion(np.zeros(9, int), np.zeros(9, int), 7))
    assert one_class["f1_disgust"] == [0, 1]  # no face of it, so nothing is known
    low, high = wilson(np.array([3, 0]), np.array([10, 0]))
    assert (low[0], high[0]) == pytest.approx((0.1078, 0.6032), abs=1e-4)


@pytest.mark.parametrize(("n", "least"), [(20, 0.80), (70, 0.88), (500, 0.92), (3589, 0.92)])
def test_intervals_hold_the_true_value_as_often_as_they_say(n: int, least: float) -> None:
    """The few faces of a split of 20 do not hold all classes, and its macro-F1 is of those that are there."""
    share = np.array([491, 55, 528, 879, 626, 594, 416]) / 3589  # of FER2013's test split
    recall = np.array([0.5, 0.45, 0.45, 0.85, 0.6, 0.5, 0.75])
    wrong = np.where(np.eye(7), 0.0, share) / (1 - share)[:, None]
    cells = share[:, None] * np.where(np.eye(7), recall[:, None], (1 - recall)[:, None] * wrong)
    truth = metrics_of_counts(np.round(cells * 1e7).astype(int))
    drawn = np.random.default_rng(0).multinomial(n, cells.ravel() / cells.sum(), size=400).reshape(-1, 7, 7)
    found = [intervals_of(counts) for counts in drawn]
    for name in ("accuracy", "f1_macro"):
        held = np.mean([one[name][0] <= truth[name] <= one[name][1] for one in found])
        assert held > (0.92 if name == "accuracy" else least), name


def test_calibration_of_a_model_that_is_too_sure() -> None:
    probabilities = np.full((10, 7), 0.1 / 6)
    probabilities[:, 3] = 0.9
    labels = np.array([3] * 6 + [0] * 4)
    calibration = calibrate(labels, probabilities)
    assert calibration.ece == pytest.approx(0.3)
    assert calibration.counts.sum() == 10
    perfect = np.eye(7)[labels]
    assert calibrate(labels, perfect).ece == 0
    assert ece_if_calibrated(perfect) == {"mean": 0, "quantile_95": 0}


def test_the_calibration_error_of_a_calibrated_model_depends_on_the_number_of_faces() -> None:
    rng = np.random.default_rng(0)
    for n, about in ((70, 0.14), (500, 0.053), (3589, 0.020)):
        confidence = rng.uniform(0.2, 1.0, n)
        probabilities = np.full((n, 7), ((1 - confidence) / 6)[:, None])
        probabilities[:, 0] = confidence
        expected = ece_if_calibrated(probabilities)
        seen = [calibrate((rng.random(n) >= confidence).astype(int), probabilities).ece for _ in range(60)]
        assert expected["mean"] == pytest.approx(np.mean(seen), rel=0.12)
        assert expected["mean"] == pytest.approx(about, rel=0.25)
        assert expected["mean"] < expected["quantile_95"] < 2 * expected["mean"]
        assert np.mean(np.array(seen) < expected["quantile_95"]) > 0.85


def test_the_batch_size_changes_nothing(checkpoint: Checkpoint) -> None:
    latents = latent_set(10, seed=3)
    np.testing.assert_allclose(predict(checkpoint, latents, 7), predict(checkpoint, latents, 64), atol=1e-6)


def test_a_split_with_absent_classes_is_described() -> None:
    labels, predicted = np.array([0, 0, 3, 3]), np.array([0, 3, 3, 3])
    metrics = describe(labels, predicted)
    assert metrics["accuracy"] == 0.75
    assert metrics["f1_macro"] == pytest.approx((2 / 3 + 0.8) / 2)
    assert describe(np.array([1, 1]), np.array([1, 1]))["balanced_accuracy"] is None


def test_names_are_drawn_as_they_stand(checkpoint: Checkpoint, tmp_path: Path) -> None:
    latents = latent_set(1)
    odd = LatentSet(**{**vars(latents), "image_ids": [f"a$\\x_{i}$<b>.png" for i in range(len(latents))]})
    evaluate(checkpoint, odd, tmp_path, samples=2, split="a$b$")
    assert (tmp_path / "attention_sample_1.png").is_file()


def test_rows_of_another_shape_or_encoder_are_refused(checkpoint: Checkpoint) -> None:
    latents = latent_set(2)
    other = LatentSet(**{**vars(latents), "codes": latents.codes[:, :3]})
    with pytest.raises(UserError, match="holds codes of 3 x 16, but the model takes 4 x 16"):
        predict(checkpoint, other)
    other = LatentSet(**{**vars(latents), "encoder": replace(ENCODER, encoder="e4e")})
    with pytest.raises(UserError, match="its codes come from encoder e4e"):
        predict(checkpoint, other)


def test_the_progress_of_an_evaluation_ends_at_its_last_step(tmp_path: Path) -> None:
    checkpoint = trained(replace(CONFIG, epochs=1))
    steps: list[int] = []
    for mean in (None, np.zeros((4, 16), np.float32)):
        steps.clear()
        evaluate(checkpoint, latent_set(2), tmp_path, training_mean=mean, samples=0, stepped=lambda: steps.append(1))
        assert len(steps) == steps_of(checkpoint, mean)
