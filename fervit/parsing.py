"""From plain dicts (YAML, JSON, flags) to typed dataclasses, with one-line errors that name the place and the rule."""

from __future__ import annotations

import contextlib
import dataclasses
import difflib
import math
import sys
import types
import typing
from collections.abc import Iterable, Mapping
from typing import Any, TypeVar

from fervit.errors import UserError

T = TypeVar("T")


def check_keys(given: Iterable[Any], known: Iterable[str], where: str) -> None:
    """Raises UserError for the first key that is not known, naming the nearest one that is."""
    known = list(known)
    for key in given:
        if key not in known:
            raise UserError(f"{where}: there is no key '{key}'; {nearest(str(key), known)}")


def nearest(word: str, known: Iterable[str]) -> str:
    """A hint for an unknown word: "did you mean 'lr'?", or the list of what there is."""
    known = list(known)
    close = difflib.get_close_matches(word, known, n=1)
    return f"did you mean '{close[0]}'?" if close else f"known are {', '.join(known)}"


def build(cls: type[T], values: Any, where: str) -> T:
    """An instance of the dataclass `cls` from a dict of its fields; fields that are left out keep their defaults.

    Args:
        cls: a dataclass whose fields are bool, int, float, str, Literal, `| None` of these, a list, or a dataclass.
        values: the dict, as a YAML or JSON file gave it.
        where: how errors name the place, for example "vit.yaml: trial".

    Raises:
        UserError: an unknown or missing key, a value of the wrong type, or a rule of the class's `__post_init__`.
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
    """`value` as `kind`, or UserError. Numbers are never rounded and text is never guessed at, with one exception.

    YAML 1.1 reads `1e-4`, which has no point, as text; for a float that text is accepted.
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
