"""Validation and test splits that are taken out of training codes that exist."""

from __future__ import annotations

import json
import shutil
from dataclasses import replace
from pathlib import Path

import pytest

from fervit.errors import UserError
from fervit.labels.dealing import Fractions
from fervit.latents.fractions import take
from fervit.runs.folder import RunFolder
from fervit.runs.run import prepare, prepare_resume
from fervit.search.splits import open_splits
from tests.conftest import LATENT_DIM, Command, latent_set
from tests.helpers.sweeps import space

SMALL = ("--embed_dim", 16, "--depth", 1, "--heads", 2, "--mlp_dim", 16, "--batch_size", 32, "--seq_len", 0)


def test_rows_are_taken_by_class_with_copies_of_a_picture_on_one_side() -> None:
    latents = latent_set(40)
    digests = [f"picture {i % 200}" for i in range(len(latents))]  # 80 pictures are there twice
    parts = take(replace(latents, sha256=digests), Fractions(val=0.2, test=0.1))
    assert sum(map(len, parts.values())) == 280
    pictures = {split: set(part.sha256) for split, part in parts.items()}
    assert not pictures["train"] & pictures["val"]
    assert not pictures["test"] & (pictures["train"] | pictures["val"])
    assert all(6 <= n <= 10 for n in parts["val"].counts)
    again = take(replace(latents, sha256=digests), Fractions(val=0.2, test=0.1))
    assert again["val"].fingerprint == parts["val"].fingerprint
    other = take(replace(latents, sha256=digests), Fractions(val=0.2, test=0.1, seed=1))
    assert other["val"].fingerprint != parts["val"].fingerprint


def test_a_run_validates_on_a_part_of_the_training_codes_and_resumes_with_it(
    latents_folder: Path, tmp_path: Path
) -> None:
    train, given = str(latents_folder / "train"), {"latent_dim": LATENT_DIM, "seq_len": 0, "embed_dim": 16, "heads": 2}
    run = prepare(given, "guide", train, train, fractions=Fractions(val=0.2))
    assert (len(run.train), len(run.val)) == (224, 56)
    assert not set(run.train.sha256) & set(run.val.sha256)
    run.record.write(RunFolder(tmp_path))
    assert json.loads((tmp_path / "config.json").read_text())["fractions"] == {"val": 0.2, "test": 0.0, "seed": 0}
    again = prepare_resume(RunFolder(tmp_path), {}, None, {"train": None, "val": None})
    assert again.record.fractions == Fractions(val=0.2)
    assert (again.train.fingerprint, again.val.fingerprint) == (run.train.fingerprint, run.val.fingerprint)


def test_fractions_of_codes_that_cannot_be_taken_are_one_line(command: Command, latents_folder: Path) -> None:
    train = ("--latent_train_dir", latents_folder / "train")
    for args, message in (
        ((*train, "--val_fraction", 0.2, "--latent_val_dir", latents_folder / "val"), "leave --latent_val_dir out"),
        ((*train, "--val_fraction", 1.2), "must be shares from 0 to 1"),
        (train, "--latent_val_dir: is missing"),
    ):
        ended = command("train", *args)
        assert ended.status == 2, args
        assert message in ended.err
        assert ended.err.count("\n") == 1


@pytest.mark.long
def test_train_validates_on_a_part_of_the_training_codes(command: Command, latents_folder: Path) -> None:
    train = ("--latent_train_dir", latents_folder / "train", "--latent_dim", LATENT_DIM, *SMALL)
    ended = command("train", *train, "--val_fraction", 0.2, "--epochs", 1)
    assert ended.status == 0, ended.err
    assert "splits: --val_fraction 0.2 of the training codes" in ended.out
    assert "224 train" in ended.out
    (run,) = Path("experiments").iterdir()
    ended = command("train", "--resume", run, "--val_fraction", 0.3)
    assert ended.status == 2
    assert "began with --val_fraction 0.2, not --val_fraction 0.3" in ended.err


def test_a_sweep_takes_the_splits_that_are_missing(latents_folder: Path) -> None:
    given = space()
    with pytest.raises(UserError, match="is there; leave the flag out"):
        open_splits(str(latents_folder), given, fractions=Fractions(val=0.2))
    shutil.rmtree(latents_folder / "val")
    one = open_splits(str(latents_folder), given, fractions=Fractions(val=0.2))
    assert one.rows == {"train": 224, "val": 56, "test": 105}
    shutil.rmtree(latents_folder / "test")
    both = open_splits(str(latents_folder), given, fractions=Fractions(val=0.2, test=0.1))
    assert both.rows == {"train": 196, "val": 56, "test": 28}
    assert both.read_test()[0].fingerprint == both.test_fingerprint
    assert both.copies == {"val in train": 0, "test in train": 0, "test in val": 0}
