"""The other workers of a trial that trains with several (DDP): processes that stay for the next trial, too.

They live in the trial's own placement group, so they start with the trial and are gone with it. A trial on warm workers
starts in a tenth of a second; with Ray Train inside each trial it takes most of a minute.
"""

from __future__ import annotations

import socket
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from datetime import timedelta
from typing import Any, NamedTuple

import ray
import torch
import torch.distributed
from ray.util.placement_group import get_current_placement_group
from ray.util.scheduling_strategies import PlacementGroupSchedulingStrategy

from fervit.files import first_line
from fervit.latents import LatentSet
from fervit.runs.session import TRIAL, Session, SessionFiles, prepare_process
from fervit.training.config import TrainConfig
from fervit.training.epoch import EpochResult
from fervit.training.failure import DIVERGED, FailedError, Failure, failure_of, is_out_of_memory
from fervit.training.objective import Metric
from fervit.training.ranks import Ranks
from fervit.training.trainer import Trainer

TIMEOUT = timedelta(minutes=5)
"""The time within which all ranks must come to each exchange."""


class WorkerLostError(Exception):
    """A worker's process has died; the trial goes on with new ones."""


class SharedLatents(NamedTuple):
    """The training and the validation split in Ray's object store, one copy a machine for any number of workers."""

    train: ray.ObjectRef
    val: ray.ObjectRef

    @classmethod
    def put(cls, train: LatentSet, val: LatentSet) -> SharedLatents:
        """Puts both splits into the object store."""
        return cls(ray.put(train), ray.put(val))


class Setup(NamedTuple):
    """What every worker of a trial needs."""

    latents: SharedLatents
    metric: Metric
    device: str
    threads: int
    memory_share: float
    """The largest share of its GPU's memory that a worker may take; 1 for no limit."""


class Worker:
    """One rank: the latents on its device, and the session of the trial that runs."""

    def __init__(self, setup: Setup) -> None:
        train, val = (ray.get(latents) for latents in setup.latents)
        self.train, self.val = prepare_process(
            train, val, device=setup.device, threads=setup.threads, memory_share=setup.memory_share
        )
        self.metric = setup.metric
        self.ranks = Ranks()
        self.session: Session | None = None

    def join(self, address: str, rank: int, world: int) -> None:
        """Meets the other ranks."""
        backend = "nccl" if self.train.device.type == "cuda" else "gloo"
        torch.distributed.init_process_group(
            backend, init_method=f"tcp://{address}", rank=rank, world_size=world, timeout=TIMEOUT
        )
        self.ranks = Ranks(rank, world)

    def start(self, config: TrainConfig, files: SessionFiles) -> EpochResult | None:
        """Begins a trial; returns the epoch after which it was saved, if it goes on from there."""
        trainer = Trainer(config, self.train, self.val, ranks=self.ranks, metric=self.metric)
        self.session = Session(trainer, files, TRIAL)
        return self.session.restore()

    def run_epoch(self) -> EpochResult | None:
        """The trial's next epoch, as `Session.run_epoch` has it."""
        assert self.session is not None
        return self.session.run_epoch()


class _Member(Worker):
    """A rank other than the first, as an actor. Its failures are returned instead of raised."""

    def ready(self) -> None:
        """Answers once the actor is made."""

    def begin(self, config: TrainConfig, files: SessionFiles) -> Failure | None:
        return self._guarded(lambda: self.start(config, files), config)

    def epoch(self) -> Failure | None:
        assert self.session is not None
        return self._guarded(self.run_epoch, self.session.trainer.config)

    def _guarded(self, work: Callable[[], Any], config: TrainConfig) -> Failure | None:
        try:
            work()
        except Exception as error:
            failure = failure_of(error, config.batch_size, self.train.device)
            if failure.kind != DIVERGED:  # which all ranks see in the same epoch
                torch.distributed.destroy_process_group()  # the others wait no longer
            return failure
        return None


class Team:
    """The other ranks, and the first rank's way to work with them.

    Args:
        first: the first rank, which lives in the calling process.
        setup: with which the others are made.
        workers: how many ranks there are.
        resources: of each, as Ray counts them.
    """

    def __init__(self, first: Worker, setup: Setup, workers: int, resources: Mapping[str, float]) -> None:
        group, member = get_current_placement_group(), ray.remote(_Member)
        self._members: list[Any] = [
            member.options(
                num_cpus=resources["CPU"],
                num_gpus=resources["GPU"],
                scheduling_strategy=PlacementGroupSchedulingStrategy(group, placement_group_bundle_index=i),
            ).remote(setup)
            for i in range(1, workers)
        ]
        try:
            ray.get([member.ready.remote() for member in self._members])
            address = f"{ray.util.get_node_ip_address()}:{_free_port()}"
            met = [m.join.remote(address, i, workers) for i, m in enumerate(self._members, start=1)]
            first.join(address, 0, workers)
            ray.get(met)
        except BaseException as error:
            self.dissolve()
            if isinstance(error, ray.exceptions.RayError):
                raise WorkerLostError(f"a worker of the trial could not start ({first_line(error)})") from None
            raise

    def begin(self, config: TrainConfig, files: SessionFiles) -> list[Any]:
        """Has the others begin a trial; `together` waits for them."""
        return [member.begin.remote(config, files) for member in self._members]

    def epoch(self) -> list[Any]:
        """Has the others run an epoch; `together` waits for them."""
        return [member.epoch.remote() for member in self._members]

    @contextmanager
    def together(self, others: list[Any]) -> Iterator[None]:
        """The block in which the first rank does its own part of what the others do.

        Raises:
            WorkerLostError: the process of another died.
            FailedError: another rank failed; else the first one's own error is raised.
        """
        try:
            yield
        except RuntimeError as error:
            if is_out_of_memory(error):
                raise
            failure = self._gather(others, 30)  # what the first rank met may be another's doing
            if failure:
                raise FailedError(failure) from None
            raise
        failure = self._gather(others, None)
        if failure:
            raise FailedError(failure)

    def dissolve(self) -> None:
        """Ends the processes of the others."""
        for member in self._members:
            ray.kill(member)
        self._members = []
        if torch.distributed.is_initialized():
            torch.distributed.destroy_process_group()

    @staticmethod
    def _gather(others: list[Any], timeout: float | None) -> Failure | None:
        try:
            return next((failure for failure in ray.get(others, timeout=timeout) if failure), None)
        except ray.exceptions.GetTimeoutError:
            return None
        except ray.exceptions.RayError as error:
            raise WorkerLostError(f"a worker of the trial died ({type(error).__name__})") from None


def _free_port() -> int:
    with socket.socket() as probe:
        probe.bind(("", 0))
        port: int = probe.getsockname()[1]
        return port
