"""The results of a trial's epochs, packed as numbers: a sweep of 10,000 trials has a million of them in memory."""

from __future__ import annotations

from array import array
from collections.abc import Iterable, Iterator, MutableSequence
from typing import Any, overload

from fervit.training.epoch import FIELDS, EpochResult

WIDTH, _EPOCH = len(FIELDS), FIELDS.index("epoch")


class Epochs(MutableSequence[EpochResult]):
    """A list of `EpochResult` that keeps 8 bytes a number, an eighth of what the objects take.

    Args:
        results: the results to begin with.
    """

    def __init__(self, results: Iterable[EpochResult] = ()) -> None:
        self._numbers = array("d")
        self.extend(results)

    def __len__(self) -> int:
        return len(self._numbers) // WIDTH

    def __iter__(self) -> Iterator[EpochResult]:
        return (self._result(i) for i in range(len(self)))

    def __eq__(self, other: object) -> bool:
        return isinstance(other, Epochs | list) and list(self) == list(other)

    def __repr__(self) -> str:
        return f"Epochs({list(self)})"

    @overload
    def __getitem__(self, index: int) -> EpochResult: ...
    @overload
    def __getitem__(self, index: slice) -> Epochs: ...
    def __getitem__(self, index: int | slice) -> EpochResult | Epochs:
        if isinstance(index, slice):
            return Epochs(self._result(i) for i in range(*index.indices(len(self))))
        return self._result(range(len(self))[index])

    def __setitem__(self, index: int | slice, value: Any) -> None:
        results = list(self)
        results[index] = value
        self._numbers = Epochs(results)._numbers

    def __delitem__(self, index: int | slice) -> None:
        if isinstance(index, slice) and index.step is None and index.stop is None:  # the tail, in place
            del self._numbers[WIDTH * index.indices(len(self))[0] :]
            return
        results = list(self)
        del results[index]
        self._numbers = Epochs(results)._numbers

    def insert(self, index: int, value: EpochResult) -> None:
        """Inserts a result before `index`."""
        place = WIDTH * range(len(self) + 1)[index] if len(self) else 0
        self._numbers[place:place] = array("d", value.values())

    def append(self, value: EpochResult) -> None:
        """Adds a result at the end."""
        self._numbers.extend(value.values())

    def number(self, i: int) -> int:
        """Returns the epoch of the i-th result, without making the result; -1 is the last one."""
        return int(self._numbers[WIDTH * i + _EPOCH])

    def column(self, name: str) -> array[float]:
        """Returns the numbers of one field of all results, in order."""
        return self._numbers[FIELDS.index(name) :: WIDTH]

    def _result(self, i: int) -> EpochResult:
        values: dict[str, Any] = dict(zip(FIELDS, self._numbers[WIDTH * i : WIDTH * (i + 1)], strict=True))
        values["epoch"] = int(values["epoch"])
        return EpochResult(**values)
