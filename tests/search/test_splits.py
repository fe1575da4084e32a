from __future__ import annotations

from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from fervit.errors import UserError
from fervit.io.files import write_json
from fervit.latents.copies import copies_in_words
from fervit.search.records.sweep_folder import SweepFolder, check_same
from fervit.search.splits import open_splits
from tests.conftest import latent_set, write_latents
from tests.helpers.sweeps import space


def test_copies_are_counted_between_all_three_splits(latents_folder: Path) -> None:
    train, val = latent_set(40, 0), latent_set(15, 1)
    added = replace(val, image_ids=[f"copy {i}" for i in val.image_ids], sha256=train.sha256[: len(val)])
    write_latents(latents_folder / "val", added, slice(5))
    added = replace(added, sha256=["", val.sha256[0], val.sha256[1], *train.sha256[3 : len(val)]])
    write_latents(latents_folder / "test", added, slice(4))
    splits = open_splits(str(latents_folder), space())
    assert splits.copies == {"val in train": 5, "test in train": 1, "test in val": 3}
    line = copies_in_words(splits.copies, rows=splits.rows)
    for words in ("5 of 110 val faces are also in train", "1 of 109 test faces are also in train", "3 of 109 test"):
        assert words in line
    assert copies_in_words({"val in train": 0}).endswith("none")


def test_a_sweep_is_resumed_with_the_test_split_that_it_began_with(latents_folder: Path, tmp_path: Path) -> None:
    given, folder = space(), SweepFolder(tmp_path)
    splits = open_splits(str(latents_folder), given)
    folder.write_space(given)
    data: dict[str, Any] = {
        name: {"path": split.path, "sha256": split.fingerprint}
        for name, split in (("train", splits.train), ("val", splits.val))
    }
    write_json(folder.environment, {"data": data})
    check_same(given, splits, folder)  # of an earlier version, or begun without a test split
    later = {"data": {**data, "test": {"path": splits.test, "sha256": splits.test_fingerprint}}}
    write_json(folder.environment, {"data": data, "sessions": [later]})
    check_same(given, splits, folder)
    gone = replace(splits, test=None, test_fingerprint="")
    other = replace(splits, test_fingerprint="other")
    for now in (gone, other):
        with pytest.raises(UserError, match=r"began with .*test split"):
            check_same(given, now, folder)
