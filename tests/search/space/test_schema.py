"""The JSON Schema of space files and the program refuse the same files, but for rules that no schema can say."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import jsonschema
import pytest
import yaml
from hypothesis import given, settings
from hypothesis import strategies as st

from fervit.errors import UserError
from fervit.search.space.schema import FILE, space_schema
from fervit.search.space.space_file import parse_space
from tests.conftest import ROOT, SMALL_SPACE, WARMUP_WITH_COSINE
from tests.helpers.spaces import CONDITIONS, MISTAKEN_CONDITIONS, MISTAKES

SCHEMA = jsonschema.Draft202012Validator(space_schema())
SPACES = sorted((ROOT / "search_spaces").glob("*.yaml"))
BEYOND = {
    "search.seed: `seed + 3 < 2**31` must hold, since reruns take the seeds after": "compares two keys",
    "search.seed: `seed + 9 < 2**31` must hold": "compares two keys",
    "parameters.lr: `min <= max` must hold, but got min=0.01, max=0.001": "compares two numbers",
    "fixed.depth: is in parameters as well": "compares two mappings",
    "no value of heads divides one of embed_dim": "divides one number by another",
    "`1 <= grace_epochs <= max_epochs` must hold": "compares two numbers",
    "search.warm_start[0].depth: 5 lies outside parameters.depth": "compares with another key",
    "search.warm_start[0]: there is no key 'lr'": "compares two mappings",
    "2 warm starts do not fit into trials=1": "compares a length with a number",
    "pairs of embed_dim and heads": "multiplies two ranges",
    "parameters.lr.max: must be a finite number": "JSON's numbers have no end",
    "must name a": "asks what another parameter is",
    "parameters.mixup.when.depth: 3 is none of parameters.depth": "asks what another parameter is",
    "parameters.g.parameters.depth: appears twice among the parameters": "compares two mappings",
    "the conditions of mixup, ema_decay wait for each other": "follows references",
}
"""What the program refuses and no schema can: a part of the message -> why it cannot be said."""


def refused(raw: Any) -> bool:
    try:
        parse_space(raw, "s.yaml")
    except UserError:
        return True
    return False


@pytest.mark.parametrize("path", SPACES, ids=lambda path: path.stem)
def test_every_space_that_ships_fits_the_schema_beside_it(path: Path) -> None:
    assert path.read_text().startswith(f"# yaml-language-server: $schema={FILE}\n")
    SCHEMA.validate(yaml.safe_load(path.read_text()))
    written = json.loads((path.parent / FILE).read_text())
    assert written == space_schema(), f"write it again: fervit schema space > search_spaces/{FILE}"


@pytest.mark.parametrize("raw", [yaml.safe_load(SMALL_SPACE), CONDITIONS], ids=["small", "conditions"])
def test_a_right_space_fits(raw: dict[str, Any]) -> None:
    SCHEMA.validate(raw)
    assert not refused(raw)


@pytest.mark.parametrize(
    ("change", "message"),
    [*MISTAKES, *(({"parameters": {"depth": {"values": [1, 2]}, **one}}, text) for one, text in MISTAKEN_CONDITIONS)],
)
def test_what_the_program_refuses_the_schema_refuses(change: dict[str, Any], message: str) -> None:
    raw = {"name": "s", "parameters": {"depth": {"values": [1, 2]}}, **change}
    assert refused(raw)
    assert SCHEMA.is_valid(raw) == (message in BEYOND)


@pytest.mark.parametrize(
    "change",
    [
        {"metric": {"name": "val_loss"}},
        {"metric": {"name": "val_loss", "goal": "minimize"}},
        {"metric": {"against": "parameters"}},
        {"metric": {"against": "latency_ms"}, "early_stopping": {"scheduler": "none"}, "search": {"sampler": "gp"}},
        {"metric": None, "search": None, "trial": None, "confirm": None, "budget": None, "fixed": None},
        {"confirm": {"folds": 5}},
        {"trial": {"workers": 2, "gpus": 1}},
        {"trial": {"workers": 2, "gpus": None}},
        {"trial": {"gpus": 0.25, "mps": True}},
        {"early_stopping": {"scheduler": "thaw"}, "budget": {"until_noise": False}},
        {"parameters": {"depth": {"distribution": "int", "min": 1, "max": 8, "log": True}}},
        {"parameters": {"lr": {"values": [1, 1e-3]}, "dropout": {"distribution": "uniform", "min": 0, "max": 0.5}}},
        {"parameters": {"lr": {"parameters": {"mixup": {"values": [0.1]}}}}},
    ],
)
def test_what_the_program_takes_the_schema_takes(change: dict[str, Any]) -> None:
    raw = {"name": "s", "parameters": {"depth": {"values": [1, 2]}}, **change}
    assert not refused(raw)
    SCHEMA.validate(raw)


@pytest.mark.parametrize(
    "change",
    [
        {"metric": {"against": "parameters"}, "search": {"sampler": "cmaes"}},
        {"early_stopping": {"scheduler": "thaw"}, "budget": {"until_noise": True}},
        {"trial": {"gpus": 1, "mps": True}},
        {"parameters": {"depth": {"distribution": "int", "min": 1, "max": 8, "log": True, "step": 2}}},
        {"parameters": {"lr": {"values": [2, 1e-3], "distribution": "uniform"}}},
        {"parameters": {"seed": {"values": [1, 2]}}},
        {"fixed": {"epochs": 3}},
    ],
)
def test_further_mistakes_are_refused_by_both(change: dict[str, Any]) -> None:
    raw = {"name": "s", "parameters": {"depth": {"values": [1, 2]}}, **change}
    assert refused(raw)
    assert not SCHEMA.is_valid(raw)


WHOLE = {
    **yaml.safe_load(SMALL_SPACE),
    "parameters": {**yaml.safe_load(SMALL_SPACE)["parameters"], **WARMUP_WITH_COSINE},
    "confirm": {"top": 2, "seeds": 2, "hours": 1.5},
    "budget": {"hours": 2.0, "gpu_hours": None, "until_noise": True},
}
PLACES = [(section, key) for section, value in WHOLE.items() if isinstance(value, dict) for key in value]


@settings(max_examples=150, derandomize=True, deadline=None, database=None)
@given(
    st.sampled_from(PLACES),
    st.none()
    | st.booleans()
    | st.integers(-3, 3)
    | st.just(0.5)
    | st.sampled_from(["asha", "none", "int", ""])
    | st.lists(st.integers(0, 2), max_size=2)
    | st.dictionaries(st.sampled_from(["lr", "values", "min"]), st.just(1)),
)
def test_the_schema_refuses_nothing_that_the_program_takes(place: tuple[str, str], value: Any) -> None:
    section, key = place
    raw = {**WHOLE, section: {**WHOLE[section], key: value}}
    if not refused(raw):
        SCHEMA.validate(raw)
