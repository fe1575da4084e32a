"""A trial as a Ray Tune Trainable that trains epochs in each step, in an actor that later trials reuse."""

from __future__ import annotations

import gc
import socket
import time
from contextlib import nullcontext, suppress
from dataclasses import replace
from typing import Any

import ray
import torch
from ray import tune

from fervit.cluster.gpus import UnusableGpuError, check_gpu
from fervit.cluster.nodes import not_on
from fervit.io.files import first_line
from fervit.runs.session import NodeLeavingError, Session, SessionFiles
from fervit.runs.state import Unreported
from fervit.search.records.report import TrialReport
from fervit.search.records.sweep_folder import SweepFolder
from fervit.search.workers.mps import use_daemon
from fervit.search.workers.task import TrialTask
from fervit.search.workers.worker_group import Setup, SharedLatents, Worker, WorkerGroup, WorkerLostError
from fervit.training.epoch import EpochResult
from fervit.training.failure import DIVERGED, Failure, failure_of, is_device_fault
from fervit.training.objective import Metric
from fervit.training.trainer import Trainer

GROUP_S = 1.0
"""The seconds within which epochs are reported together: a report costs the driver some 25 ms of its one core."""


class GpuFaultError(WorkerLostError):
    """The GPU has failed this process, which cannot use it any more. The trial continues in a new process."""


class LatentTrial(tune.Trainable):  # type: ignore[misc]
    """Trains a `TrialTask`, which Ray Tune passes as `config`.

    Each `step` trains an epoch, or a group of short ones, and returns a `TrialReport` as a dict. A group ends after an
    epoch that may be the last one, so that no decision comes later than it would. An exception becomes a report of the
    trial's failure, and the trial is not tried again. Only a trial whose process died is tried again.
    """

    @classmethod
    def default_resource_request(cls, config: dict[str, Any]) -> tune.PlacementGroupFactory:
        """Returns the resources of a trial.

        `tune.with_resources` would do the same, but would hide the name of this class in the dashboard.
        """
        bundles = [config["resources"]] * config["workers"]
        selector = not_on(config["avoid"])
        if not selector or not config["resources"]["GPU"]:
            return tune.PlacementGroupFactory(bundles)
        return tune.PlacementGroupFactory(bundles, bundle_label_selector=[selector] * len(bundles))

    def setup(
        self, config: dict[str, Any], *, latents: SharedLatents, metric: Metric, device: str, threads: int
    ) -> None:
        """Prepares the process and begins its first trial. Ray Tune calls this once in each process."""
        self._metric = metric
        self._setup = Setup(
            latents=latents,
            metric=metric,
            device=device,
            threads=threads,
            memory_share=min(1.0, config["resources"]["GPU"] or 1.0),
        )
        self._group: WorkerGroup | None = None
        self._worker: Worker | None = None
        self._task: TrialTask | None = None
        """The trial that has yet to begin."""
        self._has_reported = False
        """Whether the last epoch of the session was reported, so that it may be the last one of the trial."""
        self._start(TrialTask.from_tune(config))

    def reset_config(self, new_config: dict[str, Any]) -> bool:
        """Begins the next trial in the same process."""
        self._start(TrialTask.from_tune(new_config))
        return True

    def step(self) -> dict[str, Any]:
        """Trains an epoch or a group of short ones, and returns its `TrialReport` as a dict."""
        group: list[TrialReport] = []
        if not self._failure:
            try:
                self._has_reported = False
                if self._task is not None:
                    _check_shared(self._folder.sweep)
                    self._begin(self._task)
                    self._task = None
                report = self._train_group(group)
                self._has_reported = True
                return report.to_tune()
            except (WorkerLostError, NodeLeavingError, UnusableGpuError):
                raise  # the trial is started again in new processes
            except Exception as error:
                _raise_device_fault(error)
                self._note(error)
        saved = self._worker.session.saved_epoch if self._worker and self._worker.session else 0
        failed = TrialReport(saved=saved, cost=self._cost, failure=self._failure, started=self._started)
        return replace(failed, earlier=tuple(group)).to_tune()

    def cleanup(self) -> None:
        """Ends the other workers of the trial, and frees the memory of the device."""
        self._free()
        self._dissolve()

    @property
    def _session(self) -> Session:
        assert self._worker is not None
        assert self._worker.session is not None
        return self._worker.session

    @property
    def _trainer(self) -> Trainer:
        return self._session.trainer

    def _start(self, task: TrialTask) -> None:
        """Ends the earlier trial and notes the next one, which begins with its first step.

        Ray Tune may also set up a process for a trial that another process has taken meanwhile, and then ends it. Such
        a process must not touch the files of the trial.
        """
        self._started = time.time()
        self._task = task
        self._free()  # ends the earlier trial first
        self._failure: Failure | None = None
        self._has_reported = False
        self._folder = task.folder
        self._unreported: list[Unreported] = []
        self._decided_after = task.decided_after
        self._cost: float | None = None
        self._batch_size = task.train.batch_size

    def _begin(self, task: TrialTask) -> None:
        if self._worker is None:
            if task.mps:
                use_daemon(task.folder.sweep.path)
            check_gpu(self._setup.device, ray.util.get_node_ip_address(), mps=task.mps)
            self._worker = Worker(self._setup)
        folder = task.folder
        files = SessionFiles(best=folder.best_model, last=folder.last, stop=folder.sweep.stop)
        if task.workers > 1 and self._group is None:
            self._group = WorkerGroup(self._worker, self._setup, task.workers, task.resources)
        others = self._group.begin(task.train, files, task.fold) if self._group else []
        with self._group.together(others) if self._group else nullcontext():
            self._unreported = self._worker.start(task.train, files, task.decided_after, task.fold, pauses=task.pauses)
        if self._metric.against == "parameters":
            self._cost = float(sum(weight.numel() for weight in self._trainer.model.parameters()))
        elif self._metric.against == "latency_ms":
            self._cost = latency_ms(self._trainer)

    def _train_group(self, group: list[TrialReport]) -> TrialReport:
        """Trains epochs until a report is due.

        Args:
            group: receives the reports of the epochs before the last one, also if that fails.

        Returns:
            The report of the last epoch, with those before it.
        """
        if self._unreported:  # the driver may have been killed before it got the report of these saved epochs
            *earlier, last = [self._report(*one, again=True) for one in self._unreported]
            self._unreported = []
            return replace(last, earlier=tuple(earlier))
        ends = time.monotonic() + GROUP_S
        while True:
            report = self._epoch(in_group=bool(group))
            if self._is_due(report, ends):
                return replace(report, earlier=tuple(group))
            group.append(report)

    def _is_due(self, report: TrialReport, ends: float) -> bool:
        """Whether the driver must hear of an epoch now, and not together with the next one."""
        epoch = report.epoch
        assert epoch is not None
        decided = self._decided_after is None or epoch.epoch in self._decided_after
        return report.finished or decided or report.saved == epoch.epoch or time.monotonic() + epoch.seconds > ends

    def _epoch(self, *, in_group: bool) -> TrialReport:
        session = self._session
        others = self._group.epoch() if self._group else []
        with self._group.together(others) if self._group else nullcontext():
            trained = session.run_epoch(in_group=in_group)
        if trained is None:
            time.sleep(1)  # without another node, the trial would start again at once
            raise NodeLeavingError(f"its node leaves; nothing is trained here after epoch {session.saved_epoch}")
        if session.leaving:
            raise NodeLeavingError(f"its node leaves; saved after epoch {session.saved_epoch}")
        return self._report(*session.unreported[-1])

    def _note(self, error: Exception) -> None:
        """Stores why this trial has failed, and ends the other ranks, which may wait for this one."""
        self._failure = failure_of(error, self._batch_size, torch.device(self._setup.device))
        if self._failure.kind != DIVERGED:
            self._dissolve()

    def _report(self, epoch: EpochResult, best_value: float, *, again: bool = False) -> TrialReport:
        session = self._session
        return TrialReport(
            epoch=epoch,
            best_value=best_value,
            finished=session.trainer.finished and epoch.epoch == session.trainer.epoch,
            saved=session.saved_epoch,
            again=again,
            cost=self._cost,
            started=self._started,
        )

    def _free(self) -> None:
        if self._worker is not None:
            if self._worker.session is not None and self._has_reported:
                with suppress(OSError, RuntimeError, NodeLeavingError):  # the next trial does not pay for it
                    self._worker.session.save_best()
            self._worker.session = None
            gc.collect()
            if self._worker.train.device.type == "cuda":
                with suppress(RuntimeError):  # after a fault of the GPU, which has been reported
                    torch.cuda.empty_cache()

    def _dissolve(self) -> None:
        if self._group is not None:
            self._group.dissolve()
            self._group = None


def _raise_device_fault(error: Exception) -> None:
    """Gives this process up after an error that stays in its GPU, so that the next trial does not pay for it.

    Raises:
        GpuFaultError: the error is one of those; the trial is tried again in a new process.
    """
    if is_device_fault(error):
        raise GpuFaultError(f"its GPU failed ({first_line(error)})") from error


def _check_shared(sweep: SweepFolder) -> None:
    """Checks that this node sees the sweep's folder, since nodes that joined after the start were not checked.

    Raises:
        OSError: the node does not see the folder.
    """
    if not sweep.journal.is_file():
        raise OSError(f"{sweep.path} is not the sweep's folder on {socket.gethostname()}: all nodes have to share it")


@torch.inference_mode()
def latency_ms(trainer: Trainer, passes: int = 50) -> float:
    """Measures the milliseconds that the model takes for one code: the least of `passes`, after five to warm up.

    Trials beside it disturb most passes and change the least one hardly.
    """
    model = trainer.evaluated.eval()
    codes, _ = trainer.val.batch(torch.zeros(1, dtype=torch.int64, device=trainer.device))
    times = []
    for _ in range(passes + 5):
        started = time.perf_counter()
        model(codes)
        if trainer.device.type == "cuda":
            torch.cuda.synchronize()
        times.append(1000 * (time.perf_counter() - started))
    return min(times[5:])
