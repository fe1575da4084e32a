"""Refuses folders that are not what a command works on, before it imports torch and Ray, which takes seconds.

What opens the folder later checks all of it; here one look at the names must do.
"""

from __future__ import annotations

from pathlib import Path

from fervit.cli import refuse_missing
from fervit.errors import NO_CHECKPOINT, NO_RESULTS, NO_SWEEP, UserError
from fervit.io.files import from_home, is_uri

OF_A_SWEEP = ("sweep.yaml", "trials.jsonl")
MODELS = (
    "model.safetensors", "best_model.pt", "checkpoints/best_model.pt", "best/model.safetensors", "best/best_model.pt",
)  # fmt: skip
OF_RESULTS = (*OF_A_SWEEP, "config.json", "evaluation_results.json", "checkpoints/best_model.pt")


def refuse_no_sweep(path: str | Path, flag: str = "") -> None:
    """Refuses a local path that is not there, or a folder that is none of a sweep.

    Args:
        path: what the user gave.
        flag: the flag that the path belongs to, which the line names before it.

    Raises:
        UserError: it is none.
    """
    refuse_missing(str(path), NO_SWEEP, flag)
    _refuse_other(path, OF_A_SWEEP, "holds no sweep.yaml of a sweep; give the folder of one, in experiments/", flag)


def refuse_no_results(path: str | Path) -> None:
    """Refuses a local path that is not there, or a folder without results of a sweep, a run or an evaluation.

    Args:
        path: what the user gave.

    Raises:
        UserError: it holds none.
    """
    refuse_missing(str(path), NO_RESULTS)
    why = (
        "holds no results (no sweep.yaml of a sweep, config.json of a run, or evaluation_results.json); give the "
        "folder of one"
    )
    _refuse_other(path, OF_RESULTS, why)


def refuse_no_model(path: str | Path) -> None:
    """Refuses a local path that is not there, or a folder without a model.

    Args:
        path: what the user gave.

    Raises:
        UserError: it holds none.
    """
    refuse_missing(str(path), NO_CHECKPOINT)
    why = "holds no model (no model.safetensors, best_model.pt, checkpoints/best_model.pt or best/)"
    _refuse_other(path, MODELS, why)


def _refuse_other(path: str | Path, names: tuple[str, ...], why: str, flag: str = "") -> None:
    folder = Path(from_home(str(path)))
    if not is_uri(str(path)) and folder.is_dir() and not any((folder / name).exists() for name in names):
        raise UserError(f"{flag} {path}: {why}".lstrip())
