from __future__ import annotations

import threading
from pathlib import Path
from typing import Any

import pytest

from fervit.errors import UserError
from fervit.search.console import trackers
from fervit.search.console.trackers import Mlflow, Tracked, Tracking, check_trackers, open_tracker
from tests.helpers.ledger import Sweep, report
from tests.helpers.processes import wait_until


def run_trials(folder: Path, tracking: Tracking, trials: int = 5) -> Sweep:
    """Runs some trials of three epochs, as a sweep does, to the end of the tracking."""
    sweep = Sweep(folder, tracking)
    for number in range(trials):
        name = sweep.begin().name
        for epoch in (1, 2, 3):
            sweep.ledger.report(name, report(epoch, 0.1 * epoch + 0.01 * number))
    sweep.ledger.end_all()
    sweep.ledger.close()
    (folder / "leaderboard.csv").write_text("trial\n")
    (folder / "best").mkdir()
    (folder / "best" / "config.json").write_text("{}")
    artefacts = [folder / "leaderboard.csv", folder / "best"]
    tracking.finish(sweep.ledger.records, "f1_macro", {"test_f1_macro": 0.5}, artefacts)
    return sweep


def test_all_trials_epochs_and_artefacts_arrive_in_mlflow(tmp_path: Path) -> None:
    pytest.importorskip("mlflow")
    folder, said = tmp_path / "vit_1", list[str]()
    folder.mkdir()
    store = tmp_path / "store"
    tracking = Tracking("MLflow", open_tracker(f"mlflow={store}", folder), folder, said.append)
    sweep = run_trials(folder, tracking)
    assert said == []
    from mlflow.tracking import MlflowClient

    client = MlflowClient(tracking_uri=store.as_uri())
    experiment = client.get_experiment_by_name("vit_1")
    assert experiment is not None
    runs = {run.info.run_name: run for run in client.search_runs([experiment.experiment_id])}
    assert set(runs) == {"sweep", *(record.name for record in sweep.ledger.records)}
    for record in sweep.ledger.records:
        run = runs[record.name]
        history = client.get_metric_history(run.info.run_id, "f1_macro")
        assert [(m.step, m.value) for m in sorted(history, key=lambda m: m.step)] == [
            (row.epoch, pytest.approx(row.f1_macro)) for row in record.epochs
        ]
        assert run.data.params["depth"] == str(record.params["depth"])
        assert run.info.status == "FINISHED"
    whole = runs["sweep"].info.run_id
    assert {file.path for file in client.list_artifacts(whole)} == {"leaderboard.csv", "best"}
    assert [file.path for file in client.list_artifacts(whole, "best")] == ["best/config.json"]


def test_wandb_writes_a_run_for_each_trial_without_a_network(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    pytest.importorskip("wandb")
    monkeypatch.delenv("WANDB_MODE", raising=False)
    folder, said = tmp_path / "vit_1", list[str]()
    folder.mkdir()
    run_trials(folder, Tracking("W&B", open_tracker("wandb", folder), folder, said.append), trials=2)
    assert said == []
    files = list((folder / "wandb").glob("offline-run-*/run-*.wandb"))
    assert len(files) == 3  # two trials and the sweep

    def in_files(text: bytes) -> list[int]:  # wandb's records are not compressed
        return sorted(file.read_bytes().count(text) for file in files)

    assert wait_until(lambda: in_files(b"val_loss")[1:] >= [3, 3]), in_files(b"val_loss")  # another process writes them
    assert wait_until(lambda: sum(in_files(b"test_f1_macro")) > 0)


def test_a_tracker_that_fails_stops_nothing_and_is_said_once(tmp_path: Path) -> None:
    class Broken:
        def give(self, run: Tracked) -> None:
            raise OSError(f"no route to host for {run.sweep}")

    said: list[str] = []
    sweep = run_trials(tmp_path, Tracking("MLflow", Broken(), tmp_path, said.append))
    assert len(sweep.ledger.records) == 5
    assert said == [f"MLflow failed and is left out from now on: no route to host for {tmp_path.name}"]


def test_what_is_missing_is_said_in_one_line(monkeypatch: pytest.MonkeyPatch) -> None:
    with pytest.raises(UserError, match="--track neptune: must be mlflow, mlflow=URI, mlflow=FOLDER or wandb"):
        check_trackers(["neptune"])

    def missing(name: str) -> Any:
        raise ModuleNotFoundError(f"No module named {name!r}", name="wandb")

    monkeypatch.setattr("importlib.import_module", missing)
    with pytest.raises(UserError, match=r"needs wandb; install it with `pip install 'fervit\[wandb\]'`"):
        check_trackers(["wandb"])


def test_a_run_that_is_there_is_completed_and_not_doubled(tmp_path: Path) -> None:
    pytest.importorskip("mlflow")
    tracker = Mlflow(str(tmp_path))
    rows = [{"epoch": float(n), "train_loss": 1.0 / n} for n in (1, 2, 3)]
    for epochs in (rows[:2], rows, rows):
        tracker.give(Tracked(sweep="s", name="t", state="finished", params={"lr": 1}, epochs=epochs, summary={}))
    from mlflow.tracking import MlflowClient

    client = MlflowClient(tracking_uri=tmp_path.as_uri())
    experiment = client.get_experiment_by_name("s")
    assert experiment is not None
    (run,) = client.search_runs([experiment.experiment_id])
    steps = [metric.step for metric in client.get_metric_history(run.info.run_id, "train_loss")]
    assert sorted(steps) == [1, 2, 3]


def test_a_tracker_that_hangs_is_left_and_keeps_no_sweep_waiting(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    class Hanging:
        def give(self, run: Tracked) -> None:
            threading.Event().wait()

    monkeypatch.setattr(trackers, "AT_CLOSE_S", 0.1)
    monkeypatch.setattr(trackers, "PATIENCE_S", 0.2)
    said: list[str] = []
    run_trials(tmp_path, Tracking("MLflow", Hanging(), tmp_path, said.append), trials=1)
    assert said == ["MLflow: has not taken all runs within 0 s, and is left"]
