"""Refuses folders that are not what a command works on, before it imports torch and Ray, which takes seconds.

What opens the folder later checks all of it; here one look at the names must do.
"""

from __future__ import annotations

from pathlib import Path

from fervit.cli import refuse_missing
from fervit.errors import HOLDS_NO_RESULTS, NO_RESULTS, NO_SWEEP, UserError

OF_A_SWEEP = ("sweep.yaml", "trials.jsonl")
OF_RESULTS = (*OF_A_SWEEP, "config.json", "evaluation_results.json", "checkpoints/best_model.pt")


def refuse_no_sweep(path: str | Path, flag: str = "") -> None:
    """Refuses a local path that is not there, or a folder that is none of a sweep.

    Args:
        path: what the user gave.
        flag: the flag that the path belongs to, which the line names before it.

    Raises:
        UserError: it is none.
    """
    other = "holds no sweep.yaml of a sweep; give the folder of one, in experiments/"
    _refuse(path, NO_SWEEP, OF_A_SWEEP, other, flag)


def refuse_no_results(path: str | Path) -> None:
    """Refuses a local path that is not there, or a folder without results of a sweep, a run or an evaluation.

    Args:
        path: what the user gave.

    Raises:
        UserError: it holds none.
    """
    _refuse(path, NO_RESULTS, OF_RESULTS, HOLDS_NO_RESULTS)


def _refuse(path: str | Path, missing: str, names: tuple[str, ...], other: str, flag: str = "") -> None:
    """Refuses a path that is not there, and a folder with none of these names in it."""
    refuse_missing(str(path), missing, flag)
    folder = Path(path)
    if folder.is_dir() and not any((folder / name).exists() for name in names):
        raise UserError(f"{flag} {path}: {other}".lstrip())
