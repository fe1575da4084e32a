"""JSON Schemas of dataclasses and typed dicts, written from their fields: types, bounds, defaults and docstrings.

Source: JSON Schema, draft 2020-12, https://json-schema.org/draft/2020-12.
"""

from __future__ import annotations

import ast
import dataclasses
import functools
import inspect
import textwrap
import types
import typing
from collections.abc import Mapping, Sequence
from itertools import pairwise
from pathlib import Path
from typing import Annotated, Any, Literal

from annotated_types import Interval

from fervit.io.files import JsonObject

DRAFT = "https://json-schema.org/draft/2020-12/schema"
_SCALARS: Mapping[Any, str] = {bool: "boolean", int: "integer", float: "number", str: "string", Path: "string"}
_BOUNDS = {"ge": "minimum", "gt": "exclusiveMinimum", "le": "maximum", "lt": "exclusiveMaximum"}


def schema_of(kind: Any, names: Mapping[str, Any] | None = None) -> JsonObject:
    """Returns the JSON Schema of what a type looks like in JSON.

    Args:
        kind: a dataclass, a TypedDict, bool, int, float, str, Path, None, Any, a Literal, a union of these, a list or
            tuple, a dict with text as its keys, or one of these with the bounds of a number (`annotated_types`).
        names: types by their names, for annotations whose module does not import them itself.

    Raises:
        TypeError: the type is another one.
    """
    origin, args = typing.get_origin(kind), typing.get_args(kind)
    if origin in (Annotated, typing.NotRequired):
        found = schema_of(args[0], names)
        for bounds in (extra for extra in args[1:] if isinstance(extra, Interval)):
            found |= {word: value for key, word in _BOUNDS.items() if (value := getattr(bounds, key)) is not None}
        return found
    if origin in (typing.Union, types.UnionType):
        return {"anyOf": [schema_of(one, names) for one in args]}
    if origin is Literal:
        return {"enum": list(args)}
    if origin in (list, tuple, Sequence):
        found = {"type": "array", "items": schema_of(args[0], names)}
        fixed = origin is tuple and args[-1] is not Ellipsis
        return found | ({"minItems": len(args), "maxItems": len(args)} if fixed else {})
    if origin in (dict, Mapping) or kind is dict:
        return {"type": "object", "additionalProperties": schema_of(args[1], names) if args else True}
    if kind in (None, type(None)):
        return {"type": "null"}
    if kind is Any:
        return {}
    if kind in _SCALARS:
        return {"type": _SCALARS[kind]}
    if dataclasses.is_dataclass(kind) or typing.is_typeddict(kind):
        return object_schema(kind, names)
    raise TypeError(f"{kind!r}: has no JSON Schema here")


def object_schema(kind: Any, names: Mapping[str, Any] | None = None) -> JsonObject:
    """Returns the JSON Schema of a dataclass or a TypedDict, which takes no other keys than its fields.

    A key is required unless its field has a default, which the schema names, or is NotRequired.

    Args:
        kind: the dataclass or TypedDict.
        names: as for `schema_of`.
    """
    hints = typing.get_type_hints(kind, localns=dict(names or {}), include_extras=True)
    texts, defaults = field_docs(kind), {}
    if dataclasses.is_dataclass(kind):
        hints = {field.name: hints[field.name] for field in dataclasses.fields(kind)}
        defaults = {field.name: _default(field) for field in dataclasses.fields(kind) if not _is_required(field)}
    left_out = [name for name, hint in hints.items() if typing.get_origin(hint) is typing.NotRequired]
    properties = {}
    for name, hint in hints.items():
        text = {"description": texts[name]} if name in texts else {}
        default = {"default": defaults[name]} if name in defaults else {}
        properties[name] = {**schema_of(hint, names), **text, **default}
    return {
        "type": "object",
        "description": " ".join(inspect.cleandoc(kind.__doc__ or "").split()),
        "properties": properties,
        "required": [name for name in hints if name not in defaults and name not in left_out],
        "additionalProperties": False,
    }


@functools.cache
def field_docs(kind: Any) -> Mapping[str, str]:
    """Returns the text of each field of a class that has one: its metadata `help`, else the string below it."""
    found: dict[str, str] = {}
    for base in getattr(kind, "__orig_bases__", kind.__bases__):
        found |= field_docs(base) if dataclasses.is_dataclass(base) or typing.is_typeddict(base) else {}
    body = typing.cast(ast.ClassDef, ast.parse(textwrap.dedent(inspect.getsource(kind))).body[0]).body
    for field, below in pairwise(body):
        text = below.value.value if isinstance(below, ast.Expr) and isinstance(below.value, ast.Constant) else None
        if isinstance(field, ast.AnnAssign) and isinstance(field.target, ast.Name) and isinstance(text, str):
            found[field.target.id] = " ".join(text.split())
    if dataclasses.is_dataclass(kind):
        found |= {field.name: field.metadata["help"] for field in dataclasses.fields(kind) if "help" in field.metadata}
    return found


def _is_required(field: dataclasses.Field[Any]) -> bool:
    return field.default is dataclasses.MISSING and field.default_factory is dataclasses.MISSING


def _default(field: dataclasses.Field[Any]) -> Any:
    """Returns the default of a field as JSON has it."""
    if field.default_factory is not dataclasses.MISSING:
        made = field.default_factory()
        return dataclasses.asdict(made) if dataclasses.is_dataclass(made) and not isinstance(made, type) else made
    return field.default
