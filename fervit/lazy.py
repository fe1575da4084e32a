"""Imports the attributes of a package when they are first used (PEP 562), so that `--help` does not import torch."""

from __future__ import annotations

import importlib
from collections.abc import Callable, Mapping, Sequence
from typing import Any


def attributes(package: str, homes: Mapping[str, str], submodules: Sequence[str] = ()) -> Callable[[str], Any]:
    """Makes the `__getattr__` of a package.

    Args:
        package: the `__name__` of the package.
        homes: each public name -> the module that defines it.
        submodules: the subpackages that are attributes of the package, such as `fervit.encoders`.

    Returns:
        A function that imports and returns the attribute of a name. It raises AttributeError for other names.
    """

    def getattr_(name: str) -> Any:
        if name in submodules:
            return importlib.import_module(f"{package}.{name}")
        if name in homes:
            return getattr(importlib.import_module(homes[name]), name)
        raise AttributeError(f"module {package!r} has no attribute {name!r}")

    return getattr_
