"""Turns plain dicts (of YAML, JSON or flags) into dataclasses. Errors name the place and the rule in one line."""

from __future__ import annotations

import contextlib
import dataclasses
import difflib
import functools
import math
import sys
import types
import typing
from collections.abc import Hashable, Iterable, Mapping
from typing import Any, TypeVar

from annotated_types import Interval

from fervit.errors import UserError

T = TypeVar("T")


def check_keys(given: Iterable[Any], known: Iterable[str], where: str) -> None:
    """Checks that all keys are known.

    Raises:
        UserError: a key is not known; the message names the nearest one that is.
    """
    known = list(known)
    for key in given:
        if key not in known:
            raise UserError(f"{where}: there is no key '{key}'; {nearest(str(key), known)}")


def nearest(word: str, known: Iterable[str]) -> str:
    """The hint for an unknown word: "did you mean 'lr'?", or the list of known words."""
    known = list(known)
    close = difflib.get_close_matches(word, known, n=1)
    return f"did you mean '{close[0]}'?" if close else f"known are {', '.join(known)}"


def build(cls: type[T], values: Any, where: str) -> T:
    """Makes an instance of a dataclass from a dict of its fields. Fields that are left out keep their defaults.

    Args:
        cls: a dataclass whose fields are bool, int, float, str, Literal, `| None` of these, a list, or a dataclass.
        values: the dict, as a YAML or JSON file gave it.
        where: the name of the place in error messages, for example "vit.yaml: trial".

    Raises:
        UserError: a key is unknown or missing, a value has the wrong type, or `__post_init__` of the class refuses it.
    """
    if not isinstance(values, Mapping):
        raise UserError(f"{where}: must be a mapping of keys to values, but got {values!r}")
    hints = typing.get_type_hints(cls)
    fields = {field.name: field for field in dataclasses.fields(cls)}  # type: ignore[arg-type]
    check_keys(values, fields, where)
    for name, field in fields.items():
        required = field.default is dataclasses.MISSING and field.default_factory is dataclasses.MISSING
        if required and name not in values:
            raise UserError(f"{where}: the key '{name}' is missing")
    checked = {name: convert(value, hints[name], f"{where}.{name}") for name, value in values.items()}
    try:
        return cls(**checked)
    except ValueError as error:
        raise UserError(f"{where}: {error}") from None


def convert(value: Any, kind: Any, where: str) -> Any:
    """Converts a value to a type. Numbers are never rounded, and text is not converted, with one exception.

    YAML 1.1 reads `1e-4` as text, since it has no point; for a float that text is accepted.

    Args:
        value: the value, as a YAML or JSON file gave it.
        kind: the type of a field, as `build` allows them.
        where: the name of the place in error messages.

    Raises:
        UserError: the value does not fit the type.
    """
    origin, args = typing.get_origin(kind), typing.get_args(kind)
    if origin in (typing.Union, types.UnionType):
        if value is None and type(None) in args:
            return None
        return convert(value, next(arg for arg in args if arg is not type(None)), where)
    if origin is typing.Literal:
        if value not in args:
            raise UserError(f"{where}: must be one of {', '.join(map(str, args))}, but got {value!r}")
        return value
    if origin in (list, tuple):
        if not isinstance(value, list | tuple):
            raise UserError(f"{where}: must be a list, but got {value!r}")
        return origin(convert(item, args[0], f"{where}[{i}]") for i, item in enumerate(value))
    if origin is dict or kind is dict:
        if not isinstance(value, Mapping):
            raise UserError(f"{where}: must be a mapping of keys to values, but got {value!r}")
        return dict(value)
    if dataclasses.is_dataclass(kind):
        return build(typing.cast(type[Any], kind), value, where)
    if kind is Any:
        return value
    return _scalar(value, kind, where)


def _scalar(value: Any, kind: type, where: str) -> Any:
    """Converts a value to bool, int, float or str."""
    if kind is float and isinstance(value, str):
        with contextlib.suppress(ValueError):
            value = float(value)
    if kind is float and isinstance(value, int | float) and not isinstance(value, bool):
        if abs(value) > sys.float_info.max or math.isnan(value):
            raise UserError(f"{where}: must be a finite number, but got {value!r}")
        return float(value)
    if kind is int and isinstance(value, int) and not isinstance(value, bool):
        return value
    if kind in (bool, str) and isinstance(value, kind):
        return value
    names = {float: "a number", int: "a whole number", bool: "true or false", str: "text"}
    raise UserError(f"{where}: must be {names.get(kind, kind)}, but got {value!r}")


def check_bounds(instance: Any) -> None:
    """Checks the numbers of a dataclass against the bounds of their types, such as `Annotated[int, Interval(ge=1)]`.

    None has no bounds.

    Args:
        instance: the dataclass, which calls this in its `__post_init__`.

    Raises:
        ValueError: a number lies outside. The message names the rule and the value.
    """
    kind: Any = type(instance)
    for name, bounds in _bounds(kind):
        value = getattr(instance, name)
        if value is not None and not _within(value, bounds):
            raise ValueError(f"`{_rule(name, bounds)}` must hold, but got {name}={value}")


@functools.cache
def _bounds(cls: Hashable) -> list[tuple[str, Interval]]:
    """Returns the bounds of the fields of a dataclass; those of an optional field stand inside of its union."""
    found = []
    for name, hint in typing.get_type_hints(cls, include_extras=True).items():
        for part in (hint, *typing.get_args(hint)):
            if typing.get_origin(part) is typing.Annotated:
                found += [(name, extra) for extra in part.__metadata__ if isinstance(extra, Interval)]
    return found


def _within(value: Any, bounds: Interval) -> bool:
    """Returns whether a number lies within bounds; NaN never does."""
    return not (
        (bounds.ge is not None and not value >= bounds.ge)
        or (bounds.gt is not None and not value > bounds.gt)
        or (bounds.le is not None and not value <= bounds.le)
        or (bounds.lt is not None and not value < bounds.lt)
    )


def _rule(name: str, bounds: Interval) -> str:
    """Writes bounds as a rule, such as "trials >= 1" or "0 <= seed < 2**31"."""
    low, high = bounds.ge if bounds.gt is None else bounds.gt, bounds.le if bounds.lt is None else bounds.lt
    end = "" if high is None else f" {'<=' if bounds.lt is None else '<'} {_number(high)}"
    if low is None:
        return f"{name}{end}"
    if not end:
        return f"{name} {'>=' if bounds.gt is None else '>'} {_number(low)}"
    return f"{_number(low)} {'<=' if bounds.gt is None else '<'} {name}{end}"


def _number(value: Any) -> str:
    """Writes a bound, a high power of two as one."""
    power = int(value).bit_length() - 1
    return f"2**{power}" if power > 16 and value == 2**power else f"{value:g}"
