"""Runs whole sweeps over small synthetic latents, and reads their folders."""

from __future__ import annotations

import csv
from pathlib import Path
from typing import Any

import optuna
import yaml

from fervit.cluster.nodes import Cluster
from fervit.search.outcome.result import SweepResult
from fervit.search.pipeline import run_sweep
from fervit.search.space.search_space import SearchSpace
from fervit.search.space.space_file import parse_space
from fervit.search.splits import open_splits
from tests.conftest import SMALL_SPACE


def space(**sections: dict[str, Any]) -> SearchSpace:
    raw = yaml.safe_load(SMALL_SPACE)
    for name, change in sections.items():
        raw[name] = {key: value for key, value in {**raw.get(name, {}), **change}.items() if value is not None}
    return parse_space(raw, "small.yaml")


def sweep(given: SearchSpace, latents: Path, folder: Path, cluster: Cluster, lines: list[str]) -> SweepResult:
    folder.mkdir()
    splits = open_splits(str(latents), given)
    return run_sweep(given, splits, given.trial, folder, cluster, lines.append)


def leaderboard(folder: Path) -> list[dict[str, str]]:
    return list(csv.DictReader((folder / "leaderboard.csv").open()))


def study(folder: Path) -> optuna.Study:
    backend = optuna.storages.journal.JournalFileBackend(str(folder / "study.journal"))
    return optuna.load_study(study_name="small", storage=optuna.storages.JournalStorage(backend))
