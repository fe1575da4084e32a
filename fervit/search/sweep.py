"""Trials on Ray Tune: its searcher, scheduler and callbacks as thin adapters of the Ray-free parts."""

from __future__ import annotations

import json
import os
import re
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import ray
from ray import tune
from ray.tune.experiment import Trial
from ray.tune.schedulers import AsyncHyperBandScheduler, FIFOScheduler, TrialScheduler
from ray.tune.search import Searcher

from fervit.latents import LatentSet
from fervit.search.ledger import Ledger
from fervit.search.space import Budget, SearchSpace, TrialResources
from fervit.search.trial import LatentTrial


@dataclass(frozen=True, kw_only=True)
class SharedLatents:
    """The training and the validation split in Ray's object store, for any number of runs."""

    train: ray.ObjectRef
    val: ray.ObjectRef

    @classmethod
    def put(cls, train: LatentSet, val: LatentSet) -> SharedLatents:
        return cls(train=ray.put(train), val=ray.put(val))


def run_trials(
    ledger: Ledger, latents: SharedLatents, resources: TrialResources, *, name: str, early_stopping: bool
) -> None:
    """Runs the trials of the ledger's source to their end; the ledger records what happens.

    A trial is a class Trainable in an actor that is reused for the next trial: starting one costs 0.05 s instead of
    the 5 to 50 s of a new process. Its latents lie in Ray's object store, one copy a machine.

    Args:
        ledger: gives the trials and records them.
        latents: what trials learn from and are measured on.
        resources: what a trial gets.
        name: of Ray Tune's own folder in the sweep's.
        early_stopping: stop trials that fall behind, as the space says; otherwise all run to their end.

    Raises:
        KeyboardInterrupt: Ctrl-C ended the run.
    """
    space = ledger.space
    os.environ.setdefault("TUNE_DISABLE_AUTO_CALLBACK_LOGGERS", "1")  # the ledger logs
    os.environ.setdefault("RAY_AIR_NEW_OUTPUT", "0")
    trainable = tune.with_parameters(
        LatentTrial,
        train=latents.train,
        val=latents.val,
        metric=space.metric,
        device="cuda" if resources.gpus else "cpu",
        threads=max(1, int(resources.cpus)),
    )
    stopper = _BudgetStopper(space.budget, ledger, resources.gpus)
    trainable.__qualname__ = LatentTrial.__qualname__  # what the dashboard and `ps` show
    tuner = tune.Tuner(
        trainable,
        tune_config=tune.TuneConfig(
            search_alg=_LedgerSearcher(ledger, resources),
            scheduler=_scheduler(space) if early_stopping else FIFOScheduler(),
            num_samples=ledger.source.total,
            reuse_actors=True,
            trial_name_creator=_trial_name,
            trial_dirname_creator=_trial_name,
        ),
        run_config=tune.RunConfig(
            name=name,
            storage_path=str(ledger.folder),
            callbacks=[_LedgerCallback(ledger)],
            failure_config=tune.FailureConfig(max_failures=resources.max_failures),
            # A trial keeps its own files (trial.py): of Ray Tune's, all would stay, or each would snapshot the run.
            checkpoint_config=tune.CheckpointConfig(checkpoint_frequency=0, checkpoint_at_end=False),
            stop=stopper,
            verbose=0,
        ),
    )
    tuner.fit()  # returns after Ctrl-C as after the last trial
    if stopper.stop_all():
        ledger.end_all()  # Ray Tune says nothing of the trials that the budget stopped
    elif not ledger.complete:
        raise KeyboardInterrupt(
            f"interrupted after {ledger.ended} of {ledger.source.total} trials; see {ledger.folder}"
        )


def _scheduler(space: SearchSpace) -> TrialScheduler:
    """ASHA on the best value so far, so that a trial is judged as it will be ranked."""
    stopping = space.early_stopping
    if stopping.scheduler == "none":
        return FIFOScheduler()
    return AsyncHyperBandScheduler(
        time_attr="epoch",
        metric="best_value",
        mode="max" if space.metric.goal == "maximize" else "min",
        max_t=stopping.max_epochs,
        grace_period=stopping.grace_epochs,
        reduction_factor=stopping.reduction_factor,
    )


def _trial_name(trial: Trial) -> str:
    name: str = trial.config["name"]
    return name


class _LedgerSearcher(Searcher):  # type: ignore[misc]
    """Ray Tune asks it for configurations. What became of them the ledger hears from `_LedgerCallback`, which, unlike
    a searcher, is also given the report that made the scheduler stop a trial."""

    def __init__(self, ledger: Ledger, resources: TrialResources) -> None:
        super().__init__()
        self._ledger = ledger
        self._resources = {"CPU": resources.cpus, "GPU": resources.gpus}

    def suggest(self, trial_id: str) -> dict[str, Any]:
        planned = self._ledger.begin(trial_id)
        folder = str(self._ledger.checkpoint_folder(planned.name))
        return {
            "name": planned.name,
            "folder": folder,
            "train": planned.config.to_json(),
            "resources": self._resources,
        }

    def on_trial_complete(self, trial_id: str, result: dict[str, Any] | None = None, error: bool = False) -> None:
        pass

    def save(self, checkpoint_path: str) -> None:
        Path(checkpoint_path).write_text(json.dumps([record.name for record in self._ledger.records]))

    def restore(self, checkpoint_path: str) -> None:
        raise NotImplementedError("a sweep cannot be resumed yet")


class _LedgerCallback(tune.Callback):  # type: ignore[misc]
    def __init__(self, ledger: Ledger) -> None:
        self._ledger = ledger

    def on_trial_result(
        self, iteration: int, trials: list[Trial], trial: Trial, result: dict[str, Any], **info: Any
    ) -> None:
        self._ledger.epoch(trial.trial_id, result)

    def on_trial_complete(self, iteration: int, trials: list[Trial], trial: Trial, **info: Any) -> None:
        self._ledger.end(trial.trial_id)

    def on_trial_error(self, iteration: int, trials: list[Trial], trial: Trial, **info: Any) -> None:
        self._ledger.end(trial.trial_id, error=_describe(trial.get_error()))


class _BudgetStopper(tune.Stopper):  # type: ignore[misc]
    """Ends the run once the hours, or the GPU-hours of all trials together, are spent."""

    def __init__(self, budget: Budget, ledger: Ledger, gpus: float) -> None:
        self._budget, self._ledger, self._gpus = budget, ledger, gpus

    def __getstate__(self) -> dict[str, Any]:
        """Ray Tune pickles stoppers into its snapshots; the ledger, with its open files, does not belong there."""
        return {**self.__dict__, "_ledger": None}

    def __call__(self, trial_id: str, result: dict[str, Any]) -> bool:
        return False

    def stop_all(self) -> bool:
        hours, gpu_hours = self._budget.hours, self._budget.gpu_hours
        if hours is not None and self._ledger.elapsed_seconds() > 3600 * hours:
            return True
        return gpu_hours is not None and self._gpus * self._ledger.spent_seconds() > 3600 * gpu_hours


def _describe(error: BaseException | None) -> str:
    """A trial's error as "kind: what", in one line, without Ray's wrapping."""
    if error is None:
        return "error: unknown"
    name = type(error).__name__
    wrapped = re.fullmatch(r"RayTaskError\((\w+)\)", name)
    kind = wrapped[1] if wrapped else "process died" if "Died" in name else name
    lines = [line.strip() for line in str(error).splitlines() if line.strip()]
    message = (lines[-1] if wrapped else lines[0]) if lines else "no message"
    return f"{kind}: {message.removeprefix(f'{kind}: ')}"[:300]
