"""Latents in the memory of the training's device, and the batches of an epoch, which are gathered by row numbers."""

from __future__ import annotations

import warnings
from collections.abc import Iterator
from functools import cached_property
from typing import NamedTuple

import numpy as np
import torch
from torch import Tensor

from fervit.latents import LatentSet
from fervit.system.gpu import room_for_tensors
from fervit.training.config import TrainConfig
from fervit.training.ranks import Ranks

SHARE_OF_FREE = 0.5
"""Codes are moved to the GPU if they take less than this share of the memory that the process can still have."""
CHUNK = 2048
"""The number of codes that statistics are summed over at a time."""


class DeviceLatents:
    """The latents of a split on a device, in float16 as on disk. Several trainers can share one.

    Codes that are too large for the memory of a GPU stay in the memory of the host.

    Args:
        latents: the split.
        device: "cpu" or a CUDA device.
        memory_share: the share of the GPU's memory that the process may take, as `prepare_process` limits it.
    """

    def __init__(self, latents: LatentSet, device: str = "cpu", memory_share: float = 1.0) -> None:
        self.latents, self.device = latents, torch.device(device)
        with warnings.catch_warnings():
            # The codes may be a read-only view of shared memory. Torch has no read-only tensors and warns, but nothing
            # writes to them.
            warnings.filterwarnings("ignore", message="The given NumPy array is not writable")
            codes = torch.from_numpy(latents.codes)
            self.labels = torch.from_numpy(latents.labels).to(self.device)
            self.targets = None if latents.targets is None else torch.from_numpy(latents.targets).to(self.device)
        self.resident = self.device.type == "cpu" or (
            codes.nbytes < SHARE_OF_FREE * room_for_tensors(self.device, memory_share)
        )
        self.codes = codes.to(self.device) if self.resident else codes
        self._statistics: tuple[Tensor, Tensor] | None = None

    @cached_property
    def origin(self) -> str:
        """The fingerprint of the whole split (`LatentSet.origin`)."""
        return self.latents.origin

    def __len__(self) -> int:
        return len(self.labels)

    def batch(self, rows: Tensor) -> tuple[Tensor, Tensor]:
        """Gathers the codes, float32 [n, seq_len, latent_dim], and the labels, int64 [n], of n rows."""
        codes = self.codes[rows] if self.resident else self.codes[rows.cpu()].to(self.device)
        return codes.float(), self.labels[rows]

    def aims(self, rows: Tensor) -> Tensor:
        """What the loss of n rows compares with: the shares of the votes, float32 [n, classes], or the labels [n]."""
        return self.labels[rows] if self.targets is None else self.targets[rows]

    def statistics(self, rows: Tensor) -> tuple[Tensor, Tensor]:
        """Computes the mean and the standard deviation of some rows, float32 [seq_len, latent_dim] each.

        The result for all rows is cached.
        """
        if len(rows) == len(self) and self._statistics is not None:
            return self._statistics
        first = self.batch(rows[:1])[0][0]  # subtracted, so that sums lose few digits
        total, squares = (torch.zeros_like(first, dtype=torch.float64) for _ in range(2))
        for chunk in rows.split(CHUNK):
            centred = self.batch(chunk)[0] - first
            total += centred.sum(dim=0)
            squares += centred.square_().sum(dim=0)
        mean = total / len(rows)
        deviation = (squares / len(rows) - mean.square()).clamp(min=0).sqrt()
        floor = 1e-3 * deviation.mean().clamp(min=1e-6)  # constant numbers stay near 0
        statistics = (first + mean).float(), deviation.clamp(min=floor).float()
        if len(rows) == len(self):
            self._statistics = statistics
        return statistics


class Batch(NamedTuple):
    """The part of a global batch that one rank computes in a step."""

    rows: Tensor
    """The numbers of this rank's training rows, int64 [n]."""
    partners: Tensor
    """The rows of the same global batch that mixup mixes them with, int64 [n]."""
    mix: Tensor
    """The share of `rows` in the mixture, a scalar; 1 for no mixture."""
    weight: Tensor
    """The sum of the class weights over the global batch, a scalar. The loss is divided by it."""
    start: int
    """The position of this rank's first row in the global batch."""
    total: int
    """The number of rows in the global batch."""


def epoch_batches(config: TrainConfig, epoch: int, rows: Tensor, row_weights: Tensor, ranks: Ranks) -> Iterator[Batch]:
    """Yields the batches of an epoch. They depend on the seed and the epoch alone, and are divided among the ranks.

    Args:
        config: the hyperparameters. The batch size is that of all ranks together.
        epoch: the number of the epoch, from 1.
        rows: the training rows, int64 [n], on the device.
        row_weights: the class weight of each row, float32 [n].
        ranks: the processes that train together.
    """
    generator = torch.Generator().manual_seed(config.seed * 1_000_003 + epoch)
    n, size = len(rows), config.batch_size
    order = torch.randperm(n, generator=generator)
    partner_order = torch.cat([part[torch.randperm(len(part), generator=generator)] for part in order.split(size)])
    n_steps = -(-n // size)
    mixes = np.ones(n_steps)
    if config.mixup:
        mixes = np.random.default_rng([config.seed, epoch]).beta(config.mixup, config.mixup, n_steps)
    order, partner_order = order.to(rows.device), partner_order.to(rows.device)
    ordered, partners, weights = rows[order], rows[partner_order], row_weights[order]
    mix = torch.tensor(mixes, dtype=torch.float32).to(rows.device)
    for i in range(n_steps):
        low, high = i * size, min((i + 1) * size, n)
        start, stop = (low + (high - low) * (ranks.rank + j) // ranks.world for j in (0, 1))
        yield Batch(ordered[start:stop], partners[start:stop], mix[i], weights[low:high].sum(), start - low, high - low)
