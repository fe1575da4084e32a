"""One training of LatentViT, an epoch at a time. Knows nothing of Ray, files or screens."""

from __future__ import annotations

import copy
import math
import time
import warnings
from collections.abc import Iterator
from dataclasses import asdict, dataclass
from typing import Any

import numpy as np
import torch
import torch.nn.functional as F
from torch import Tensor

from fervit.emotions import NUM_EMOTIONS
from fervit.latents import LatentSet
from fervit.model import LatentViT
from fervit.training.config import TrainConfig
from fervit.training.fit import fit_to_data
from fervit.training.metrics import metrics_of_counts

VALIDATION_BATCH = 512
PLATEAU_PATIENCE, PLATEAU_FACTOR = 5, 0.5


class DivergedError(Exception):
    """The loss became NaN or infinite."""


@dataclass(frozen=True, kw_only=True)
class EpochResult:
    """What one epoch gave. Epochs count from 1; metrics are of the validation split."""

    epoch: int
    train_loss: float
    train_accuracy: float
    val_loss: float
    accuracy: float
    f1_macro: float
    f1_weighted: float
    balanced_accuracy: float
    lr: float
    seconds: float
    samples_per_second: float

    def to_json(self) -> dict[str, Any]:
        return asdict(self)


class DeviceLatents:
    """A split on the device, float16 as on disk; batches are gathered there by index. Trainers can share one."""

    def __init__(self, latents: LatentSet, device: str = "cpu") -> None:
        self.latents, self.device = latents, torch.device(device)
        with warnings.catch_warnings():
            # The codes may be a read-only view of shared memory; torch has no such tensors and warns. Nothing writes.
            warnings.filterwarnings("ignore", message="The given NumPy array is not writable")
            self.codes = torch.from_numpy(latents.codes).to(self.device)
            self.labels = torch.from_numpy(latents.labels).to(self.device)

    def __len__(self) -> int:
        return len(self.labels)

    def batch(self, rows: Tensor) -> tuple[Tensor, Tensor]:
        """float32 codes [n, seq_len, latent_dim] and labels [n] of some rows."""
        return self.codes[rows].float(), self.labels[rows]


class Trainer:
    """Trains one configuration; `run_epoch` until `finished`.

    The same configuration, data and hardware give the same numbers, also when the training was interrupted and went on
    from `state_dict`.

    Args:
        config: the hyperparameters.
        train: rows to learn from; the model lives on their device.
        val: rows to measure on after each epoch.

    Raises:
        UserError: the latents do not fit the configuration or each other.
    """

    def __init__(self, config: TrainConfig, train: DeviceLatents, val: DeviceLatents) -> None:
        self.config = config = fit_to_data(config, train.latents, val.latents)
        self.train, self.val, self.device = train, val, train.device
        torch.manual_seed(config.seed)
        self.model = LatentViT(**config.model()).to(self.device)
        self.optimizer = torch.optim.AdamW(
            self.model.parameters(), lr=config.lr, weight_decay=config.weight_decay, fused=True
        )
        self.schedule = _schedule(self.optimizer, config)
        self.class_weights = class_weights(train.latents.counts).to(self.device) if config.use_class_weights else None
        self.epoch = 0

    @property
    def finished(self) -> bool:
        return self.epoch >= self.config.epochs

    def run_epoch(self) -> EpochResult:
        """One pass over the training rows, then one over the validation rows.

        Raises:
            DivergedError: the loss is not a finite number any more.
        """
        started = time.perf_counter()
        self.epoch += 1
        lr = float(self.optimizer.param_groups[0]["lr"])
        train_loss, train_accuracy = self._train_pass()
        train_seconds = time.perf_counter() - started
        val_loss, confusion = self._validation_pass()
        for name, loss in (("loss", train_loss), ("validation loss", val_loss)):
            if not math.isfinite(loss):
                raise DivergedError(f"the {name} became {loss} in epoch {self.epoch} at lr {lr:g}; try a lower lr")
        if isinstance(self.schedule, torch.optim.lr_scheduler.ReduceLROnPlateau):
            self.schedule.step(val_loss)
        elif self.schedule is not None:
            self.schedule.step()
        return EpochResult(
            epoch=self.epoch,
            train_loss=train_loss,
            train_accuracy=train_accuracy,
            val_loss=val_loss,
            lr=lr,
            seconds=time.perf_counter() - started,
            samples_per_second=len(self.train) / train_seconds,
            **metrics_of_counts(confusion),
        )

    def state_dict(self) -> dict[str, Any]:
        """All that the rest of the training depends on; loads with `weights_only=True`."""
        return {
            "config": self.config.to_json(),
            "epoch": self.epoch,
            "model": self.model.state_dict(),
            "optimizer": self.optimizer.state_dict(),
            "schedule": copy.deepcopy(self.schedule.state_dict()) if self.schedule is not None else None,
            "rng": torch.get_rng_state(),
            "rng_cuda": torch.cuda.get_rng_state(self.device) if self.device.type == "cuda" else None,
        }

    def load_state_dict(self, state: dict[str, Any]) -> None:
        """Goes on from where another Trainer of the same configuration stood."""
        if state["config"] != self.config.to_json():
            raise ValueError("the state is of another configuration")
        self.epoch = state["epoch"]
        self.model.load_state_dict(state["model"])
        self.optimizer.load_state_dict(state["optimizer"])
        if self.schedule is not None:
            self.schedule.load_state_dict(state["schedule"])
        torch.set_rng_state(state["rng"])
        if state["rng_cuda"] is not None:
            torch.cuda.set_rng_state(state["rng_cuda"], self.device)

    def _train_pass(self) -> tuple[float, float]:
        """Mean loss and accuracy over the epoch, both from the same forward passes that trained."""
        self.model.train()
        loss_sum = torch.zeros((), device=self.device)
        hits = torch.zeros((), dtype=torch.int64, device=self.device)
        for rows in self._shuffled_batches():
            codes, labels = self.train.batch(rows)
            logits = self.model(codes)
            loss = F.cross_entropy(logits, labels, weight=self.class_weights)
            self.optimizer.zero_grad(set_to_none=True)
            loss.backward()
            self.optimizer.step()
            loss_sum += loss.detach() * len(rows)
            hits += (logits.detach().argmax(dim=1) == labels).sum()
        n = len(self.train)
        return loss_sum.item() / n, hits.item() / n

    @torch.inference_mode()
    def _validation_pass(self) -> tuple[float, np.ndarray]:
        """Mean cross-entropy and the confusion matrix [7, 7]."""
        self.model.eval()
        loss_sum = torch.zeros((), device=self.device)
        counts = torch.zeros(NUM_EMOTIONS * NUM_EMOTIONS, dtype=torch.int64, device=self.device)
        for rows in torch.arange(len(self.val), device=self.device).split(VALIDATION_BATCH):
            codes, labels = self.val.batch(rows)
            logits = self.model(codes)
            loss_sum += F.cross_entropy(logits, labels, reduction="sum")
            cells = labels * NUM_EMOTIONS + logits.argmax(dim=1)
            counts += torch.bincount(cells, minlength=len(counts))
        return loss_sum.item() / len(self.val), counts.view(NUM_EMOTIONS, NUM_EMOTIONS).cpu().numpy()

    def _shuffled_batches(self) -> Iterator[Tensor]:
        """Rows in an order that depends on the seed and the epoch alone, so that a resumed run draws the same."""
        generator = torch.Generator().manual_seed(self.config.seed * 1_000_003 + self.epoch)
        order = torch.randperm(len(self.train), generator=generator).to(self.device)
        yield from order.split(self.config.batch_size)


def class_weights(counts: np.ndarray) -> Tensor:
    """float32 [7]: n / (7 * rows of the class), 0 for a class without rows; their mean over the rows is 1."""
    weights = np.divide(counts.sum(), NUM_EMOTIONS * counts, out=np.zeros(len(counts)), where=counts > 0)
    return torch.from_numpy(weights).float()


Schedule = torch.optim.lr_scheduler.ReduceLROnPlateau | torch.optim.lr_scheduler.CosineAnnealingLR


def _schedule(optimizer: torch.optim.Optimizer, config: TrainConfig) -> Schedule | None:
    if config.scheduler == "plateau":
        return torch.optim.lr_scheduler.ReduceLROnPlateau(optimizer, patience=PLATEAU_PATIENCE, factor=PLATEAU_FACTOR)
    if config.scheduler == "cosine":
        return torch.optim.lr_scheduler.CosineAnnealingLR(optimizer, T_max=config.epochs)
    return None
