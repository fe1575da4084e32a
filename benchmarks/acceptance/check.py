"""The list of checks of `benchmarks/gpu_acceptance.py`."""

from __future__ import annotations

from collections.abc import Callable
from typing import Literal, NamedTuple

PARTS = ("correct", "speed", "ray")
Verdict = Literal["PASS", "FAIL", "INFO"]


class Found(NamedTuple):
    """The result of a check."""

    verdict: Verdict
    figures: str
    """What was measured, in a line."""


class Check(NamedTuple):
    """A promise, and how it is checked."""

    name: str
    part: str
    promise: str
    """The promise, in a line."""
    expected: str
    """The figures that are expected of an H100; "" for none."""
    limit_s: int
    """The seconds after which the check has failed."""
    run: Callable[[str], Found]
    """Runs the check on "cuda", or in a small form on "cpu"."""


CHECKS: dict[str, Check] = {}
"""All checks by their names, in the order in which they run."""


def check(
    part: str, promise: str, *, expected: str = "", limit_s: int = 180
) -> Callable[[Callable[[str], Found]], Callable[[str], Found]]:
    """Adds a function to the checks, under its name."""

    def add(function: Callable[[str], Found]) -> Callable[[str], Found]:
        name = function.__name__
        CHECKS[name] = Check(name, part, promise, expected, limit_s, function)
        return function

    return add


def passed(condition: bool, figures: str) -> Found:
    """Returns PASS or FAIL with figures."""
    return Found("PASS" if condition else "FAIL", figures)


def goal(device: str, reached: bool, figures: str) -> Found:
    """Returns PASS or FAIL of a goal of speed on a GPU; on a CPU, whose speed is no promise, only the figures."""
    return Found("INFO", figures) if device == "cpu" else passed(reached, figures)


def load_checks() -> None:
    """Imports the modules that add their checks, in the order of the parts."""
    from benchmarks.acceptance import correct, jobs, sharing, speed  # noqa: F401

    ordered = sorted(CHECKS.values(), key=lambda one: PARTS.index(one.part))
    CHECKS.clear()
    CHECKS.update({one.name: one for one in ordered})
