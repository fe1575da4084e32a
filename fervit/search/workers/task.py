"""The task that the driver sends to the process of a trial, through Ray Tune, which transports flat dicts."""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from fervit.latents.folds import Fold
from fervit.parsing import build
from fervit.search.records.sweep_folder import TrialFolder
from fervit.search.space.settings import TrialResources
from fervit.training.config import TrainConfig


@dataclass(frozen=True, kw_only=True)
class TrialTask:
    """A trial that a process is to start or to continue."""

    name: str
    folder: TrialFolder
    """The folder of the trial's checkpoints, from which it also continues."""
    train: TrainConfig
    workers: int
    """The number of processes that train together (DDP)."""
    resources: Mapping[str, float]
    """The resources of each worker, under Ray's names "CPU" and "GPU"."""
    decided_after: tuple[int, ...] | None = None
    """The epochs after which the driver may stop the trial; None for any epoch."""
    pauses: bool = False
    """Whether the trial may pause after these epochs, so that its state must then be on disk."""
    mps: bool = False
    """Whether the trial shares its GPU through NVIDIA's MPS."""
    fold: Fold | None = None
    """The fold that validates it; None for the splits of the sweep."""
    avoid: tuple[str, ...] = ()
    """Ray's ids of the nodes whose GPUs cannot be used."""

    def to_tune(self) -> dict[str, Any]:
        """Returns the configuration that Ray Tune passes to the trial."""
        return {
            "name": self.name,
            "folder": str(self.folder.path),
            "train": json.dumps(self.train.to_json()),  # one string, since Ray Tune copies each value many times
            "resources": dict(self.resources),
            "workers": self.workers,
            "decided_after": self.decided_after,
            "pauses": self.pauses,
            "mps": self.mps,
            "fold": list(self.fold) if self.fold is not None else None,
            "avoid": list(self.avoid),
        }

    @classmethod
    def from_tune(cls, config: Mapping[str, Any]) -> TrialTask:
        """Reads a configuration that `to_tune` made."""
        return cls(
            name=config["name"],
            folder=TrialFolder(Path(config["folder"])),
            train=build(TrainConfig, json.loads(config["train"]), "trial"),
            workers=config["workers"],
            resources=config["resources"],
            decided_after=config["decided_after"],
            pauses=config["pauses"],
            mps=config["mps"],
            fold=Fold(*config["fold"]) if config["fold"] is not None else None,
            avoid=tuple(config["avoid"]),
        )


def shares_by_mps(trial: TrialResources) -> bool:
    """Returns whether trials share a GPU through NVIDIA's MPS."""
    return trial.mps and trial.gpus_each > 0


def resources_of(trial: TrialResources) -> dict[str, float]:
    """Returns the resources of each worker of a trial, under Ray's names "CPU" and "GPU"."""
    return {"CPU": trial.cpus, "GPU": trial.gpus_each}
