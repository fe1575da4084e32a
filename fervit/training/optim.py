"""The optimizer, its learning rate, and the moving average of the weights."""

from __future__ import annotations

import copy
from typing import Any

import torch
from torch import Tensor, nn
from torch.optim.lr_scheduler import CosineAnnealingLR, ReduceLROnPlateau

from fervit.training.config import TrainConfig

PLATEAU_PATIENCE, PLATEAU_FACTOR = 5, 0.5


def make_optimizer(model: nn.Module, config: TrainConfig, device: torch.device) -> torch.optim.Optimizer:
    """AdamW (Loshchilov and Hutter, 2019), fused. On a GPU its step can be captured, so its rate is a tensor there."""
    on_gpu = device.type == "cuda"
    lr: Any = torch.tensor(config.lr, device=device) if on_gpu else config.lr
    return torch.optim.AdamW(model.parameters(), lr=lr, weight_decay=config.weight_decay, fused=True, capturable=on_gpu)


class LearningRate:
    """The rate of each step: the scheduler's for the epoch, times a rise from 0 over the first `warmup_epochs`."""

    def __init__(self, optimizer: torch.optim.Optimizer, config: TrainConfig) -> None:
        self._group, self._warmup = optimizer.param_groups[0], config.warmup_epochs
        self.epoch_lr = config.lr
        self._schedule: ReduceLROnPlateau | CosineAnnealingLR | None = None
        if config.scheduler == "plateau":
            self._schedule = ReduceLROnPlateau(optimizer, patience=PLATEAU_PATIENCE, factor=PLATEAU_FACTOR)
        elif config.scheduler == "cosine":
            self._schedule = CosineAnnealingLR(optimizer, T_max=config.epochs)

    @property
    def current(self) -> float:
        """Of the last step."""
        return float(self._group["lr"])

    def before_step(self, epochs_done: float) -> None:
        """Sets the rate of a step that begins after so many epochs, fractions included."""
        if epochs_done < self._warmup:
            self._set(self.epoch_lr * epochs_done / self._warmup)
        elif self._warmup:
            self._set(self.epoch_lr)

    def after_epoch(self, val_loss: float) -> None:
        self._set(self.epoch_lr)
        if isinstance(self._schedule, ReduceLROnPlateau):
            self._schedule.step(val_loss)
        elif self._schedule is not None:
            self._schedule.step()
        self.epoch_lr = float(self._group["lr"])

    def state_dict(self) -> dict[str, Any]:
        schedule = copy.deepcopy(self._schedule.state_dict()) if self._schedule is not None else None
        return {"epoch_lr": self.epoch_lr, "schedule": schedule}

    def load_state_dict(self, state: dict[str, Any], optimizer: torch.optim.Optimizer) -> None:
        """After the optimizer has loaded its own, which replaces its parameter groups."""
        self._group, self.epoch_lr = optimizer.param_groups[0], state["epoch_lr"]
        if isinstance(self._group["lr"], Tensor):  # a captured step would take one on the host for a constant
            self._group["lr"] = self._group["lr"].to(self._group["params"][0].device)
        if self._schedule is not None:
            self._schedule.load_state_dict(state["schedule"])

    def _set(self, lr: float) -> None:
        if isinstance(self._group["lr"], Tensor):
            self._group["lr"].fill_(lr)  # in place: a captured step reads it there
        else:
            self._group["lr"] = lr


class Average:
    """Exponential moving average of a model's weights, short at first: min(decay, (1 + n) / (10 + n)) in step n.

    Papers: Polyak and Juditsky (1992) for averaging; the rise of the decay is that of TensorFlow's and timm's.
    """

    def __init__(self, model: nn.Module, decay: float) -> None:
        self.decay, self.steps = decay, 0
        self.model = copy.deepcopy(model).requires_grad_(False)
        self._source: list[Tensor] = list(model.parameters())
        self._target: list[Tensor] = list(self.model.parameters())

    @torch.no_grad()
    def update(self) -> None:
        decay = min(self.decay, (1 + self.steps) / (10 + self.steps))
        torch._foreach_lerp_(self._target, self._source, 1 - decay)
        self.steps += 1

    def state_dict(self) -> dict[str, Any]:
        return {"model": self.model.state_dict(), "steps": self.steps}

    def load_state_dict(self, state: dict[str, Any]) -> None:
        self.model.load_state_dict(state["model"])
        self.steps = state["steps"]
