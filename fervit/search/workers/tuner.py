"""Runs trials on Ray Tune, whose searcher, scheduler, callback and stopper are thin adapters of the driver.

Ray Tune places the trials, and starts and reuses their processes. The driver (`driver.py`) and its ledger record the
trials, plan the next ones, and decide which are stopped and which are tried again. A sweep is therefore resumed from
its own journal and not from Ray Tune's snapshots: these lack the rungs of the schedulers, and cannot cope with trials
that ended after the last snapshot.
"""

from __future__ import annotations

import os
import re
import signal
from pathlib import Path
from typing import Any

from ray import cloudpickle, tune
from ray.tune.experiment import Trial
from ray.tune.schedulers import FIFOScheduler, TrialScheduler
from ray.tune.search import Searcher

from fervit.cluster.connection import free_nodes
from fervit.cluster.gpu_nodes import GpuNodes
from fervit.cluster.gpus import UnusableGpuError
from fervit.progress import in_notebook
from fervit.search.driver import Driver, Room
from fervit.search.ledger import Ledger
from fervit.search.policy.stopping import decision_epochs
from fervit.search.preflight import slots
from fervit.search.records.report import TrialReport
from fervit.search.records.sweep_folder import SweepFolder
from fervit.search.space.settings import TrialResources
from fervit.search.workers.mps import Daemons
from fervit.search.workers.task import TrialTask, resources_of, shares_by_mps
from fervit.search.workers.trial import LatentTrial
from fervit.search.workers.worker_group import SharedLatents
from fervit.system import interrupts
from fervit.system.hardware import device_of
from fervit.training.failure import NODE_LEAVES, OUT_OF_MEMORY, PROCESS_DIED, Failure

KINDS = {
    "ActorUnavailableError": PROCESS_DIED,  # the connection to its host broke; Ray notices the host's death later
    "GpuFaultError": PROCESS_DIED,
    "NodeLeavingError": NODE_LEAVES,
    "TakenOverError": NODE_LEAVES,
    "OutOfMemoryError": OUT_OF_MEMORY,  # Ray's memory monitor killed the process
    "UnusableGpuError": PROCESS_DIED,
    "WorkerLostError": PROCESS_DIED,
}


def run_trials(
    ledger: Ledger,
    folder: SweepFolder,
    latents: SharedLatents,
    resources: TrialResources,
    *,
    name: str,
    trainable: type[tune.Trainable] = LatentTrial,
    gpu_nodes: GpuNodes | None = None,
) -> None:
    """Runs all trials of the ledger's source.

    A trial is a Trainable in an actor, which is reused for later trials: starting a trial takes 0.05 s instead of the
    5 to 50 s of a new process. The latents are in Ray's object store, with one copy on each machine.

    Args:
        ledger: plans the trials and records them.
        folder: the folder of the sweep, where trials write their checkpoints.
        latents: the training and the validation split.
        resources: the resources of a trial.
        name: the name of Ray Tune's own folder inside the folder of the sweep.
        trainable: the Trainable class that runs a trial.
        gpu_nodes: the nodes of the cluster, and which of them have GPUs that cannot be used; None if all can.

    Raises:
        KeyboardInterrupt: Ctrl-C ended the run. A resumed sweep continues the running trials from their saved states.
    """
    gpu_nodes = gpu_nodes or GpuNodes()
    daemons = Daemons(folder.path, gpu_nodes.say) if shares_by_mps(resources) else None
    room = room_of(resources, gpu_nodes, ledger.space.search.max_concurrent_trials, daemons)
    driver = Driver(ledger, room, resources, folder)

    def fit() -> None:
        _set_up_ray_tune(room)
        stopper = _Stopper(driver)
        tuner = tune.Tuner(
            _bind(trainable, ledger, latents, resources),
            tune_config=tune.TuneConfig(
                search_alg=_DriverSearcher(driver, folder, resources, gpu_nodes),
                scheduler=_DriverScheduler(driver),
                num_samples=-1,  # no limit: the searcher says when there are no more
                reuse_actors=True,
                trial_name_creator=_trial_name,
                trial_dirname_creator=_trial_name,
            ),
            run_config=_run_config(driver, folder, stopper, name, gpu_nodes),
        )
        try:
            with interrupts.answering(stopper.answer):
                tuner.fit()
        finally:
            if daemons is not None:
                daemons.end()

    driver.run(fit)


def _run_config(
    driver: Driver, folder: SweepFolder, stopper: _Stopper, name: str, gpu_nodes: GpuNodes
) -> tune.RunConfig:
    """Returns Ray Tune's settings for a run. They turn off its retries and checkpoints, which the driver replaces."""
    return tune.RunConfig(
        name=name,
        storage_path=str(folder.path),
        callbacks=[_DriverCallback(driver, gpu_nodes)],
        # The driver retries trials, since Ray Tune does not if the process died between two trials.
        failure_config=tune.FailureConfig(max_failures=0),
        # A trial saves its own state (trial.py). Ray Tune would keep all checkpoints, or snapshot the run for each.
        checkpoint_config=tune.CheckpointConfig(checkpoint_frequency=0, checkpoint_at_end=False),
        stop=stopper,
        verbose=0,
        progress_reporter=tune.CLIReporter(),  # silent here; the reporter for notebooks would clear the cell
    )


def _bind(
    trainable: type[tune.Trainable], ledger: Ledger, latents: SharedLatents, resources: TrialResources
) -> type[tune.Trainable]:
    """Binds to the trainable the arguments that all trials of the sweep share."""
    bound: type[tune.Trainable] = tune.with_parameters(
        trainable,
        latents=latents,
        metric=ledger.space.metric,
        device=device_of(resources.gpus_each),
        threads=max(1, int(resources.cpus)),
    )
    bound.__qualname__ = trainable.__qualname__  # what the dashboard and `ps` show
    return bound


def _set_up_ray_tune(room: Room) -> None:
    """Sets the environment variables that Ray Tune reads."""
    os.environ.setdefault("TUNE_DISABLE_AUTO_CALLBACK_LOGGERS", "1")  # the ledger logs
    os.environ.setdefault("RAY_AIR_NEW_OUTPUT", "0")
    os.environ["TUNE_DISABLE_SIGINT_HANDLER"] = "1"  # `_Stopper.answer` handles Ctrl-C
    os.environ.setdefault("TUNE_FORCE_TRIAL_CLEANUP_S", "10")  # the seconds that an epoch may still run at the end
    os.environ["TUNE_GLOBAL_CHECKPOINT_S"] = "1e9"  # no snapshots, since a sweep is resumed from its journal
    # As many trials may be pending as fit, so that all processes, and the nodes of an autoscaler, start at once.
    os.environ["TUNE_MAX_PENDING_TRIALS_PG"] = str(room.trials + 1)


def _trial_name(trial: Trial) -> str:
    name: str = trial.config["name"]
    return name


def room_of(
    resources: TrialResources, gpu_nodes: GpuNodes, most: int | None = None, daemons: Daemons | None = None
) -> Room:
    """Returns the places for trials on the cluster that this process is connected to.

    Args:
        resources: the resources of a trial.
        gpu_nodes: the nodes of the cluster, and which of them have GPUs that cannot be used.
        most: the most trials that run at once; None for as many as fit.
        daemons: the daemons of MPS, which are also started on nodes that join; None if the trials do not use it.
    """

    def look() -> tuple[int, int]:
        nodes = gpu_nodes.nodes()
        if daemons is not None:
            daemons.ensure(nodes)
        return slots(resources, nodes), slots(resources, gpu_nodes.usable(free_nodes()))

    return Room(look, most)


class _DriverSearcher(Searcher):  # type: ignore[misc]
    """The searcher, which passes the trials that the driver plans to Ray Tune.

    It ignores results. The scheduler and the callback pass these to the driver, since Ray Tune does not give a searcher
    the report that stops a trial.
    """

    def __init__(self, driver: Driver, folder: SweepFolder, resources: TrialResources, gpu_nodes: GpuNodes) -> None:
        super().__init__()
        self._driver, self._folder, self._resources, self._gpu_nodes = driver, folder, resources, gpu_nodes

    def suggest(self, trial_id: str) -> dict[str, Any] | str | None:
        planned, ledger = self._driver.next(), self._driver.ledger
        if planned is None:
            # The end of a running trial may bring further ones, such as those that measure the noise of the seed. While
            # none trains, Ray Tune asks again and again in a loop of its own, which has to end after Ctrl-C.
            waits = (ledger.n_running or ledger.on_hold) and not self._driver.interrupted
            return None if waits else str(Searcher.FINISHED)
        return TrialTask(
            name=planned.name,
            folder=self._folder.trial(planned.name),
            train=planned.config,
            workers=self._resources.workers,
            resources=resources_of(self._resources),
            decided_after=decision_epochs(ledger.space.early_stopping, planned.config.warmup_epochs),
            pauses=ledger.pauses and planned.purpose == "search",
            mps=shares_by_mps(self._resources),
            fold=planned.fold,
            avoid=tuple(sorted(self._gpu_nodes.unusable)),
        ).to_tune()

    def on_trial_complete(self, trial_id: str, result: dict[str, Any] | None = None, error: bool = False) -> None: ...

    def save(self, checkpoint_path: str) -> None:
        Path(checkpoint_path).write_text("the sweep's trials.jsonl is what it is resumed from\n")

    def restore(self, checkpoint_path: str) -> None:
        raise NotImplementedError("a sweep is resumed from its journal")


class _DriverScheduler(FIFOScheduler):  # type: ignore[misc]
    """The scheduler: it starts trials in order, and the driver says which are stopped."""

    def __init__(self, driver: Driver) -> None:
        super().__init__()
        self._driver = driver

    def on_trial_result(self, tune_controller: Any, trial: Trial, result: dict[str, Any]) -> str:
        stops = self._driver.reported(_trial_name(trial), TrialReport.from_tune(result))
        return str(TrialScheduler.STOP if stops else TrialScheduler.CONTINUE)

    def on_trial_complete(self, tune_controller: Any, trial: Trial, result: dict[str, Any]) -> None: ...


class _DriverCallback(tune.Callback):  # type: ignore[misc]
    """The callback, which tells the driver of places, last reports, ends and failures of trials."""

    def __init__(self, driver: Driver, gpu_nodes: GpuNodes) -> None:
        self._driver, self._gpu_nodes = driver, gpu_nodes

    def on_trial_start(self, iteration: int, trials: list[Trial], trial: Trial, **info: Any) -> None:
        self._driver.placed(_trial_name(trial))

    def setup(self, *args: Any, **info: Any) -> None:
        interrupts.take_back()  # Ray Tune has just set its own handler of SIGUSR1

    def on_trial_result(
        self, iteration: int, trials: list[Trial], trial: Trial, result: dict[str, Any], **info: Any
    ) -> None:
        if result.get("done"):  # the trial ended itself; the scheduler does not get such a report
            self._driver.reported(_trial_name(trial), TrialReport.from_tune(result))

    def on_trial_complete(self, iteration: int, trials: list[Trial], trial: Trial, **info: Any) -> None:
        self._driver.completed(_trial_name(trial))

    def on_trial_error(self, iteration: int, trials: list[Trial], trial: Trial, **info: Any) -> None:
        error = None if self._driver.interrupted else _error_of(trial)
        if UnusableGpuError.__name__ in str(error):
            self._gpu_nodes.leave_out(str(error))
        self._driver.failed(_trial_name(trial), _failure_of(error))


class _Stopper(tune.Stopper):  # type: ignore[misc]
    """The stopper, which ends the run when the driver says so, and answers requests to end."""

    def __init__(self, driver: Driver) -> None:
        self._driver = driver

    def __call__(self, trial_id: str, result: dict[str, Any]) -> bool:
        return False

    def stop_all(self) -> bool:
        return self._driver.is_over()

    def answer(self, number: int) -> None:
        """Answers a request to end: the first one lets trials save, and a second one ends the process at once.

        SIGUSR1, the notice of a time limit, only ever does what the first one does.
        """
        if not self._driver.interrupted:
            self._driver.interrupt(interrupts.patience_s())
        elif number != signal.SIGUSR1 and in_notebook():
            raise KeyboardInterrupt  # ends the cell, and keeps the kernel with the user's variables
        elif number != signal.SIGUSR1:
            interrupts.leave("left at once; what was saved stays, and --resume goes on")


def _error_of(trial: Trial) -> BaseException | None:
    """Returns the exception that ended a trial's process, which Ray Tune in this process has just written to a file."""
    name = trial.run_metadata.pickled_error_filename
    if name is None:
        return None
    with (Path(trial.local_path) / name).open("rb") as file:
        error: BaseException = cloudpickle.load(file)
        return error


def _failure_of(error: BaseException | None) -> Failure:
    """Returns why a trial's process ended: the exception in one line, without Ray's wrapping."""
    if error is None:
        return Failure("error", "unknown")
    name = type(error).__name__
    wrapped = re.fullmatch(r"RayTaskError\((\w+)\)", name)
    kind = wrapped[1] if wrapped else PROCESS_DIED if "Died" in name else name
    kind = KINDS.get(kind, kind)
    lines = [line.strip() for line in str(error).splitlines() if line.strip()]
    last = wrapped or UnusableGpuError.__name__ in str(error)  # an actor that could not start shows its whole traceback
    message = (lines[-1] if last else lines[0]) if lines else "no message"
    return Failure(kind, re.sub(r"^(\w+\.)*\w+(Error|Exception): ", "", message))
