"""The processes of one training, and what they count together."""

from __future__ import annotations

from dataclasses import dataclass

import torch.distributed
from torch import Tensor


@dataclass(frozen=True)
class Ranks:
    """One process of `world`. More than one needs torch's process group, which Ray Train sets up."""

    rank: int = 0
    world: int = 1

    def sum(self, counts: Tensor) -> Tensor:
        """The sum over all ranks, in place."""
        if self.world > 1:
            torch.distributed.all_reduce(counts)
        return counts


ALONE = Ranks()
