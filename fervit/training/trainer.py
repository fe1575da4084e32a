"""`Trainer` trains LatentViT an epoch at a time. It does not use Ray, files or the screen."""

from __future__ import annotations

import math
import time
from collections.abc import Callable

import numpy as np
import torch
import torch.nn.functional as F
from torch import Tensor

from fervit.io.torch_files import StateDict
from fervit.model import LatentViT
from fervit.system.hardware import cpu_has_bfloat16
from fervit.training.compatibility import choose_rows, fit_to_data
from fervit.training.config import TrainConfig
from fervit.training.data import DeviceLatents, epoch_batches
from fervit.training.epoch import EpochResult
from fervit.training.failure import DivergedError
from fervit.training.metrics import metrics_of_counts
from fervit.training.objective import DEFAULT_METRIC, Metric
from fervit.training.optim import Average, LearningRate, make_optimizer
from fervit.training.ranks import ALONE, Ranks
from fervit.training.step import TrainingStep

VALIDATION_BATCH = 512
GAINS_FROM_BFLOAT16 = 64
"""The smallest width of a token for which bfloat16 with its conversions is faster on a CPU, as measured."""


class Trainer:
    """Trains a model with one set of hyperparameters: call `run_epoch` until `finished`.

    The same configuration, data and hardware give the same numbers, even if the training is interrupted and continued
    from `state_dict`. Any number of ranks gives the same curve, except for rounding.

    Args:
        config: the hyperparameters.
        train: the training split. The model is put on its device.
        val: the validation split, on which the model is measured after each epoch.
        ranks: the processes that train together; each has all the latents.
        metric: the metric that decides which epoch is the best.
        capture: whether to replay steps from a CUDA graph where that is possible.

    Raises:
        UserError: the latents do not fit the configuration or each other.
    """

    def __init__(
        self,
        config: TrainConfig,
        train: DeviceLatents,
        val: DeviceLatents,
        *,
        ranks: Ranks = ALONE,
        metric: Metric = DEFAULT_METRIC,
        capture: bool = True,
    ) -> None:
        self.config = config = fit_to_data(config, train.latents, val.latents)
        self.train, self.val, self.device, self.ranks, self.metric = train, val, train.device, ranks, metric
        rows = choose_rows(train.latents.labels, config.data_fraction, config.seed)
        self.label_set = train.latents.label_set
        n_classes = len(self.label_set)
        weights = torch.ones(n_classes)
        if config.use_class_weights:
            weights = class_weights(np.bincount(train.latents.labels[rows], minlength=n_classes))
        weights = weights.to(self.device)
        self._rows = torch.from_numpy(rows).to(self.device)
        aims = train.aims(self._rows)
        self._row_weights = weights[aims] if train.targets is None else aims @ weights
        statistics = None
        if config.standardise or config.latent_noise or config.latent_mask:
            statistics = train.statistics(self._rows)

        torch.manual_seed(config.seed)
        self.model = LatentViT(**config.model(), num_classes=n_classes)
        if config.standardise and statistics is not None:
            self.model.set_statistics(*statistics)
        self.model.to(self.device)
        self.dtype = dtype_of(config, self.device)
        self._optimizer = make_optimizer(self.model, config, self.device)
        self._learning_rate = LearningRate(self._optimizer, config)
        self._average = Average(self.model, config.ema_decay) if config.ema_decay else None
        self.step = TrainingStep(
            self.model,
            self._optimizer,
            config,
            train,
            class_weights=weights,
            statistics=statistics,
            dtype=self.dtype,
            ranks=ranks,
            capture=capture,
        )
        self.on_first_step: Callable[[], None] | None = None
        """Is called once, after the first step of this process."""
        self.epoch = 0
        self.best: EpochResult | None = None
        """The epoch with the best value of the metric, the earliest of equal ones."""
        self.confusion = np.zeros((n_classes, n_classes), dtype=np.int64)
        """The confusion matrix [C, C] of the last epoch on the validation split; rows are true classes."""

    @property
    def evaluated(self) -> LatentViT:
        """The model that is measured and saved: the trained model, or the moving average of its weights."""
        model: LatentViT = self._average.model if self._average else self.model  # type: ignore[assignment]
        return model

    @property
    def captured(self) -> bool:
        """Whether steps are replayed from a CUDA graph."""
        return self.step.captured

    @property
    def finished(self) -> bool:
        """Whether all epochs are done, or early stopping has ended the training."""
        patience = self.config.early_stop_patience
        stale = bool(patience and self.best and self.epoch - self.best.epoch >= patience)
        return self.epoch >= self.config.epochs or stale

    @property
    def improved(self) -> bool:
        """Whether the last epoch is the best one so far."""
        return self.best is not None and self.best.epoch == self.epoch

    def run_epoch(self) -> EpochResult:
        """Trains on all training rows once, then measures the model on the validation split.

        Raises:
            DivergedError: the loss is no longer a finite number.
        """
        started = time.perf_counter()
        self.epoch += 1
        self._seed_epoch()
        train_loss, train_accuracy = self._train_pass()
        train_seconds = time.perf_counter() - started
        lr = self._learning_rate.current  # of the last step
        val_loss = self._validation_pass()
        if not math.isfinite(val_loss):
            raise DivergedError(f"the validation loss became {val_loss} in epoch {self.epoch} at lr {lr:g}; {HINT}")
        metrics = metrics_of_counts(self.confusion)
        self._learning_rate.after_epoch(metrics["f1_macro"], val_loss)
        result = EpochResult(
            epoch=self.epoch,
            train_loss=train_loss,
            train_accuracy=train_accuracy,
            val_loss=val_loss,
            lr=lr,
            seconds=time.perf_counter() - started,
            samples_per_second=len(self._rows) / train_seconds,
            **metrics,
        )
        if self.metric.improves(result, self.best):
            self.best = result
        return result

    def state_dict(self) -> StateDict:
        """All that the rest of the training depends on. Once saved, it loads with `weights_only=True`.

        Random numbers of an epoch depend on the seed and the number of the epoch only, so that no state of a generator
        needs to be saved.
        """
        return {
            "config": self.config.to_json(),
            "epoch": self.epoch,
            "model": self.model.state_dict(),
            "average": self._average.state_dict() if self._average else None,
            "optimizer": self._optimizer.state_dict(),
            "learning_rate": self._learning_rate.state_dict(),
            "best": self.best.to_json() if self.best else None,
            "confusion": self.confusion.tolist(),
        }

    def load_state_dict(self, state: StateDict) -> None:
        """Continues from the state of another Trainer. It must be called before the first epoch of this one.

        Raises:
            ValueError: the state has other hyperparameters.
        """
        if state["config"] != self.config.to_json():
            raise ValueError("the state is of another configuration")
        self.epoch = state["epoch"]
        self.model.load_state_dict(state["model"])
        if self._average:
            self._average.load_state_dict(state["average"])
        self._optimizer.load_state_dict(state["optimizer"])
        self._learning_rate.load_state_dict(state["learning_rate"], self._optimizer)
        self.best = EpochResult.from_json(state["best"]) if state["best"] else None
        self.confusion = np.array(state["confusion"])

    def _seed_epoch(self) -> None:
        """Seeds the generators: each rank on a GPU with a seed of its own, all ranks on CPUs with the same seed."""
        seed = self.config.seed * 1_000_003 + self.epoch
        torch.manual_seed(seed)
        if self.device.type == "cuda":
            torch.cuda.manual_seed(seed + 7_919_000_027 * self.ranks.rank)

    def _train_pass(self) -> tuple[float, float]:
        """Trains for an epoch; returns the mean loss and the accuracy of the forward passes that trained."""
        self.model.train()
        n, size = len(self._rows), self.config.batch_size
        n_steps = -(-n // size)
        losses = torch.zeros(n_steps, device=self.device)
        hits = torch.zeros((), dtype=torch.int64, device=self.device)
        for i, batch in enumerate(epoch_batches(self.config, self.epoch, self._rows, self._row_weights, self.ranks)):
            self._learning_rate.before_step(self.epoch - 1 + (i + 1) / n_steps)
            outcome = self.step(batch)
            losses[i], hits = outcome.loss, hits + outcome.hits
            if self._average:
                self._average.update()
            if self.on_first_step:
                self.on_first_step()
                self.on_first_step = None
        step_losses = self.ranks.sum(losses).tolist()
        self._check_finite(step_losses)
        sizes = [min(size, n - i * size) for i in range(n_steps)]
        mean = math.fsum(loss * rows for loss, rows in zip(step_losses, sizes, strict=True)) / n
        return mean, self.ranks.sum(hits).item() / n

    def _check_finite(self, losses: list[float]) -> None:
        for i, loss in enumerate(losses):
            if not math.isfinite(loss):
                self._learning_rate.before_step(self.epoch - 1 + (i + 1) / len(losses))
                lr = self._learning_rate.current
                raise DivergedError(
                    f"the loss became {loss} in epoch {self.epoch}, step {i + 1} of {len(losses)}, at lr {lr:g}; {HINT}"
                )

    @torch.inference_mode()
    def _validation_pass(self) -> float:
        """Computes the mean cross-entropy and sets `confusion`, in float32 as in the evaluation of a finished model."""
        model = self.evaluated.eval()
        n = len(self.label_set)
        totals = torch.zeros(1 + n**2, dtype=torch.float64, device=self.device)
        rows = torch.arange(self.ranks.rank, len(self.val), self.ranks.world, device=self.device)
        for part in rows.split(VALIDATION_BATCH):
            codes, labels = self.val.batch(part)
            logits = model(codes)
            totals[0] += F.cross_entropy(logits, self.val.aims(part), reduction="sum")
            cells = labels * n + logits.argmax(dim=1)
            totals[1:] += torch.bincount(cells, minlength=n**2)
        loss, *counts = self.ranks.sum(totals).tolist()
        self.confusion = np.array(counts).astype(np.int64).reshape(n, n)
        return float(loss) / len(self.val)


HINT = "try a lower lr, warmup_epochs 1 or grad_clip 1"


def dtype_of(config: TrainConfig, device: torch.device) -> torch.dtype:
    """The type that matrix products are computed in: as the configuration says, or as this hardware is fastest."""
    if config.precision != "auto":
        return {"float32": torch.float32, "bfloat16": torch.bfloat16}[config.precision]
    if device.type == "cuda":
        fast = torch.cuda.get_device_capability(device)[0] >= 8
    else:
        fast = cpu_has_bfloat16() and config.embed_dim >= GAINS_FROM_BFLOAT16
    return torch.bfloat16 if fast else torch.float32


def class_weights(counts: np.ndarray) -> Tensor:
    """Computes weights that are inverse to the number of rows of each class; their mean over all rows is 1.

    Args:
        counts: the number of rows of each class, integers [C].

    Returns:
        The weights n / (C * rows of the class), float32 [C]; 0 for a class without rows.
    """
    weights = np.divide(counts.sum(), len(counts) * counts, out=np.zeros(len(counts)), where=counts > 0)
    return torch.from_numpy(weights).float()
