from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pytest
from PIL import Image
from sklearn.metrics import classification_report

from fervit.emotions import EMOTIONS
from fervit.errors import UserError
from fervit.evaluation.evaluate import evaluate, predict
from fervit.evaluation.metrics import describe
from fervit.latents import LatentSet
from fervit.training.checkpoint import Checkpoint
from fervit.training.config import TrainConfig
from fervit.training.data import DeviceLatents
from fervit.training.trainer import Trainer
from tests.conftest import ENCODER, latent_set

CONFIG = TrainConfig(seq_len=4, latent_dim=16, embed_dim=16, depth=1, heads=2, mlp_dim=16, epochs=5, lr=3e-3)


@pytest.fixture(scope="module")
def checkpoint() -> Checkpoint:
    trainer = Trainer(CONFIG, DeviceLatents(latent_set(30)), DeviceLatents(latent_set(10, seed=1)))
    while not trainer.finished:
        result = trainer.run_epoch()
    return Checkpoint(
        model_state_dict=trainer.model.state_dict(),
        config=CONFIG,
        epoch=trainer.epoch,
        metrics={"f1_macro": result.f1_macro},
        encoder=ENCODER,
        data={},
    )


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
    with Image.open(tmp_path / "confusion_matrix.png") as picture:
        assert picture.width > 1000
        assert len(set(picture.convert("L").resize((64, 64)).tobytes())) > 20  # something is drawn


def test_the_batch_size_changes_nothing(checkpoint: Checkpoint) -> None:
    latents = latent_set(10, seed=3)
    np.testing.assert_allclose(predict(checkpoint, latents, 7), predict(checkpoint, latents, 64), atol=1e-6)


def test_a_split_with_absent_classes_is_described() -> None:
    labels, predicted = np.array([0, 0, 3, 3]), np.array([0, 3, 3, 3])
    metrics = describe(labels, predicted)
    assert metrics["accuracy"] == 0.75
    assert metrics["f1_macro"] == pytest.approx((2 / 3 + 0.8) / 2)
    assert describe(np.array([1, 1]), np.array([1, 1]))["balanced_accuracy"] is None


def test_rows_of_another_shape_or_encoder_are_refused(checkpoint: Checkpoint) -> None:
    latents = latent_set(2)
    other = LatentSet(**{**vars(latents), "codes": latents.codes[:, :3]})
    with pytest.raises(UserError, match="holds codes of 3 x 16, but the model takes 4 x 16"):
        predict(checkpoint, other)
    other = LatentSet(**{**vars(latents), "encoder": {**ENCODER, "encoder": "e4e"}})
    with pytest.raises(UserError, match="its codes come from encoder e4e"):
        predict(checkpoint, other)
