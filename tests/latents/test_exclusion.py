"""Lists of faces are left out of encoding, training and searching, and stand in the records."""

from __future__ import annotations

import json
import shutil
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

import fervit
from fervit.api.export import export
from fervit.checkpoints.checkpoint import save_checkpoint
from fervit.cluster.nodes import Cluster
from fervit.encoding.fractions import with_fractions
from fervit.errors import UserError
from fervit.images.index import open_faces
from fervit.labels.dealing import Fractions
from fervit.latents import LatentSet
from fervit.latents.exclusion import Exclusion, in_words, leave_out
from fervit.latents.fractions import write_fractions
from fervit.latents.looks import looks_at
from fervit.runs.folder import RunFolder, RunRecord
from fervit.runs.run import prepare, prepare_resume
from fervit.search.outcome.sealed import open_test, read_looks
from fervit.search.records.sweep_folder import SweepFolder
from fervit.search.splits import open_splits
from tests.conftest import CONFIG, Command, trained, write_latents
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


def write_list(path: Path, *faces: tuple[str, str]) -> None:
    path.write_text("".join(json.dumps({"image_id": name, "split": split}) + "\n" for name, split in faces))


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
    with pytest.raises(UserError, match=r"there is no such list; .* writes none where it found nothing"):
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


def test_faces_on_a_list_are_not_encoded_but_a_test_split_stays_whole(
    cluster: Cluster, demo_faces: Path, tmp_path: Path
) -> None:
    for split in ("train", "test"):
        shutil.copytree(demo_faces / split, tmp_path / "faces" / split)
    one, other = (f"train/happy/{path.name}" for path in sorted((demo_faces / "train/happy").iterdir())[:2])
    tested = f"test/sad/{sorted((demo_faces / 'test/sad').iterdir())[0].name}"
    write_list(tmp_path / "list.jsonl", (one, "train"), (tested, "test"))
    lines: list[str] = []
    result = fervit.encode(
        *(tmp_path / "faces", tmp_path / "latents"),
        encoder_type="demo",
        exclude=tmp_path / "list.jsonl",
        val_fraction=0.4,
        say=lines.append,
    )
    assert result.done == 7 * (6 + 2) - 1
    (told,) = [line for line in lines if line.startswith("--exclude: left out")]
    assert "1 of train, 0 of val by" in told or "0 of train, 1 of val by" in told
    assert any("1 of test are encoded all the same" in line for line in lines)
    (passed_over,) = (tmp_path / "latents/_passed_over.jsonl").read_text().splitlines()
    assert json.loads(passed_over)["path"] == one
    assert "excluded by list.jsonl" in json.loads(passed_over)["reason"]
    train, val, test = (LatentSet.read(str(tmp_path / "latents" / split)) for split in ("train", "val", "test"))
    assert one not in (*train.image_ids, *val.image_ids)
    assert (tested in test.image_ids, other in (*train.image_ids, *val.image_ids)) == (True, True)


@pytest.mark.long
def test_what_is_listed_changes_no_dealing_and_a_test_split_that_is_dealt_stays_whole(
    cluster: Cluster, demo_faces: Path, tmp_path: Path
) -> None:
    shutil.copytree(demo_faces / "train", tmp_path / "my faces")
    fractions = Fractions(val=0.25, test=0.25)
    dealt = with_fractions(open_faces(str(tmp_path / "my faces")), str(tmp_path / "none"), fractions).table
    splits = dict(zip(dealt["image_id"].to_pylist(), dealt["split"].to_pylist(), strict=True))
    listed = [name for name in splits if "happy" in name or "sad" in name][::2]
    write_list(tmp_path / "list.jsonl", *((name, "my faces") for name in listed))  # as an audit names the split
    shares = {"val_fraction": 0.25, "test_fraction": 0.25, "exclude": tmp_path / "list.jsonl"}
    fervit.encode(tmp_path / "my faces", tmp_path / "latents", encoder_type="demo", say=None, **shares)
    for split in ("train", "val", "test"):
        wanted = {name for name, found in splits.items() if found == split}
        found = set(LatentSet.read(str(tmp_path / "latents" / split)).image_ids)
        assert found == (wanted if split == "test" else wanted - set(listed))


@pytest.mark.parametrize("listed_as", ["train", "Training", "", "my faces"])
def test_a_list_of_pictures_names_the_faces_that_a_fraction_moved(
    latents_folder: Path, listed_as: str, tmp_path: Path
) -> None:
    """An audit of the pictures names their split, train; the codes of some of them lie in val."""
    rows = LatentSet.read(str(latents_folder / "train"))
    for split, some in (("train", np.arange(10)), ("val", np.arange(10, 20)), ("test", np.arange(20, 30))):
        write_latents(tmp_path / "dealt" / split, rows.take(some))
    write_fractions(str(tmp_path / "dealt"), Fractions(val=0.5))
    write_list(tmp_path / "list.jsonl", *((name, listed_as) for name in rows.image_ids[8:13]))
    exclusion = Exclusion.read([str(tmp_path / "list.jsonl")])
    train, val, test = (LatentSet.read(str(tmp_path / "dealt" / split)) for split in ("train", "val", "test"))
    assert [int(exclusion.rows_of(split).sum()) for split in (train, val, test)] == [2, 3, 0]
    write_list(tmp_path / "list.jsonl", (test.image_ids[0], "train"))  # a face of test that has the name of another
    assert not Exclusion.read([str(tmp_path / "list.jsonl")]).rows_of(test).any()


def test_one_split_of_any_name_that_was_dealt(tmp_path: Path, latents_folder: Path) -> None:
    rows = LatentSet.read(str(latents_folder / "train"))
    for split, some in (("train", np.arange(10)), ("val", np.arange(10, 20))):
        write_latents(tmp_path / "dealt" / split, rows.take(some))
    write_fractions(str(tmp_path / "dealt"), Fractions(val=0.5))
    write_list(tmp_path / "list.jsonl", *((name, "test") for name in rows.image_ids[8:13]))
    exclusion = Exclusion.read([str(tmp_path / "list.jsonl")])
    train, val = (LatentSet.read(str(tmp_path / "dealt" / split)) for split in ("train", "val"))
    assert [int(exclusion.rows_of(split).sum()) for split in (train, val)] == [2, 3]


@pytest.mark.parametrize(
    "content",
    [
        '\ufeff{"image_id": "a b.png", "split": "train"}\r\n\r\n{"image_id": "c.png", "split": "Training"}\r\n',
        '[{"image_id": "a b.png"}, {"image_id": "c.png", "split": null}]',
        '[\n  "a b.png",\n  "c.png"\n]\n',
        'image_id,split,reason\na b.png,train,dark\nc.png,Training,"one, two"\n',
        "reason;Image_ID\ndark; a b.png\n;c.png\n",
        "\ufeffimage_id\na b.png\nc.png",
        '"a b.png"\r\n"c.png"\r\n',
        "a b.png  \n  c.png\t\n",
    ],
)
def test_lists_in_whatever_form_people_write_them(content: str, tmp_path: Path) -> None:
    path = tmp_path / "list"
    path.write_bytes(content.encode())
    exclusion = Exclusion.read([str(path)])
    assert exclusion.names(["a b.png", "c.png", "d.png"], ["train"] * 3).tolist() == [True, True, False]


def test_a_list_that_names_no_face_of_the_splits_is_said_loudly(latents_folder: Path, tmp_path: Path) -> None:
    (tmp_path / "list.csv").write_text("file,reason\n00003,dark\n")
    train, val = (LatentSet.read(str(latents_folder / split)) for split in ("train", "val"))
    _, record = leave_out(Exclusion.read([str(tmp_path / "list.csv")]), train, val)
    assert record is not None
    assert in_words(record).startswith("WARNING: --exclude left out NOTHING: none of the 2 faces on")
