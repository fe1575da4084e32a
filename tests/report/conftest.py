"""Sweeps as their files tell them, written without training anything."""

from __future__ import annotations

import json
import math
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import yaml

from fervit.evaluation.evaluate import evaluate
from fervit.files import write_json, write_text
from fervit.search.journal import FILE, Journal
from fervit.search.space import SearchSpace
from fervit.search.space_file import parse_space
from fervit.training.checkpoint import export
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
ENVIRONMENT = {
    "python": "3.11.7",
    "packages": {"fervit": "0.1.0", "torch": "2.15.0"},
    "git": {"commit": "0123456789abcdef", "changed": False},
    "command": ["launch/tune.py", "--space", "a space.yaml"],
    "cluster": {"nodes": 1, "cpus": 2.0, "gpus": 0},
    "seed": 3,
    "encoder": ENCODER,
    "data": {"train": {"path": "latents/train", "rows": 1000, "sha256": "ab" * 32}},
}


def write_sweep(folder: Path, *, trials: int = 40, epochs: int = 9, **changes: Any) -> SearchSpace:
    """A sweep folder of two slots in which lr decides: a third of the trials ends, one in ten fails, the rest stops."""
    space = parse_space({**SPACE, **changes}, "written")
    rng = np.random.default_rng(0)
    folder.mkdir(parents=True)
    journal, time = Journal(folder / FILE), [1.8e9, 1.8e9]
    journal.append("session")
    for number in range(trials):
        params = {"lr": float(10 ** rng.uniform(-5, -2)), "depth": int(rng.choice([1, 2, 6]))}
        params |= {"heads": int(rng.choice([4, 8])), "dropout": float(rng.uniform(0, 0.5)), "scheduler": "cosine"}
        if number == 0:
            params |= {"lr": 1e-4, "depth": 6, "heads": 8, "dropout": 0.1, "scheduler": "plateau"}
        failed, finished = number % 10 == 7, number % 3 == 0
        slot, name = number % 2, f"trial_{number:04d}"
        journal.append("start", name=name, number=number, seed=3, purpose="search", params=params, warmup_epochs=0.0)
        begun = time[slot]
        for epoch in range(1, (epochs if finished else max(1, epochs // 3)) + 1):
            value = (0.45 - 0.05 * (math.log10(params["lr"]) + 3) ** 2) * (1 - math.exp(-epoch)) + rng.normal(0, 0.01)
            time[slot] += 1.0
            row = {"epoch": epoch, "train_loss": 2 - value, "train_accuracy": value, "val_loss": 2 - value}
            row |= {"accuracy": value + 0.02, "f1_macro": value, "f1_weighted": value, "balanced_accuracy": value}
            row |= {"lr": params["lr"], "seconds": 0.9, "samples_per_second": 1250.0}
            best = {"best_value": value, "finished": finished and epoch == epochs, "saved": epoch}
            journal.append("epoch", name=name, row=row, started=begun, pid=slot + 1, cost=1e4 * params["depth"], **best)
        state = "failed" if failed else "finished" if finished else "stopped"
        journal.append("end", name=name, state=state, failure="diverged: the loss became nan" if failed else "")
    journal.close()
    lines = (folder / FILE).read_text().splitlines()  # as if it had taken as long as the epochs say
    whole = trials * 0.6 * epochs / len(lines)
    write_text(folder / FILE, "".join(_at(line, 1.8e9 + i * whole) + "\n" for i, line in enumerate(lines)))
    write_text(folder / "sweep.yaml", yaml.safe_dump(space.to_json(), sort_keys=False))
    write_json(folder / "environment.json", ENVIRONMENT)
    return space


def _at(line: str, time: float) -> str:
    return json.dumps({**json.loads(line), "time": time})


def finish(folder: Path) -> None:
    """Adds what a sweep leaves at its end: the model and its evaluation."""
    checkpoint = trained(CONFIG)
    export(checkpoint, folder / "best")
    write_text(folder / "best" / "README.md", "a card")
    latents = latent_set(20, seed=2)
    evaluate(checkpoint, latents, folder / "evaluation", training_sha256=latents.sha256[:3], samples=0)


@pytest.fixture(scope="session")
def sweep(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A finished sweep of 40 trials with an evaluation."""
    folder = tmp_path_factory.mktemp("experiments") / "written_20260102_030405"
    write_sweep(folder)
    finish(folder)
    return folder
