"""Whatever stands in a space file or behind --set is a search space or told in one line."""

from __future__ import annotations

import copy
import tempfile
from collections.abc import Callable
from pathlib import Path
from typing import Any

import yaml
from hypothesis import given, settings
from hypothesis import strategies as st

from fervit.errors import UserError
from fervit.search.space.space_file import override, parse_space, read_space
from tests.conftest import SMALL_SPACE, WARMUP_WITH_COSINE

SMALL: dict[str, Any] = yaml.safe_load(SMALL_SPACE)
WHOLE = {
    **SMALL,
    "parameters": {**SMALL["parameters"], **WARMUP_WITH_COSINE},
    "confirm": {"top": 2, "seeds": 2, "hours": 1.5},
    "budget": {"hours": 2.0, "gpu_hours": None, "until_noise": True},
}
LEAVES = (
    st.none() | st.booleans() | st.integers() | st.floats() | st.text(max_size=8) | st.sampled_from(["tpe", "1e-3", ""])
)
JUNK = st.recursive(
    LEAVES, lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(max_size=6), inner, max_size=3)
)
few = settings(max_examples=80, derandomize=True, deadline=None, database=None)


def places(value: Any, path: tuple[Any, ...] = ()) -> list[tuple[Any, ...]]:
    """Returns the paths of all values in a nested value."""
    inner = value.items() if isinstance(value, dict) else enumerate(value) if isinstance(value, list) else ()
    return [path, *(found for key, one in inner for found in places(one, (*path, key)))]


def replaced(value: Any, path: tuple[Any, ...], by: Any) -> Any:
    """Returns a nested value in which one is replaced."""
    if not path:
        return by
    changed = copy.copy(value)
    changed[path[0]] = replaced(value[path[0]], path[1:], by)
    return changed


def told(work: Callable[[], object]) -> str:
    """Returns what a user is told, "" if nothing is wrong."""
    try:
        work()
    except UserError as error:
        return str(error)
    return ""


@few
@given(st.sampled_from(places(WHOLE)[1:]), JUNK)
def test_a_value_that_is_anything_is_taken_or_told_in_a_line(path: tuple[Any, ...], value: Any) -> None:
    raw = replaced(WHOLE, path, value)
    problem = told(lambda: parse_space(raw, "s.yaml"))
    if problem:
        assert len(problem.splitlines()) == 1
        return
    space = parse_space(raw, "s.yaml")
    written = yaml.safe_dump(space.to_json(), sort_keys=False)
    assert parse_space(yaml.safe_load(written), "again.yaml") == space


@few
@given(st.text(max_size=80) | st.binary(max_size=40))
def test_a_file_of_anything_is_told_in_a_line(content: str | bytes) -> None:
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / "s.yaml"
        path.write_bytes(content if isinstance(content, bytes) else content.encode("utf-8", "surrogatepass"))
        assert len(told(lambda: read_space(path)).splitlines()) <= 1


@few
@given(
    st.sampled_from([".".join(map(str, path)) for path in places(WHOLE)[1:]]) | st.text(max_size=12),
    st.text(max_size=12),
)
def test_an_override_of_anything_is_taken_or_told_in_a_line(key: str, value: str) -> None:
    raw = copy.deepcopy(WHOLE)

    def work() -> None:
        override(raw, f"{key}={value}")
        parse_space(raw, "s.yaml")

    assert len(told(work).splitlines()) <= 1


@few
@given(
    st.integers(1, 10**6),
    st.floats(1e-3, 1e6),
    st.none() | st.integers(1, 50),
)
def test_an_override_is_what_was_given(trials: int, hours: float, most: int | None) -> None:
    raw = copy.deepcopy(WHOLE)
    for text in (
        f"search.trials={trials}",
        f"budget.hours={hours!r}",
        f"search.max_concurrent_trials={'null' if most is None else most}",
    ):
        override(raw, text)
    space = parse_space(raw, "s.yaml")
    assert (space.search.trials, space.budget.hours, space.search.max_concurrent_trials) == (trials, hours, most)
