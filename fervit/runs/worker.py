"""The work of each process of a run, which is a worker of Ray Train or a process of this machine."""

from __future__ import annotations

import json
import socket
import time
from dataclasses import dataclass
from typing import Any

import torch

from fervit.io.files import JsonObject, write_json
from fervit.io.json_lines import JsonLines
from fervit.latents import LatentSet
from fervit.runs.folder import RunFolder
from fervit.runs.recorder import Recorder
from fervit.runs.session import RUN, Session, SessionFiles, TakenOverError, prepare_process
from fervit.training.config import TrainConfig
from fervit.training.failure import DIVERGED, OUT_OF_MEMORY, failure_of
from fervit.training.ranks import ALONE, Ranks
from fervit.training.trainer import Trainer

FINISHED, STOPPED, LEAVING, FAILED = "finished", "stopped", "leaving", "failed"
"""How a process of a run ends. "leaving" means that its machine will be taken away: it has saved its state, and the
run may continue on another machine."""


@dataclass(frozen=True, kw_only=True)
class WorkerJob:
    """The arguments of one process of a run."""

    config: TrainConfig
    folder: RunFolder
    threads: int
    """The CPU threads that the process may use."""
    device: str
    """The name of torch's device, such as "cpu" or "cuda"."""
    ranks: Ranks = ALONE


class EventLog:
    """Appends events to a file of the run, which the command that started the run reads. Each event is one line."""

    def __init__(self, folder: RunFolder) -> None:
        self._lines = JsonLines(folder.events)

    def __call__(self, event: str, **values: Any) -> None:
        self._lines.append({"event": event, **values})


def run_on_worker(job: WorkerJob, train: LatentSet, val: LatentSet, *, entered: float, imported: float) -> str:
    """Trains a run from its start or its saved state to its last epoch, and returns how the training ended.

    Failures are reported as events. An exception is raised only if another process of the training has died.

    Args:
        job: the arguments of this process.
        train: the training split.
        val: the validation split.
        entered: the Unix time at which the process began to work on the job.
        imported: the Unix time at which the process had imported its modules.
    """
    tell = EventLog(job.folder) if job.ranks.rank == 0 else _silent
    tell("entered", time=entered, imported=imported)
    state, recorder = FAILED, None
    try:
        session = _start(job, train, val)
        hardware = _hardware(session.trainer, job.threads)
        if job.ranks.rank == 0:
            recorder = Recorder(job.folder, session.trainer, lambda text: tell("remark", text=text))
            session.on_epoch, session.before_saving = recorder.epoch, recorder.sync
            _describe(job.folder, hardware)
        session.trainer.on_first_step = lambda: tell("first step", time=time.time())
        tell("ready", time=time.time(), epoch=session.trainer.epoch, **hardware)
        state = _train(session, tell)
        if state == LEAVING:
            tell(LEAVING, epoch=session.saved_epoch)
        else:
            tell("end", state=state)
    except TakenOverError:
        state, recorder = LEAVING, None  # the files are another process's now
    except Exception as error:
        failure = failure_of(error, job.config.batch_size, torch.device(job.device))
        if job.ranks.world > 1 and isinstance(error, RuntimeError) and failure.kind != OUT_OF_MEMORY:
            raise  # another process has died, so all processes are started again
        if failure.kind == DIVERGED:  # all processes see the same loss, and only one reports it
            state = DIVERGED
            tell(state, message=failure.message)
        elif failure.kind == OUT_OF_MEMORY:
            state = OUT_OF_MEMORY
            EventLog(job.folder)(state, message=f"{failure.kind} {failure.message}")
        else:
            EventLog(job.folder)(FAILED, message=str(failure), details=failure.details)
    finally:
        if recorder:
            recorder.close(STOPPED if state == LEAVING else state)
    return state


def _silent(event: str, **values: Any) -> None: ...


def _start(job: WorkerJob, train: LatentSet, val: LatentSet) -> Session:
    """Returns a session that starts the run or continues from its saved state."""
    latents = prepare_process(train, val, device=job.device, threads=job.threads)
    folder = job.folder
    files = SessionFiles(best=folder.best, last=folder.last, stop=folder.stop)
    session = Session(Trainer(job.config, *latents, ranks=job.ranks), files, RUN)
    session.restore()
    return session


def _train(session: Session, tell: Any) -> str:
    """Trains until the last epoch, a request to stop, or a notice that the machine is leaving; returns which it was."""
    trainer = session.trainer
    while not trainer.finished:
        result = session.run_epoch()
        if result is not None:
            saved = session.saved_epoch == result.epoch
            tell("epoch", **result.to_json(), best=trainer.improved, saved=saved)
        if session.stopping and not trainer.finished:
            return STOPPED
        if session.leaving:
            return LEAVING
    return FINISHED


def _hardware(trainer: Trainer, threads: int) -> JsonObject:
    """Describes the run's hardware. All processes must call this together, since they exchange their host names."""
    on_gpu, world = trainer.device.type == "cuda", trainer.ranks.world
    hosts = [socket.gethostname()] * world
    if world > 1:
        torch.distributed.all_gather_object(hosts, hosts[0])
    return {
        "workers": world,
        "hosts": sorted(set(hosts)),
        "device": torch.cuda.get_device_name(trainer.device) if on_gpu else f"CPU, {threads} threads a worker",
        "precision": str(trainer.dtype).removeprefix("torch."),
        "parameters": sum(weight.numel() for weight in trainer.model.parameters()),
    }


def _describe(folder: RunFolder, hardware: JsonObject) -> None:
    """Adds to environment.json the hardware, which only a process of the training knows."""
    environment = json.loads(folder.environment.read_text(encoding="utf-8"))
    write_json(folder.environment, {**environment, "training": hardware})
