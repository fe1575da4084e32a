"""The optimizer, the schedule of its learning rate, and the moving average of the weights."""

from __future__ import annotations

import copy

import torch
from torch import Tensor, nn
from torch.optim.lr_scheduler import CosineAnnealingLR, ReduceLROnPlateau

from fervit.io.torch_files import StateDict
from fervit.training.config import TrainConfig

PLATEAU_PATIENCE, PLATEAU_FACTOR = 5, 0.5


def make_optimizer(model: nn.Module, config: TrainConfig, device: torch.device) -> torch.optim.Optimizer:
    """Makes a fused AdamW (Loshchilov and Hutter, 2019).

    On a GPU its step can be captured in a CUDA graph, and the learning rate is a tensor.
    """
    on_gpu = device.type == "cuda"
    lr = torch.tensor(config.lr, device=device) if on_gpu else config.lr
    return torch.optim.AdamW(model.parameters(), lr=lr, weight_decay=config.weight_decay, fused=True, capturable=on_gpu)


class LearningRate:
    """Sets the learning rate: that of the epoch, from the scheduler, times a rise from 0 over `warmup_epochs`."""

    def __init__(self, optimizer: torch.optim.Optimizer, config: TrainConfig) -> None:
        self._group, self._warmup = optimizer.param_groups[0], config.warmup_epochs
        self._tensor = self._group["lr"] if isinstance(self._group["lr"], Tensor) else None
        """The rate that a captured step reads; it must stay the same tensor."""
        self.epoch_lr = config.lr
        self._schedule: ReduceLROnPlateau | CosineAnnealingLR | None = None
        if config.scheduler == "plateau":
            self._schedule = ReduceLROnPlateau(optimizer, "max", patience=PLATEAU_PATIENCE, factor=PLATEAU_FACTOR)
        elif config.scheduler == "cosine":
            self._schedule = CosineAnnealingLR(optimizer, T_max=config.epochs)

    @property
    def current(self) -> float:
        """The learning rate of the last step."""
        return float(self._group["lr"])

    def before_step(self, epochs_done: float) -> None:
        """Sets the learning rate of a step.

        Args:
            epochs_done: the number of epochs, with fractions, that are complete when the step is done.
        """
        if epochs_done < self._warmup:
            self._set(self.epoch_lr * epochs_done / self._warmup)
        elif self._warmup:
            self._set(self.epoch_lr)

    def after_epoch(self, f1_macro: float, val_loss: float | None = None) -> None:
        """Lets the scheduler set the learning rate of the next epoch.

        Args:
            f1_macro: the macro-F1 on validation, which `plateau` follows, as in the guide.
            val_loss: the loss on validation, which a run that followed it when it was saved goes on following.
        """
        self._set(self.epoch_lr)
        if isinstance(self._schedule, ReduceLROnPlateau):
            follows_loss = self._schedule.mode == "min" and val_loss is not None
            self._schedule.step(val_loss if follows_loss and val_loss is not None else f1_macro)
        elif self._schedule is not None:
            self._schedule.step()
        self._set(float(self._group["lr"]))  # some versions of torch put a number in the place of the tensor
        self.epoch_lr = float(self._group["lr"])

    def state_dict(self) -> StateDict:
        """The state that a later process continues from."""
        schedule = copy.deepcopy(self._schedule.state_dict()) if self._schedule is not None else None
        return {"epoch_lr": self.epoch_lr, "schedule": schedule}

    def load_state_dict(self, state: StateDict, optimizer: torch.optim.Optimizer) -> None:
        """Continues from a state. The optimizer must have loaded its own before, which replaces its groups.

        The state may be of another kind of device: on this one the rate stays the tensor or the number that it was, and
        a step that could be captured before can be captured again.
        """
        self._group, self.epoch_lr = optimizer.param_groups[0], state["epoch_lr"]
        self._group["capturable"], self._group["fused"] = self._tensor is not None, True
        self._set(float(self._group["lr"]))
        if self._schedule is not None:
            self._schedule.load_state_dict(state["schedule"])

    def _set(self, lr: float) -> None:
        if self._tensor is None:
            self._group["lr"] = lr
        else:
            self._group["lr"] = self._tensor.fill_(lr)  # in place, since a captured step reads this tensor


class Average:
    """The exponential moving average of a model's weights. Its decay in step n is min(decay, (1 + n) / (10 + n)).

    Paper: Polyak and Juditsky, "Acceleration of stochastic approximation by averaging" (1992). The rise of the decay is
    that of TensorFlow and timm.
    """

    def __init__(self, model: nn.Module, decay: float) -> None:
        self.decay, self.steps = decay, 0
        self.model = copy.deepcopy(model).requires_grad_(False)
        self._source: list[Tensor] = list(model.parameters())
        self._target: list[Tensor] = list(self.model.parameters())

    @torch.no_grad()
    def update(self) -> None:
        """Moves the average towards the weights that the model has after a step."""
        decay = min(self.decay, (1 + self.steps) / (10 + self.steps))
        torch._foreach_lerp_(self._target, self._source, 1 - decay)
        self.steps += 1

    def state_dict(self) -> StateDict:
        """The state that a later process continues from."""
        return {"model": self.model.state_dict(), "steps": self.steps}

    def load_state_dict(self, state: StateDict) -> None:
        """Continues from a state."""
        self.model.load_state_dict(state["model"])
        self.steps = state["steps"]
