"""Where a model lies. Without torch, so that a command can tell at once that there is none."""

from __future__ import annotations

from pathlib import Path

from fervit.errors import NO_CHECKPOINT, UserError

BEST_MODEL, WEIGHTS, MODEL_CONFIG = "best_model.pt", "model.safetensors", "config.json"


def checkpoint_in(path: Path) -> Path:
    """Finds the file of weights that a path stands for.

    Args:
        path: a file, or the folder of an export, a run or a sweep.

    Raises:
        UserError: there is no such file, or no model in the folder.
    """
    if path.is_dir():
        for name in (WEIGHTS, BEST_MODEL, f"checkpoints/{BEST_MODEL}", f"best/{WEIGHTS}", f"best/{BEST_MODEL}"):
            if (path / name).is_file():
                return path / name
        raise UserError(f"{path}: holds no model (no {WEIGHTS}, {BEST_MODEL}, checkpoints/{BEST_MODEL} or best/)")
    if not path.is_file():
        raise UserError(f"{path}: {NO_CHECKPOINT}")
    return path
