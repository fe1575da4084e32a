"""Compares what a sweep states with what was computed again, and names the first number that differs."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from typing import Any


class DifferenceError(Exception):
    """A number or a file of the sweep is not what was computed again. The message names it on one line."""


class Comparison:
    """Counts what was compared.

    Attributes:
        numbers: how many numbers and texts were as stated.
    """

    def __init__(self) -> None:
        self.numbers = 0

    def same(self, where: str, stated: Any, computed: Any, tolerance: float = 0.0) -> None:
        """Compares a value, or all values of a list or dict.

        Args:
            where: the name of the value, such as "leaderboard.csv, trial 3: f1_macro".
            stated: what the file says.
            computed: what was computed again. Of dicts, the keys that only one of the two has are passed over: another
                version may write others.
            tolerance: how far two floats may be apart.

        Raises:
            DifferenceError: they differ.
        """
        if isinstance(stated, Mapping) and isinstance(computed, Mapping):
            for key in stated:
                if key in computed:
                    self.same(f"{where}.{key}", stated[key], computed[key], tolerance)
        elif _is_list(stated) and _is_list(computed):
            self.same(f"{where}: length", len(stated), len(computed))
            for i, (one, other) in enumerate(zip(stated, computed, strict=True)):
                self.same(f"{where}[{i}]", one, other, tolerance)
        elif not _equal(stated, computed, tolerance):
            raise DifferenceError(f"{where} is {stated!r}, but computed again it is {computed!r}")
        else:
            self.numbers += 1


def _is_list(value: Any) -> bool:
    return isinstance(value, Sequence) and not isinstance(value, str)


def _equal(stated: Any, computed: Any, tolerance: float) -> bool:
    numbers = [isinstance(value, int | float) and not isinstance(value, bool) for value in (stated, computed)]
    if all(numbers):
        return math.isclose(stated, computed, rel_tol=0.0, abs_tol=tolerance) or stated == computed
    return bool(stated == computed)
