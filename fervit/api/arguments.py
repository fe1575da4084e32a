"""Checks the arguments of calls from Python, for which argparse does the same on the command line."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path

from fervit.errors import UserError
from fervit.files import from_home


def check_at_least(least: int, given: Mapping[str, object]) -> None:
    """Checks that arguments are whole numbers of at least `least`, or None.

    Args:
        least: the smallest number that is allowed.
        given: the name of each argument -> its value, which is None if the caller left it out.

    Raises:
        UserError: an argument has another value.
    """
    for name, value in given.items():
        if value is not None and (isinstance(value, bool) or not isinstance(value, int) or value < least):
            raise UserError(f"{name}: must be a whole number of {least} or more, but got {value!r}")


def as_text(path: str | Path | None) -> str | None:
    """Converts a path or URI to a string, and replaces `~` at its beginning by the home.

    Args:
        path: the path or URI, or None. A URI must be a string, since a Path would merge its slashes.

    Returns:
        The path; None for None.
    """
    return None if path is None else from_home(str(path))
