"""Writes the files of sweeps without training anything."""

from __future__ import annotations

import json
import math
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import yaml

from fervit.checkpoints.export import export
from fervit.evaluation.evaluate import evaluate
from fervit.io.files import write_json, write_text
from fervit.search.space.search_space import SearchSpace
from fervit.search.space.space_file import parse_space
from fervit.training.config import TrainConfig
from tests.conftest import ENCODER, latent_set, trained

SPACE: dict[str, Any] = {
    "name": "written",
    "search": {"sampler": "random", "trials": 40, "seed": 3, "warm_start": [{"lr": 1e-4, "depth": 6, "heads": 8}]},
    "early_stopping": {"scheduler": "asha", "max_epochs": 9, "grace_epochs": 1, "reduction_factor": 3},
    "parameters": {
        "lr": {"distribution": "log_uniform", "min": 1e-5, "max": 1e-2},
        "depth": {"values": [1, 2, 6]},
        "heads": {"values": [4, 8]},
        "dropout": {"distribution": "uniform", "min": 0, "max": 0.5},
        "scheduler": {"values": ["plateau", "cosine", "none"]},
    },
    "confirm": {"top": 0, "seeds": 1},
}
CONFIG = TrainConfig(seq_len=4, latent_dim=16, embed_dim=16, depth=1, heads=2, mlp_dim=16, epochs=2, lr=3e-3)
START = 1.8e9
ENVIRONMENT = {
    "python": "3.11.7",
    "packages": {"fervit": "0.1.0", "torch": "2.15.0"},
    "git": {"commit": "0123456789abcdef", "changed": False},
    "command": ["launch/tune.py", "--space", "a space.yaml"],
    "cluster": {"nodes": 1, "cpus": 2.0, "gpus": 0},
    "seed": 3,
    "encoder": ENCODER.to_json(),
    "data": {"train": {"path": "latents/train", "rows": 1000, "sha256": "ab" * 32}},
}


def write_sweep(folder: Path, *, trials: int = 40, epochs: int = 9, **changes: Any) -> SearchSpace:
    """Writes a sweep with two slots, whose values depend on lr.

    A third of the trials finish, one in ten fails, and the others are stopped.
    """
    space = parse_space({**SPACE, **changes}, "written")
    rng, slots = np.random.default_rng(0), [START, START]
    folder.mkdir(parents=True)
    events: list[dict[str, Any]] = [{"event": "session", "time": START}]
    for number in range(trials):
        params: dict[str, Any] = {"lr": float(10 ** rng.uniform(-5, -2)), "depth": int(rng.choice([1, 2, 6]))}
        params |= {"heads": int(rng.choice([4, 8])), "dropout": float(rng.uniform(0, 0.5)), "scheduler": "cosine"}
        if number == 0:
            params = {"lr": 1e-4, "depth": 6, "heads": 8, "dropout": 0.1, "scheduler": "plateau"}
        slot = int(np.argmin(slots))
        told = _trial(number, params, slots[slot], epochs, rng)
        slots[slot] = told[-1]["time"]
        events += told
    events.sort(key=lambda event: event["time"])
    write_text(folder / "trials.jsonl", "".join(json.dumps(event) + "\n" for event in events))
    write_text(folder / "sweep.yaml", yaml.safe_dump(space.to_json(), sort_keys=False))
    write_json(folder / "environment.json", ENVIRONMENT)
    return space


def _trial(
    number: int, params: dict[str, Any], begun: float, epochs: int, rng: np.random.Generator
) -> list[dict[str, Any]]:
    """Returns the journal's events of one trial. Each second has 0.9 s of training and 0.1 s of everything else."""
    failed, finished = number % 10 == 7, number % 3 == 0
    name, last = {"name": f"trial_{number:04d}"}, epochs if finished else max(1, epochs // 3)
    start = {"number": number, "seed": 3, "purpose": "search", "params": params, "warmup_epochs": 0.0}
    events: list[dict[str, Any]] = [{"event": "start", "time": begun, **name, **start}]
    for epoch in range(1, last + 1):
        value = (0.45 - 0.05 * (math.log10(params["lr"]) + 3) ** 2) * (1 - math.exp(-epoch)) + rng.normal(0, 0.01)
        row: dict[str, Any] = {"epoch": epoch, "train_loss": 2 - value, "train_accuracy": value, "val_loss": 2 - value}
        row |= {"accuracy": value + 0.02, "f1_macro": value, "f1_weighted": value, "balanced_accuracy": value}
        row |= {"lr": params["lr"], "seconds": 0.9, "samples_per_second": 1250.0}
        of_trial = {"started": begun, "pid": 1, "cost": 1e4 * params["depth"], "best_value": value, "saved": epoch}
        is_last = finished and epoch == epochs
        events.append({"event": "epoch", "time": begun + epoch, **name, "row": row, "finished": is_last, **of_trial})
    state = "failed" if failed else "finished" if finished else "stopped"
    failure = "diverged: the loss became nan" if failed else ""
    return [*events, {"event": "end", "time": begun + last, **name, "state": state, "failure": failure}]


def finish(folder: Path, split: str = "test") -> None:
    """Adds the files that a sweep writes at its end: the model and its evaluation."""
    checkpoint = trained(CONFIG)
    export(checkpoint, folder / "best")
    write_text(folder / "best" / "README.md", "a card")
    latents = latent_set(20, seed=2)
    evaluate(checkpoint, latents, folder / "evaluation", split=split, training_sha256=latents.sha256[:3], samples=0)


@pytest.fixture(scope="session")
def sweep(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A finished sweep of 40 trials with an evaluation."""
    folder = tmp_path_factory.mktemp("experiments") / "written_20260102_030405"
    write_sweep(folder)
    finish(folder)
    return folder
