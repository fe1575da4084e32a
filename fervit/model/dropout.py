"""Dropout and stochastic depth whose masks do not depend on how a batch is spread over the ranks of a training."""

from __future__ import annotations

from dataclasses import dataclass

import torch
import torch.nn.functional as F
from torch import Tensor, nn

LEVELS = 1 << 16
"""On a CPU a probability is kept to one part in so many."""


@dataclass
class Shard:
    """Which rows of the global batch a process has. On a CPU each process draws the masks of all and uses its own."""

    start: int = 0
    total: int | None = None
    """Rows of the global batch; None where the process has all."""


class Dropout(nn.Module):
    """Sets numbers to zero with probability `p` and scales the others by 1 / (1 - p), while training.

    Paper: Srivastava et al. (JMLR 2014). On a CPU it takes 16 random bits a number, where `nn.Dropout`, which draws a
    double for each, spends a fifth of a training step.
    """

    def __init__(self, p: float, shard: Shard) -> None:
        super().__init__()
        self.p, self.shard = p, shard

    def forward(self, x: Tensor) -> Tensor:
        if not self.training or self.p == 0:
            return x
        if x.device.type != "cpu":
            return F.dropout(x, self.p)
        return x * keep_mask(x.shape, self.p, self.shard, x.dtype)

    def extra_repr(self) -> str:
        return f"p={self.p}"


class DropPath(Dropout):
    """Drops a residual branch [batch, ...] of whole rows with probability `p`, while training.

    Paper: Huang et al., "Deep Networks with Stochastic Depth" (ECCV 2016).
    """

    def forward(self, x: Tensor) -> Tensor:
        if not self.training or self.p == 0:
            return x
        shape = torch.Size((len(x), *[1] * (x.dim() - 1)))
        if x.device.type != "cpu":
            return x * F.dropout(torch.ones(shape, device=x.device, dtype=x.dtype), self.p)
        return x * keep_mask(shape, self.p, self.shard, x.dtype)


def keep_mask(shape: torch.Size, p: float, shard: Shard, dtype: torch.dtype) -> Tensor:
    """0 for what is dropped and 1 / (1 - p) for the rest, drawn from torch's generator of the CPU."""
    rows, per_row = shape[0], shape[1:].numel()
    total = rows if shard.total is None else shard.total
    words = torch.empty((total * per_row + 3) // 4, dtype=torch.int64).random_(-(2**63), None)
    bits = words.view(torch.int16)[shard.start * per_row : (shard.start + rows) * per_row].view(shape)
    dropped = min(round(p * LEVELS), LEVELS - 1)
    return (bits >= dropped - LEVELS // 2).to(dtype) * (LEVELS / (LEVELS - dropped))
