"""What was changed of codes before a training, in the words of a card or a report: no path but the names of files."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import PurePosixPath

from fervit.io.files import JsonObject


def changes_in_words(exclude: JsonObject | None, votes: JsonObject | None) -> list[str]:
    """A line about the faces that were left out, and one about the votes that replaced the labels, if there are some.

    Args:
        exclude: the record of the lists (`Exclusion.record`); None for none.
        votes: the record of the votes (`Votes.record`); None for none.
    """
    lines = []
    if exclude:
        parts = " and ".join(f"{n} faces of {split}" for split, n in exclude["left_out"].items())
        names = ", ".join(PurePosixPath(file).name for file in exclude["files"])
        lines.append(
            f"left out: {parts}, by the lists {names} (sha256 of the {exclude['faces']} faces on them "
            f"{exclude['sha256']})"
        )
    if votes:
        name = PurePosixPath(votes["file"]).name
        how = "the class of most votes" if votes["as"] == "majority" else "the shares of the votes"
        lines.append(f"labels: {how} of taggers in {name} (sha256 {votes['sha256']}); {_counts(votes['splits'])}")
    return lines


def _counts(splits: Mapping[str, JsonObject]) -> str:
    """How many rows of each split votes changed and left out."""
    return ", ".join(
        f"{split} {counts['rows']} rows, {counts['relabelled']} relabelled, {sum(counts['left_out'].values())} left out"
        for split, counts in splits.items()
    )
