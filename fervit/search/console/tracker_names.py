"""The experiment trackers that can be asked for. Without torch, so that a command can tell at once of another."""

from __future__ import annotations

from fervit.errors import UserError

MODULES = {"mlflow": "mlflow.tracking", "wandb": "wandb"}
"""The name of each tracker -> the module that it needs."""


def tracker_name(asked: str) -> str:
    """Returns the name of the tracker that a value of `--track` asks for: "mlflow", "mlflow=URI or folder", or "wandb".

    Raises:
        UserError: the tracker is unknown.
    """
    name, _, where = asked.partition("=")
    if name not in MODULES or (where and name != "mlflow"):
        raise UserError(f"--track {asked}: must be mlflow, mlflow=URI, mlflow=FOLDER or wandb")
    return name
