"""The worker group of a trial that trains with several processes (DDP). Later trials reuse the processes.

The workers are in the placement group of the trial's actor, so that they start and end with it. A trial starts on
running workers in a tenth of a second; with Ray Train inside each trial, it would take most of a minute.
"""

from __future__ import annotations

import socket
import threading
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager, suppress
from datetime import timedelta
from typing import Any, NamedTuple

import ray
import torch
import torch.distributed
from ray.util.placement_group import get_current_placement_group
from ray.util.scheduling_strategies import PlacementGroupSchedulingStrategy

from fervit.io.files import first_line
from fervit.latents import LatentSet
from fervit.latents.folds import Fold
from fervit.runs.session import TRIAL, Session, SessionFiles, prepare_process
from fervit.runs.state import Unreported
from fervit.training.config import TrainConfig
from fervit.training.data import DeviceLatents
from fervit.training.epoch import EpochResult
from fervit.training.failure import DIVERGED, OUT_OF_MEMORY, FailedError, Failure, failure_of, is_out_of_memory
from fervit.training.objective import Metric
from fervit.training.ranks import Ranks
from fervit.training.trainer import Trainer

TIMEOUT = timedelta(minutes=5)
"""The time within which all ranks must take part in each collective operation."""
LOOK_S = 1.0
"""The seconds between two looks at the other ranks of a trial while they train."""


class WorkerLostError(Exception):
    """The process of a worker has died. The trial continues with new processes."""


class SharedLatents(NamedTuple):
    """The training and the validation split in Ray's object store, which has one copy on each machine."""

    train: ray.ObjectRef
    val: ray.ObjectRef

    @classmethod
    def put(cls, train: LatentSet, val: LatentSet) -> SharedLatents:
        """Puts both splits into the object store."""
        return cls(ray.put(train), ray.put(val))


class Setup(NamedTuple):
    """The arguments with which every worker of a trial is made."""

    latents: SharedLatents
    metric: Metric
    device: str
    threads: int
    memory_share: float
    """The largest share of its GPU's memory that a worker may take; 1 for no limit."""


class Worker:
    """One rank of a trial, with the latents on its device and the session of the current trial."""

    def __init__(self, setup: Setup) -> None:
        self._setup = setup
        self._fold: Fold | None = None
        self.train, self.val = self._prepare(None)
        self.metric = setup.metric
        self.ranks = Ranks()
        self.session: Session | None = None

    def _prepare(self, fold: Fold | None) -> tuple[DeviceLatents, DeviceLatents]:
        """Returns the splits of the sweep on the device, or those of a fold."""
        setup = self._setup
        train, val = (ray.get(latents) for latents in setup.latents)
        if fold is not None:
            train, val = fold.split(train, val)
        return prepare_process(train, val, device=setup.device, threads=setup.threads, memory_share=setup.memory_share)

    def join(self, address: str, rank: int, world: int) -> None:
        """Joins the process group of all ranks.

        Args:
            address: the host and the port of the first rank.
            rank: the rank of this worker.
            world: the number of ranks.
        """
        backend = "nccl" if self.train.device.type == "cuda" else "gloo"
        torch.distributed.init_process_group(
            backend, init_method=f"tcp://{address}", rank=rank, world_size=world, timeout=TIMEOUT
        )
        self.ranks = Ranks(rank, world)

    def start(
        self,
        config: TrainConfig,
        files: SessionFiles,
        decided_after: tuple[int, ...] | None = None,
        fold: Fold | None = None,
        *,
        pauses: bool = False,
    ) -> list[Unreported]:
        """Begins a trial. Returns the epochs that an earlier process saved and may not have reported."""
        if fold != self._fold:
            self.session = None
            self.train, self.val = self._prepare(fold)
            self._fold = fold
        trainer = Trainer(config, self.train, self.val, ranks=self.ranks, metric=self.metric)
        self.session = Session(trainer, files, TRIAL, decided_after, pauses=pauses)
        last = self.session.restore()
        if last is None or self.session.unreported:
            return self.session.unreported
        best = trainer.best  # an earlier version saved the state
        return [Unreported(last, self.metric.value(best) if best else float("nan"))]

    def run_epoch(self) -> EpochResult | None:
        """Trains the next epoch of the trial; see `Session.run_epoch`."""
        assert self.session is not None
        return self.session.run_epoch()


class _GroupMember(Worker):
    """An actor for a rank other than the first. Its methods return failures instead of raising them."""

    def ready(self) -> None:
        """Does nothing; the call returns once the actor has started."""

    def begin(self, config: TrainConfig, files: SessionFiles, fold: Fold | None = None) -> Failure | None:
        return self._guarded(lambda: self.start(config, files, fold=fold), config)

    def epoch(self) -> Failure | None:
        assert self.session is not None
        return self._guarded(self.run_epoch, self.session.trainer.config)

    def _guarded(self, work: Callable[[], Any], config: TrainConfig) -> Failure | None:
        try:
            work()
        except Exception as error:
            failure = failure_of(error, config.batch_size, self.train.device)
            if failure.kind != DIVERGED:  # all ranks see a divergence in the same epoch
                leave_process_group()  # so that the other ranks stop waiting for this one
            return failure
        return None


class WorkerGroup:
    """The workers that train a trial together. The first rank uses this class to direct the other ranks.

    Args:
        first: the worker of the first rank, in the calling process.
        setup: the arguments of the other workers.
        workers: the number of ranks, the first one included.
        resources: the resources of each worker, under Ray's names "CPU" and "GPU".

    Raises:
        WorkerLostError: a worker could not start.
    """

    def __init__(self, first: Worker, setup: Setup, workers: int, resources: Mapping[str, float]) -> None:
        group, member = get_current_placement_group(), ray.remote(_GroupMember)
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

    def begin(self, config: TrainConfig, files: SessionFiles, fold: Fold | None = None) -> list[Any]:
        """Makes the other ranks begin a trial. Returns their pending results, for which `together` waits."""
        return [member.begin.remote(config, files, fold) for member in self._members]

    def epoch(self) -> list[Any]:
        """Makes the other ranks train an epoch. Returns their pending results, for which `together` waits."""
        return [member.epoch.remote() for member in self._members]

    @contextmanager
    def together(self, others: list[Any]) -> Iterator[None]:
        """A context in which the first rank does its own part, and which then waits for the other ranks.

        Args:
            others: the pending results of the other ranks.

        Raises:
            WorkerLostError: the process of another rank died.
            FailedError: another rank failed. If only the first rank failed, its own exception is raised.
        """
        with _Watch(others) as watch:
            try:
                yield
            except Exception as error:
                if is_out_of_memory(error) or not (isinstance(error, RuntimeError) or watch.has_left):
                    raise
                failure = gather(others, 30)  # another rank may have caused the error
                if failure:
                    raise FailedError(failure) from None
                raise
        failure = gather(others, None)
        if failure:
            raise FailedError(failure)

    def dissolve(self) -> None:
        """Ends the processes of the other ranks."""
        for member in self._members:
            ray.kill(member)
        self._members = []
        leave_process_group()


class _Watch:
    """Frees the first rank on a GPU when another rank fails while the block runs.

    With gloo a rank that leaves closes its sockets, which the others notice. With NCCL their kernels would wait for it
    until a timeout of minutes, so a thread looks at the results of the other ranks.
    """

    def __init__(self, others: list[Any]) -> None:
        self._others, self._done = others, threading.Event()
        self._thread: threading.Thread | None = None
        self.has_left = False
        """Whether this process has left the process group, so that its own results are void."""

    def __enter__(self) -> _Watch:
        if self._others and torch.distributed.is_initialized() and torch.distributed.get_backend() == "nccl":
            self._thread = threading.Thread(target=self._run, daemon=True)
            self._thread.start()
        return self

    def __exit__(self, *error: object) -> None:
        self._done.set()
        if self._thread is not None:
            self._thread.join()

    def _run(self) -> None:
        if another_failed(self._others, self._done):
            self.has_left = True
            leave_process_group()


def another_failed(others: list[Any], done: threading.Event) -> bool:
    """Waits until a rank fails or dies, all of them succeed, or `done` is set. A divergence ends all ranks by itself.

    Args:
        others: the pending results of the ranks.
        done: is set by another thread when the answer is of no use any more.

    Returns:
        Whether a rank failed or died.
    """
    waiting = list(others)
    while waiting and not done.is_set():
        ready, waiting = ray.wait(waiting, timeout=LOOK_S)
        for result in ready:
            try:
                failure = ray.get(result)
            except ray.exceptions.RayError:
                return True
            if failure is not None and failure.kind != DIVERGED:
                return True
    return False


def gather(others: list[Any], timeout: float | None) -> Failure | None:
    """Waits for the results of the other ranks, but not beyond the first failure, after which others may hang.

    Args:
        others: their pending results.
        timeout: the longest time to wait for each of them in seconds; None for no limit.

    Returns:
        A failure, one of memory rather than those that it caused in other ranks; None if there is none.

    Raises:
        WorkerLostError: the process of a rank died.
    """
    waiting = list(others)
    found: list[Failure] = []
    try:
        while waiting and not found:
            ready, waiting = ray.wait(waiting, timeout=timeout)
            if not ready:
                return None
            found = [failure for failure in ray.get(ready) if failure]
    except ray.exceptions.RayError as error:
        raise WorkerLostError(f"a worker of the trial died ({type(error).__name__})") from None
    if found and waiting:
        with suppress(ray.exceptions.RayError):
            ready, _ = ray.wait(waiting, num_returns=len(waiting), timeout=LOOK_S)
            found += [failure for failure in ray.get(ready) if failure]
    return min(found, key=lambda failure: failure.kind != OUT_OF_MEMORY, default=None)


def leave_process_group() -> None:
    """Leaves the process group at once, also if other ranks are gone, for which NCCL would wait in an orderly end."""
    if not torch.distributed.is_initialized():
        return
    if torch.distributed.get_backend() == "nccl":
        torch.distributed.distributed_c10d._abort_process_group()
    else:
        torch.distributed.destroy_process_group()


def _free_port() -> int:
    with socket.socket() as probe:
        probe.bind(("", 0))
        port: int = probe.getsockname()[1]
        return port
