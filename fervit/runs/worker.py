"""The work of each process of a run, which is a worker of Ray Train or a process of this machine."""

from __future__ import annotations

import json
import socket
import time
from collections.abc import Callable
from dataclasses import dataclass

import torch

from fervit.io.files import write_json
from fervit.latents import LatentSet
from fervit.runs.folder import RunFolder
from fervit.runs.messages import (
    Ended,
    Entered,
    EpochDone,
    Failed,
    FirstStep,
    Hardware,
    Leaving,
    Message,
    MessageWriter,
    Ready,
    Remark,
)
from fervit.runs.recorder import Recorder
from fervit.runs.session import RUN, Session, SessionFiles, TakenOverError, prepare_process
from fervit.training.config import TrainConfig
from fervit.training.failure import DEVICE_FAULT, DIVERGED, OUT_OF_MEMORY, failure_of
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


def run_on_worker(job: WorkerJob, train: LatentSet, val: LatentSet, *, entered: float, imported: float) -> str:
    """Trains a run from its start or its saved state to its last epoch, and returns how the training ended.

    Failures are messages, too. An exception is raised only if another process of the training has died, or the GPU has
    failed this one for good: the training then goes on in new processes.

    Args:
        job: the arguments of this process.
        train: the training split.
        val: the validation split.
        entered: the Unix time at which the process began to work on the job.
        imported: the Unix time at which the process had imported its modules.
    """
    write = MessageWriter(job.folder.events)
    tell: Callable[[Message], None] = write if job.ranks.rank == 0 else _silent
    tell(Entered(time=entered, imported=imported))
    state, recorder = FAILED, None
    try:
        session = _start(job, train, val)
        hardware = _hardware(session.trainer, job.threads)
        if job.ranks.rank == 0:
            recorder = Recorder(job.folder, session.trainer, lambda text: tell(Remark(text=text)))
            session.on_epoch, session.before_saving = recorder.epoch, recorder.sync
            _describe(job.folder, hardware)
        session.trainer.on_first_step = lambda: tell(FirstStep(time=time.time()))
        tell(Ready(time=time.time(), epoch=session.trainer.epoch, hardware=hardware))
        state = _train(session, tell)
        if state == LEAVING:
            tell(Leaving(epoch=session.saved_epoch))
        else:
            tell(Ended(state=state))
    except TakenOverError:
        state, recorder = LEAVING, None  # the files are another process's now
    except Exception as error:
        failure = failure_of(error, job.config.batch_size, torch.device(job.device))
        if job.ranks.world > 1 and isinstance(error, RuntimeError) and failure.kind != OUT_OF_MEMORY:
            raise  # another process has died, so all processes are started again
        if failure.kind == DEVICE_FAULT:
            raise  # this process can use its GPU no more, and another one trains on from the saved state
        if failure.kind == DIVERGED:  # all processes see the same loss, and only one reports it
            state = DIVERGED
            tell(Failed(kind=state, message=failure.message))
        elif failure.kind == OUT_OF_MEMORY:
            state = OUT_OF_MEMORY
            write(Failed(kind=state, message=f"{failure.kind} {failure.message}"))
        else:
            write(Failed(kind=FAILED, message=str(failure), details=failure.details))
    finally:
        if recorder:
            recorder.close(STOPPED if state == LEAVING else state)
    return state


def _silent(message: Message) -> None: ...


def _start(job: WorkerJob, train: LatentSet, val: LatentSet) -> Session:
    """Returns a session that starts the run or continues from its saved state."""
    latents = prepare_process(train, val, device=job.device, threads=job.threads)
    folder = job.folder
    files = SessionFiles(best=folder.best, last=folder.last, stop=folder.stop)
    session = Session(Trainer(job.config, *latents, ranks=job.ranks), files, RUN)
    session.restore()
    return session


def _train(session: Session, tell: Callable[[Message], None]) -> str:
    """Trains until the last epoch, a request to stop, or a notice that the machine is leaving; returns which it was."""
    trainer = session.trainer
    while not trainer.finished:
        result = session.run_epoch()
        if result is not None:
            saved = session.saved_epoch == result.epoch
            tell(EpochDone(result=result, best=trainer.improved, saved=saved))
        if session.stopping and not trainer.finished:
            return STOPPED
        if session.leaving:
            return LEAVING
    return FINISHED


def _hardware(trainer: Trainer, threads: int) -> Hardware:
    """Describes the run's hardware. All processes must call this together, since they exchange their host names."""
    on_gpu, world = trainer.device.type == "cuda", trainer.ranks.world
    hosts = [socket.gethostname()] * world
    if world > 1:
        torch.distributed.all_gather_object(hosts, hosts[0])
    return Hardware(
        workers=world,
        hosts=tuple(sorted(set(hosts))),
        device=torch.cuda.get_device_name(trainer.device) if on_gpu else f"CPU, {threads} threads a worker",
        precision=str(trainer.dtype).removeprefix("torch."),
        parameters=sum(weight.numel() for weight in trainer.model.parameters()),
    )


def _describe(folder: RunFolder, hardware: Hardware) -> None:
    """Adds to environment.json the hardware, which only a process of the training knows."""
    environment = json.loads(folder.environment.read_text(encoding="utf-8"))
    write_json(folder.environment, {**environment, "training": hardware.to_json()})
