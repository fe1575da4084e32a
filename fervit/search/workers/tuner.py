"""Runs trials on Ray Tune, whose searcher, scheduler, callback and stopper are thin adapters of the ledger.

Ray Tune places the trials, and starts and reuses their processes. The ledger records the trials, plans the next ones,
and decides which are stopped and which are tried again. A sweep is therefore resumed from its own journal and not from
Ray Tune's snapshots: these lack the rungs of the schedulers, and cannot cope with trials that ended after the last
snapshot.
"""

from __future__ import annotations

import os
import re
import signal
import time
from collections import Counter
from pathlib import Path
from typing import Any

from ray import cloudpickle, tune
from ray.tune.experiment import Trial
from ray.tune.schedulers import FIFOScheduler, TrialScheduler
from ray.tune.search import Searcher

from fervit import interrupts
from fervit.cluster.connection import free_nodes
from fervit.disk import remove, touch
from fervit.hardware import device_of
from fervit.progress import in_notebook
from fervit.search.ledger import Ledger
from fervit.search.outcome.settle import settle_running
from fervit.search.policy.stopping import decision_epochs
from fervit.search.preflight import slots
from fervit.search.records.report import TrialReport
from fervit.search.records.sweep_folder import SweepFolder
from fervit.search.space.settings import TrialResources
from fervit.search.workers.gpu_nodes import GpuNodes, UnusableGpuError
from fervit.search.workers.task import TrialTask, resources_of
from fervit.search.workers.trial import LatentTrial
from fervit.search.workers.worker_group import SharedLatents
from fervit.training.failure import NODE_LEAVES, OUT_OF_MEMORY, PROCESS_DIED, Failure

SHORT_S = 10.0
"""The seconds within which an epoch must end to be waited for after Ctrl-C; a longer epoch is given up."""

LOOK_S = 5.0
"""The seconds between two queries of the cluster's nodes."""

KINDS = {
    "ActorUnavailableError": PROCESS_DIED,  # the connection to its host broke; Ray notices the host's death later
    "NodeLeavingError": NODE_LEAVES,
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
    left = ledger.source.total - ledger.n_ended
    if left <= 0:
        _end_all(ledger, folder)
        return
    gpu_nodes = gpu_nodes or GpuNodes()
    room = _Room(resources, gpu_nodes, ledger.space.search.max_concurrent_trials)
    _set_up_ray_tune(room)
    remove(folder.stop)
    stopper = _Stopper(ledger, folder.stop)
    if stopper.stop_all():
        _end_all(ledger, folder)
        return
    tuner = tune.Tuner(
        _bind(trainable, ledger, latents, resources),
        tune_config=tune.TuneConfig(
            search_alg=_LedgerSearcher(ledger, folder, resources, stopper, room, gpu_nodes),
            scheduler=_LedgerScheduler(ledger, stopper),
            num_samples=-1,  # no limit: the searcher says when there are no more
            reuse_actors=True,
            trial_name_creator=_trial_name,
            trial_dirname_creator=_trial_name,
        ),
        run_config=_run_config(ledger, folder, stopper, name, resources, gpu_nodes),
    )
    with interrupts.answering(stopper.answer):
        tuner.fit()
    if ledger.broken is not None:
        raise ledger.broken
    remove(folder.stop)
    if stopper.interrupted:
        raise KeyboardInterrupt
    _end_all(ledger, folder)


def _end_all(ledger: Ledger, folder: SweepFolder) -> None:
    """Records the end of the trials that still run: those that the stopper ended, and those of an earlier session."""
    settle_running(ledger, folder)
    ledger.end_all()


def _run_config(
    ledger: Ledger,
    folder: SweepFolder,
    stopper: _Stopper,
    name: str,
    resources: TrialResources,
    gpu_nodes: GpuNodes,
) -> tune.RunConfig:
    """Returns Ray Tune's settings for a run. They turn off its retries and checkpoints, which the ledger replaces."""
    return tune.RunConfig(
        name=name,
        storage_path=str(folder.path),
        callbacks=[_LedgerCallback(ledger, stopper, resources, gpu_nodes)],
        # The ledger retries trials, since Ray Tune does not if the process died between two trials.
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


def _set_up_ray_tune(room: _Room) -> None:
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


class _Room:
    """Counts the places for trials on the cluster, including those on nodes that an autoscaler may add.

    Args:
        resources: the resources of a trial.
        gpu_nodes: the nodes of the cluster, and which of them have GPUs that cannot be used.
        most: the most trials that run at once; None for as many as fit.
    """

    def __init__(self, resources: TrialResources, gpu_nodes: GpuNodes, most: int | None = None) -> None:
        self._resources, self._gpu_nodes, self._most = resources, gpu_nodes, most
        self._looked, self._trials, self._free = -LOOK_S, 0, 0
        self._held = self._held_before = 0
        """The most places that this sweep held since the last look at the cluster, and between the two before."""

    @property
    def trials(self) -> int:
        """How many trials fit on the whole cluster at once."""
        self._look()
        return self._trials

    def is_full(self, begun: int, placed: int) -> bool:
        """Returns whether no further trial is planned now.

        One trial more than fit is planned, which starts as soon as another ends. Planning more trials ahead would
        choose them from fewer results; so would planning trials for places that another sweep on the cluster holds.

        Args:
            begun: how many trials have been planned and have not ended.
            placed: how many of them hold a place.
        """
        if self._look():
            self._held_before, self._held = self._held, placed
        self._held = max(self._held, placed)
        if self._most is not None and begun >= self._most:
            return True
        vacant = max(self._held, self._held_before) - placed  # a process that has no trial at the moment
        return begun > self._trials or begun - placed > self._free + vacant

    def _look(self) -> bool:
        """Queries the cluster's nodes if that is due, and returns whether it was."""
        if time.monotonic() - self._looked <= LOOK_S:
            return False
        nodes, free = self._gpu_nodes.nodes(), self._gpu_nodes.usable(free_nodes())
        self._trials, self._free = slots(self._resources, nodes), slots(self._resources, free)
        self._looked = time.monotonic()
        return True


class _LedgerSearcher(Searcher):  # type: ignore[misc]
    """The searcher, which passes the trials that the ledger plans to Ray Tune.

    It ignores results. The scheduler and the callback pass these to the ledger, since Ray Tune does not give a searcher
    the report that stops a trial.
    """

    def __init__(
        self,
        ledger: Ledger,
        folder: SweepFolder,
        resources: TrialResources,
        stopper: _Stopper,
        room: _Room,
        gpu_nodes: GpuNodes,
    ) -> None:
        super().__init__()
        self._folder, self._gpu_nodes = folder, gpu_nodes
        self._ledger, self._resources, self._stopper, self._room = ledger, resources, stopper, room

    def suggest(self, trial_id: str) -> dict[str, Any] | str | None:
        full = self._room.is_full(self._ledger.n_begun, self._ledger.n_placed)
        planned = None if full or self._stopper.ending else self._ledger.begin()
        if planned is None:
            # The end of a running trial may bring further ones, such as those that measure the noise of the seed.
            return None if self._ledger.running else str(Searcher.FINISHED)
        return TrialTask(
            name=planned.name,
            folder=self._folder.trial(planned.name),
            train=planned.config,
            workers=self._resources.workers,
            resources=resources_of(self._resources),
            decided_after=decision_epochs(self._ledger.space.early_stopping, planned.config.warmup_epochs),
            avoid=tuple(sorted(self._gpu_nodes.unusable)),
        ).to_tune()

    def on_trial_complete(self, trial_id: str, result: dict[str, Any] | None = None, error: bool = False) -> None: ...

    def save(self, checkpoint_path: str) -> None:
        Path(checkpoint_path).write_text("the sweep's trials.jsonl is what it is resumed from\n")

    def restore(self, checkpoint_path: str) -> None:
        raise NotImplementedError("a sweep is resumed from its journal")


class _LedgerScheduler(FIFOScheduler):  # type: ignore[misc]
    """The scheduler: it starts trials in order, and the ledger decides which are stopped."""

    def __init__(self, ledger: Ledger, stopper: _Stopper) -> None:
        super().__init__()
        self._ledger, self._stopper = ledger, stopper

    def on_trial_result(self, tune_controller: Any, trial: Trial, result: dict[str, Any]) -> str:
        report = TrialReport.from_tune(result)
        stops = self._ledger.report(_trial_name(trial), report)
        self._stopper.reported(_trial_name(trial), report)
        return str(TrialScheduler.STOP if stops else TrialScheduler.CONTINUE)

    def on_trial_complete(self, tune_controller: Any, trial: Trial, result: dict[str, Any]) -> None: ...


class _LedgerCallback(tune.Callback):  # type: ignore[misc]
    """The callback, which records places, last reports, ends and failures of trials in the ledger."""

    def __init__(self, ledger: Ledger, stopper: _Stopper, resources: TrialResources, gpu_nodes: GpuNodes) -> None:
        self._ledger, self._stopper, self._max_failures = ledger, stopper, resources.max_failures
        self._gpus, self._gpu_nodes = resources.gpus_each * resources.workers, gpu_nodes
        self._deaths: Counter[str] = Counter()
        self._alone: set[str] = set()
        """The names of the trials that Ray killed because their node was short of memory. Such a trial is tried again
        alone, since its neighbours may have taken the memory."""

    def on_trial_start(self, iteration: int, trials: list[Trial], trial: Trial, **info: Any) -> None:
        self._ledger.placed(_trial_name(trial), self._gpus)

    def setup(self, *args: Any, **info: Any) -> None:
        interrupts.take_back()  # Ray Tune has just set its own handler of SIGUSR1

    def on_trial_result(
        self, iteration: int, trials: list[Trial], trial: Trial, result: dict[str, Any], **info: Any
    ) -> None:
        if result.get("done"):  # the trial ended itself; the scheduler does not get such a report
            report = TrialReport.from_tune(result)
            self._ledger.report(_trial_name(trial), report)
            self._stopper.reported(_trial_name(trial), report)

    def on_trial_complete(self, iteration: int, trials: list[Trial], trial: Trial, **info: Any) -> None:
        record_ends = not self._stopper.interrupted or self._ledger.is_over(_trial_name(trial))
        if record_ends:
            self._ledger.end(_trial_name(trial))

    def on_trial_error(self, iteration: int, trials: list[Trial], trial: Trial, **info: Any) -> None:
        if self._stopper.interrupted:
            self._stopper.reported(_trial_name(trial))
            return
        error = _error_of(trial)
        name, failure = _trial_name(trial), _failure_of(error)
        if UnusableGpuError.__name__ in str(error):
            self._gpu_nodes.look_again()
        self._deaths[name] += failure.kind == PROCESS_DIED
        if failure.kind == OUT_OF_MEMORY and name not in self._alone:
            self._alone.add(name)
            self._ledger.begin_again(name, str(failure), alone=True)
        elif failure.by_configuration or self._deaths[name] > self._max_failures:
            self._ledger.end(name, failure)
        else:
            self._ledger.begin_again(name, str(failure))


class _Stopper(tune.Stopper):  # type: ignore[misc]
    """The stopper, which ends the run after Ctrl-C, when the budget is spent, or when the source has enough."""

    def __init__(self, ledger: Ledger, stop_file: Path) -> None:
        self._ledger, self._stop_file = ledger, stop_file
        self._reports: dict[str, float] = {}
        self._waiting_for: set[str] = set()
        self._deadline = 0.0
        self.interrupted = False

    def __call__(self, trial_id: str, result: dict[str, Any]) -> bool:
        return False

    def reported(self, name: str, report: TrialReport | None = None) -> None:
        """Notes that a trial has reported or, without a report, has ended. After Ctrl-C, it is awaited until it saves.

        The first report after Ctrl-C may be of an epoch that ended before the trial could hear of it.
        """
        epoch = report.epoch if report is not None else None
        self._reports[name] = time.monotonic() + (epoch.seconds if epoch is not None else 0.0)  # its next report is due
        if self.interrupted and (epoch is None or report is None or report.finished or report.saved == epoch.epoch):
            self._waiting_for.discard(name)

    @property
    def ending(self) -> bool:
        """Whether no further trials may start."""
        return self.interrupted or self.stop_all()

    def interrupt(self) -> None:
        """Begins to end the run after Ctrl-C, and waits for the trials whose current epoch ends soon."""
        touch(self._stop_file)
        soon = time.monotonic() + SHORT_S
        self._waiting_for = {r.name for r in self._ledger.running if self._reports.get(r.name, soon + 1) <= soon}
        self._deadline = soon + 5
        self.interrupted = True

    def answer(self, number: int) -> None:
        """Answers a request to end: the first one lets trials save, and a second one ends the process at once.

        SIGUSR1, the notice of a time limit, only ever does what the first one does.
        """
        if not self.interrupted:
            self.interrupt()
        elif number != signal.SIGUSR1 and in_notebook():
            raise KeyboardInterrupt  # ends the cell, and keeps the kernel with the user's variables
        elif number != signal.SIGUSR1:
            interrupts.leave("left at once; what was saved stays, and --resume goes on")

    def stop_all(self) -> bool:
        if self.interrupted:
            return not self._waiting_for or time.monotonic() > self._deadline
        if self._ledger.broken is not None:
            return True
        over = self._ledger.spent()
        if over is None and self._ledger.source.enough and not self._ledger.complete:
            over = ("noise", self._ledger.source.enough)
        if over is not None:
            self._ledger.end_part(*over)
        return over is not None


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
