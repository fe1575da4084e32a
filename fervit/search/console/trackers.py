"""Gives the trials of a sweep to experiment trackers, MLflow and Weights & Biases, through their own libraries.

Each trial is given whole when it ends, in a thread of its own, so that a slow server keeps no trial waiting; at the end
of the sweep come the trials that are missing, and the artefacts. An error there stops nothing and is said once.
"""

from __future__ import annotations

import hashlib
import importlib
import os
import queue
import threading
import time
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Protocol

from fervit.errors import UserError
from fervit.progress import Say
from fervit.search.console.tracker_names import MODULES, tracker_name
from fervit.search.ledger import Ledger, Observer
from fervit.search.records.record import TrialRecord
from fervit.system.side_channels import SideChannel

PATIENCE_S, AT_CLOSE_S = 600.0, 10.0
"""The seconds that the end of a sweep waits for a tracker, and those that a sweep waits that was interrupted."""
STORE = "mlruns"
"""The folder of MLflow's local store, unless another is named."""


@dataclass(frozen=True, kw_only=True)
class Tracked:
    """What a tracker gets as one run: a trial, or the sweep as a whole."""

    sweep: str
    """The name of the sweep's folder."""
    name: str
    state: str
    params: Mapping[str, Any]
    epochs: Sequence[Mapping[str, float]]
    """The numbers of each epoch; `epoch` counts from 1."""
    summary: Mapping[str, float]
    artefacts: Sequence[Path] = ()
    """Files and folders."""


class Tracker(Protocol):
    """Where the runs of a sweep are tracked."""

    def give(self, run: Tracked) -> None:
        """Takes a run. One that it has is completed and not doubled."""


class Mlflow:
    """Writes runs to MLflow: an experiment for each sweep, a run for each trial.

    Args:
        where: a folder, for a local store, or the URI of a server; "" for `MLFLOW_TRACKING_URI` or `mlruns/`.
    """

    def __init__(self, where: str) -> None:
        from mlflow.tracking import MlflowClient

        where = where or os.environ.get("MLFLOW_TRACKING_URI", "") or STORE
        if "://" not in where:
            os.environ.setdefault("MLFLOW_ALLOW_FILE_STORE", "true")  # MLflow 3 asks for it
            where = Path(where).absolute().as_uri()
        self._client = MlflowClient(tracking_uri=where)

    def give(self, run: Tracked) -> None:
        """Takes a run; of one that is there, only the epochs and artefacts that it lacks."""
        from mlflow.entities import Metric, Param

        client = self._client
        found = client.get_experiment_by_name(run.sweep)
        experiment = found.experiment_id if found is not None else client.create_experiment(run.sweep)
        known = client.search_runs([experiment], f"tags.fervit = '{run.name}'")
        tags = {"fervit": run.name}
        entry = known[0] if known else client.create_run(experiment, run_name=run.name, tags=tags)
        key = entry.info.run_id
        there = {m.step for m in client.get_metric_history(key, "train_loss")} if known else set()
        params = [Param(name, str(value)) for name, value in run.params.items()]
        client.log_batch(key, params=params, tags=[])
        for epoch in run.epochs:
            step = int(epoch["epoch"])
            if step not in there:
                values = [Metric(name, value, 0, step) for name, value in epoch.items() if name != "epoch"]
                client.log_batch(key, metrics=values)
        client.log_batch(key, metrics=[Metric(name, value, 0, 0) for name, value in run.summary.items()])
        for path in run.artefacts:
            log = client.log_artifacts if path.is_dir() else client.log_artifact
            log(key, str(path), *([path.name] if path.is_dir() else []))
        client.set_terminated(key, "FAILED" if run.state == "failed" else "FINISHED")


class Wandb:
    """Writes runs to Weights & Biases, offline unless `WANDB_MODE` says otherwise: `wandb sync` uploads them later.

    Args:
        folder: the folder of the sweep, which gets the folder `wandb`.
    """

    def __init__(self, folder: Path) -> None:
        self._folder = folder

    def give(self, run: Tracked) -> None:
        """Takes a run, unless it is there with as many epochs."""
        import wandb

        text = f"{run.sweep}/{run.name}/{len(run.epochs)}"
        key = hashlib.sha256(text.encode()).hexdigest()[:16]
        if any((self._folder / "wandb").glob(f"*-{key}")):
            return
        mode: Any = os.environ.get("WANDB_MODE", "offline")  # or whatever wandb knows
        quiet = wandb.Settings(silent=True, console="off", disable_git=True, save_code=False, x_disable_stats=True)
        entry = wandb.init(
            mode=mode,
            project=os.environ.get("WANDB_PROJECT", "fervit"),
            group=run.sweep,
            id=key,
            name=run.name,
            dir=str(self._folder),
            config=dict(run.params),
            reinit="create_new",
            settings=quiet,
        )
        for epoch in run.epochs:
            entry.log({name: value for name, value in epoch.items() if name != "epoch"}, step=int(epoch["epoch"]))
        entry.summary.update({**run.summary, "state": run.state})
        if run.artefacts:
            artefact = wandb.Artifact(f"{run.sweep}-{run.name}", type="results")
            for path in run.artefacts:
                (artefact.add_dir if path.is_dir() else artefact.add_file)(str(path), name=path.name)
            entry.log_artifact(artefact)
        entry.finish()


def check_trackers(asked: Sequence[str]) -> None:
    """Checks that the trackers are known and their libraries installed.

    Args:
        asked: the values of `--track`: "mlflow", "mlflow=URI or folder", or "wandb".

    Raises:
        UserError: a tracker is unknown, or its library is missing.
    """
    for one in asked:
        name = tracker_name(one)
        try:
            importlib.import_module(MODULES[name])
        except ImportError as error:
            raise UserError(
                f"--track {name}: needs {error.name}; install it with `pip install 'fervit[{name}]'`"
            ) from None


def open_tracker(asked: str, folder: Path) -> Tracker:
    """Opens the tracker that `--track` asks for, for the sweep in a folder."""
    name, _, where = asked.partition("=")
    return Mlflow(where) if name == "mlflow" else Wandb(folder)


class Tracking(Observer):
    """Gives each trial that ends to a tracker, and at the end of the sweep what is missing.

    Args:
        name: what the tracker is called in a message.
        tracker: the tracker.
        folder: the folder of the sweep.
        tell: gets a message if the tracker fails.
    """

    def __init__(self, name: str, tracker: Tracker, folder: Path, tell: Say) -> None:
        self._tracker, self._folder, self._tell, self._name = tracker, folder, tell, name
        self._runs: queue.Queue[Tracked | None] = queue.Queue()
        self._thread = threading.Thread(target=self._give, name="tracker", daemon=True)  # one that hangs ends with us
        self._thread.start()
        self._why: list[str] = []
        self._channel = SideChannel(name, self._why.append)

    def ended(self, ledger: Ledger, record: TrialRecord) -> None:
        """Gives the trial to the tracker, without waiting for it."""
        self._runs.put(self._tracked(record, ledger.space.metric.name))

    def close(self) -> None:
        """Waits a little for what has been given, which is all that comes after Ctrl-C. `finish` waits longer."""
        until = time.monotonic() + AT_CLOSE_S
        while self._runs.unfinished_tasks and time.monotonic() < until:
            time.sleep(0.05)

    def _give(self) -> None:
        while (run := self._runs.get()) is not None:
            self._channel(self._tracker.give, run)
            self._runs.task_done()

    def finish(
        self, records: Sequence[TrialRecord], metric: str, summary: Mapping[str, float], artefacts: Sequence[Path]
    ) -> None:
        """Gives all trials that the tracker lacks, and the sweep with its artefacts; says so if that fails.

        Args:
            records: all trials and reruns of the sweep.
            metric: the name of the metric by which epochs are compared.
            summary: the numbers of the sweep, such as `test_f1_macro`.
            artefacts: the files and folders of the sweep that are kept.
        """
        for record in records:
            self._runs.put(self._tracked(record, metric))
        whole = Tracked(
            sweep=self._folder.name,
            name="sweep",
            state="finished",
            params={"trials": len(records)},
            epochs=[],
            summary=summary,
            artefacts=[path for path in artefacts if path.exists()],
        )
        self._runs.put(whole)
        self._runs.put(None)
        self._thread.join(PATIENCE_S)
        if self._thread.is_alive():
            self._why.append(f"{self._name}: has not taken all runs within {PATIENCE_S:.0f} s, and is left")
        for why in self._why:
            self._tell(why)

    def _tracked(self, record: TrialRecord, metric: str) -> Tracked:
        rows = [row.to_json() for row in record.epochs]
        numbers = [
            {name: float(value) for name, value in row.items() if isinstance(value, int | float)} for row in rows
        ]
        values = [row[metric] for row in numbers if metric in row]
        best = {} if not values else {f"best_{metric}": min(values) if metric == "val_loss" else max(values)}
        return Tracked(
            sweep=self._folder.name,
            name=record.name,
            state=record.state,
            params={**record.params, "seed": record.seed, "purpose": record.purpose, "state": record.state},
            epochs=numbers,
            summary=best,
        )
