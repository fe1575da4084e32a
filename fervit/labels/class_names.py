"""Reads the names of classes in the order of their numbers, in whichever way a script has written them."""

from __future__ import annotations

import re
from collections.abc import Mapping
from typing import Any

from fervit.labels.emotions import emotion_of

KEYS = re.compile(
    r"(class(es)?|labels?|emotions?|targets?|category)_?(names?|list|map(ping)?|dict|labels?|classes)|labels|classes|"
    r"emotions|(class|label|emotion|name|id|idx|index|int)_?(2|to)_?(class|label|emotion|name|id|idx|index|int)"
)
"""The keys, in lower case, under which scripts save the names of the classes."""


def names_in_order(value: Any) -> list[str] | None:
    """The names of classes in the order of their numbers, which run from 0 or from 1; None if it does not say that.

    Args:
        value: as for `names_by_number`.
    """
    numbered = names_by_number(value) or {}
    for first in (0, 1):
        if numbered and set(numbered) == set(range(first, first + len(numbered))):
            return [numbered[first + i] for i in range(len(numbered))]
    return None


def names_by_number(value: Any) -> dict[int, str] | None:
    """The name of each number of a class; None if the value does not say that.

    Args:
        value: names in order (a list, an array, a text with commas between emotions), names by number, or numbers by
            name (mappings or pairs). Numbers may be texts, and none appears twice.
    """
    plain = as_plain(value)
    if isinstance(plain, str):
        parts = [part.strip() for part in plain.split(",")]
        plain = parts if len(parts) > 1 and all(emotion_of(part) is not None for part in parts) else None
    if isinstance(plain, list) and plain and all(isinstance(one, str) for one in plain):
        return dict(enumerate(plain))
    pairs = _pairs(plain)
    found: dict[int, str] = {}
    for swapped in (False, True):
        for number, name in ((name, key) if swapped else (key, name) for key, name in pairs):
            whole = _number(number)
            if whole is not None and isinstance(name, str):
                found[whole] = name
        if len(found) == len(pairs):
            return found or None
        found.clear()
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
