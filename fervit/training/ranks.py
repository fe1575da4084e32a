"""The processes that train one model together, and sums over them."""

from __future__ import annotations

from dataclasses import dataclass

import torch.distributed
from torch import Tensor


@dataclass(frozen=True)
class Ranks:
    """The number of this process among the `world` processes of a training.

    If there is more than one, torch's process group must have been set up, which Ray Train does.
    """

    rank: int = 0
    world: int = 1

    def sum(self, counts: Tensor) -> Tensor:
        """Sums a tensor over all ranks, in place, and returns it."""
        if self.world > 1:
            torch.distributed.all_reduce(counts)
        return counts


ALONE = Ranks()
