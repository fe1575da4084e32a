"""One training on Ray Train: a TorchTrainer whose workers train together by DDP."""

from __future__ import annotations

import os
import threading
import time
from typing import Any

from fervit.latents import LatentSet
from fervit.runs.folder import RunFolder
from fervit.runs.placement import Workers
from fervit.training.config import TrainConfig

MAX_FAILURES = 3
"""Times that a run goes on by itself after the loss of a worker."""
POLL_S = 0.2
PAUSE_S = 1.0
"""Before a run goes on elsewhere: where there is no other node yet, it may be begun on the same one again."""


class TrainingJob:
    """A training that runs in the cluster while the command that started it follows its events.

    Args:
        config: the hyperparameters.
        train: the training split; goes to the object store, one copy a machine.
        val: the validation split.
        workers: as `place` found.
        folder: the folder of the run; the workers write its files, so they must see it under the same path.
        local: whether Ray ends with this process.
        elsewhere: whether there are other nodes on which the training can go on when a node is taken away.
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
    ) -> None:
        os.environ.setdefault("RAY_TRAIN_HEALTH_CHECK_INTERVAL_S", str(POLL_S))
        os.environ.setdefault("RAY_TRAIN_ENABLE_PREEMPTION_WATCHER", "0")
        import ray

        for path in (folder.events, folder.stop):
            path.unlink(missing_ok=True)
        self._local, self._elsewhere, self._workers, self._folder = local, elsewhere, workers, folder
        self._job = {
            "config": config,
            "latents": (ray.put(train), ray.put(val)),
            "folder": folder,
            "threads": workers.cpus,
        }
        self.error: BaseException | None = None
        """What ended the job other than its own code: workers lost too often, a controller killed."""
        # Not in the main thread: Ctrl-C is answered there.
        self._thread = threading.Thread(target=self._run, daemon=True)
        self._thread.start()

    @property
    def running(self) -> bool:
        """Whether Ray Train is at work."""
        return self._thread.is_alive()

    def wait(self, seconds: float) -> None:
        """Waits for the end, for so many seconds at most."""
        self._thread.join(seconds)

    def close(self) -> None:
        """Leaves the workers to Ray, which ends them with the command."""

    def _run(self) -> None:
        from fervit.runs.worker import LEAVING

        try:
            while self._trainer().fit().return_value == LEAVING and self._elsewhere:
                time.sleep(PAUSE_S)
        except BaseException as error:
            self.error = error

    def _trainer(self) -> Any:
        from ray.train import FailureConfig, RunConfig, ScalingConfig

        workers = self._workers
        resources = {"CPU": float(workers.cpus), "GPU": 1.0} if workers.gpu else {"CPU": float(workers.cpus)}
        return _trainer_class(self._local)(
            train_on_worker,
            train_loop_config=self._job,
            scaling_config=ScalingConfig(
                num_workers=workers.workers, use_gpu=workers.gpu, resources_per_worker=resources
            ),
            run_config=RunConfig(
                name="ray_train",
                storage_path=str(self._folder.path),
                failure_config=FailureConfig(max_failures=MAX_FAILURES, controller_failure_limit=MAX_FAILURES),
            ),
        )


def _trainer_class(local: bool) -> Any:
    """TorchTrainer without the helper processes that this job has no use for; each takes 2 s of a CPU to start.

    DatasetsCallback serves Ray Data, and the cleaner frees what a dead driver has reserved in a cluster that lives on.
    """
    from ray.train.torch import TorchTrainer

    unneeded = {"DatasetsCallback", "PlacementGroupCleanerCallback"} if local else {"DatasetsCallback"}

    class LeanTorchTrainer(TorchTrainer):  # type: ignore[misc]
        def _create_default_callbacks(self) -> list[Any]:
            return [each for each in super()._create_default_callbacks() if type(each).__name__ not in unneeded]

    return LeanTorchTrainer


def train_on_worker(job: dict[str, Any]) -> str:
    """What each of Ray Train's workers runs; returns how it ended."""
    entered = time.time()
    import ray
    import ray.train
    import ray.train.torch

    from fervit.runs.worker import WorkerJob, run_on_worker
    from fervit.training.ranks import Ranks

    imported = time.time()
    context = ray.train.get_context()
    own = WorkerJob(
        config=job["config"],
        folder=job["folder"],
        threads=job["threads"],
        device=str(ray.train.torch.get_device()),
        ranks=Ranks(context.get_world_rank(), context.get_world_size()),
    )
    train, val = (ray.get(latents) for latents in job["latents"])
    return run_on_worker(own, train, val, entered=entered, imported=imported)
