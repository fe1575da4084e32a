"""A trial as a Ray Tune Trainable that trains one epoch in each step, in an actor that later trials reuse."""

from __future__ import annotations

import gc
import socket
import statistics
import time
from contextlib import nullcontext, suppress
from typing import Any

import torch
from ray import tune

from fervit.cluster.nodes import not_on
from fervit.files import first_line
from fervit.runs.session import NodeLeavingError, Session, SessionFiles
from fervit.search.records.report import TrialReport
from fervit.search.records.sweep_folder import SweepFolder
from fervit.search.workers.gpu_nodes import UnusableGpuError, check_gpu
from fervit.search.workers.task import TrialTask
from fervit.search.workers.worker_group import Setup, SharedLatents, Worker, WorkerGroup, WorkerLostError
from fervit.training.epoch import EpochResult
from fervit.training.failure import DIVERGED, Failure, failure_of, is_device_fault
from fervit.training.objective import Metric
from fervit.training.trainer import Trainer


class LatentTrial(tune.Trainable):  # type: ignore[misc]
    """Trains a `TrialTask`, which Ray Tune passes as `config`.

    Each `step` trains one epoch and returns a `TrialReport` as a dict. An exception becomes a report of the trial's
    failure, and the trial is not tried again. Only a trial whose process died is tried again.
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
        self._has_reported = False
        """Whether the last epoch of the session was reported, so that it may be the last one of the trial."""
        self._start(TrialTask.from_tune(config))

    def reset_config(self, new_config: dict[str, Any]) -> bool:
        """Begins the next trial in the same process."""
        self._start(TrialTask.from_tune(new_config))
        return True

    def step(self) -> dict[str, Any]:
        """Trains one epoch and returns its `TrialReport` as a dict."""
        if not self._failure:
            try:
                self._has_reported = False
                report = self._epoch()
                self._has_reported = True
                return report
            except (WorkerLostError, NodeLeavingError):
                raise  # the trial is started again in new processes
            except Exception as error:
                _raise_device_fault(error)
                self._note(error)
        saved = self._worker.session.saved_epoch if self._worker and self._worker.session else 0
        return TrialReport(saved=saved, cost=self._cost, failure=self._failure, started=self._started).to_tune()

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
        self._started = time.time()
        self._free()  # ends the earlier trial first
        self._failure: Failure | None = None
        self._has_reported = False
        self._folder = task.folder
        self._unreported: EpochResult | None = None
        self._cost: float | None = None
        self._batch_size = task.train.batch_size
        try:
            _check_shared(self._folder.sweep)
            self._begin(task)
        except (WorkerLostError, UnusableGpuError):
            raise
        except Exception as error:
            _raise_device_fault(error)
            self._note(error)

    def _begin(self, task: TrialTask) -> None:
        if self._worker is None:
            check_gpu(self._setup.device, socket.gethostname())
            self._worker = Worker(self._setup)
        folder = task.folder
        files = SessionFiles(best=folder.best_model, last=folder.last, stop=folder.sweep.stop)
        if task.workers > 1 and self._group is None:
            self._group = WorkerGroup(self._worker, self._setup, task.workers, task.resources)
        others = self._group.begin(task.train, files) if self._group else []
        with self._group.together(others) if self._group else nullcontext():
            self._unreported = self._worker.start(task.train, files, task.decided_after)
        if self._metric.against == "parameters":
            self._cost = float(sum(weight.numel() for weight in self._trainer.model.parameters()))
        elif self._metric.against == "latency_ms":
            self._cost = latency_ms(self._trainer)

    def _epoch(self) -> dict[str, Any]:
        if self._unreported is not None:  # the driver may have been killed before it got the report of this saved epoch
            result, self._unreported = self._unreported, None
            return self._report(result, again=True)
        session = self._session
        others = self._group.epoch() if self._group else []
        with self._group.together(others) if self._group else nullcontext():
            trained = session.run_epoch()
        if trained is None:
            time.sleep(1)  # without another node, the trial would start again at once
            raise NodeLeavingError(f"its node leaves; nothing is trained here after epoch {session.saved_epoch}")
        if session.leaving:
            raise NodeLeavingError(f"its node leaves; saved after epoch {session.saved_epoch}")
        return self._report(trained)

    def _note(self, error: Exception) -> None:
        """Stores why this trial has failed, and ends the other ranks, which may wait for this one."""
        self._failure = failure_of(error, self._batch_size, torch.device(self._setup.device))
        if self._failure.kind != DIVERGED:
            self._dissolve()

    def _report(self, result: EpochResult, *, again: bool = False) -> dict[str, Any]:
        session = self._session
        best = session.trainer.best
        return TrialReport(
            epoch=result,
            best_value=self._metric.value(best) if best else float("nan"),
            finished=session.trainer.finished,
            saved=session.saved_epoch,
            again=again,
            cost=self._cost,
            started=self._started,
        ).to_tune()

    def _free(self) -> None:
        if self._worker is not None:
            if self._worker.session is not None and self._has_reported:
                with suppress(OSError, RuntimeError):  # the next trial does not pay for it
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
        WorkerLostError: the error is one of those; the trial is tried again in a new process.
    """
    if is_device_fault(error):
        raise WorkerLostError(f"its GPU failed ({first_line(error)})") from error


def _check_shared(sweep: SweepFolder) -> None:
    """Checks that this node sees the sweep's folder, since nodes that joined after the start were not checked.

    Raises:
        OSError: the node does not see the folder.
    """
    if not sweep.journal.is_file():
        raise OSError(f"{sweep.path} is not the sweep's folder on {socket.gethostname()}: all nodes have to share it")


@torch.inference_mode()
def latency_ms(trainer: Trainer, passes: int = 50) -> float:
    """Measures the milliseconds that the model takes for one code: the median of `passes`, after five to warm up."""
    model = trainer.evaluated.eval()
    codes, _ = trainer.val.batch(torch.zeros(1, dtype=torch.int64, device=trainer.device))
    times = []
    for _ in range(passes + 5):
        started = time.perf_counter()
        model(codes)
        if trainer.device.type == "cuda":
            torch.cuda.synchronize()
        times.append(1000 * (time.perf_counter() - started))
    return statistics.median(times[5:])
