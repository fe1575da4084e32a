"""The functions of the Python API: what they return, raise and print, and that they have all flags of `launch/`."""

from __future__ import annotations

import importlib
import inspect
import pkgutil
import subprocess
import sys
import typing
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import yaml

import fervit
from fervit.cli import Parser
from fervit.cluster.nodes import Cluster
from fervit.search.space.space_file import read_space
from tests.conftest import ROOT, SMALL_SPACE

FUNCTIONS = ("audit", "encode", "evaluate", "load", "preprocess", "train", "tune", "verify")
TINY = {"search.trials": 2, "early_stopping.max_epochs": 2}
MODEL: dict[str, Any] = {"seq_len": 0, "latent_dim": 16, "embed_dim": 8, "heads": 2, "depth": 1, "mlp_dim": 16}


@pytest.fixture(autouse=True)
def empty_folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)


@pytest.fixture(scope="module", autouse=True)
def all_rooms_are_imported() -> None:
    for module in pkgutil.walk_packages(fervit.__path__, "fervit."):
        if not module.name.endswith("__main__"):
            importlib.import_module(module.name)


def space() -> dict[str, Any]:
    found: dict[str, Any] = yaml.safe_load(SMALL_SPACE)
    return found


def test_no_room_takes_the_place_of_a_function() -> None:
    rooms = {module.name for module in pkgutil.iter_modules(fervit.__path__)}
    assert rooms.isdisjoint(FUNCTIONS)
    for name in FUNCTIONS:
        function = getattr(fervit, name)
        assert callable(function)
        assert function.__name__ == name
    assert set(FUNCTIONS) <= set(dir(fervit))


@pytest.mark.extra
def test_encode_twice_encodes_once(cluster: Cluster, demo_faces: Path, capsys: pytest.CaptureFixture[str]) -> None:
    heard: list[str] = []
    first = fervit.encode(demo_faces, "latents", encoder_type="demo", limit=42, say=heard.append)
    assert (first.done, first.present, first.failed) == (42, 0, 0)
    assert any("UNTRAINED" in line for line in heard)
    assert any(line.startswith("encoded 42 images") for line in heard)
    again = fervit.encode(str(demo_faces), Path("latents"), encoder_type="demo", limit=42, say=None)
    assert (again.done, again.present) == (0, 42)
    assert sum(len(fervit.latents.LatentSet.read(f"latents/{split}")) for split in ("train", "val", "test")) == 42
    assert capsys.readouterr() == ("", "")  # silence is kept
    assert "\n" not in repr(again)


def runs_in_mlflow(store: Path, experiment: str) -> dict[str, set[str]]:
    """Returns the files of each run of an experiment, by its name."""
    from mlflow.tracking import MlflowClient

    client = MlflowClient(tracking_uri=store.as_uri())
    found = client.get_experiment_by_name(experiment)
    assert found is not None
    runs = client.search_runs([found.experiment_id])
    return {run.info.run_name: {file.path for file in client.list_artifacts(run.info.run_id)} for run in runs}


@pytest.mark.long
def test_tune_twice_from_a_dict_and_an_object(cluster: Cluster, latents_folder: Path, tmp_path: Path) -> None:
    heard: list[str] = []
    store = tmp_path / "runs"
    result = fervit.tune(space(), latents_folder, overrides=TINY, track=[f"mlflow={store}"], say=heard.append)
    assert {"sweep", *(record.name for record in result.records)} <= set(runs_in_mlflow(store, result.folder.name))
    assert runs_in_mlflow(store, result.folder.name)["sweep"] >= {"best", "leaderboard.csv", "report.html"}
    assert len(result.records) == 2
    assert result.best in result.records
    assert result.folder.parent == tmp_path / "experiments"
    assert (result.folder / "report.html").is_file()
    assert "\n".join(heard).count("Best: trial") == 1
    shown = repr(result)
    assert shown.count("\n") < 8
    for words in ("2 trials", result.best.name, "f1_macro", "test: macro-F1", str(result.folder)):
        assert words in shown
    model = fervit.load(result.model)
    assert model(np.zeros((3, 4, 16), np.float16)).shape == (3, 7)

    path = tmp_path / "small.yaml"
    path.write_text(SMALL_SPACE)
    overrides = [*(f"{key}={value}" for key, value in TINY.items()), "search.trials=3"]
    more = fervit.tune(read_space(path), latents_folder, overrides=overrides, resume=True, say=None)
    assert more.folder == result.folder
    assert len(more.records) == 3


@pytest.mark.long
def test_train_twice_and_go_on(cluster: Cluster, latents_folder: Path, capsys: pytest.CaptureFixture[str]) -> None:
    train, val = latents_folder / "train", latents_folder / "val"
    heard: list[str] = []
    run = fervit.train(train, val, **MODEL, epochs=2, say=heard.append)
    assert run.state == "finished"
    assert run.epochs == 2
    assert run.best is not None
    assert 0 < run.best.f1_macro <= 1
    assert sum(line.startswith("epoch ") for line in heard) == 2
    assert fervit.load(run.model).labels[0] == "angry"
    capsys.readouterr()
    again = fervit.train(str(train), str(val), recipe="strong", **MODEL, epochs=1, say=None)
    assert again.folder != run.folder
    assert capsys.readouterr() == ("", "")
    assert fervit.train(resume=run.folder, say=None) == run


@pytest.mark.extra
def test_evaluate_twice(latents_folder: Path, cluster: Cluster, capsys: pytest.CaptureFixture[str]) -> None:
    run = fervit.train(latents_folder / "train", latents_folder / "val", **MODEL, epochs=1, say=None)
    heard: list[str] = []
    first = fervit.evaluate(run.model, latents_folder / "test", say=heard.append)
    second = fervit.evaluate(str(run.folder), f"{latents_folder}/test", output_dir="there", say=None)
    assert first.metrics["f1_macro"] == second.metrics["f1_macro"]
    assert Path("there/evaluation_results.json").is_file()
    assert any("accuracy" in line for line in heard)
    assert repr(second).startswith("Evaluation(test: 105 faces, accuracy 0.")
    assert "\n" not in repr(second)
    assert capsys.readouterr() == ("", "")


@pytest.mark.parametrize(
    ("call", "message"),
    [
        (lambda: fervit.encode(None, "latents"), "give either data_root, or from_pt=DIR"),
        (lambda: fervit.encode("faces", "latents", batch_size=0), "batch_size: must be a whole number of 1 or more"),
        (
            lambda: fervit.encode("faces", "latents", precision="half"),
            "precision: must be one of float32, bfloat16, float16",
        ),
        (lambda: fervit.encode("nowhere", "latents"), "there is no such file or folder"),
        (lambda: fervit.tune({"name": "x"}, "latents"), "space: the key 'parameters' is missing or empty"),
        (lambda: fervit.tune(3, "latents"), "space: must be a file, a dict or a SearchSpace, but got int"),
        (lambda: fervit.tune(space(), overrides={"search.trails": 3}), "there is no key 'trails'; did you mean"),
        (lambda: fervit.tune(space(), "nowhere"), "nowhere/train: no latents here"),
        (lambda: fervit.tune("none.yaml"), "none.yaml: there is no such file"),
        (lambda: fervit.train("train"), "--latent_val_dir: is missing"),
        (lambda: fervit.train("train", "val", lrr=1), "there is no key 'lrr'; did you mean 'lr'?"),
        (lambda: fervit.train("train", "val", lr="fast"), "hyperparameters.lr: must be a number, but got 'fast'"),
        (lambda: fervit.train("train", "val", recipe="soup"), "recipe: must be one of guide, strong"),
        (lambda: fervit.train(resume="nowhere"), "holds no training run"),
        (lambda: fervit.evaluate("none.pt", "latents/test"), "none.pt: there is no such checkpoint"),
        (lambda: fervit.evaluate("none.pt", "latents/test", visualize_samples=-1), "a whole number of 0 or more"),
    ],
)
def test_a_mistake_is_a_user_error_of_one_line(call: Callable[[], object], message: str, tmp_path: Path) -> None:
    with pytest.raises(fervit.UserError) as error:
        call()
    assert message in str(error.value)
    assert "\n" not in str(error.value)
    assert not list(tmp_path.iterdir())


@pytest.mark.extra
def test_a_search_that_fails_raises_a_job_error(cluster: Cluster, latents_folder: Path) -> None:
    overrides = {**TINY, "parameters.lr": {"values": [1e30]}}
    with pytest.raises(fervit.JobError, match="no trial finished"):
        fervit.tune(space(), latents_folder, overrides=overrides, say=None)


@pytest.mark.parametrize("name", ["audit", "encode", "evaluate", "preprocess", "train", "tune"])
def test_arguments_are_named_as_the_flags(name: str) -> None:
    (module,) = (Path(fervit.__file__).parent / "commands").rglob(f"{name}.py")
    parser: Parser = importlib.import_module(f"fervit.commands.{module.parent.name}.{name}").parser()
    flags = {action.dest for action in parser._actions} - {"help", "version", "format"}  # of the output
    arguments = set(inspect.signature(getattr(fervit, name)).parameters) - {"say", "hyperparameters"}
    config = set(inspect.signature(fervit_config()).parameters) if name == "train" else set()
    renamed = {"set", "dry_run"} if name == "tune" else set()  # `set` is Python's, a dry run is a function of its own
    assert flags - config - renamed == arguments - ({"overrides"} if name == "tune" else set())


def fervit_config() -> type:
    from fervit.training.config import TrainConfig

    return TrainConfig


@pytest.mark.parametrize("name", FUNCTIONS)
def test_every_argument_is_typed_and_documented(name: str) -> None:
    function = getattr(fervit, name)
    hints = typing.get_type_hints(function)
    text = inspect.getdoc(function) or ""
    for argument in inspect.signature(function).parameters:
        assert argument in hints
        assert f"    {argument}: " in text
    for part in ("Args:", "Raises:"):
        assert part in text
    assert "return" in hints


def test_launch_holds_no_code() -> None:
    for path in (ROOT / "launch").glob("*.py"):
        assert len(path.read_text().splitlines()) <= 10, path


def test_every_public_function_of_the_face_has_a_docstring() -> None:
    for room in ("api", "commands"):
        package = importlib.import_module(f"fervit.{room}")
        for module in pkgutil.walk_packages(package.__path__, f"fervit.{room}."):
            found = importlib.import_module(module.name)
            for name, value in inspect.getmembers(found, inspect.isroutine):
                if value.__module__ == module.name and not name.startswith("_"):
                    assert inspect.getdoc(value), f"{module.name}.{name}"


def test_the_package_itself_imports_nothing_heavy() -> None:
    script = """
import fervit, sys
slow = {"torch", "ray", "numpy", "pyarrow", "optuna"} & set(sys.modules)
assert not slow, slow
assert "tune" in dir(fervit)
"""
    done = subprocess.run([sys.executable, "-c", script], capture_output=True, text=True, cwd=ROOT, check=False)
    assert done.returncode == 0, done.stderr
