"""Package attributes that are imported when first used (PEP 562), so that `--help` needs no torch."""

from __future__ import annotations

import importlib
from collections.abc import Callable, Mapping, Sequence
from typing import Any


def attributes(package: str, homes: Mapping[str, str], submodules: Sequence[str] = ()) -> Callable[[str], Any]:
    """Makes the `__getattr__` of a package.

    Args:
        package: its `__name__`.
        homes: the module that defines each public name.
        submodules: subpackages that a user may reach by attribute, as in `fervit.encoders`.

    Returns:
        A function that imports what a name stands for and returns it. It raises AttributeError for other names.
    """

    def getattr_(name: str) -> Any:
        if name in submodules:
            return importlib.import_module(f"{package}.{name}")
        if name in homes:
            return getattr(importlib.import_module(homes[name]), name)
        raise AttributeError(f"module {package!r} has no attribute {name!r}")

    return getattr_
