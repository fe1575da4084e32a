"""Reads NumPy numbers, texts and arrays of them, paths and parsed arguments in PyTorch files as plain values.

Training scripts save scikit-learn's metrics beside the weights, and these are NumPy numbers. `torch.load` with
`weights_only=True` refuses them, since NumPy's own functions can do more than make a number. The replacements in this
module can only make numbers and texts.
"""

from __future__ import annotations

import math
from collections.abc import Callable
from pathlib import PurePosixPath
from typing import Any

import numpy as np

KINDS = "biufUSO"
"""The kinds of NumPy types that are read: bool, int, unsigned int, float, text, bytes, and objects that are plain
texts or numbers. Records and times are refused."""


class Dtype:
    """Replaces `numpy.dtype`."""

    def __init__(self, code: str, *_: Any) -> None:
        self.value = np.dtype(code)
        if self.value.kind not in KINDS:
            raise TypeError(f"an array of {code!r} is not read")

    def __setstate__(self, state: tuple[Any, ...]) -> None:
        self.value = self.value.newbyteorder(">" if state[1] == ">" else "=")


class Array:
    """Replaces `numpy.ndarray`."""

    def __setstate__(self, state: tuple[Any, ...]) -> None:
        _, shape, dtype, fortran, data = state
        if dtype.value.kind == "O":
            if not (isinstance(data, list) and all(isinstance(one, str | int | float) for one in data)):
                raise ValueError("an array holds objects other than texts and numbers")
            self._values = np.array(data, object).reshape(shape, order="F" if fortran else "C")
            return
        if len(data) != math.prod(shape) * dtype.value.itemsize:
            raise ValueError("an array's bytes do not fit its shape")
        self._values = np.frombuffer(data, dtype.value).reshape(shape, order="F" if fortran else "C")

    def numpy(self) -> np.ndarray:
        """The array itself."""
        return self._values

    def tolist(self) -> Any:
        """The numbers or texts of the array, in nested lists."""
        return self._values.tolist()


def _scalar(dtype: Dtype, data: bytes) -> bool | int | float | str:
    if dtype.value.kind == "O":
        raise TypeError("a number of any type is not read")
    number: bool | int | float | str = np.frombuffer(data, dtype.value, count=1)[0].item()
    return number


def _reconstruct(*_: Any) -> Array:
    return Array()


class Namespace:
    """Replaces `argparse.Namespace`, whose attributes torch fills with plain values."""


def _path(*parts: str) -> str:
    return str(PurePosixPath(*(str(part) for part in parts)))


SAFE_GLOBALS: list[Callable[..., Any] | tuple[Callable[..., Any], str]] = [
    *((_scalar, f"numpy.{core}.multiarray.scalar") for core in ("core", "_core")),
    *((_reconstruct, f"numpy.{core}.multiarray._reconstruct") for core in ("core", "_core")),
    (Dtype, "numpy.dtype"),
    (Array, "numpy.ndarray"),
    (Namespace, "argparse.Namespace"),
    *((_path, f"{module}.PosixPath") for module in ("pathlib", "pathlib._local")),
]
