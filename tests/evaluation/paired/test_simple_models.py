"""Simple models beside a Vision Transformer."""

from __future__ import annotations

from pathlib import Path

import pytest

from fervit.errors import UserError
from fervit.evaluation.paired.simple_models import (
    FILE,
    ahead_text,
    compare_simple_models,
    fit_simple_models,
    read_simple_models,
    write_simple_models,
)
from tests.conftest import latent_set


def test_simple_models_learn_what_can_be_learned_and_are_compared_on_the_same_faces(tmp_path: Path) -> None:
    train, val, test = latent_set(40), latent_set(15, seed=1), latent_set(15, seed=2)
    models = fit_simple_models(train, val)
    always_happy = test.labels * 0 + 3
    scores = compare_simple_models(models, test, always_happy)
    assert [one["name"] for one in scores] == ["linear probe", "small MLP"]
    for one in scores:
        assert one["f1_macro"] > 0.3
        low, high = one["intervals_95"]["f1_macro"]
        assert low < one["f1_macro"] <= high
        assert one["ahead"] == pytest.approx(0.25 / 7 - one["f1_macro"], abs=1e-6)
        assert one["ahead_95"][1] < 0
    assert ahead_text(scores[0]).startswith("-0.")
    write_simple_models(scores, tmp_path)
    assert read_simple_models(tmp_path) == scores
    (tmp_path / FILE).write_text('{"models": [{"name": "linear probe"}]}')
    with pytest.raises(UserError, match="is damaged"):
        read_simple_models(tmp_path)
    assert read_simple_models(tmp_path / "none") == []


def test_with_fewer_rows_than_numbers_in_a_code_simple_models_still_learn() -> None:
    train, val, test = latent_set(6), latent_set(15, seed=1), latent_set(15, seed=2)
    assert len(train) < train.codes[0].size
    for one in compare_simple_models(fit_simple_models(train, val), test, test.labels):
        assert one["f1_macro"] > 0.4, one["name"]  # 0.14 by chance
