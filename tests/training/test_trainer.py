from __future__ import annotations

import gc
import io
import re
from dataclasses import replace
from typing import Any, NamedTuple

import numpy as np
import pytest
import torch

from fervit.errors import UserError
from fervit.training.compatibility import choose_rows
from fervit.training.config import TrainConfig
from fervit.training.data import Batch, DeviceLatents, epoch_batches
from fervit.training.epoch import EpochResult
from fervit.training.failure import DivergedError
from fervit.training.objective import Metric
from fervit.training.optim import LearningRate
from fervit.training.ranks import Ranks
from fervit.training.step import Outcome, ShortWeights, TrainingStep
from fervit.training.trainer import Trainer, class_weights
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


EVERYTHING: dict[str, Any] = {
    **{"pre_norm": True, "activation": "gelu", "drop_path": 0.1, "pooling": "mean", "standardise": True},
    **{"warmup_epochs": 2.5, "label_smoothing": 0.1, "mixup": 0.5, "latent_noise": 0.3, "latent_mask": 0.2},
    **{"grad_clip": 1.0, "ema_decay": 0.95, "data_fraction": 0.7, "use_class_weights": True, "scheduler": "cosine"},
}


@pytest.mark.parametrize(
    "changes",
    [{"scheduler": "plateau"}, {"scheduler": "cosine"}, {"scheduler": "none"}, {"precision": "bfloat16"}, EVERYTHING],
)
def test_an_interrupted_training_goes_on_to_the_same_numbers(changes: dict[str, Any]) -> None:
    whole = curve(trainer(**changes))
    first = trainer(**changes)
    head = [timeless(first.run_epoch()) for _ in range(3)]
    saved = io.BytesIO()
    torch.save(first.state_dict(), saved)
    torch.manual_seed(0)  # what another process would have
    second = trainer(**changes)
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
    val = replace(val, encoder=replace(val.encoder, checkpoint_sha256="other"))
    with pytest.raises(UserError, match="another encoder"):
        Trainer(SMALL, DeviceLatents(train), DeviceLatents(val))


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"embed_dim": 30, "heads": 4}, "`embed_dim % heads == 0` must hold, but got embed_dim=30, heads=4"),
        ({"lr": 0.0}, "`lr > 0` must hold"),
        ({"dropout": 1.0}, "`0 <= dropout < 1` must hold"),
        ({"depth": 0}, "`depth >= 1` must hold"),
        ({"seed": 2**31}, "`0 <= seed < 2**31` must hold"),
        ({"mixup": -1.0}, "`mixup >= 0` must hold, but got mixup=-1.0"),
        ({"ema_decay": 1.0}, "`0 <= ema_decay < 1` must hold"),
        ({"data_fraction": 0.0}, "`0 < data_fraction <= 1` must hold"),
    ],
)
def test_a_configuration_that_cannot_be_built_names_the_rule(changes: dict[str, Any], message: str) -> None:
    with pytest.raises(ValueError, match=re.escape(message)):
        TrainConfig(**changes)


@pytest.mark.parametrize(
    ("changes", "epochs"),
    [
        ({"label_smoothing": 0.1}, 8),
        ({"mixup": 0.5}, 8),
        ({"latent_noise": 0.5}, 8),
        ({"latent_mask": 0.2}, 8),
        ({"grad_clip": 0.1}, 8),
        ({"ema_decay": 0.9}, 8),
        ({"warmup_epochs": 2.0}, 8),
        ({"standardise": True}, 8),
        (EVERYTHING, 16),
    ],
)
def test_each_option_changes_the_training_and_it_still_learns(changes: dict[str, Any], epochs: int) -> None:
    rows = curve(trainer(epochs=epochs, **changes))
    assert rows != curve(trainer(epochs=epochs))
    assert max(row["f1_macro"] for row in rows) > 0.5
    assert rows[-1]["train_loss"] < rows[0]["train_loss"]


def test_bfloat16_follows_float32() -> None:
    exact, short = (curve(trainer(precision=precision)) for precision in ("float32", "bfloat16"))
    for a, b in zip(exact, short, strict=True):
        assert b["train_loss"] == pytest.approx(a["train_loss"], rel=0.02)
    assert exact != short


@pytest.mark.parametrize("changes", [{}, {**EVERYTHING, "drop_path": 0.3}])
def test_weights_kept_in_bfloat16_give_the_curve_of_autocast(changes: dict[str, Any]) -> None:
    by_autocast, kept = (trainer(precision="bfloat16", epochs=3, **changes) for _ in range(2))
    kept.step.short = ShortWeights(kept.model, torch.bfloat16)
    assert curve(kept) == curve(by_autocast)
    for one, other in zip(kept.model.parameters(), by_autocast.model.parameters(), strict=True):
        assert one.dtype == torch.float32
        assert torch.equal(one, other)


def test_what_is_measured_and_kept_is_the_average_of_the_weights() -> None:
    plain, averaged = trainer(epochs=2), trainer(epochs=2, ema_decay=0.9)
    for each in (plain, averaged):
        curve(each)
    for one, other in zip(plain.model.parameters(), averaged.model.parameters(), strict=True):
        assert torch.equal(one, other)  # averaging does not touch the training
    assert plain.evaluated is plain.model
    assert not torch.equal(averaged.evaluated.input_proj.weight, averaged.model.input_proj.weight)


def test_a_share_of_the_data_keeps_the_shares_of_the_classes() -> None:
    labels = np.repeat(np.arange(7), [100, 10, 50, 200, 40, 30, 2])
    rows = choose_rows(labels, 0.3, seed=1)
    assert np.bincount(labels[rows]).tolist() == [30, 3, 15, 60, 12, 9, 1]
    assert not np.array_equal(rows, choose_rows(labels, 0.3, seed=2))
    assert choose_rows(labels, 1.0, seed=1).tolist() == list(range(len(labels)))


def test_training_ends_when_nothing_gets_better() -> None:
    patient = trainer(early_stop_patience=2, lr=1e-9, epochs=50)
    rows = curve(patient)
    assert patient.best is not None
    assert len(rows) == patient.best.epoch + 2 < 50


LOWEST_LOSS = Metric(name="val_loss", goal="minimize")


def test_the_best_epoch_is_the_highest_and_the_earliest_of_equal_ones() -> None:
    trained = trainer(epochs=12)
    rows = curve(trained)
    assert trained.best is not None
    assert trained.best.epoch == 1 + int(np.argmax([row["f1_macro"] for row in rows]))
    by_loss = Trainer(
        SMALL,
        DeviceLatents(latent_set(30)),
        DeviceLatents(latent_set(20, seed=1)),
        metric=Metric(name="val_loss", goal="minimize"),
    )
    losses = [row["val_loss"] for row in curve(by_loss)]
    assert by_loss.best is not None
    assert by_loss.best.val_loss == min(losses)


def test_the_rate_rises_step_by_step_then_follows_the_schedule() -> None:
    config = replace(SMALL, lr=1.0, warmup_epochs=2.0, scheduler="cosine", epochs=4)
    optimizer = torch.optim.SGD([torch.zeros(1, requires_grad=True)], lr=1.0)
    schedule, rates = LearningRate(optimizer, config), []
    for epoch in range(4):
        for step in range(5):
            schedule.before_step(epoch + (step + 1) / 5)
            rates.append(optimizer.param_groups[0]["lr"])
            optimizer.step()
        schedule.after_epoch(1.0)
    whole = [0.5 * (1 + np.cos(np.pi * epoch / 4)) for epoch in range(4)]
    rise = [min(1.0, (i + 1) / 10) for i in range(20)]
    assert rates == pytest.approx([whole[i // 5] * rise[i] for i in range(20)])


def test_ranks_share_the_batches_out_and_pairs_stay_within_a_batch() -> None:
    rows, weights, config = torch.arange(100, 170), torch.rand(70), replace(SMALL, mixup=0.5)
    alone, *shared = (
        list(epoch_batches(config, 3, rows, weights, ranks)) for ranks in (Ranks(), *(Ranks(i, 3) for i in range(3)))
    )
    assert torch.cat([batch.rows for batch in alone]).sort().values.tolist() == rows.tolist()
    assert [batch.total for batch in alone] == [32, 32, 6]
    for i, batch in enumerate(alone):
        assert sorted(batch.rows.tolist()) == sorted(batch.partners.tolist())
        parts = [batches[i] for batches in shared]
        assert torch.cat([part.rows for part in parts]).tolist() == batch.rows.tolist()
        assert [part.start for part in parts] == [0, len(parts[0].rows), batch.total - len(parts[2].rows)]
        assert all(part.weight == batch.weight and part.mix == batch.mix for part in parts)


def on_gpu(capture: bool = True, **changes: Any) -> Trainer:
    data = DeviceLatents(latent_set(60), "cuda"), DeviceLatents(latent_set(20, seed=1), "cuda")
    return Trainer(replace(SMALL, **changes), *data, capture=capture)


@pytest.mark.gpu
@pytest.mark.parametrize("changes", [{}, EVERYTHING])
def test_a_captured_step_gives_the_losses_of_an_eager_one(changes: dict[str, Any]) -> None:
    config = {"dropout": 0.0, **changes, "drop_path": 0.0, "latent_noise": 0.0, "latent_mask": 0.0}
    curves = []
    for capture in (True, False):
        trained = on_gpu(capture, **config)
        curves.append([row["train_loss"] for row in curve(trained)])
        assert trained.captured == capture
    assert curves[0] == pytest.approx(curves[1], rel=1e-3)


class Steps(NamedTuple):
    losses: list[float]
    captured: bool


def steps(device: str, capture: bool = True, **changes: Any) -> Steps:
    """The steps of two epochs with whole batches of identical rows, in which the weights stay."""
    latents = latent_set(64)
    latents.codes[:], latents.labels[:] = latents.codes[0], latents.labels[0]
    data = DeviceLatents(latents, device), DeviceLatents(latent_set(20, seed=1), device)
    shape = data[0].codes.shape[1:]
    data[0]._statistics = torch.zeros(shape, device=device), torch.ones(shape, device=device)  # of rows that differ
    trained = Trainer(replace(SMALL, lr=1e-30, **changes), *data, capture=capture)
    losses: list[float] = []
    step = trained.step

    def noting(batch: Batch) -> Outcome:
        outcome = step(batch)
        losses.append(float(outcome.loss))
        return outcome

    trained.step = noting  # type: ignore[assignment]
    for _ in range(2):
        trained.run_epoch()
    return Steps(losses, step.captured)


MASKED: list[dict[str, Any]] = [
    {"dropout": 0.5},
    {"drop_path": 0.5, "depth": 2},
    {"latent_noise": 0.5},
    {"latent_mask": 0.5},
]


@pytest.mark.parametrize("changes", MASKED)
@pytest.mark.parametrize("device", ["cpu", pytest.param("cuda", marks=pytest.mark.gpu)])
def test_each_step_draws_masks_of_its_own_that_follow_from_the_seed(device: str, changes: dict[str, Any]) -> None:
    """The rows are identical and the weights stay, so that only the masks make steps differ, replayed ones, too."""
    changes = {"dropout": 0.0, **changes}
    masked, again, without = steps(device, **changes), steps(device, **changes), steps(device, dropout=0.0)
    assert masked.captured == (device == "cuda")
    assert len(masked.losses) == 28
    assert len(set(masked.losses[:14])) > 7
    assert len(set(masked.losses[14:])) > 7
    assert masked.losses[:14] != masked.losses[14:]
    assert again.losses == masked.losses
    assert without.losses == pytest.approx([without.losses[0]] * 28, rel=1e-5)


@pytest.mark.gpu
def test_replays_draw_the_masks_of_eager_steps() -> None:
    captured, eager = (steps("cuda", capture, dropout=0.5) for capture in (True, False))
    assert (captured.captured, eager.captured) == (True, False)
    assert captured.losses == pytest.approx(eager.losses, rel=1e-3)


@pytest.mark.gpu
def test_a_training_resumed_on_a_gpu_keeps_following_the_schedule() -> None:
    whole = curve(on_gpu(scheduler="cosine"))
    first, second = on_gpu(scheduler="cosine"), on_gpu(scheduler="cosine")
    head = [timeless(first.run_epoch()) for _ in range(3)]
    saved = io.BytesIO()
    torch.save(first.state_dict(), saved)
    saved.seek(0)
    second.load_state_dict(torch.load(saved, weights_only=True, map_location="cpu"))
    rows = head + curve(second)
    for name in ("lr", "train_loss"):
        assert [row[name] for row in rows] == pytest.approx([row[name] for row in whole], rel=1e-3)


@pytest.mark.gpu
def test_where_a_step_cannot_be_captured_steps_stay_eager(monkeypatch: pytest.MonkeyPatch) -> None:
    def refuse(*args: Any, **more: Any) -> None:
        raise RuntimeError("no capture here")

    monkeypatch.setattr(torch.cuda, "graph", refuse)
    trained = on_gpu()
    rows = curve(trained)
    assert not trained.captured
    assert rows[-1]["f1_macro"] > 0.5


@pytest.mark.gpu
def test_after_a_capture_that_breaks_off_half_way_steps_go_on_eagerly_with_the_same_masks(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    eager = steps("cuda", capture=False, dropout=0.5)
    update = TrainingStep._update

    def waits(self: TrainingStep) -> None:
        """After the forward pass, which draws masks, it does what no capture allows."""
        if torch.cuda.is_current_stream_capturing():
            torch.cuda.synchronize()
        update(self)

    monkeypatch.setattr(TrainingStep, "_update", waits)
    broken = steps("cuda", dropout=0.5)
    assert not broken.captured
    assert broken.losses == pytest.approx(eager.losses, rel=1e-3)


@pytest.mark.gpu
def test_trainings_one_after_the_other_in_a_process_take_no_more_memory() -> None:
    """cuBLAS keeps a workspace for each stream that it has seen."""
    taken = []
    for _ in range(12):
        curve(on_gpu(epochs=1))
        gc.collect()
        torch.cuda.empty_cache()
        taken.append(torch.cuda.memory_reserved())
    assert taken[-1] <= taken[2]
