"""Latents on the device of a training, and the batches of an epoch: gathered by index, no file and no loader."""

from __future__ import annotations

import warnings
from collections.abc import Iterator
from functools import cached_property
from typing import NamedTuple

import numpy as np
import torch
from torch import Tensor

from fervit.latents import LatentSet
from fervit.training.config import TrainConfig
from fervit.training.ranks import Ranks

SHARE_OF_FREE = 0.5
"""Codes go to the GPU if they leave so much of its free memory to the training."""
CHUNK = 2048


class DeviceLatents:
    """A split on the device, float16 as on disk; trainers can share one. Codes too large for a GPU stay on the host."""

    def __init__(self, latents: LatentSet, device: str = "cpu") -> None:
        self.latents, self.device = latents, torch.device(device)
        with warnings.catch_warnings():
            # The codes may be a read-only view of shared memory; torch has no such tensors and warns. Nothing writes.
            warnings.filterwarnings("ignore", message="The given NumPy array is not writable")
            codes = torch.from_numpy(latents.codes)
            self.labels = torch.from_numpy(latents.labels).to(self.device)
        self.resident = self.device.type == "cpu" or codes.nbytes < SHARE_OF_FREE * torch.cuda.mem_get_info(device)[0]
        self.codes = codes.to(self.device) if self.resident else codes
        self._statistics: tuple[Tensor, Tensor] | None = None

    @cached_property
    def fingerprint(self) -> str:
        return self.latents.fingerprint

    def __len__(self) -> int:
        return len(self.labels)

    def batch(self, rows: Tensor) -> tuple[Tensor, Tensor]:
        """float32 codes [n, seq_len, latent_dim] and labels [n] of some rows."""
        codes = self.codes[rows] if self.resident else self.codes[rows.cpu()].to(self.device)
        return codes.float(), self.labels[rows]

    def statistics(self, rows: Tensor) -> tuple[Tensor, Tensor]:
        """Mean and standard deviation, float32 [seq_len, latent_dim], of some rows; those of all rows are kept."""
        if len(rows) == len(self) and self._statistics is not None:
            return self._statistics
        first = self.batch(rows[:1])[0][0]  # sums of what lies around 0 lose few digits
        total, squares = (torch.zeros_like(first, dtype=torch.float64) for _ in range(2))
        for chunk in rows.split(CHUNK):
            centred = self.batch(chunk)[0] - first
            total += centred.sum(dim=0)
            squares += centred.square_().sum(dim=0)
        mean = total / len(rows)
        deviation = (squares / len(rows) - mean.square()).clamp(min=0).sqrt()
        floor = 1e-3 * deviation.mean().clamp(min=1e-6)  # a number that never changes stays near 0 when divided
        statistics = (first + mean).float(), deviation.clamp(min=floor).float()
        if len(rows) == len(self):
            self._statistics = statistics
        return statistics


class Batch(NamedTuple):
    """A step's share of the training rows: those of the global batch that this rank has."""

    rows: Tensor
    partners: Tensor
    """Rows of the same global batch to mix with."""
    mix: Tensor
    """0-dim: the share of `rows` in the mixture, 1 for no mixture."""
    weight: Tensor
    """0-dim: the class weights of the global batch, summed; the loss is divided by it."""
    start: int
    """Where the rank's rows begin in the global batch."""
    total: int
    """Rows of the global batch."""


def epoch_batches(config: TrainConfig, epoch: int, rows: Tensor, row_weights: Tensor, ranks: Ranks) -> Iterator[Batch]:
    """The batches of an epoch. They depend on the seed and the epoch alone, and ranks share them out.

    Args:
        config: its batch size is that of all ranks together.
        epoch: from 1.
        rows: int64 [n], the training rows, on the device.
        row_weights: float32 [n], the class weight of each.
        ranks: who takes part.
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
