"""The other workers of a trial that trains with several (DDP): processes that stay for the next trial, too.

They live in the trial's own placement group, so they start with the trial and are gone with it. A trial on warm workers
starts in a tenth of a second; with Ray Train inside each trial it takes most of a minute.
"""

from __future__ import annotations

import socket
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from datetime import timedelta
from pathlib import Path
from typing import Any, NamedTuple

import ray
import torch
import torch.distributed
from ray.util.placement_group import get_current_placement_group
from ray.util.scheduling_strategies import PlacementGroupSchedulingStrategy

from fervit.cluster.preemption import is_leaving
from fervit.files import first_line
from fervit.latents import LatentSet
from fervit.runs.state import load_state
from fervit.training.config import TrainConfig
from fervit.training.data import DeviceLatents
from fervit.training.epoch import EpochResult
from fervit.training.failure import DivergedError, is_out_of_memory
from fervit.training.objective import Metric
from fervit.training.ranks import Ranks
from fervit.training.trainer import Trainer

TIMEOUT = timedelta(minutes=5)
"""Within which all ranks come to each exchange."""


class WorkerLostError(Exception):
    """A worker's process has died; the trial goes on with new ones."""


class SharedLatents(NamedTuple):
    """The training and the validation split in Ray's object store, one copy a machine for any number of workers."""

    train: ray.ObjectRef
    val: ray.ObjectRef

    @classmethod
    def put(cls, train: LatentSet, val: LatentSet) -> SharedLatents:
        return cls(ray.put(train), ray.put(val))


class Setup(NamedTuple):
    """What every worker of a trial needs."""

    latents: SharedLatents
    metric: Metric
    device: str
    threads: int
    memory_share: float
    """Of its GPU's memory, the most that it may take; 1 for no limit."""


class Worker:
    """One rank: the latents on its device, and the Trainer of the trial that runs."""

    def __init__(self, setup: Setup) -> None:
        torch.set_num_threads(setup.threads)
        if setup.device == "cuda" and setup.memory_share < 1:
            torch.cuda.set_per_process_memory_fraction(setup.memory_share)
        self.train, self.val = (DeviceLatents(ray.get(ref), setup.device) for ref in setup.latents)
        self.metric = setup.metric
        self.ranks = Ranks()
        self.trainer: Trainer | None = None

    def join(self, address: str, rank: int, world: int) -> None:
        """Meets the other ranks."""
        backend = "nccl" if self.train.device.type == "cuda" else "gloo"
        torch.distributed.init_process_group(
            backend, init_method=f"tcp://{address}", rank=rank, world_size=world, timeout=TIMEOUT
        )
        self.ranks = Ranks(rank, world)

    def start(self, config: TrainConfig, state: Path) -> dict[str, Any] | None:
        """A new trial, or one that goes on from the file `state`, whose content is returned."""
        self.trainer = Trainer(config, self.train, self.val, ranks=self.ranks, metric=self.metric)
        if not state.is_file():
            return None
        content = load_state(state)
        self.trainer.load_state_dict(content["trainer"])
        return content

    def run_epoch(self) -> EpochResult:
        assert self.trainer is not None
        return self.trainer.run_epoch()


class _Member(Worker):
    """A rank other than the first, as an actor. Its mistakes are returned, not raised."""

    def ready(self) -> None:
        """Answers once the actor is made."""

    def begin(self, config: TrainConfig, state: Path) -> str:
        return self._guarded(lambda: self.start(config, state))

    def epoch(self) -> str:
        return self._guarded(self.run_epoch)

    def is_leaving(self) -> bool:
        return is_leaving()

    def _guarded(self, work: Callable[[], Any]) -> str:
        try:
            work()
        except DivergedError as error:  # all ranks see it in the same epoch
            return describe(error)
        except Exception as error:
            torch.distributed.destroy_process_group()  # the others wait no longer
            return describe(error)
        return ""


class Team:
    """The other ranks, and the first rank's way to work with them.

    Args:
        first: the first rank, which lives in the calling process.
        setup: with which the others are made.
        workers: how many ranks there are.
        resources: of each, as Ray counts them.
    """

    def __init__(self, first: Worker, setup: Setup, workers: int, resources: dict[str, float]) -> None:
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

    def begin(self, config: TrainConfig, state: Path) -> list[Any]:
        """The others make their Trainers; `meanwhile` waits for them."""
        return [member.begin.remote(config, state) for member in self._members]

    def epoch(self) -> list[Any]:
        """The others run an epoch."""
        return [member.epoch.remote() for member in self._members]

    @contextmanager
    def together(self, others: list[Any]) -> Iterator[None]:
        """While the first rank does its own part of what the others do.

        Raises:
            WorkerLostError: the process of another died.
            MemberError: another rank failed, or the first one's own error.
        """
        try:
            yield
        except RuntimeError as error:
            if is_out_of_memory(error):
                raise
            said = self._gather(others, 30)  # what the first rank met may be another's doing
            if said:
                raise MemberError(said) from None
            raise
        said = self._gather(others, None)
        if said:
            raise MemberError(said)

    def is_leaving(self) -> bool:
        """Whether the node of one of them has been given notice."""
        try:
            return any(ray.get([member.is_leaving.remote() for member in self._members]))
        except ray.exceptions.RayError as error:
            raise WorkerLostError(f"a worker of the trial died ({type(error).__name__})") from None

    def dissolve(self) -> None:
        """Ends the processes of the others."""
        for member in self._members:
            ray.kill(member)
        self._members = []
        if torch.distributed.is_initialized():
            torch.distributed.destroy_process_group()

    @staticmethod
    def _gather(others: list[Any], timeout: float | None) -> str:
        try:
            return next((failure for failure in ray.get(others, timeout=timeout) if failure), "")
        except ray.exceptions.GetTimeoutError:
            return ""
        except ray.exceptions.RayError as error:
            raise WorkerLostError(f"a worker of the trial died ({type(error).__name__})") from None


class MemberError(Exception):
    """Another rank's failure, as "kind: what"."""


def describe(error: Exception) -> str:
    """An exception of a training as "kind: what", in one line."""
    if isinstance(error, MemberError):
        text = str(error)
    elif isinstance(error, DivergedError):
        text = f"diverged: {error}"
    elif is_out_of_memory(error):
        text = f"out of memory: {error}"
    else:
        text = f"{type(error).__name__}: {error}"
    return " ".join(text.split())[:300]


def _free_port() -> int:
    with socket.socket() as probe:
        probe.bind(("", 0))
        port: int = probe.getsockname()[1]
        return port
