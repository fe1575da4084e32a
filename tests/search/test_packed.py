"""Recorded sweeps in one file."""

from __future__ import annotations

import json
import lzma
from dataclasses import replace
from pathlib import Path

import pytest

from fervit.errors import UserError
from fervit.search.packed import Packed, Training, packed_in, read_packed, write_packed
from fervit.search.replay import read_recording, replay
from tests.helpers.epochs import epoch_result
from tests.helpers.simulated_sweeps import space_of

SPACE = space_of("random", "none", seed=1, trials=3, early_stopping={"scheduler": "none", "max_epochs": 2})


def training(number: int, seed: int = 1, **changes: object) -> Training:
    params = {"lr": 10.0 ** -(number + 2), "dropout": 0.1, "weight_decay": 0.01, "depth": 2}
    epochs = [epoch_result(i, f1_macro=(number + i) / 10, seconds=1.0) for i in (1, 2)]
    made = Training(group="sweep", number=number, seed=seed, params=params, epochs=epochs, fresh={})
    return replace(made, fresh={"f1_macro": [0.1, 0.2], "accuracy": [0.3, 0.4]}, **changes)  # type: ignore[arg-type]


def packed(*trainings: Training) -> Packed:
    data = {"train": {"rows": 3, "sha256": "abc"}}
    return Packed(name="a", about="an example", headroom=True, space=SPACE, data=data, trainings=list(trainings))


def test_what_was_packed_is_read_and_replayed(tmp_path: Path) -> None:
    again = training(0, seed=7, group="residuals")
    written = packed(*map(training, range(3)), again, training(3, failure="the loss became nan"))
    path = tmp_path / "a.json.xz"
    write_packed(written, path)
    assert packed_in(tmp_path) == [path]
    found = read_packed(path)
    assert found == written
    assert [one.number for one in found.of("sweep")] == [0, 1, 2]
    assert found.by_configuration("residuals") == {0: [again]}
    assert found.best_values([again]).tolist() == [[0.1, 0.2]]
    recording = read_recording(path)
    assert (len(recording.trials), recording.left_out) == (3, 1)
    assert replay(recording, sampler="random", scheduler="none", seed=1, epochs=6).best == 0.4


@pytest.mark.parametrize(
    ("content", "says"),
    [(None, "no such file"), (b"cut off", "damaged"), (b"{}", "damaged"), (b'{"format": 2}', "later version")],
)
def test_a_file_that_is_none_is_told(content: bytes | None, says: str, tmp_path: Path) -> None:
    path = tmp_path / "a.json.xz"
    if content is not None:
        path.write_bytes(content if content == b"cut off" else lzma.compress(content))
    with pytest.raises(UserError, match=says):
        read_packed(path)


def test_fresh_values_of_other_epochs_are_damage(tmp_path: Path) -> None:
    row = training(0).to_json()
    row["fresh"]["accuracy"].pop()
    with pytest.raises(ValueError, match="other epochs"):
        Training.from_json(json.loads(json.dumps(row)))
