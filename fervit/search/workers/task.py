"""What the driver asks a trial's process to train, through Ray Tune, which passes on flat dicts."""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from fervit.parsing import build
from fervit.search.records.sweep_folder import TrialFolder
from fervit.search.space.settings import TrialResources
from fervit.training.config import TrainConfig


@dataclass(frozen=True, kw_only=True)
class TrialTask:
    """One trial for a process to start, or to go on with."""

    name: str
    folder: TrialFolder
    """Where the trial writes its checkpoints, and what it goes on from."""
    train: TrainConfig
    workers: int
    """Processes that train together (DDP)."""
    resources: Mapping[str, float]
    """What each worker gets, as Ray names it."""

    def to_tune(self) -> dict[str, Any]:
        """The configuration that Ray Tune gives to the trial."""
        return {
            "name": self.name,
            "folder": str(self.folder.path),
            "train": json.dumps(self.train.to_json()),  # one text: Ray Tune copies each value many times
            "resources": dict(self.resources),
            "workers": self.workers,
        }

    @classmethod
    def from_tune(cls, config: Mapping[str, Any]) -> TrialTask:
        """Reads what `to_tune` wrote."""
        return cls(
            name=config["name"],
            folder=TrialFolder(Path(config["folder"])),
            train=build(TrainConfig, json.loads(config["train"]), "trial"),
            workers=config["workers"],
            resources=config["resources"],
        )


def resources_of(trial: TrialResources) -> dict[str, float]:
    """What each worker of a trial gets, as Ray names it."""
    return {"CPU": trial.cpus, "GPU": trial.gpus}
