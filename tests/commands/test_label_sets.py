"""Label sets other than the seven emotions, from codes to the model's card, and the mixing of two."""

from __future__ import annotations

import json
import shutil
from dataclasses import replace
from functools import cache
from pathlib import Path

import numpy as np
import pyarrow.parquet as pq
import pytest

from fervit.checkpoints.card import card_of_run
from fervit.checkpoints.checkpoint import Checkpoint, load_checkpoint, save_checkpoint
from fervit.checkpoints.export import export
from fervit.encoding.plan import EncoderChoice, plan_encoding
from fervit.errors import UserError
from fervit.evaluation.crossing import cross
from fervit.evaluation.predictions import Predictions
from fervit.images.index import open_faces
from fervit.labels.label_set import PREDEFINED, SEVEN, LabelSet
from fervit.latents import LatentSet
from fervit.latents.schema import schema, table
from fervit.runs.folder import RunFolder, RunRecord
from fervit.runs.run import prepare, prepare_resume
from fervit.runs.state import checkpoint_of
from fervit.training.data import DeviceLatents
from fervit.training.trainer import Trainer
from tests.conftest import CONFIG, ENCODER, LATENT_DIM, SEQ_LEN, Command, latent_set, write_latents

EIGHT = PREDEFINED["affectnet"]
SMALL = ("--embed_dim", 16, "--depth", 1, "--heads", 2, "--mlp_dim", 16, "--batch_size", 32, "--epochs", 2)


def of_set(label_set: LabelSet, per_class: int, seed: int, path: str = "memory") -> LatentSet:
    """Codes whose centres belong to the names of the classes, so that models of one set know another's faces."""
    centres = {
        name: np.random.default_rng(list(name.encode())).normal(0, 1, (SEQ_LEN, LATENT_DIM))
        for name in label_set.classes
    }
    rng = np.random.default_rng(seed)
    labels = rng.permutation(np.repeat(np.arange(len(label_set)), per_class))
    codes = np.stack([centres[label_set.classes[label]] for label in labels])
    ids = [f"{i:05d}" for i in range(len(labels))]
    return LatentSet(
        path=path,
        codes=(codes + rng.normal(0, 0.7, codes.shape)).astype(np.float16),
        labels=labels,
        image_ids=ids,
        sha256=[f"{seed}-{i}" for i in ids],
        encoder=ENCODER,
        label_set=label_set,
    )


def write(folder: Path, label_set: LabelSet) -> Path:
    """Writes train/, val/ and test/."""
    for seed, (split, n) in enumerate({"train": 20, "val": 6, "test": 6}.items()):
        rows = of_set(label_set, n, seed)
        (folder / split).mkdir(parents=True)
        part = table(rows.image_ids, rows.labels, rows.sha256, rows.codes, schema(ENCODER, label_set))
        pq.write_table(part, folder / split / "part-0.parquet")
    return folder


@cache
def model_of(label_set: LabelSet) -> Checkpoint:
    train, val = (DeviceLatents(of_set(label_set, n, seed)) for n, seed in ((30, 10), (8, 11)))
    trainer = Trainer(replace(CONFIG, epochs=12), train, val)
    while not trainer.finished:
        trainer.run_epoch()
    return checkpoint_of(trainer, trainer.model.state_dict())


def test_codes_of_the_seven_emotions_are_the_bytes_of_earlier_versions_and_others_name_their_classes(
    tmp_path: Path,
) -> None:
    assert schema(ENCODER).equals(schema(ENCODER, PREDEFINED["rafdb"]), check_metadata=True)
    assert schema(ENCODER).metadata[b"fervit"] == json.dumps({"version": 1, **ENCODER.to_json()}).encode()
    found = LatentSet.read(str(write(tmp_path, EIGHT) / "train"))
    assert found.label_set == EIGHT
    assert found.counts.tolist() == [20] * 8
    seven = latent_set(3)
    assert replace(seven, label_set=SEVEN).fingerprint == seven.fingerprint
    assert replace(seven, label_set=EIGHT).fingerprint != seven.fingerprint


def test_a_model_of_eight_classes_is_evaluated_and_exported_under_their_names(command: Command, tmp_path: Path) -> None:
    latents = write(tmp_path / "latents", EIGHT)
    save_checkpoint(model_of(EIGHT), tmp_path / "eight.pt")
    assert load_checkpoint(tmp_path / "eight.pt").label_set == EIGHT
    args = ("--latent_test_dir", latents / "test", "--output_dir", "found", "--visualize_samples", 0)
    ended = command("evaluate", "--checkpoint_path", "eight.pt", *args)
    assert ended.status == 0, ended.err
    results = json.loads(Path("found", "evaluation_results.json").read_text())
    assert results["labels"] == list(EIGHT.classes)
    assert np.array(results["confusion_matrix"]).shape == (8, 8)
    assert {"contempt", "happy"} <= results["classification_report"].keys()
    assert "f1_contempt" in results["intervals_95"]
    assert results["model_config"]["num_classes"] == 8
    assert "contempt" in ended.out
    assert Predictions.read(Path("found", "predictions.parquet")).label_set == EIGHT
    assert command("export", "--checkpoint_path", "eight.pt", "--output_dir", "out").status == 0
    assert json.loads(Path("out", "config.json").read_text())["labels"] == list(EIGHT.classes)
    assert "8 classes: angry, contempt" in Path("out", "README.md").read_text()
    assert load_checkpoint(Path("out")).label_set == EIGHT


def test_the_record_of_a_run_names_its_classes(tmp_path: Path) -> None:
    latents = write(tmp_path / "latents", EIGHT)
    given = {"latent_dim": LATENT_DIM, "seq_len": 0, "embed_dim": 16, "heads": 2}
    run = prepare(given, "guide", str(latents / "train"), str(latents / "val"))
    folder = RunFolder(tmp_path)
    run.record.write(folder)
    assert json.loads(folder.config.read_text())["labels"] == list(EIGHT.classes)
    assert RunRecord.read(folder).label_set == EIGHT
    seven = write(tmp_path / "seven", SEVEN)
    with pytest.raises(UserError, match="began with 8 classes"):
        prepare_resume(folder, {}, None, {"train": str(seven / "train"), "val": str(seven / "val")})
    earlier = json.loads(folder.config.read_text())
    del earlier["labels"]  # as versions before this one wrote it
    folder.config.write_text(json.dumps(earlier))
    assert RunRecord.read(folder).label_set == SEVEN


@pytest.mark.long
def test_a_run_of_eight_classes_is_trained(command: Command, tmp_path: Path) -> None:
    latents = write(tmp_path / "latents", EIGHT)
    dirs = ("--latent_train_dir", latents / "train", "--latent_val_dir", latents / "val", "--num_classes", 8)
    ended = command("train", *dirs, *SMALL, "--seq_len", 0, "--latent_dim", LATENT_DIM, "--lr", 0.003)
    assert ended.status == 0, ended.err
    (run,) = Path("experiments").iterdir()
    assert load_checkpoint(run).label_set == EIGHT


def test_two_label_sets_do_not_mix_and_the_way_out_is_said(command: Command, tmp_path: Path) -> None:
    eight, seven = write(tmp_path / "eight", EIGHT), write(tmp_path / "seven", SEVEN)
    checkpoint = model_of(SEVEN)
    save_checkpoint(checkpoint, tmp_path / "run" / "checkpoints" / "best_model.pt")
    for args in (
        ("train", "--latent_train_dir", eight / "train", "--latent_val_dir", seven / "val"),
        ("compare", "run", "--latent_test_dir", eight / "test"),
    ):
        ended = command(*args)
        assert ended.status == 2, args
        assert "label sets never mix" in ended.err
        assert "launch/evaluate.py" in ended.err
        assert ended.err.count("\n") == 1
    shutil.rmtree(eight / "test")
    shutil.copytree(seven / "test", eight / "test")
    space = tmp_path / "space.yaml"
    space.write_text(
        "name: s\nsearch: {trials: 1}\nparameters: {lr: {values: [0.001, 0.002]}}\nfixed: {latent_dim: 16, seq_len: 0}"
    )
    ended = command("tune", "--space", space, "--latents", eight, "--dry_run")
    assert ended.status == 2
    assert "label sets never mix" in ended.err
    shutil.copy(seven / "train" / "part-0.parquet", eight / "train" / "part-1.parquet")
    with pytest.raises(UserError, match="label sets never mix: encode into a folder of its own"):
        LatentSet.read(str(eight / "train"))


def test_codes_of_another_label_set_are_not_added_to_a_folder(demo_faces: Path, tmp_path: Path) -> None:
    write(tmp_path / "latents", EIGHT)
    index = open_faces(str(demo_faces))
    with pytest.raises(UserError, match="choose another --latent_out, or the same --labels"):
        plan_encoding(index, str(tmp_path / "latents"), EncoderChoice(kind="demo"), ENCODER)


def test_a_model_is_evaluated_across_label_sets_by_name(command: Command, tmp_path: Path) -> None:
    save_checkpoint(model_of(SEVEN), tmp_path / "seven.pt")
    save_checkpoint(model_of(EIGHT), tmp_path / "eight.pt")
    eight, seven = write(tmp_path / "eight", EIGHT), write(tmp_path / "seven", SEVEN)
    for model, latents, rows, line in (
        ("seven.pt", eight, 42, "rows: 42 of 48; left out, since the model does not know them: 6 of contempt"),
        ("eight.pt", seven, 42, "the model's contempt takes no part; it would have been its answer for"),
    ):
        args = ("--latent_test_dir", latents / "test", "--visualize_samples", 0)
        ended = command("evaluate", "--checkpoint_path", model, *args)
        assert ended.status == 0, ended.err
        assert "7 take part" in ended.out
        assert line in ended.out
        results = json.loads(Path("eval_results", "evaluation_results.json").read_text())
        assert results["n"] == rows
        assert results["labels"] == list(SEVEN.classes)
        assert results["accuracy"] > 0.6  # by chance it is 0.14: each class is mapped onto the one of its name
        assert results["accuracy"] >= results["across"]["accuracy_with_left_out_as_wrong"]
        probabilities = Predictions.read(Path("eval_results", "predictions.parquet")).probabilities
        assert np.allclose(probabilities.sum(axis=1), 1, atol=1e-5)


def test_a_file_maps_classes_that_have_other_names(command: Command, tmp_path: Path) -> None:
    save_checkpoint(model_of(SEVEN), tmp_path / "seven.pt")
    three = LabelSet(("negative", "neutral", "positive"))
    latents = of_set(SEVEN, 6, 3)
    onto = {name: {"happy": 2, "neutral": 1}.get(name, 0) for name in SEVEN.classes}
    labels = np.array([onto[SEVEN.classes[label]] for label in latents.labels])
    folder = tmp_path / "three"
    folder.mkdir()
    part = table(latents.image_ids, labels, latents.sha256, latents.codes, schema(ENCODER, three))
    pq.write_table(part, folder / "part-0.parquet")
    args = ("evaluate", "--checkpoint_path", "seven.pt", "--latent_test_dir", folder, "--visualize_samples", 0)
    ended = command(*args)
    assert ended.status == 2
    assert "classes in common by name are neutral, and two are needed; map the model's classes" in ended.err
    Path("map.yaml").write_text("Happiness: positive\nangry: negative\nsad: negative\nfear: negative\nsurprise: null\n")
    ended = command(*args, "--label_map", "map.yaml")
    assert ended.status == 0, ended.err
    assert "happy as positive" in ended.out
    across = json.loads(Path("eval_results", "evaluation_results.json").read_text())["across"]
    assert across["onto"] == {
        **{"angry": "negative", "fear": "negative", "sad": "negative"},
        **{"happy": "positive", "neutral": "neutral"},
    }
    assert across["model_classes_left_out"] == ["disgust", "surprise"]
    for text, message in (
        ("glad: positive", "'glad' is no class of the model"),
        ("happy: fine", "'fine' is no class of the test set"),
        ("- happy", "is no mapping of classes to classes"),
    ):
        Path("map.yaml").write_text(text)
        ended = command(*args, "--label_map", "map.yaml")
        assert ended.status == 2
        assert message in ended.err
        assert ended.err.count("\n") == 1


def test_votes_as_a_distribution_across_sets(command: Command, tmp_path: Path) -> None:
    save_checkpoint(model_of(SEVEN), tmp_path / "seven.pt")
    test = write(tmp_path / "eight", EIGHT) / "test"
    rows = LatentSet.read(str(test))
    heading = ",".join(["image_id", *EIGHT.classes])
    lines = [heading]
    for name, label in zip(rows.image_ids, rows.labels.tolist(), strict=True):
        votes = {"contempt": 2, "sad": 2, EIGHT.classes[label]: 5}
        lines.append(",".join([name, *(str(votes.get(one, 0)) for one in EIGHT.classes)]))
    Path("votes.csv").write_text("\n".join(lines))
    args = ("--checkpoint_path", "seven.pt", "--latent_test_dir", test, "--visualize_samples", 0)
    ended = command("evaluate", *args, "--votes", "votes.csv", "--votes_as", "distribution")
    assert ended.status == 0, ended.err
    results = json.loads(Path("eval_results", "evaluation_results.json").read_text())
    assert results["n"] == 42
    # Votes for contempt take no part: 5 of 7 for the label, and all of them where that is sad.
    right = np.diag(np.array(results["confusion_matrix"]))
    sad = results["labels"].index("sad")
    said_sad = np.array(results["confusion_matrix"])[:, sad].sum() - right[sad]
    expected = (right.sum() - right[sad]) * 5 / 7 + right[sad] + said_sad * 2 / 7
    assert results["votes"]["expected_accuracy"] == pytest.approx(expected / 42)


def test_equal_sets_are_not_mapped() -> None:
    assert cross(SEVEN, PREDEFINED["rafdb"]) is None


def test_a_model_of_another_script_keeps_its_own_classes(tmp_path: Path) -> None:
    import torch

    checkpoint = model_of(EIGHT)
    content = {
        "model_state_dict": checkpoint.model_state_dict,
        "config": {"model": {"heads": CONFIG.heads}},
        "class_names": ["Anger", *EIGHT.classes[1:]],
    }
    torch.save(content, tmp_path / "named.pt")
    assert load_checkpoint(tmp_path / "named.pt").label_set == EIGHT
    del content["class_names"]
    torch.save(content, tmp_path / "unnamed.pt")
    with pytest.raises(UserError, match="is a model of 8 classes, and does not say which"):
        load_checkpoint(tmp_path / "unnamed.pt")


def test_the_card_of_the_seven_says_seven(tmp_path: Path) -> None:
    checkpoint = model_of(SEVEN)
    export(checkpoint, tmp_path / "out")
    assert "seven classes: angry, disgust" in card_of_run(checkpoint)
    write_latents(tmp_path / "latents", latent_set(2))
    assert LatentSet.read(str(tmp_path / "latents")).label_set == SEVEN


@pytest.mark.long
def test_report_and_comparison_name_the_eight_classes(command: Command, tmp_path: Path) -> None:
    save_checkpoint(model_of(EIGHT), tmp_path / "eight.pt")
    test = write(tmp_path / "latents", EIGHT) / "test"
    args = ("--latent_test_dir", test, "--output_dir", "found", "--visualize_samples", 0)
    assert command("evaluate", "--checkpoint_path", "eight.pt", *args).status == 0
    assert command("report", "found").status == 0
    assert "contempt" in Path("found", "report.html").read_text()
    assert command("compare", "eight.pt", "found").status == 0


@pytest.mark.long
def test_faces_of_eight_classes_are_encoded_and_searched(command: Command, demo_faces: Path, tmp_path: Path) -> None:
    faces = tmp_path / "faces"
    shutil.copytree(demo_faces, faces)
    for split in ("train", "val", "test"):
        shutil.copytree(faces / split / "sad", faces / split / "contempt")
    args = ("encode", "--data_root", faces, "--latent_out", "latents", "--encoder_type", "demo")
    ended = command(*args)
    assert ended.status == 0, ended.err
    assert "labels: 8 classes" in ended.out
    assert LatentSet.read("latents/test").label_set.classes == EIGHT.classes
    ended = command(*args, "--labels", "fer2013")
    assert ended.status == 2
    assert "label sets never mix" in ended.err
