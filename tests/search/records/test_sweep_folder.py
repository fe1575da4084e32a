from __future__ import annotations

from pathlib import Path

import pytest

from fervit.errors import UserError
from fervit.io.files import write_json
from fervit.search.records.sweep_folder import SweepFolder, check_same
from fervit.search.space.search_space import DEFAULTS, SearchSpace
from fervit.search.space.space_file import parse_space
from fervit.search.splits import Splits
from tests.conftest import latent_set

SPACE = {
    "name": "s",
    "parameters": {"lr": {"values": [1e-4, 1e-3]}, "warmup_epochs": {"values": [0, 2], "when": {"lr": 1e-3}}},
    "fixed": {"depth": 2},
}


def began(folder: Path, space: SearchSpace, splits: Splits, **other_defaults: object) -> SweepFolder:
    """Writes what a sweep's first session writes, of a version with other defaults."""
    files = SweepFolder(folder)
    files.write_space(space)
    fingerprints = {"train": splits.train.fingerprint, "val": splits.val.fingerprint}
    data = {name: {"sha256": fingerprint, "path": name} for name, fingerprint in fingerprints.items()}
    defaults = {"defaults": {**DEFAULTS, **other_defaults}} if other_defaults else {}
    write_json(files.environment, {"packages": {"fervit": "0.0.9"}, "data": data, **defaults})
    return files


@pytest.mark.parametrize(
    ("other", "refused"),
    [
        ({"label_smoothing": 0.5}, True),
        ({"warmup_epochs": 1.0}, True),  # where its condition does not hold
        ({"lr": 0.5}, False),  # searched in every trial
        ({"depth": 99}, False),  # fixed by the space
        ({"of_another_version": 1}, False),
        ({}, False),  # before versions noted them
    ],
)
def test_a_sweep_does_not_go_on_with_other_defaults(tmp_path: Path, other: dict[str, object], refused: bool) -> None:
    space = parse_space(SPACE, "s.yaml")
    splits = Splits(train=latent_set(8), val=latent_set(7, seed=1), test=None)
    files = began(tmp_path, space, splits, **other)
    if not refused:
        check_same(space, splits, files)
        return
    with pytest.raises(UserError, match=r"began with fervit 0.0.9, which had other defaults \(\w+ 0.0, was"):
        check_same(space, splits, files)
