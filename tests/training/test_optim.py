"""The learning rate as the number that a CPU's step takes, and as the tensor that a captured step reads."""

from __future__ import annotations

from typing import Any

import pytest
import torch
from torch import Tensor, nn

from fervit.training.config import TrainConfig
from fervit.training.optim import LearningRate


def made(config: TrainConfig, *, captured: bool) -> tuple[torch.optim.Optimizer, LearningRate]:
    """An optimizer as on a CPU, or with the tensor and the flag of one on a GPU."""
    lr = torch.tensor(config.lr, dtype=torch.float64) if captured else config.lr
    optimizer = torch.optim.AdamW(nn.Linear(2, 2).parameters(), lr=lr, fused=True, capturable=captured)
    return optimizer, LearningRate(optimizer, config)


def rates(config: TrainConfig, learning_rate: LearningRate, epochs: int) -> list[float]:
    """The rate of each of two steps an epoch; the validation loss never gets better."""
    found = []
    for epoch in range(epochs):
        for step in (1, 2):
            learning_rate.before_step(epoch + step / 2)
            found.append(learning_rate.current)
        learning_rate.after_epoch(1.0)
    return found


@pytest.mark.parametrize("schedule", ["plateau", "cosine", "none"])
@pytest.mark.parametrize("warmup", [0.0, 1.5])
def test_a_captured_step_reads_the_rate_that_a_cpus_step_is_given(schedule: Any, warmup: float) -> None:
    config = TrainConfig(scheduler=schedule, warmup_epochs=warmup, epochs=20, lr=1e-3)
    _, plain = made(config, captured=False)
    optimizer, captured = made(config, captured=True)
    read = optimizer.param_groups[0]["lr"]
    expected = rates(config, plain, 20)
    assert rates(config, captured, 20) == pytest.approx(expected)
    assert optimizer.param_groups[0]["lr"] is read  # the graph holds this very tensor
    assert float(read) == pytest.approx(plain.current)
    if schedule == "plateau":
        assert expected[-1] < expected[10]


class OldPlateau(torch.optim.lr_scheduler.ReduceLROnPlateau):
    """As torch was before the fix of its issue 196286: it puts a number in the place of the tensor."""

    def step(self, metrics: Any, epoch: Any = None) -> None:
        super().step(metrics)
        self.optimizer.param_groups[0]["lr"] = float(self.optimizer.param_groups[0]["lr"])


def test_the_rate_reaches_the_captured_step_on_versions_of_torch_that_replace_the_tensor(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr("fervit.training.optim.ReduceLROnPlateau", OldPlateau)
    config = TrainConfig(scheduler="plateau", epochs=20, lr=1e-3)
    optimizer, captured = made(config, captured=True)
    read = optimizer.param_groups[0]["lr"]
    rates(config, captured, 14)
    assert float(read) == pytest.approx(2.5e-4)
    assert captured.epoch_lr == pytest.approx(2.5e-4)


@pytest.mark.parametrize(("saved", "loaded"), [(False, True), (True, False), (True, True)])
def test_a_state_saved_on_one_kind_of_device_goes_on_on_the_other(saved: bool, loaded: bool) -> None:
    config = TrainConfig(scheduler="plateau", epochs=30, lr=1e-3)
    first, before = made(config, captured=saved)
    rates(config, before, 8)
    second, after = made(config, captured=loaded)
    read = second.param_groups[0]["lr"]
    second.load_state_dict(first.state_dict())
    after.load_state_dict(before.state_dict(), second)
    group = second.param_groups[0]
    assert (group["capturable"], group["fused"]) == (loaded, True)
    assert isinstance(group["lr"], Tensor) == loaded
    assert not loaded or group["lr"] is read  # so it can be captured again, and the graph reads the right tensor
    assert rates(config, after, 8) == pytest.approx(rates(config, before, 8))


def test_plateau_follows_the_macro_f1_and_a_run_that_was_saved_following_the_loss_goes_on_so() -> None:
    config = TrainConfig(scheduler="plateau", epochs=30, lr=1e-3)
    _, learning_rate = made(config, captured=False)
    for epoch in range(20):
        learning_rate.after_epoch(0.1 + epoch / 100, val_loss=1.0 + epoch)  # the loss gets worse, the score better
    assert learning_rate.epoch_lr == pytest.approx(1e-3)
    for _ in range(6):
        learning_rate.after_epoch(0.1, val_loss=0.0)
    assert learning_rate.epoch_lr == pytest.approx(5e-4)

    optimizer, resumed = made(config, captured=False)
    followed_loss = torch.optim.lr_scheduler.ReduceLROnPlateau(optimizer, patience=5, factor=0.5)
    followed_loss.step(1.0)
    state = {"epoch_lr": 1e-3, "schedule": followed_loss.state_dict()}
    resumed.load_state_dict(state, optimizer)
    for epoch in range(20):
        resumed.after_epoch(0.1, val_loss=0.9 - epoch / 100)
    assert resumed.epoch_lr == pytest.approx(1e-3)
