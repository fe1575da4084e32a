"""The commands as a user types them."""

from __future__ import annotations

import json
import shutil
from collections.abc import Callable
from pathlib import Path

import pytest

from fervit.cluster.nodes import Cluster
from tests.conftest import ROOT, Ended

Command = Callable[..., Ended]


def test_the_whole_way_from_faces_to_an_evaluation(
    command: Command, cluster: Cluster, demo_faces: Path, tmp_path: Path
) -> None:
    encoded = command("encode", "--data-root", demo_faces, "--latent_out", "latents", "--encoder_type=demo")
    assert encoded.status == 0, encoded.err
    assert "UNTRAINED" in encoded.out
    assert "encoded 77 images" in encoded.out

    small = ("--set", "search.trials=2", "--set", "early_stopping.max_epochs=3", "--set", "confirm.top=0")
    tuned = command("tune", "--space", ROOT / "search_spaces" / "demo.yaml", *small)
    assert tuned.status == 0, tuned.err
    assert "1 of 6 pairs of embed_dim and heads are left out" in tuned.out
    summary = tuned.out[tuned.out.index("Sweep demo") :]
    for word in ("Best: trial", "lr ", "Test: macro-F1", "on 14 faces", "UNTRAINED", "tensorboard", "http://127.0.0.1"):
        assert word in summary
    assert summary.count("\n") < 25

    (folder,) = (tmp_path / "experiments").iterdir()
    evaluated = command(
        "evaluate", "--checkpoint_path", folder / "best" / "best_model.pt", "--latent_test_dir", "latents/test"
    )
    assert evaluated.status == 0, evaluated.err
    ours = json.loads((tmp_path / "eval_results" / "evaluation_results.json").read_text())
    sealed = json.loads((folder / "evaluation" / "evaluation_results.json").read_text())
    assert ours["f1_macro"] == sealed["f1_macro"]
    assert ours["copies_of_training"] == sealed["copies_of_training"] == {"n": 0, "without_copies": None}
    written = {path.name for path in (tmp_path / "eval_results").iterdir()}
    assert written == {path.name for path in (folder / "evaluation").iterdir()}
    assert written >= {
        "class_metrics.png",
        "prediction_confidence.png",
        "attention_sample_1.png",
        "predictions.parquet",
    }
    page = (folder / "report.html").read_text()
    assert f"Report       experiments/{folder.name}/report.html" in summary
    assert f"{sealed['f1_macro']:.3f}" in page
    assert page.count("data:image/jpeg;base64") > 3  # faces that it gets wrong


def test_demo_faces(command: Command, tmp_path: Path) -> None:
    done = command("demo_faces", "--output_dir", "faces", "--train", 2, "--val", 1, "--test", 1)
    assert done.status == 0
    assert "28 demo faces" in done.out
    assert len(list((tmp_path / "faces").rglob("*.png"))) == 28


@pytest.mark.parametrize(
    ("args", "message"),
    [
        (("--latents", "nowhere"), "nowhere/train: no latents here; make them with `python launch/encode.py"),
        (("--set", "search.trails=3"), "there is no key 'trails'; did you mean 'trials'?"),
        (("--set", "search.trials=many"), "search.trials: must be a whole number, but got 'many'"),
        (("--set", "parameters.lr.min=1"), "`min <= max` must hold, but got min=1.0, max=0.01"),
        (("--set", "parameters.heads.values=[]"), "must hold at least one value, but is empty"),
        (("--set", "parameters.heads.values=[5]"), "no value of heads divides one of embed_dim"),
        (("--set", "trial.cpus=512"), "needs 512 CPUs on one node, the largest has"),
        (("--space", "none.yaml"), "none.yaml: there is no such file"),
        (("--spce", "x"), "unrecognized arguments: --spce"),
    ],
)
def test_bad_input_to_tune_is_one_line_and_status_2(
    command: Command, cluster: Cluster, latents_folder: Path, small_space: Path, args: tuple[str, ...], message: str
) -> None:
    ended = command("tune", "--space", small_space, "--latents", latents_folder, *args)
    assert ended.status == 2
    assert message in ended.err
    assert ended.err.count("\n") == 1


def test_a_split_without_a_class_is_refused_by_tune(command: Command, latents_folder: Path, small_space: Path) -> None:
    import numpy as np

    from tests.conftest import latent_set, write_latents

    shutil.rmtree(latents_folder / "val")
    latents = latent_set(5, 1)
    write_latents(latents_folder / "val", latents, np.flatnonzero(latents.labels != 6))
    ended = command("tune", "--space", small_space, "--latents", latents_folder)
    assert ended.status == 2
    assert "val: has no face of surprise" in ended.err
    assert ended.err.count("\n") == 1


def test_a_sweep_that_fails_ends_in_status_1(
    command: Command, cluster: Cluster, latents_folder: Path, small_space: Path
) -> None:
    args = ("--set", "parameters.lr={values: [1.0e+30]}", "--set", "search.trials=2")
    ended = command("tune", "--space", small_space, "--latents", latents_folder, *args)
    assert ended.status == 1
    assert "no trial finished (2 x diverged)" in ended.err
    (report,) = Path("experiments").glob("*/report.html")
    assert "No trial finished an epoch." in report.read_text()
    assert "it has ended" in report.read_text()


def test_bad_input_to_encode_is_one_line_and_status_2(command: Command, demo_faces: Path, tmp_path: Path) -> None:
    (tmp_path / "empty").mkdir()
    shutil.copytree(demo_faces, tmp_path / "faces")
    shutil.rmtree(tmp_path / "faces" / "train" / "sad")
    for args, message in (
        (("--data_root", "empty"), "holds no picture"),
        (("--data_root", "nowhere"), "there is no such file or folder"),
        (("--data_root", "faces"), "split 'train' holds no face of sad"),
        (("--data_root", demo_faces, "--encoder_type", "e4f"), "there is no such encoder; known are"),
        (("--data_root", demo_faces, "--encoder_type", "psp"), "needs --encoder_model"),
        (("--data_root", demo_faces, "--batch_size", "0"), "must be a whole number of 1 or more"),
        (("--data_root", demo_faces, "--limit", "5"), "each keeps at least one face; give 21 or more"),
    ):
        ended = command("encode", "--latent_out", "latents", "--encoder_type", "demo", *args)
        assert ended.status == 2, args
        assert message in ended.err
        assert ended.err.count("\n") == 1
    assert not (tmp_path / "latents").exists()


def test_bad_input_to_evaluate_is_one_line_and_status_2(command: Command, latents_folder: Path, tmp_path: Path) -> None:
    (tmp_path / "page.pt").write_text("<html>")
    for checkpoint, latents, message in (
        ("none.pt", latents_folder / "test", "none.pt: there is no such checkpoint"),
        ("page.pt", latents_folder / "test", "page.pt: is a web page (HTML)"),
    ):
        ended = command("evaluate", "--checkpoint_path", checkpoint, "--latent_test_dir", latents)
        assert ended.status == 2
        assert message in ended.err
        assert ended.err.count("\n") == 1
