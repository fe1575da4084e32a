"""Reads the names of classes in the order of their numbers, in whichever way a script has written them."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from fervit.labels.emotions import emotion_of


def names_in_order(value: Any) -> list[str] | None:
    """The names of classes in the order of their numbers; None if the value does not say that.

    Args:
        value: names in order (a list, an array, a text with commas between emotions), names by number, or numbers by
            name (mappings or pairs). Numbers run from 0 or from 1, and may be texts.
    """
    plain = as_plain(value)
    if isinstance(plain, str):
        parts = [part.strip() for part in plain.split(",")]
        return parts if len(parts) > 1 and all(emotion_of(part) is not None for part in parts) else None
    if isinstance(plain, list) and plain and all(isinstance(one, str) for one in plain):
        return plain
    pairs = _pairs(plain)
    if not pairs:
        return None
    if all(_number(key) is not None for key, _ in pairs) and all(isinstance(name, str) for _, name in pairs):
        numbered = {_number(key): name for key, name in pairs}
    elif all(isinstance(name, str) for name, _ in pairs) and all(_number(one) is not None for _, one in pairs):
        numbered = {_number(number): name for name, number in pairs}
    else:
        return None
    for first in (0, 1):
        if set(numbered) == set(range(first, first + len(pairs))):
            return [numbered[first + i] for i in range(len(pairs))]
    return None


def as_plain(value: Any) -> Any:
    """The value with lists in place of arrays and tuples, and text in place of bytes."""
    if hasattr(value, "tolist") and not isinstance(value, str | bytes):
        value = value.tolist()
    if isinstance(value, bytes):
        return value.decode("utf-8", "replace")
    if isinstance(value, list | tuple):
        return [as_plain(one) for one in value]
    return {as_plain(key): as_plain(one) for key, one in value.items()} if isinstance(value, Mapping) else value


def _pairs(plain: Any) -> list[tuple[Any, Any]]:
    if isinstance(plain, dict):
        return list(plain.items())
    if isinstance(plain, list) and all(isinstance(one, list) and len(one) == 2 for one in plain):
        return [(one[0], one[1]) for one in plain]
    return []


def _number(value: Any) -> int | None:
    """The whole number that a value is, also as text; None if it is none."""
    if isinstance(value, str):
        return int(value) if value.strip().isdecimal() else None
    if isinstance(value, bool) or not isinstance(value, int | float) or not float(value).is_integer():
        return None
    return int(value)
