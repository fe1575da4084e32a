from __future__ import annotations

from dataclasses import dataclass, field
from typing import Any, Literal

import pytest

from fervit.errors import UserError
from fervit.parsing import build


@dataclass(frozen=True, kw_only=True)
class Inner:
    size: int = 1

    def __post_init__(self) -> None:
        if self.size < 1:
            raise ValueError(f"`size >= 1` must hold, but got size={self.size}")


@dataclass(frozen=True, kw_only=True)
class Outer:
    name: str
    lr: float = 0.1
    mode: Literal["a", "b"] = "a"
    limit: float | None = None
    on: bool = False
    inner: Inner = field(default_factory=Inner)


def test_builds_with_defaults_and_nested_parts() -> None:
    assert build(Outer, {"name": "x", "inner": {"size": 3}}, "f") == Outer(name="x", inner=Inner(size=3))


def test_takes_1e_4_for_a_float_though_yaml_reads_it_as_text() -> None:
    assert build(Outer, {"name": "x", "lr": "1e-4"}, "f").lr == 1e-4


@pytest.mark.parametrize(
    ("values", "message"),
    [
        ({"name": "x", "lrr": 1}, "f: there is no key 'lrr'; did you mean 'lr'?"),
        ({}, "f: the key 'name' is missing"),
        ({"name": 3}, "f.name: must be text, but got 3"),
        ({"name": "x", "lr": "fast"}, "f.lr: must be a number, but got 'fast'"),
        ({"name": "x", "lr": True}, "f.lr: must be a number, but got True"),
        ({"name": "x", "lr": ".nan"}, "f.lr: must be a number, but got '.nan'"),
        ({"name": "x", "lr": float("nan")}, "f.lr: must be a finite number, but got nan"),
        ({"name": "x", "on": 1}, "f.on: must be true or false, but got 1"),
        ({"name": "x", "mode": "c"}, "f.mode: must be one of a, b, but got 'c'"),
        ({"name": "x", "inner": {"size": 1.5}}, "f.inner.size: must be a whole number, but got 1.5"),
        ({"name": "x", "inner": {"size": 0}}, "f.inner: `size >= 1` must hold, but got size=0"),
        ({"name": "x", "inner": [1]}, "f.inner: must be a mapping of keys to values, but got [1]"),
    ],
)
def test_a_mistake_names_the_place_and_the_rule(values: dict[str, Any], message: str) -> None:
    with pytest.raises(UserError) as error:
        build(Outer, values, "f")
    assert str(error.value) == message
