"""Lists of faces are left out of encoding, training and searching, and stand in the records."""

from __future__ import annotations

import json
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

import fervit
from fervit.api.export import export
from fervit.checkpoints.checkpoint import save_checkpoint
from fervit.cluster.nodes import Cluster
from fervit.errors import UserError
from fervit.latents import LatentSet
from fervit.latents.exclusion import Exclusion
from fervit.latents.looks import looks_at
from fervit.runs.folder import RunFolder, RunRecord
from fervit.runs.run import prepare, prepare_resume
from fervit.search.outcome.sealed import open_test, read_looks
from fervit.search.records.sweep_folder import SweepFolder
from fervit.search.splits import open_splits
from tests.conftest import CONFIG, Command, trained
from tests.helpers.records import trial
from tests.helpers.sweeps import space


@pytest.fixture
def faces_out(tmp_path: Path) -> Path:
    """A list of two faces of training, one of validation, and three of any split."""
    path = tmp_path / "list.jsonl"
    rows = [("00003", "train"), ("00004", "train"), ("00005", "val")]
    rows += [(f"0010{i}", "") for i in range(3)]  # there are 105 faces of validation and test, 280 of training
    path.write_text("".join(json.dumps({"image_id": name, "split": split}) + "\n" for name, split in rows))
    return path


def test_a_list_names_faces_of_its_split(latents_folder: Path, faces_out: Path) -> None:
    train = LatentSet.read(str(latents_folder / "train"))
    exclusion = Exclusion.read([str(faces_out)])
    left = exclusion.without(train)
    assert set(train.image_ids) - set(left.image_ids) == {"00003", "00004", "00100", "00101", "00102"}
    row = left.image_ids.index("00050")
    before = train.image_ids.index("00050")
    assert np.array_equal(left.codes[row], train.codes[before])
    assert (left.labels[row], left.sha256[row]) == (train.labels[before], train.sha256[before])
    assert left.fingerprint != train.fingerprint


def test_lists_by_hand_are_text(tmp_path: Path) -> None:
    (tmp_path / "one.txt").write_text("train/happy/a b.png\n\ntrain/sad/c.png")
    (tmp_path / "two.jsonl").write_text('{"image_id": "train/sad/d.png", "split": "train", "reason": "dark"}\n')
    exclusion = Exclusion.read([str(tmp_path / "one.txt"), str(tmp_path / "two.jsonl")])
    names = ["train/happy/a b.png", "train/sad/c.png", "train/sad/d.png", "train/sad/e.png"]
    assert exclusion.names(names, ["train"] * 4).tolist() == [True, True, True, False]
    assert exclusion.names(names, ["val"] * 4).tolist() == [True, True, False, False]
    assert exclusion.names(names, ["my faces"] * 4).tolist() == [True, True, True, False]


@pytest.mark.parametrize(
    ("content", "message"),
    [
        ("", "names no face"),
        ('{"image_id": "a"}\n{"image_id": \n', "line 2 is damaged"),
        ('{"name": "a"}\n', "line 1 has no image_id"),
        (b"\xff\xfe", "no text in UTF-8"),
    ],
)
def test_a_list_that_cannot_be_used_is_told(content: str | bytes, message: str, tmp_path: Path) -> None:
    path = tmp_path / "list"
    path.write_bytes(content if isinstance(content, bytes) else content.encode())
    with pytest.raises(UserError, match=message):
        Exclusion.read([str(path)])
    with pytest.raises(UserError, match="cannot be read"):
        Exclusion.read([str(tmp_path / "none")])


def test_a_run_notes_what_it_leaves_out_and_goes_on_without_it(
    latents_folder: Path, faces_out: Path, tmp_path: Path
) -> None:
    train, val = (str(latents_folder / split) for split in ("train", "val"))
    exclusion = Exclusion.read([str(faces_out)])
    given = {"batch_size": 16, "seq_len": 4, "latent_dim": 16}
    run = prepare(given, "guide", train, val, exclusion=exclusion)
    assert (len(run.train), len(run.val)) == (280 - 5, 105 - 4)
    # So that an evaluation on the whole split still knows that it chose the model.
    assert run.val.origin == LatentSet.read(val).fingerprint != run.val.fingerprint
    folder = RunFolder(tmp_path / "run")
    run.write(folder, Cluster(nodes=(), dashboard=None, started_here=False))
    faces_out.unlink()  # the run has its own copy
    record = RunRecord.read(folder)
    assert record.exclude is not None
    assert record.exclude["left_out"] == {"train": 5, "val": 4}
    assert record.exclude["sha256"] == exclusion.sha256
    again = prepare_resume(folder, {}, None, {"train": None, "val": None})
    assert again.train.image_ids == run.train.image_ids
    save_checkpoint(trained(replace(CONFIG, epochs=1)), folder.best)
    export(folder.path, tmp_path / "out")
    card = (tmp_path / "out" / "README.md").read_text()
    assert f"left out: 5 faces of train and 4 faces of val, by the lists {faces_out.name} (sha256 of the" in card
    assert exclusion.sha256 in card
    assert str(tmp_path) not in card
    other = tmp_path / "other.txt"
    other.write_text("00007")
    with pytest.raises(UserError, match="other lists"):
        prepare_resume(folder, {}, None, {"train": None, "val": None}, Exclusion.read([str(other)]))


def test_an_evaluation_gives_both_numbers_the_whole_first(
    latents_folder: Path, faces_out: Path, tmp_path: Path, command: Command
) -> None:
    checkpoint = tmp_path / "best_model.pt"
    save_checkpoint(trained(replace(CONFIG, epochs=2)), checkpoint)
    given = ("--checkpoint_path", checkpoint, "--latent_test_dir", latents_folder / "test", "--visualize_samples", 0)
    ended = command("evaluate", *given, "--exclude", faces_out, "--output_dir", tmp_path / "results")
    assert ended.status == 0, ended.err
    metrics = json.loads((tmp_path / "results/evaluation_results.json").read_text())
    assert metrics["n"] == 105
    assert metrics["excluded"]["without"]["n"] == 102
    assert metrics["excluded"]["lists"]["left_out"] == {"test": 3}
    whole, without = (
        ended.out.index(f"macro-F1 {one['f1_macro']:.3f}") for one in (metrics, metrics["excluded"]["without"])
    )
    assert whole <= without
    assert "without 3 of 105 faces on list.jsonl" in ended.out
    (look,) = looks_at(str(latents_folder / "test"))
    assert look.exclude == metrics["excluded"]["lists"]


def test_a_sweep_chooses_without_them_and_seals_both_numbers(
    latents_folder: Path, faces_out: Path, tmp_path: Path
) -> None:
    splits = open_splits(str(latents_folder), space(), Exclusion.read([str(faces_out)]))
    assert splits.rows == {"train": 275, "val": 101, "test": 105}
    assert [line.partition(" (")[0] for line in splits.changes] == [
        f"left out: 5 faces of train and 4 faces of val, by the lists {faces_out.name}"
    ]
    chosen = trial(1, [0.1, 0.2])
    verdict = open_test(SweepFolder(tmp_path / "sweep"), trained(replace(CONFIG, epochs=1)), chosen, splits)
    excluded = verdict.evaluation.metrics["excluded"]
    assert excluded is not None
    assert excluded["without"] is not None
    assert (verdict.evaluation.metrics["n"], excluded["without"]["n"]) == (105, 102)
    (look,) = read_looks(SweepFolder(tmp_path / "sweep"))
    assert look.exclude == excluded["lists"]


def test_faces_on_a_list_are_not_encoded(cluster: Cluster, demo_faces: Path, tmp_path: Path) -> None:
    name = sorted((demo_faces / "train/happy").iterdir())[0].name
    (tmp_path / "list.txt").write_text(f"train/happy/{name}\n")
    lines: list[str] = []
    result = fervit.encode(
        demo_faces, tmp_path / "latents", encoder_type="demo", exclude=tmp_path / "list.txt", say=lines.append
    )
    assert result.done == 7 * (6 + 3 + 2) - 1
    assert any("left out 1 of train" in line for line in lines)
    (passed_over,) = (tmp_path / "latents/_passed_over.jsonl").read_text().splitlines()
    assert json.loads(passed_over)["path"] == f"train/happy/{name}"
    assert "excluded by list.txt" in json.loads(passed_over)["reason"]
