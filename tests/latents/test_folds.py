"""The rows of training and validation, dealt to folds of which each validates once."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

from fervit.errors import UserError
from fervit.latents.folds import Fold, folds_of
from fervit.search.splits import open_splits
from tests.conftest import latent_set, write_latents
from tests.helpers.sweeps import space

ROWS = 280 + 105


def test_each_row_validates_once_and_every_fold_has_its_share_of_each_class() -> None:
    train, val = latent_set(40, 0), latent_set(15, 1)
    parts = [Fold(k, 5, 3).split(train, val) for k in range(1, 6)]
    validated = [digest for _, part in parts for digest in part.sha256]
    assert sorted(validated) == sorted([*train.sha256, *val.sha256])
    for learnt, measured in parts:
        assert len(learnt) + len(measured) == ROWS
        assert not set(learnt.sha256) & set(measured.sha256)
        assert set(measured.counts) == {11}
        assert learnt.origin not in (train.fingerprint, val.fingerprint)
    code = dict(zip([*train.sha256, *val.sha256], [*train.codes, *val.codes], strict=True))
    learnt, measured = parts[1]
    assert all(np.array_equal(code[digest], row) for digest, row in zip(learnt.sha256, learnt.codes, strict=True))
    assert (folds_of(train, val, 5, 3) == folds_of(train, val, 5, 3)).all()
    assert (folds_of(train, val, 5, 3) != folds_of(train, val, 5, 4)).any()


def test_copies_and_persons_stay_in_one_fold_also_across_the_two_splits() -> None:
    train, val = latent_set(20, 0), latent_set(20, 1)
    copied = replace(val, sha256=[*train.sha256[:40], *val.sha256[40:]])
    dealt = folds_of(train, copied, 4, 0)
    assert (dealt[:40] == dealt[140:180]).all()
    persons = [f"cohn-kanade-images/S{i % 12:03d}/001/S{i % 12:03d}_001_{i:08d}.png" for i in range(140)]
    dealt = folds_of(replace(train, image_ids=persons), replace(val, image_ids=persons), 4, 0)
    for person in range(12):
        of_person = [i for i in range(280) if i % 140 % 12 == person]
        assert len(set(dealt[of_person])) == 1
    assert set(dealt) == {1, 2, 3, 4}


def test_the_votes_of_taggers_go_with_their_rows() -> None:
    train, val = latent_set(10, 0), latent_set(10, 1)
    shares = np.random.default_rng(0).dirichlet(np.ones(7), 140).astype(np.float32)
    voted = train.with_labels(train.labels, shares[:70]), val.with_labels(val.labels, shares[70:])
    learnt, measured = Fold(2, 2, 0).split(*voted)
    of_row = dict(zip([*train.sha256, *val.sha256], shares, strict=True))
    for part in (learnt, measured):
        assert part.targets is not None
        assert all(np.array_equal(of_row[one], row) for one, row in zip(part.sha256, part.targets, strict=True))


def test_a_class_with_fewer_faces_than_folds_is_told_before_the_sweep(tmp_path: Path) -> None:
    train, val = latent_set(12, 0), latent_set(12, 1)
    rare = 2
    few = np.flatnonzero((train.labels != rare) | (np.cumsum(train.labels == rare) <= 2))
    write_latents(tmp_path / "train", train, few)
    write_latents(tmp_path / "val", val, np.flatnonzero((val.labels != rare) | (np.cumsum(val.labels == rare) <= 1)))
    with pytest.raises(UserError, match=r"confirm\.folds 4: every fold needs faces of every class, but .* have 3 of "):
        open_splits(str(tmp_path), space(confirm={"top": 1, "folds": 4}))
    open_splits(str(tmp_path), space(confirm={"top": 1, "folds": 3}))
