"""Trains on Ray Train, with a TorchTrainer whose workers train together (DDP)."""

from __future__ import annotations

import os
import threading
import time
from typing import Any

from fervit.cluster.gpu_nodes import GpuNodes
from fervit.cluster.gpus import check_gpu
from fervit.cluster.nodes import not_on
from fervit.cluster.workers import Workers
from fervit.io.disk import remove
from fervit.latents import LatentSet
from fervit.runs.folder import RunFolder
from fervit.system.hardware import device_of
from fervit.training.config import TrainConfig

MAX_FAILURES = 3
"""How many times a run continues by itself after a worker died."""
POLL_S = 0.2
"""The seconds between two checks of Ray Train on its workers."""
PAUSE_S = 1.0
"""The seconds before a run is started again because its node is leaving. Until there is another node, it may be started
on the leaving one."""


class TrainingJob:
    """A training that runs in the cluster while the command that started it follows its events.

    Args:
        config: the hyperparameters.
        train: the training split, which is put into the object store, with one copy on each machine.
        val: the validation split.
        workers: the processes and their resources, as `place` returns them.
        folder: the folder of the run. The workers write to it, so they must see it under the same path.
        local: whether Ray ends with this process.
        elsewhere: whether there are other nodes on which the training can continue when a node is taken away.
        gpu_nodes: the nodes, and which of them have GPUs that cannot be used. One whose GPU nobody has looked at, and
            turns out to be of no use, is left out, and the training begins again on the others.
    """

    def __init__(
        self,
        config: TrainConfig,
        train: LatentSet,
        val: LatentSet,
        workers: Workers,
        folder: RunFolder,
        *,
        local: bool = False,
        elsewhere: bool = False,
        gpu_nodes: GpuNodes | None = None,
    ) -> None:
        os.environ.setdefault("RAY_TRAIN_HEALTH_CHECK_INTERVAL_S", str(POLL_S))
        os.environ.setdefault("RAY_TRAIN_ENABLE_PREEMPTION_WATCHER", "0")
        import ray

        for path in (folder.events, folder.stop):
            remove(path)
        self._local, self._elsewhere, self._workers, self._folder = local, elsewhere, workers, folder
        self._gpu_nodes = gpu_nodes or GpuNodes()
        self._job: dict[str, Any] = {
            "config": config,
            "latents": (ray.put(train), ray.put(val)),
            "folder": folder,
            "threads": workers.cpus,
            "device": device_of(float(workers.gpu)),
        }
        self.error: BaseException | None = None
        """Why the job ended, if workers died too often or the controller died; None otherwise."""
        # The main thread must be free to handle Ctrl-C.
        self._thread = threading.Thread(target=self._run, daemon=True)
        self._thread.start()

    @property
    def running(self) -> bool:
        """Whether Ray Train is still running."""
        return self._thread.is_alive()

    def wait(self, seconds: float) -> None:
        """Waits until the job ends, but at most this many seconds."""
        self._thread.join(seconds)

    def close(self) -> None:
        """Does nothing, since Ray ends the workers with the command."""

    def _run(self) -> None:
        try:
            from fervit.runs.worker import LEAVING  # imports torch, during which the command may end

            while self._fit() == LEAVING and self._elsewhere:
                time.sleep(PAUSE_S)
        except BaseException as error:
            self.error = error

    def _fit(self) -> Any:
        """Trains, again without a node whose GPU turns out to be of no use, and returns how the training ended."""
        while True:
            try:
                return self._trainer().fit().return_value
            except Exception as error:
                if not self._gpu_nodes.leave_out(str(error)):
                    raise

    def _trainer(self) -> Any:
        from ray.train import FailureConfig, RunConfig, ScalingConfig
        from ray.train.torch import TorchConfig

        workers = self._workers
        needs_nccl = workers.workers > 1 and self._job["device"] == "cuda"
        resources = {"CPU": float(workers.cpus), "GPU": 1.0} if workers.gpu else {"CPU": float(workers.cpus)}
        return _trainer_class(self._local)(
            train_on_worker,
            train_loop_config=self._job,
            torch_config=TorchConfig(backend="nccl" if needs_nccl else "gloo"),
            scaling_config=ScalingConfig(
                num_workers=workers.workers,
                use_gpu=workers.gpu,
                resources_per_worker=resources,
                label_selector=(not_on(self._gpu_nodes.unusable) or None) if workers.gpu else None,
            ),
            run_config=RunConfig(
                name="ray_train",
                storage_path=str(self._folder.path),
                failure_config=FailureConfig(max_failures=MAX_FAILURES, controller_failure_limit=MAX_FAILURES),
            ),
        )


def _trainer_class(local: bool) -> Any:
    """Returns TorchTrainer without the helper processes that this job does not need; each takes 2 s of CPU to start.

    DatasetsCallback is for Ray Data. The cleaner frees the resources of a dead driver, which is needed only if the
    cluster outlives the driver.
    """
    from ray.train.torch import TorchTrainer

    unneeded = {"DatasetsCallback", "PlacementGroupCleanerCallback"} if local else {"DatasetsCallback"}

    class LeanTorchTrainer(TorchTrainer):  # type: ignore[misc]
        def _create_default_callbacks(self) -> list[Any]:
            return [each for each in super()._create_default_callbacks() if type(each).__name__ not in unneeded]

    return LeanTorchTrainer


def train_on_worker(job: dict[str, Any]) -> str:
    """The function that each worker of Ray Train runs. Returns how the training ended."""
    entered = time.time()
    import ray
    import ray.train
    import ray.train.torch

    from fervit.runs.worker import WorkerJob, run_on_worker
    from fervit.training.ranks import Ranks

    check_gpu(job["device"], ray.util.get_node_ip_address())
    imported = time.time()
    context = ray.train.get_context()
    own = WorkerJob(
        config=job["config"],
        folder=job["folder"],
        threads=job["threads"],
        device=str(ray.train.torch.get_device()) if job["device"] == "cuda" else job["device"],
        ranks=Ranks(context.get_world_rank(), context.get_world_size()),
    )
    train, val = (ray.get(latents) for latents in job["latents"])
    return run_on_worker(own, train, val, entered=entered, imported=imported)
