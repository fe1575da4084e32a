from __future__ import annotations

import io
from dataclasses import replace
from typing import Any

import numpy as np
import pytest
import torch

from fervit.errors import UserError
from fervit.training.config import TrainConfig
from fervit.training.data import DeviceLatents
from fervit.training.trainer import DivergedError, EpochResult, Trainer, class_weights
from tests.conftest import LATENT_DIM, SEQ_LEN, latent_set

SMALL = TrainConfig(
    seq_len=SEQ_LEN, latent_dim=LATENT_DIM, embed_dim=16, depth=1, heads=2, mlp_dim=16, batch_size=32, epochs=8, lr=3e-3
)


def trainer(**changes: Any) -> Trainer:
    return Trainer(replace(SMALL, **changes), DeviceLatents(latent_set(30)), DeviceLatents(latent_set(20, seed=1)))


def curve(trained: Trainer) -> list[dict[str, Any]]:
    rows = []
    while not trained.finished:
        rows.append(timeless(trained.run_epoch()))
    return rows


def timeless(result: EpochResult) -> dict[str, Any]:
    return {k: v for k, v in result.to_json().items() if k not in ("seconds", "samples_per_second")}


def test_learns_to_tell_the_classes_apart() -> None:
    rows = curve(trainer())
    assert [row["epoch"] for row in rows] == list(range(1, 9))
    assert rows[-1]["f1_macro"] > 0.5 > rows[0]["f1_macro"]
    assert rows[-1]["val_loss"] < rows[0]["val_loss"]


def test_one_seed_fixes_a_training_and_another_changes_it() -> None:
    assert curve(trainer(epochs=2)) == curve(trainer(epochs=2))
    assert curve(trainer(epochs=2)) != curve(trainer(epochs=2, seed=43))


@pytest.mark.parametrize("scheduler", ["plateau", "cosine", "none"])
def test_an_interrupted_training_goes_on_to_the_same_numbers(scheduler: Any) -> None:
    whole = curve(trainer(scheduler=scheduler))
    first = trainer(scheduler=scheduler)
    head = [timeless(first.run_epoch()) for _ in range(3)]
    saved = io.BytesIO()
    torch.save(first.state_dict(), saved)
    torch.manual_seed(0)  # what another process would have
    second = trainer(scheduler=scheduler)
    saved.seek(0)
    second.load_state_dict(torch.load(saved, weights_only=True))
    assert head + curve(second) == whole


def test_a_state_of_other_hyperparameters_is_refused() -> None:
    with pytest.raises(ValueError, match="another configuration"):
        trainer().load_state_dict(trainer(lr=1e-3).state_dict())


def test_the_cosine_schedule_ends_near_zero_and_none_stays() -> None:
    assert curve(trainer(scheduler="cosine"))[-1]["lr"] < 0.1 * SMALL.lr
    assert {row["lr"] for row in curve(trainer(scheduler="none"))} == {SMALL.lr}


def test_a_loss_that_is_not_a_number_stops_the_training() -> None:
    with pytest.raises(DivergedError, match=r"the loss became nan in epoch 1, step 2 of 7, at lr 1e\+30"):
        curve(trainer(lr=1e30))


def test_class_weights_even_out_the_shares() -> None:
    counts = np.array([10, 20, 30, 40, 50, 0, 50])
    weights = class_weights(counts).numpy()
    assert weights[5] == 0
    np.testing.assert_allclose((weights * counts)[counts > 0], counts.sum() / 7, rtol=1e-6)


def test_latents_of_another_shape_or_encoder_are_refused() -> None:
    train, val = latent_set(5), latent_set(5)
    with pytest.raises(UserError, match="holds codes of 4 x 16, but seq_len is 18"):
        Trainer(replace(SMALL, seq_len=18), DeviceLatents(train), DeviceLatents(val))
    assert Trainer(replace(SMALL, seq_len=0), DeviceLatents(train), DeviceLatents(val)).config.seq_len == 4
    val.encoder["checkpoint_sha256"] = "other"
    with pytest.raises(UserError, match="another encoder"):
        Trainer(SMALL, DeviceLatents(train), DeviceLatents(val))


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"embed_dim": 30, "heads": 4}, "`embed_dim % heads == 0` must hold, but got embed_dim=30, heads=4"),
        ({"lr": 0.0}, "`lr > 0` must hold"),
        ({"dropout": 1.0}, "`0 <= dropout < 1` must hold"),
        ({"depth": 0}, "`depth >= 1` must hold"),
    ],
)
def test_a_configuration_that_cannot_be_built_names_the_rule(changes: dict[str, Any], message: str) -> None:
    with pytest.raises(ValueError, match=message.replace("(", r"\(")):
        TrainConfig(**changes)
