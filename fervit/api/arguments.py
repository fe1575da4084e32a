"""Rules for arguments that argparse keeps on a command line, for those who call from Python."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path

from fervit.errors import UserError


def check_at_least(least: int, given: Mapping[str, object]) -> None:
    """Checks that arguments are whole numbers of at least `least`, or left out.

    Args:
        least: the smallest number that is allowed.
        given: the name of each argument and what the caller gave; None for one that was left out.

    Raises:
        UserError: one of them is something else.
    """
    for name, value in given.items():
        if value is not None and (isinstance(value, bool) or not isinstance(value, int) or value < least):
            raise UserError(f"{name}: must be a whole number of {least} or more, but got {value!r}")


def as_text(path: str | Path | None) -> str | None:
    """A path or URI as text, None for one that was left out.

    Args:
        path: what the caller gave.

    Returns:
        The path as it was written. A URI must be given as text, since a Path would fold its slashes.
    """
    return None if path is None else str(path)
