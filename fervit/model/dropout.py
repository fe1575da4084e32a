"""Dropout and stochastic depth whose masks do not depend on how a batch is divided among the ranks of a training."""

from __future__ import annotations

from dataclasses import dataclass

import torch
import torch.nn.functional as F
from torch import Tensor, nn

LEVELS = 1 << 16
"""The number of steps that a probability is rounded to on a CPU."""


@dataclass
class Shard:
    """The rows of the global batch that a process has. On a CPU each process draws the masks of all rows."""

    start: int = 0
    """The position of the first row in the global batch."""
    total: int | None = None
    """The number of rows in the global batch; None if the process has all of them."""


class Dropout(nn.Module):
    """Sets numbers to zero with probability `p` and scales the others by 1 / (1 - p), during training only.

    Paper: Srivastava et al., "Dropout" (JMLR 2014). On a CPU it draws 16 random bits for each number; `nn.Dropout`
    draws a double, which would take a fifth of a training step.
    """

    def __init__(self, p: float, shard: Shard) -> None:
        super().__init__()
        self.p, self.shard = p, shard

    def forward(self, x: Tensor) -> Tensor:
        """[batch, ...] -> the same shape."""
        if not self.training or self.p == 0:
            return x
        if x.device.type != "cpu":
            return F.dropout(x, self.p)
        return x * keep_mask(x.shape, self.p, self.shard, x.dtype)

    def extra_repr(self) -> str:
        """The text that PyTorch shows inside the parentheses of the module."""
        return f"p={self.p}"


class DropPath(Dropout):
    """Sets a residual branch to zero for whole rows of a batch, with probability `p`, during training only.

    Paper: Huang et al., "Deep Networks with Stochastic Depth" (ECCV 2016).
    """

    def forward(self, x: Tensor) -> Tensor:
        """[batch, ...] -> the same shape."""
        if not self.training or self.p == 0:
            return x
        shape = torch.Size((len(x), *[1] * (x.dim() - 1)))
        if x.device.type != "cpu":
            return x * F.dropout(torch.ones(shape, device=x.device, dtype=x.dtype), self.p)
        return x * keep_mask(shape, self.p, self.shard, x.dtype)


def keep_mask(shape: torch.Size, p: float, shard: Shard, dtype: torch.dtype) -> Tensor:
    """Draws a mask from torch's generator of the CPU: 0 for what is dropped, and 1 / (1 - p) for what is kept.

    Args:
        shape: the shape of the mask, [rows of this process, ...].
        p: the probability of dropping, rounded to 1 / LEVELS.
        shard: the rows of the global batch that this process has.
        dtype: the type of the mask.
    """
    rows, per_row = shape[0], shape[1:].numel()
    total = rows if shard.total is None else shard.total
    words = torch.empty((total * per_row + 3) // 4, dtype=torch.int64).random_(-(2**63), None)
    bits = words.view(torch.int16)[shard.start * per_row : (shard.start + rows) * per_row].view(shape)
    dropped = min(round(p * LEVELS), LEVELS - 1)
    return (bits >= dropped - LEVELS // 2).to(dtype) * (LEVELS / (LEVELS - dropped))
