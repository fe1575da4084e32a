"""Checks the arguments of calls from Python, for which argparse does the same on the command line."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, NamedTuple

from fervit.errors import UserError
from fervit.io.files import from_home
from fervit.labels.dealing import Fractions

if TYPE_CHECKING:
    from fervit.latents.exclusion import Exclusion
    from fervit.latents.votes import Votes, VotesAs

Files = str | Path | Sequence[str | Path]
"""A file, or several."""


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


def exclusion_in(files: Files | None) -> Exclusion | None:
    """Reads lists of faces to leave out; None if there is none.

    Args:
        files: the path or URI of a list, or several; None or an empty sequence for none.

    Raises:
        UserError: a list is missing, damaged, or names no face.
    """
    given = [files] if isinstance(files, str | Path) else list(files or ())
    if not given:
        return None
    from fervit.latents.exclusion import Exclusion  # a slow import

    return Exclusion.read([from_home(str(file)) for file in given])


def votes_in(file: str | Path | None, votes_as: str) -> tuple[Votes, VotesAs] | None:
    """Reads the votes of taggers; None if there are none.

    Args:
        file: the path or URI of the CSV file, or None.
        votes_as: "majority" or "distribution".

    Raises:
        UserError: the file is missing or wrong, or `votes_as` is something else.
    """
    if votes_as not in ("majority", "distribution"):
        raise UserError(f"--votes_as: must be majority or distribution, but got {votes_as!r}")
    if file is None:
        return None
    from fervit.latents.votes import Votes  # a slow import

    return Votes.read(from_home(str(file))), "majority" if votes_as == "majority" else "distribution"


class Changes(NamedTuple):
    """What a training changes of its latents: the arguments `exclude`, `votes`, `votes_as` and `val_fraction`."""

    exclude: Files | None
    votes: str | Path | None
    votes_as: str
    fractions: Fractions | None
