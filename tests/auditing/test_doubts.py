"""Wrong labels are found by a classifier that has not seen the row."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
from sklearn.metrics import roc_auc_score

import fervit
from fervit.auditing.codes import read_codes
from fervit.auditing.cross_validation import probabilities
from fervit.auditing.doubts import doubts, rankings, table_of
from fervit.auditing.patches import features
from tests.conftest import latent_set, write_latents


def test_rows_of_a_group_are_never_on_two_sides() -> None:
    rng = np.random.default_rng(0)
    once = rng.normal(size=(150, 8)).astype(np.float32)
    twice, labels = np.concatenate([once, once]), rng.integers(0, 3, 150)
    labels = np.concatenate([labels, labels])  # of noise, which only a copy tells
    apart = probabilities(twice, labels, np.tile(np.arange(150), 2), 3)
    leaked = probabilities(twice, labels, np.arange(300), 3)
    assert (apart.argmax(axis=1) == labels).mean() < 0.5 < 0.6 < (leaked.argmax(axis=1) == labels).mean()
    assert apart.sum(axis=1) == pytest.approx(1, abs=1e-4)


def test_wrong_labels_of_codes_are_ranked_first(tmp_path: Path) -> None:
    clean = latent_set(60, noise=0.8)
    wrong = np.random.default_rng(1).choice(len(clean), 40, replace=False)
    clean.labels[wrong] = (clean.labels[wrong] + 3) % 7
    write_latents(tmp_path / "latents" / "train", clean)
    codes = read_codes(str(tmp_path / "latents"), ("train", "val"))
    found = doubts(codes)
    assert found is not None
    truth = np.isin(np.array(codes.image_ids)[found.rows], np.array(clean.image_ids)[wrong])
    for name, score in found.scores.items():
        assert roc_auc_score(truth, score) > 0.9, name
    assert 20 < found.issues < 80
    lines = table_of(codes, found).splitlines()
    assert len(lines) == len(clean) + 1
    assert lines[0].startswith("image_id,split,label,likeliest,class_noise,log_ratio,self_confidence")
    result = fervit.audit(latents=tmp_path / "latents", output_dir=tmp_path / "audit", say=None)
    assert result.lists["label_noise"].is_file()
    assert (tmp_path / "audit/labels.csv").read_text().splitlines() == lines


def test_the_ratio_is_largest_where_another_class_is_surest() -> None:
    found = np.array([[0.9, 0.1, 0.0], [0.1, 0.9, 0.0], [0.4, 0.3, 0.3]], np.float32)
    ratio = rankings(found, np.array([0, 0, 2]))["log_ratio"]
    assert ratio.argsort().tolist() == [0, 2, 1]


def test_a_class_that_is_often_wrong_is_doubted_more() -> None:
    rng = np.random.default_rng(0)
    truth = np.repeat([0, 1], 200)
    labels = truth.copy()
    labels[:80] = 1  # 40 % of what is labelled 1 is 0; no label 0 is wrong
    labels[-1] = 0
    sure = np.clip(0.7 + 0.15 * rng.normal(size=400), 0.05, 0.95)
    found = np.where(np.arange(2) == truth[:, None], sure[:, None], 1 - sure[:, None]).astype(np.float32)
    scores = rankings(found, labels)
    wrong = labels != truth
    assert roc_auc_score(wrong, scores["class_noise"]) > roc_auc_score(wrong, scores["self_confidence"])


def test_features_tell_pictures_apart_but_not_their_brightness() -> None:
    rng = np.random.default_rng(0)
    pictures = rng.integers(60, 120, (40, 48, 48)).astype(np.uint8)
    brighter = (pictures + 50).astype(np.uint8)
    found = features(np.concatenate([pictures, brighter])).astype(np.float32)
    same = np.linalg.norm(found[:40] - found[40:], axis=1)
    other = np.linalg.norm(found[:39] - found[1:40], axis=1)
    assert same.max() < 0.05 * other.min()
