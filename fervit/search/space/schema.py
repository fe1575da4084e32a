"""The JSON Schema of a search space file, with which editors complete and check it while it is written.

It is written from the dataclasses of the space. What no schema can say (rules that compare two numbers, or that ask
what another parameter may be) the program alone checks.
"""

from __future__ import annotations

import typing

from fervit.io.files import JsonObject
from fervit.json_schema import DRAFT, field_docs, object_schema, schema_of
from fervit.search.space.search_space import DEFAULTS, PAIR, SearchSpace
from fervit.search.space.settings import Budget, Confirm, EarlyStopping, SearchSettings, TrialResources
from fervit.search.space.space_file import NAME, NOT_SEARCHABLE, OF_THE_DATA
from fervit.training.config import TrainConfig
from fervit.training.objective import Metric

FILE = "space.schema.json"
"""The name of the schema beside the spaces of fervit."""
SECTIONS = {
    "metric": Metric,
    "search": SearchSettings,
    "early_stopping": EarlyStopping,
    "trial": TrialResources,
    "confirm": Confirm,
    "budget": Budget,
}


def space_schema() -> JsonObject:
    """Returns the JSON Schema of a search space file (draft 2020-12)."""
    texts = field_docs(SearchSpace)
    sections = {name: _or_left_out(object_schema(kind)) for name, kind in SECTIONS.items()}
    sections["search"]["anyOf"][0]["properties"]["warm_start"]["items"] = _hyperparameters(*NOT_SEARCHABLE)
    return {
        "$schema": DRAFT,
        "title": "A search space of fervit",
        "type": "object",
        "properties": {
            "name": {
                "type": "string",
                "pattern": f"^{NAME}$",
                "description": "The name of the sweep, with which its folder begins.",
            },
            **sections,
            "parameters": {**_ref("parameters"), "description": texts["parameters"]},
            "fixed": _or_left_out(_hyperparameters(*NOT_SEARCHABLE))
            | {"description": "Hyperparameters with one value; those that the file does not name have their defaults."},
        },
        "required": ["name", "parameters"],
        "additionalProperties": False,
        "allOf": _rules(),
        "$defs": {
            **{name: one | {"description": text} for name, (one, text) in _hyper().items()},
            "parameters": _parameters(),
            "group": _group(),
            "when": _when(),
        },
    }


def _hyper() -> dict[str, tuple[JsonObject, str]]:
    """Returns the schema and the help of each hyperparameter of a training."""
    hints, texts = typing.get_type_hints(TrainConfig, include_extras=True), field_docs(TrainConfig)
    return {name: (schema_of(hint), f"{texts[name]} (default: {DEFAULTS[name]})") for name, hint in hints.items()}


def _parameters() -> JsonObject:
    """Returns the schema of a mapping of hyperparameters and of groups of them under one condition."""
    refused = {**NOT_SEARCHABLE, **OF_THE_DATA}
    searched = {
        name: {
            "if": {"type": "object", "required": ["parameters"]},
            "then": _ref("group"),
            "else": {"description": text, **_distribution(name, one)},
        }
        for name, (one, text) in _hyper().items()
        if name not in refused
    }
    none = {name: {"not": {}, "description": f"cannot be searched: {why}"} for name, why in refused.items()}
    properties = {**searched, **none}
    return {"type": "object", "minProperties": 1, "properties": properties, "additionalProperties": _ref("group")}


def _group() -> JsonObject:
    """Returns the schema of a group of hyperparameters in `parameters`."""
    return {
        "type": "object",
        "description": "A group of hyperparameters under one condition, under any name.",
        "properties": {"when": _ref("when"), "parameters": _ref("parameters")},
        "required": ["parameters"],
        "additionalProperties": False,
    }


def _distribution(name: str, one: JsonObject) -> JsonObject:
    """Returns the schema of `{values: [...]}` or `{distribution: ..., min: ..., max: ...}` for a hyperparameter.

    Args:
        name: the name of the hyperparameter.
        one: the schema of its value.
    """
    when = {} if name in PAIR else {"when": _ref("when")}
    values = {"type": "array", "items": _ref(name), "minItems": 1, "uniqueItems": True}
    listed = {
        "type": "object",
        "properties": {"values": values, **when},
        "required": ["values"],
        "additionalProperties": False,
    }
    kind = next((word for word in ("integer", "number") if one.get("type") == word), None)
    if kind is None:
        return listed
    kinds = ["int"] if kind == "integer" else ["uniform", "log_uniform"]
    ends = {"distribution": {"enum": kinds}, "min": _ref(name), "max": _ref(name)}
    whole = {"log": {"type": "boolean"}, "step": {"type": "integer", "minimum": 1}} if kind == "integer" else {}
    return {
        "if": {"type": "object", "required": ["values"]},
        "then": listed,
        "else": {
            "type": "object",
            "properties": {**ends, **whole, **when},
            "required": ["distribution", "min", "max"],
            "additionalProperties": False,
            "allOf": [_rule({"distribution": {"const": "log_uniform"}}, {"min": {"exclusiveMinimum": 0}})]
            if kind == "number"
            else [_rule({"log": {"const": True}}, {"min": {"exclusiveMinimum": 0}, "step": {"const": 1}})],
        },
    }


def _when() -> JsonObject:
    """Returns the schema of a condition: other hyperparameters, each with a value or a list of values."""
    conditions = {
        name: {"anyOf": [_ref(name), {"type": "array", "items": _ref(name)}]}
        for name in _hyper()
        if name not in NOT_SEARCHABLE | OF_THE_DATA
    }
    return {
        "type": "object",
        "description": "Searched only where other hyperparameters, which have a list of values, have one of these.",
        "minProperties": 1,
        "properties": conditions,
        "additionalProperties": False,
    }


def _hyperparameters(*without: str) -> JsonObject:
    """Returns the schema of a mapping of hyperparameters to values, but for some hyperparameters."""
    properties = {name: _ref(name) for name in _hyper() if name not in without}
    return {"type": "object", "properties": properties, "additionalProperties": False}


def _rules() -> list[JsonObject]:
    """Returns the rules over several keys that a schema can say."""
    given: JsonObject = {"type": "string"}
    thaw, against = {"scheduler": {"const": "thaw"}}, {"against": given}
    shared = {"gpus": {"anyOf": [{"type": "null"}, {"type": "number", "exclusiveMaximum": 1}]}}
    whole = {"gpus": {"anyOf": [{"type": "null"}, {"type": "number", "multipleOf": 1}]}}
    loss = {"metric": _has({"name": {"const": "val_loss"}})}
    return [
        {**_rule(loss, _within("metric", {"goal": {"const": "minimize"}}))}
        | {"else": {"properties": _within("metric", {"goal": {"const": "maximize"}})}},
        _rule({"metric": _has(against)}, _within("early_stopping", {"scheduler": {"const": "none"}})),
        _rule({"metric": _has(against)}, _within("search", {"sampler": {"not": {"const": "cmaes"}}})),
        _rule({"early_stopping": _has(thaw)}, _within("budget", {"until_noise": {"const": False}})),
        _rule({"trial": _has({"workers": {"type": "integer", "minimum": 2}})}, _within("trial", whole)),
        _rule({"trial": _has({"mps": {"const": True}})}, _within("trial", shared)),
        {"properties": _within("confirm", {"folds": {"not": {"const": 1}}})},
        _rule(
            {"confirm": _has({"folds": {"type": "integer", "minimum": 2}})},
            _within("confirm", {"top": {"not": {"const": 0}}}),
        ),
    ]


def _has(properties: JsonObject) -> JsonObject:
    """Returns the schema of an object that has all of these properties."""
    return {"type": "object", "properties": properties, "required": list(properties)}


def _rule(condition: JsonObject, consequence: JsonObject) -> JsonObject:
    """Returns a schema by which objects that have properties must have others as they should be."""
    return {"if": _has(condition), "then": {"properties": consequence}}


def _within(section: str, properties: JsonObject) -> JsonObject:
    return {section: {"properties": properties}}


def _or_left_out(section: JsonObject) -> JsonObject:
    """Returns a schema that takes null, too, which stands for a section that is left out."""
    return {"anyOf": [section, {"type": "null"}]}


def _ref(name: str) -> JsonObject:
    return {"$ref": f"#/$defs/{name}"}
