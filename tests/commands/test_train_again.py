"""The command with which a sweep ends trains its winner again."""

from __future__ import annotations

import json
import shlex
import shutil
from pathlib import Path

import pytest

from fervit.api.tune import resolve_space
from fervit.checkpoints.checkpoint import load_checkpoint
from fervit.cluster.nodes import Cluster
from fervit.commands.models.train import parser
from fervit.labels.dealing import Fractions
from fervit.search.outcome.again import train_again
from fervit.search.records.record import TrialRecord
from fervit.search.splits import Splits
from fervit.training.config import TrainConfig
from tests.conftest import ROOT, Command, latent_set

SPACES = [str(path) for path in sorted((ROOT / "search_spaces").glob("*.yaml"))]


def again(space: str, params: dict[str, object], **splits: object) -> str:
    both = {"train": latent_set(2, path="a b/train"), "val": latent_set(1, path="a b/val")}
    record = TrialRecord(number=3, name="trial_0003", seed=45, params=params)
    return train_again(resolve_space(space), record, Splits(**both, test=None, **splits))  # type: ignore[arg-type]


@pytest.mark.parametrize("space", SPACES)
@pytest.mark.parametrize("changed", [{"pre_norm": True, "dropout": 1 / 3}, {"pre_norm": False, "lr": 1e-4}])
def test_the_flags_of_train_give_every_hyperparameter(space: str, changed: dict[str, object]) -> None:
    params = {"lr": 0.00012345678901234567, "scheduler": "plateau", **changed}
    words = shlex.split(again(space, params))
    given = parser().parse(words[words.index("--latent_train_dir") :])
    named = {name: value for name, value in vars(given).items() if name in TrainConfig().to_json()}
    assert TrainConfig(**named) == resolve_space(space).config(params, 45)
    assert (given.latent_train_dir, given.latent_val_dir) == ("a b/train", "a b/val")
    assert given.use_gpu is (None if resolve_space(space).trial.gpus else False)


def test_splits_that_were_taken_out_of_the_training_codes_are_taken_again() -> None:
    words = shlex.split(again(SPACES[0], {}, fractions=Fractions(val=0.2, test=0.1, seed=3)))
    given = parser().parse(words[words.index("--latent_train_dir") :])
    assert (given.latent_val_dir, given.val_fraction, given.test_fraction, given.split_seed) == (None, 0.2, 0.1, 3)


@pytest.mark.long
def test_the_last_command_of_a_sweep_trains_the_winner_again(
    command: Command, cluster: Cluster, latents_folder: Path, small_space: Path
) -> None:
    """With splits out of the training codes, a fixed hyperparameter that is on, and reruns with fresh seeds."""
    for split in ("val", "test"):
        shutil.rmtree(latents_folder / split)
    given = ("--space", small_space, "--latents", latents_folder, "--set", "search.trials=3")
    given = (*given, "--set", "fixed.use_class_weights=true", "--set", "confirm={top: 1, seeds: 2}")
    fractions = ("--val_fraction", 0.25, "--test_fraction", 0.25, "--split_seed", 5)
    ended = command("tune", *given, *fractions, "--format", "json")
    assert ended.status == 0, ended.err
    swept = json.loads(ended.out)
    assert f"Train again  {swept['train_again']}\n" in ended.err
    words = shlex.split(swept["train_again"])
    assert words[:2] == ["python", "launch/train.py"]
    ended = command("train", *words[2:], "--format", "json")
    assert ended.status == 0, ended.err
    trained = json.loads(ended.out)
    winner, model = load_checkpoint(Path(swept["model"])), load_checkpoint(Path(trained["model"]))
    assert (model.config, model.data) == (winner.config, winner.data)
    # Its best epoch is that of the sweep or, if that stopped it, a later one; rounding may differ a little.
    assert trained["best"]["f1_macro"] >= swept["chosen"]["value"] - 0.02
