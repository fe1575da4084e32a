"""Lists of numbers as ordered values, so that samplers learn from neighbouring values."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

from optuna.distributions import IntDistribution

from fervit.search.space.search_space import SearchSpace, Values

LEAST = 3
"""The number of values from which on their order matters."""


@dataclass(frozen=True)
class Ordinal:
    """A list of numbers, whose values samplers see as 0, 1, 2, ... in increasing order.

    A depth of [2, 4, 6, 12] is thus searched as four steps, of which neighbours are alike, and not as four unrelated
    categories. Optuna's study keeps the values themselves.
    """

    values: tuple[float, ...]
    """The numbers, in increasing order."""

    @classmethod
    def of(cls, space: SearchSpace) -> dict[str, Ordinal]:
        """Returns the ordinals of a search space by the names of their hyperparameters."""
        return {
            name: cls(tuple(sorted(distribution.values)))
            for name, distribution in space.parameters.items()
            if isinstance(distribution, Values) and _is_ordered(distribution.values)
        }

    @property
    def distribution(self) -> IntDistribution:
        """The distribution of the indices."""
        return IntDistribution(0, len(self.values) - 1)

    def index(self, value: float) -> int:
        """Returns the index of the value that is nearest to a number, such as one of an earlier list."""
        return min(range(len(self.values)), key=lambda i: abs(self.values[i] - value))


def _is_ordered(values: tuple[Any, ...]) -> bool:
    numbers = all(isinstance(value, int | float) and not isinstance(value, bool) for value in values)
    return numbers and len(values) >= LEAST
