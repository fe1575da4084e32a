"""With --format json, each command prints one JSON value that fits its schema, and nothing else there."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import jsonschema
import pytest

from fervit.cluster.nodes import Cluster
from fervit.commands.results import result_schema
from fervit.commands.schema import RESULTS, parser
from fervit.evaluation.predictor import Prediction
from tests.conftest import Command, Ended, write_splits

SMALL = ("--seq_len", 4, "--latent_dim", 16, "--embed_dim", 16, "--depth", 1, "--heads", 2, "--mlp_dim", 16)


def result(ended: Ended, name: str, status: int = 0) -> Any:
    """Returns the value that a command printed, which must fit its schema."""
    assert ended.status == status, ended.err
    found = json.loads(ended.out)
    jsonschema.validate(found, result_schema(name), jsonschema.Draft202012Validator)
    return found


@pytest.mark.parametrize("name", RESULTS)
def test_every_schema_is_one_and_says_what_each_key_means(name: str) -> None:
    schema = result_schema(name)
    jsonschema.Draft202012Validator.check_schema(schema)
    assert name in parser().parse([name]).of
    assert (schema["items"] if schema["type"] == "array" else schema)["description"]


def test_a_training_and_what_follows_from_it(command: Command, latents_folder: Path, tmp_path: Path) -> None:
    train = ("--latent_train_dir", latents_folder / "train", "--latent_val_dir", latents_folder / "val")
    ended = command("train", *train, *SMALL, "--epochs", 2, "--format", "json")
    run = result(ended, "train")
    assert (run["state"], run["epochs"]) == ("finished", 2)
    assert "epoch   2/2" in ended.err
    model = ("--checkpoint_path", run["model"])
    test = latents_folder / "test"
    evaluated = result(command("evaluate", *model, "--latent_test_dir", test, "--format", "json"), "evaluate")
    written = json.loads((tmp_path / evaluated["output_dir"] / "evaluation_results.json").read_text())
    assert evaluated["metrics"] == written
    (row,) = result(command("compare", run["folder"], "--latent_test_dir", test, "--format", "json"), "compare")
    assert row["accuracy"] == written["accuracy"]
    exported = result(command("export", *model, "--output_dir", "out", "--format", "json"), "export")
    assert "model.safetensors" in exported["files"]
    page = result(command("report", run["folder"], "--format", "json"), "report")
    assert Path(page["report"]).stat().st_size == page["bytes"]
    audited = result(command("audit", "--latents", latents_folder, "--no_label_noise", "--format", "json"), "audit")
    assert audited["results"] == json.loads(Path(audited["folder"], "audit.json").read_text())


def test_a_mistake_prints_no_json(command: Command) -> None:
    ended = command("report", "nowhere", "--format", "json")
    assert (ended.status, ended.out) == (2, "")
    assert ended.err.count("\n") == 1


def test_what_the_doctor_and_the_drawn_faces_say(command: Command, latents_folder: Path) -> None:
    doctored = command("doctor", "--latents", latents_folder, "--format", "json")
    found = result(doctored, "doctor", status=doctored.status)
    assert (found["problems"] > 0) == (doctored.status == 1)
    assert "versions" in [one["topic"] for one in found["findings"]]
    few = ("--train", 1, "--val", 1, "--test", 1)
    assert result(command("demo_faces", *few, "--format", "json"), "demo_faces")["faces"] == 21


def test_a_job_of_slurm(command: Command, small_space: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("fervit.slurm.submit.OWN_DISKS", ("/dev/shm",))
    write_splits(tmp_path / "latents")
    words = ("--space", small_space, "--time", "10", "--print", "--format", "json")
    submitted = result(command("slurm", "tune", *words), "slurm")
    assert (submitted["job"], Path(submitted["script"]).is_file()) == ("", True)
    status = result(command("slurm", "status", submitted["folder"], "--format", "json"), "slurm_status")
    assert (status["job"], status["sweep"]) == ("", None)


def test_predictions_fit_their_schema() -> None:
    predictions = [
        Prediction(
            name="a.png", label="happy", confidence=0.5, probabilities={"happy": 0.5}, box=(1, 2, 3, 4), faces=2
        ),
        Prediction(name="b.png", probabilities={}, error="cannot be read"),
    ]
    jsonschema.validate([one.to_json() for one in predictions], result_schema("predict"))


@pytest.mark.long
def test_a_sweep_and_what_follows_from_it(
    command: Command, cluster: Cluster, latents_folder: Path, small_space: Path
) -> None:
    given = (
        "--set",
        "search.trials=3",
        "--set",
        "confirm={top: 2, seeds: 2}",
        "--set",
        "early_stopping.scheduler=none",
    )
    ended = command("tune", "--space", small_space, "--latents", latents_folder, *given, "--format", "json")
    swept = result(ended, "tune")
    assert swept["trials"]["finished"] == 3
    assert swept["chosen"]["trial"] in [one["trial"] for one in swept["confirmed"]]
    assert Path(swept["report"]).is_file()
    assert "Leaderboard" in ended.err
    verified = result(command("verify", swept["folder"], "--format", "json"), "verify")
    assert (verified["numbers"] > 100, verified["difference"]) == (True, "")
    replays = result(command("replay", swept["folder"], "--seeds", 2, "--format", "json"), "replay")
    assert (replays["curves"], len(replays["ways"][0]["best"])) == (3, 2)
    why = result(command("control", swept["folder"], "why", 0, "--format", "json"), "control")
    assert why["text"].startswith("trial_0000  finished")
    (Path(swept["folder"]) / "leaderboard.csv").write_text("changed\n")
    assert result(command("verify", swept["folder"], "--format", "json"), "verify", status=1)["difference"]


@pytest.mark.long
def test_an_encoding(command: Command, cluster: Cluster, demo_faces: Path) -> None:
    words = ("--data_root", demo_faces, "--latent_out", "codes", "--encoder_type", "demo", "--format", "json")
    encoded = result(command("encode", *words), "encode")
    assert (encoded["done"], encoded["failed"]) == (7 * 11, 0)
