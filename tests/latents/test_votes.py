"""The votes of taggers replace the labels of codes that exist, and what no tagger can name is left out and counted."""

from __future__ import annotations

import json
import shutil
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch
import torch.nn.functional as F

from fervit.checkpoints.checkpoint import save_checkpoint
from fervit.cluster.nodes import Cluster
from fervit.errors import UserError
from fervit.evaluation.evaluate import fit_to_votes
from fervit.io.files import write_json
from fervit.labels.emotions import EMOTIONS
from fervit.labels.label_set import LabelSet
from fervit.latents import LatentSet
from fervit.latents.votes import Votes, in_words, resumed
from fervit.runs.folder import RunFolder, RunRecord
from fervit.runs.run import prepare, prepare_resume
from fervit.search.outcome.sealed import open_test, read_looks
from fervit.search.records.sweep_folder import SweepFolder
from fervit.search.splits import open_splits
from fervit.training.data import DeviceLatents
from fervit.training.trainer import Trainer
from tests.conftest import CONFIG, SMALL_SPACE, Command, latent_set, trained, write_latents
from tests.helpers.records import trial
from tests.helpers.sweeps import space

HEADING = "Usage,Image name,neutral,happiness,surprise,sadness,anger,disgust,fear,contempt,unknown,NF"


def ferplus(path: Path, *rows: str) -> Path:
    """Writes votes as FER+ does: the rows are those of fer2013.csv in their order."""
    path.write_text("\n".join([HEADING, *(f"Training,fer{i:07d}.png,{row}" for i, row in enumerate(rows))]) + "\n")
    return path


def split_of(labels: list[str]) -> LatentSet:
    latents = latent_set(len(labels))
    few = latents.take(np.arange(len(labels)))
    return replace(
        few,
        labels=np.array([EMOTIONS.index(name) for name in labels]),
        image_ids=[f"row-{i:05d}" for i in range(len(labels))],
        whole="",
    )


def test_majority_and_what_is_left_out(tmp_path: Path) -> None:
    path = ferplus(
        tmp_path / "fer2013new.csv",
        "6,0,0,3,1,0,0,0,0,0",  # neutral
        "0,5,5,0,0,0,0,0,0,0",  # a tie, which the label decides
        "0,5,5,0,0,0,0,0,0,0",  # a tie that it cannot decide
        "0,0,0,0,0,0,0,0,0,10",  # no face
        "0,1,0,0,0,0,0,9,0,0",  # contempt, which is no class here
        "0,0,0,0,0,0,0,0,0,0",  # no votes
    )
    latents = split_of(["sad", "surprise", "fear", "happy", "happy", "happy"])
    votes = Votes.read(str(path))
    kept, counts = votes.relabelled(latents, "majority")
    assert [EMOTIONS[label] for label in kept.labels] == ["neutral", "surprise"]
    assert kept.image_ids == ["row-00000", "row-00001"]
    assert counts == {
        "rows": 2,
        "relabelled": 1,
        "left_out": {"tied": 1, "no face": 1, "contempt": 1, "without votes": 1},
    }
    assert kept.targets is None
    assert kept.origin == latents.fingerprint != kept.fingerprint
    assert "1 no face" in in_words(votes.record("majority", {"train": counts}))
    soft, _ = votes.relabelled(latents, "distribution")
    assert soft.targets is not None
    assert soft.targets[0, EMOTIONS.index("sad")] == pytest.approx(0.3)
    assert soft.targets.sum(axis=1) == pytest.approx(1)
    assert soft.fingerprint != kept.fingerprint


@pytest.mark.parametrize(
    ("content", "message"),
    [
        ("image_id,happy,sad\n", "has no rows"),
        ("name,happy,sad\na,1,2\n", "no column image_id"),
        ("image_id,happy,label\na,1,2\n", "one for each class"),
        ("image_id,happy,sad\na,1,x\n", "'x', the votes of a for sad, is no number"),
        ("image_id,happy,sad\na,1\n", "the row of a is too short: it has no sad"),
        ("image_id,happy,sad\na,1,nan\n", "0 or more"),
        ("image_id,happy,sad\na,1,2\nb,1,2\na,0,1\n", "has the face a twice; give a row for each face"),
        ("image_id,happy,sad,joy\na,1,2,0\n", "has a column for happy twice"),
        ("image_id,happy,sad\na,1,-2\n", "0 or more"),
    ],
)
def test_files_that_hold_no_votes_are_told(content: str, message: str, tmp_path: Path) -> None:
    (tmp_path / "votes.csv").write_text(content)
    with pytest.raises(UserError, match=message):
        Votes.read(str(tmp_path / "votes.csv"))
    with pytest.raises(UserError, match="cannot be read"):
        Votes.read(str(tmp_path / "none.csv"))


def test_columns_that_mean_no_class_are_told(tmp_path: Path) -> None:
    (tmp_path / "votes.csv").write_text("image_id,happy,0,1\nrow-00000,1,2,3\n")
    with pytest.raises(UserError, match="it needs one for each class of the seven emotions"):
        Votes.read(str(tmp_path / "votes.csv")).relabelled(split_of(["sad"]), "majority")


@pytest.mark.parametrize(
    "text",
    [
        "image_id,happy,sad\nrow-00000,9,1\nrow-00001,1,9\n\n",
        ",image_id,happy,sad\n0,row-00000,9,1\n1,row-00001,1,9\n",
        "Unnamed: 0,Image_ID,happy,sad,total\n0,row-00000,9,1,10\n1,row-00001,1,9,10\n",
        "image_id;happy;sad;split\n row-00000;9;1;train\n;;;\nrow-00001;1;9;train\n",
    ],
)
def test_files_as_pandas_and_spreadsheets_write_them_are_read(text: str, tmp_path: Path) -> None:
    (tmp_path / "votes.csv").write_text(text)
    kept, counts = Votes.read(str(tmp_path / "votes.csv")).relabelled(split_of(["sad", "sad"]), "majority")
    assert [EMOTIONS[label] for label in kept.labels] == ["happy", "sad"]
    assert counts == {"rows": 2, "relabelled": 1, "left_out": {}}


def test_classes_that_are_no_emotions_have_columns_under_their_own_names(tmp_path: Path) -> None:
    own = LabelSet(("happily surprised", "sadly fearful"))
    latents = replace(split_of(["angry", "disgust"]), label_set=own)
    (tmp_path / "votes.csv").write_text("image_id,Happily_Surprised,sadly fearful\nrow-00000,1,9\nrow-00001,2,8\n")
    kept, counts = Votes.read(str(tmp_path / "votes.csv")).relabelled(latents, "majority")
    assert kept.labels.tolist() == [1, 1]
    assert counts["relabelled"] == 1


def named(latents: LatentSet, *image_ids: str) -> LatentSet:
    return replace(latents, image_ids=list(image_ids), whole="")


def test_votes_are_found_for_faces_that_were_cut_out_of_the_pictures_and_for_ferpluss_own(tmp_path: Path) -> None:
    rows = ("9,1,0,0,0,0,0,0,0,0", "0,9,1,0,0,0,0,0,0,0", "0,0,9,1,0,0,0,0,0,0")  # neutral, happy, surprise
    votes = Votes.read(str(ferplus(tmp_path / "fer2013new.csv", *rows)))
    latents = split_of(["sad", "sad", "sad"])
    for ids in (
        ("row-00000", "row-00001", "row-00002"),
        ("train/sad/row-00000.png", "train/happy/row-00001.png", "val/sad/row-00002.png"),
        ("FER2013Train/fer0000000.png", "FER2013Train/fer0000001.png", "FER2013Train/fer0000002.png"),
        ("train/sad/FER2013Train/fer0000000.png", "sad/fer0000001.png", "fer0000002.png"),
    ):
        kept, counts = votes.relabelled(named(latents, *ids), "majority")
        assert [EMOTIONS[label] for label in kept.labels] == ["neutral", "happy", "surprise"]
        assert counts.get("by_name", 0) == (0 if ids[0] == "row-00000" else 3)
    assert "3 found by their names" in in_words(votes.record("majority", {"train": counts}))
    text = (
        "image_id,happy,sad\nTraining/Anger/0.jpg,9,0\nTraining/Anger/0.png,0,9\nraw/aligned/7.tiff,9,0\nx/8.png,9,0\n"
    )
    (tmp_path / "own.csv").write_text(text)
    votes = Votes.read(str(tmp_path / "own.csv"))
    faces = named(latents, "train/angry/0.jpg.png", "train/angry/0.png.png", "train/fear/raw/aligned/7.png")
    kept, _ = votes.relabelled(faces, "majority")
    assert [EMOTIONS[label] for label in kept.labels] == ["happy", "sad", "happy"]
    # What may mean two rows of votes, or two faces, is not guessed.
    faces = named(latents, "train/angry/0.png", "train/fear/x/8.png", "train/sad/x/8.png")
    with pytest.raises(UserError, match="'without votes': 3"):
        votes.relabelled(faces, "majority")


def test_votes_of_another_data_set_are_told(tmp_path: Path) -> None:
    (tmp_path / "votes.csv").write_text("image_id,happy,sad\na,1,2\n")
    with pytest.raises(UserError, match="its image ids are a"):
        Votes.read(str(tmp_path / "votes.csv")).relabelled(split_of(["sad"]), "majority")


def test_a_training_follows_the_distribution() -> None:
    latents = latent_set(4)
    shares = np.random.default_rng(0).dirichlet(np.ones(7), len(latents)).astype(np.float32)
    soft = latents.with_labels(shares.argmax(axis=1), shares)
    config = replace(CONFIG, use_class_weights=False, batch_size=len(latents), epochs=1, latent_noise=0, mixup=0)
    trainer = Trainer(config, DeviceLatents(soft), DeviceLatents(soft))
    trainer.model.eval()
    with torch.no_grad():
        logits = trainer.model(torch.from_numpy(soft.codes).float())
    expected = -(torch.from_numpy(shares) * F.log_softmax(logits, dim=1)).sum(dim=1).mean()
    assert trainer._validation_pass() == pytest.approx(float(expected), rel=1e-5)
    hard = Trainer(config, DeviceLatents(latents), DeviceLatents(latents))
    one_hot = latents.with_labels(latents.labels, np.eye(7, dtype=np.float32)[latents.labels])
    same = Trainer(config, DeviceLatents(one_hot), DeviceLatents(one_hot))
    assert same.run_epoch().train_loss == pytest.approx(hard.run_epoch().train_loss, rel=1e-5)
    weighted = [replace(config, use_class_weights=True, batch_size=8, label_smoothing=0.1)] * 2
    a, b = (
        Trainer(one, DeviceLatents(x), DeviceLatents(x)) for one, x in zip(weighted, (latents, one_hot), strict=True)
    )
    assert a.run_epoch().train_loss == pytest.approx(b.run_epoch().train_loss, rel=1e-4)


def test_predictions_are_measured_against_the_distribution() -> None:
    shares = np.array([[0.5, 0.5, 0, 0, 0, 0, 0], [0, 0, 1, 0, 0, 0, 0]], np.float32)
    latents = latent_set(1).take(np.arange(2)).with_labels(np.array([0, 2]), shares)
    found = fit_to_votes(latents, shares, {})
    assert found is not None
    assert (found["kl_divergence"], found["expected_accuracy"]) == (pytest.approx(0, abs=1e-6), 0.75)
    uniform = fit_to_votes(latents, np.full((2, 7), 1 / 7, np.float32), {})
    assert uniform is not None
    assert uniform["kl_divergence"] == pytest.approx((np.log(7 / 2) + np.log(7)) / 2, rel=1e-5)


def test_a_run_notes_the_votes_and_goes_on_with_them(latents_folder: Path, tmp_path: Path) -> None:
    train, val = (str(latents_folder / split) for split in ("train", "val"))
    ids = LatentSet.read(train).image_ids
    rows = [f"{name},{(i % 7 == 0) * 9},{int(i % 7 != 0) * 9},0" for i, name in enumerate(ids)]
    (tmp_path / "votes.csv").write_text("\n".join(["image_id,happy,sad,NF", *rows]) + "\n")
    votes = Votes.read(str(tmp_path / "votes.csv"))
    run = prepare(
        {"batch_size": 16, "seq_len": 0, "latent_dim": 16}, "guide", train, val, votes=(votes, "distribution")
    )
    assert set(run.train.labels) == {EMOTIONS.index("happy"), EMOTIONS.index("sad")}
    folder = RunFolder(tmp_path / "run")
    run.write(folder, Cluster(nodes=(), dashboard=None, started_here=False))
    record = RunRecord.read(folder)
    assert record.votes is not None
    assert record.votes["splits"]["train"]["relabelled"] > 0
    again = prepare_resume(folder, {}, None, {"train": None, "val": None})
    assert again.train.fingerprint == run.train.fingerprint
    with pytest.raises(UserError, match="another --votes_as"):
        prepare_resume(folder, {}, None, {"train": None, "val": None}, votes=(votes, "majority"))


def of_faces(path: Path, latents: Path, splits: tuple[str, ...]) -> Path:
    """Writes votes for the faces of some splits: of every seventh, most taggers see another class than the label."""
    rows = {}
    for split in splits:
        rows_of = LatentSet.read(str(latents / split))
        for i, (name, label) in enumerate(zip(rows_of.image_ids, rows_of.labels, strict=True)):
            counts = [0] * 8
            counts[(label + (i % 7 == 0)) % 7], counts[(label + 2) % 7], counts[7] = 6, 3, 1
            rows[name] = ",".join(map(str, [name, *counts]))
    path.write_text("\n".join([",".join(["image_id", *EMOTIONS, "NF"]), *rows.values()]) + "\n")
    return path


@pytest.fixture
def unlike(latents_folder: Path) -> Path:
    """Latents whose three splits have image ids of their own."""
    for seed, (split, per_class) in enumerate({"train": 40, "val": 15, "test": 15}.items()):
        shutil.rmtree(latents_folder / split)
        made = latent_set(per_class, seed)
        write_latents(latents_folder / split, replace(made, image_ids=[f"{split}/{i}" for i in made.image_ids]))
    return latents_folder


def test_a_sweep_chooses_and_is_measured_by_votes(unlike: Path, tmp_path: Path) -> None:
    votes = Votes.read(str(of_faces(tmp_path / "votes.csv", unlike, ("train", "val", "test"))))
    splits = open_splits(str(unlike), space(confirm={"top": 1, "folds": 3}), votes=(votes, "distribution"))
    whole = open_splits(str(unlike), space())
    assert splits.train.targets is not None
    assert (splits.train.labels != whole.train.labels).sum() == 40
    assert splits.train.fingerprint != whole.train.fingerprint
    assert splits.test_fingerprint == whole.test_fingerprint  # the split is the same; the votes are noted beside
    (line,) = splits.changes
    assert line.startswith(f"labels: the shares of the votes of taggers in votes.csv (sha256 {votes.sha256})")
    assert "train 280 rows, 40 relabelled, 0 left out" in line
    files = SweepFolder(tmp_path / "sweep")
    verdict = open_test(files, trained(replace(CONFIG, epochs=1)), trial(1, [0.1, 0.2]), splits)
    found = verdict.evaluation.metrics["votes"]
    assert found is not None
    assert found["record"]["splits"] == {"test": {"rows": 105, "relabelled": 15, "left_out": {}}}
    assert found["expected_accuracy"] is not None
    (look,) = read_looks(files)
    assert look.votes == found["record"]


def test_a_sweep_is_resumed_with_the_votes_it_began_with(unlike: Path, tmp_path: Path, command: Command) -> None:
    file = of_faces(tmp_path / "votes.csv", unlike, ("train", "val", "test"))
    other = of_faces(tmp_path / "other.csv", unlike, ("train", "val"))
    (tmp_path / "small.yaml").write_text(SMALL_SPACE)
    given = ("--space", tmp_path / "small.yaml", "--latents", unlike)
    ended = command("tune", *given, "--votes", other)
    assert ended.status == 2
    assert f"--votes {other}: gives no row of {unlike / 'test'} a class" in ended.err
    splits = open_splits(str(unlike), space(), votes=(Votes.read(str(file)), "majority"))
    folder = SweepFolder(tmp_path / "sweep")
    folder.write_space(space())
    data = {
        name: {"path": "", "sha256": one.fingerprint} for name, one in (("train", splits.train), ("val", splits.val))
    }
    for began, flags, message in (
        (splits.voted, ("--votes", other), "began with other votes or another --votes_as"),
        (splits.voted, ("--votes", file, "--votes_as", "distribution"), "began with other votes or another --votes_as"),
        (None, ("--votes", file), "began with no votes; give those, or start a new sweep"),
        ({**(splits.voted or {}), "file": "/none.csv"}, (), "--votes /none.csv: "),
    ):
        folder.environment.unlink(missing_ok=True)
        write_json(folder.environment, {"data": data, **({"votes": began} if began else {})})
        ended = command("tune", *given, "--resume", folder.path, *flags)
        assert (ended.status, message in ended.err) == (2, True), ended.err
    assert resumed(splits.voted, None, folder.path, "") is not None


def test_an_evaluation_counts_and_measures_votes(latents_folder: Path, tmp_path: Path, command: Command) -> None:
    save_checkpoint(trained(replace(CONFIG, epochs=1)), tmp_path / "best_model.pt")
    ids = LatentSet.read(str(latents_folder / "test")).image_ids
    rows = [f"{name},6,4,0" if i else f"{name},0,0,9" for i, name in enumerate(ids)]
    (tmp_path / "votes.csv").write_text("\n".join(["image_id,happy,sad,not a face", *rows]) + "\n")
    given = ("--checkpoint_path", tmp_path / "best_model.pt", "--latent_test_dir", latents_folder / "test")
    more = ("--votes", tmp_path / "votes.csv", "--votes_as", "distribution", "--visualize_samples", 0)
    ended = command("evaluate", *given, *more, "--output_dir", tmp_path / "results")
    assert ended.status == 0, ended.err
    metrics = json.loads((tmp_path / "results/evaluation_results.json").read_text())
    assert metrics["n"] == len(ids) - 1
    assert metrics["votes"]["record"]["splits"]["test"]["left_out"] == {"no face": 1}
    assert 0 <= metrics["votes"]["expected_accuracy"] <= 0.6
    assert "1 no face" in ended.out
    assert "KL" in ended.out
    assert command("report", tmp_path / "results").status == 0
    assert "the share of the taggers who agree with the prediction" in (tmp_path / "results/report.html").read_text()
