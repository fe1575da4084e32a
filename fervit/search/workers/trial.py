"""One trial as a Ray Tune Trainable: a Trainer driven an epoch a step, in an actor that later trials reuse."""

from __future__ import annotations

import gc
import socket
import statistics
import time
from contextlib import nullcontext
from typing import Any

import torch
from ray import tune

from fervit.runs.session import NodeLeavingError, Session, SessionFiles
from fervit.search.records.report import TrialReport
from fervit.search.records.sweep_folder import SweepFolder
from fervit.search.workers.task import TrialTask
from fervit.search.workers.worker_group import Setup, SharedLatents, Team, Worker, WorkerLostError
from fervit.training.epoch import EpochResult
from fervit.training.failure import DIVERGED, Failure, failure_of
from fervit.training.objective import Metric
from fervit.training.trainer import Trainer


class LatentTrial(tune.Trainable):  # type: ignore[misc]
    """Trains the configuration `config["train"]`, a text of JSON; its files go to the folder `config["folder"]`.

    Each `step` is an epoch and returns a `TrialReport` as a dict, or the trial's failure as one. An exception is such a
    failure and is not tried again; only the death of a process is.
    """

    @classmethod
    def default_resource_request(cls, config: dict[str, Any]) -> tune.PlacementGroupFactory:
        """Asked for here rather than by `tune.with_resources`, which would hide this class's name in the dashboard."""
        return tune.PlacementGroupFactory([config["resources"]] * config["workers"])

    def setup(
        self, config: dict[str, Any], *, latents: SharedLatents, metric: Metric, device: str, threads: int
    ) -> None:
        """Ray Tune calls this once in each process, with the first trial."""
        self._metric = metric
        self._setup = Setup(
            latents=latents,
            metric=metric,
            device=device,
            threads=threads,
            memory_share=min(1.0, config["resources"]["GPU"] or 1.0),
        )
        self._team: Team | None = None
        self._worker: Worker | None = None
        self._start(TrialTask.from_tune(config))

    def reset_config(self, new_config: dict[str, Any]) -> bool:
        """The next trial, in this same process."""
        self._start(TrialTask.from_tune(new_config))
        return True

    def step(self) -> dict[str, Any]:
        """Trains one epoch and returns its `TrialReport` as a dict."""
        if not self._failure:
            try:
                return self._epoch()
            except (WorkerLostError, NodeLeavingError):
                raise  # it is started again, in new processes
            except Exception as error:
                self._note(error)
        saved = self._worker.session.saved_epoch if self._worker and self._worker.session else 0
        return TrialReport(saved=saved, cost=self._cost, failure=self._failure, started=self._started).to_tune()

    def cleanup(self) -> None:
        """Ends the other workers of the trial and frees the memory of the device."""
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
        self._failure: Failure | None = None
        self._folder = task.folder
        self._unreported: EpochResult | None = None
        self._free()  # its memory goes before the next one's is taken
        self._cost: float | None = None
        self._batch_size = task.train.batch_size
        try:
            _check_shared(self._folder.sweep)
            self._begin(task)
        except WorkerLostError:
            raise
        except Exception as error:
            self._note(error)

    def _begin(self, task: TrialTask) -> None:
        if self._worker is None:
            self._worker = Worker(self._setup)
        folder = task.folder
        files = SessionFiles(best=folder.best_model, last=folder.last, stop=folder.sweep.stop)
        if task.workers > 1 and self._team is None:
            self._team = Team(self._worker, self._setup, task.workers, task.resources)
        others = self._team.begin(task.train, files) if self._team else []
        with self._team.together(others) if self._team else nullcontext():
            self._unreported = self._worker.start(task.train, files)
        if self._metric.against == "parameters":
            self._cost = float(sum(weight.numel() for weight in self._trainer.model.parameters()))
        elif self._metric.against == "latency_ms":
            self._cost = latency_ms(self._trainer)

    def _epoch(self) -> dict[str, Any]:
        if self._unreported is not None:  # saved; the driver may have been killed before it heard of it
            result, self._unreported = self._unreported, None
            return self._report(result, again=True)
        session = self._session
        others = self._team.epoch() if self._team else []
        with self._team.together(others) if self._team else nullcontext():
            trained = session.run_epoch()
        if trained is None:
            time.sleep(1)  # where there is no other node, it is begun again at once
            raise NodeLeavingError(f"its node leaves; nothing is trained here after epoch {session.saved_epoch}")
        if session.leaving:
            raise NodeLeavingError(f"its node leaves; saved after epoch {session.saved_epoch}")
        return self._report(trained)

    def _note(self, error: Exception) -> None:
        """Keeps why this trial has failed. Other ranks may wait for this one: they are given up."""
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
            self._worker.session = None
            gc.collect()
            if self._worker.train.device.type == "cuda":
                torch.cuda.empty_cache()

    def _dissolve(self) -> None:
        if self._team is not None:
            self._team.dissolve()
            self._team = None


def _check_shared(sweep: SweepFolder) -> None:
    """Makes sure that this node sees the sweep's folder, which was not checked if it joined after the start.

    Raises:
        OSError: this one does not.
    """
    if not sweep.journal.is_file():
        raise OSError(f"{sweep.path} is not the sweep's folder on {socket.gethostname()}: all nodes have to share it")


@torch.inference_mode()
def latency_ms(trainer: Trainer, passes: int = 50) -> float:
    """Milliseconds from one code to its emotion: the median of some passes, after a few to warm up."""
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
