"""One training on Ray Train: a TorchTrainer whose workers run a `Trainer` each, joined by DDP."""

from __future__ import annotations

import json
import os
import socket
import threading
import time
import traceback
from dataclasses import dataclass
from typing import Any

from fervit.cluster.nodes import Cluster
from fervit.errors import UserError
from fervit.files import first_line, write_json
from fervit.latents import LatentSet
from fervit.runs.folder import RunFolder
from fervit.training.config import TrainConfig

MAX_FAILURES = 3
"""Times that a run goes on by itself after the loss of a worker."""
CPUS_BESIDE_A_GPU = 2
POLL_S = 0.2


@dataclass(frozen=True, kw_only=True)
class Workers:
    """What a training gets of the cluster."""

    workers: int
    cpus: int
    """Of each worker; its threads."""
    gpu: bool
    """A whole GPU each."""


def place(cluster: Cluster, workers: int, use_gpu: bool | None) -> Workers:
    """Shares the cluster out: a GPU a worker where there are some and `use_gpu` is not False, else all CPUs.

    Raises:
        UserError: the cluster has less than that.
    """
    if use_gpu and cluster.gpus < 1:
        raise UserError("--use_gpu: this cluster has no GPU; leave it out to train on the CPU")
    gpu = cluster.gpus >= 1 if use_gpu is None else use_gpu
    if gpu and workers > cluster.gpus:
        raise UserError(f"--workers {workers}: the cluster has {cluster.gpus:g} GPUs, and each worker needs one")
    if workers > cluster.cpus:
        raise UserError(f"--workers {workers}: the cluster has {cluster.cpus:g} CPUs, and each worker needs one")
    cpus = max(
        n
        for n in range(1, int(max(node.cpus for node in cluster.nodes)) + 1)
        if n == 1 or sum(int(node.cpus // n) for node in cluster.nodes) >= workers
    )
    return Workers(workers=workers, cpus=min(cpus, CPUS_BESIDE_A_GPU) if gpu else cpus, gpu=gpu)


class TrainingJob:
    """A training that runs in the cluster while the command that started it follows its events.

    Args:
        config: the hyperparameters.
        train: the training split; goes to the object store, one copy a machine.
        val: the validation split.
        workers: as `place` found.
        folder: of the run; the workers write its files, so they must see it under the same path.
        local: the Ray ends with this process.
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
    ) -> None:
        os.environ.setdefault("RAY_TRAIN_HEALTH_CHECK_INTERVAL_S", str(POLL_S))
        os.environ.setdefault("RAY_TRAIN_ENABLE_PREEMPTION_WATCHER", "0")
        import ray
        from ray.train import FailureConfig, RunConfig, ScalingConfig

        for path in (folder.events, folder.stop):
            path.unlink(missing_ok=True)
        resources = {"CPU": float(workers.cpus), "GPU": 1.0} if workers.gpu else {"CPU": float(workers.cpus)}
        trainer = _trainer_class(local)(
            train_on_worker,
            train_loop_config={
                "config": config,
                "latents": (ray.put(train), ray.put(val)),
                "folder": folder,
                "threads": workers.cpus,
            },
            scaling_config=ScalingConfig(
                num_workers=workers.workers, use_gpu=workers.gpu, resources_per_worker=resources
            ),
            run_config=RunConfig(
                name="ray_train",
                storage_path=str(folder.path),
                failure_config=FailureConfig(max_failures=MAX_FAILURES, controller_failure_limit=MAX_FAILURES),
            ),
        )
        self.error: BaseException | None = None
        """What ended the job other than its own code: workers lost too often, a controller killed."""
        # Not in the main thread: Ctrl-C is ours to answer.
        self._thread = threading.Thread(target=self._run, args=(trainer,), daemon=True)
        self._thread.start()

    @property
    def running(self) -> bool:
        return self._thread.is_alive()

    def wait(self, seconds: float) -> None:
        self._thread.join(seconds)

    def _run(self, trainer: Any) -> None:
        try:
            trainer.fit()
        except BaseException as error:
            self.error = error


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


def train_on_worker(job: dict[str, Any]) -> None:
    """What each worker runs: all the epochs, going on from the run's last saved one."""
    entered = time.time()
    import ray
    import ray.train
    import ray.train.torch
    import torch

    from fervit.runs.recorder import Recorder, resume
    from fervit.training.data import DeviceLatents
    from fervit.training.failure import DivergedError, is_out_of_memory
    from fervit.training.ranks import Ranks
    from fervit.training.trainer import Trainer

    config, folder = job["config"], job["folder"]
    context = ray.train.get_context()
    ranks = Ranks(context.get_world_rank(), context.get_world_size())
    device = ray.train.torch.get_device()
    torch.set_num_threads(job["threads"])
    tell = _Teller(folder) if ranks.rank == 0 else _silent
    tell("entered", time=entered, imported=time.time())
    state, recorder = "failed", None
    try:
        train, val = (DeviceLatents(ray.get(ref), str(device)) for ref in job["latents"])
        trainer = Trainer(config, train, val, ranks=ranks)
        hardware = _hardware(trainer, job["threads"])
        weights = resume(folder, trainer, first_rank=ranks.rank == 0)
        if ranks.rank == 0:
            recorder = Recorder(folder, trainer, weights)
            _describe(folder, hardware)
        trainer.on_first_step = lambda: tell("first step", time=time.time())
        tell("ready", time=time.time(), epoch=trainer.epoch, **hardware)
        while not trainer.finished:
            result = trainer.run_epoch()
            saved = recorder.epoch(result) if recorder else False
            tell("epoch", **result.to_json(), best=trainer.improved, saved=saved)
            if ranks.sum(torch.tensor(float(folder.stop.exists()), device=device)) > 0:
                break
        if recorder:
            recorder.save()
        state = "finished" if trainer.finished else "stopped"
        tell("end", state=state)
        ray.train.report(trainer.best.to_json() if trainer.best else {})
    except DivergedError as error:
        state = "diverged"
        tell(state, message=str(error))
    except Exception as error:
        told = _Teller(folder)  # whichever rank it is
        if is_out_of_memory(error):
            state = "out of memory"
            told(state, message=_memory_message(error, config, device))
        elif ranks.world > 1 and isinstance(error, RuntimeError):
            raise  # another rank has been lost: Ray Train starts all of them again
        else:
            told(state, message=f"{type(error).__name__}: {first_line(error)}", details=traceback.format_exc())
    finally:
        if recorder:
            recorder.close(state)


class _Teller:
    """Appends events to the run's file, each a line that is written at once."""

    def __init__(self, folder: RunFolder) -> None:
        self._path = folder.events

    def __call__(self, event: str, **values: Any) -> None:
        with self._path.open("a", encoding="utf-8") as file:
            file.write(json.dumps({"event": event, **values}) + "\n")


def _silent(event: str, **values: Any) -> None: ...


def _memory_message(error: BaseException, config: TrainConfig, device: Any) -> str:
    import torch

    gib = 1024**3
    if device.type == "cuda":
        free, total = torch.cuda.mem_get_info(device)
        name = torch.cuda.get_device_name(device)
    else:
        page = os.sysconf("SC_PAGE_SIZE")
        total, free = (page * os.sysconf(f"SC_{kind}_PAGES") for kind in ("PHYS", "AVPHYS"))
        name = "this machine"
    where = f"{name} ({total / gib:.0f} GiB, {free / gib:.1f} free)"
    return (
        f"out of memory on {where} with batch_size {config.batch_size}: {' '.join(str(error).split())[:160]}; try a "
        "smaller --batch_size, or a smaller model"
    )


def _hardware(trainer: Any, threads: int) -> dict[str, Any]:
    """What the run trains on. All ranks ask together, since each has to say where it is."""
    import torch

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


def _describe(folder: RunFolder, hardware: dict[str, Any]) -> None:
    """Adds to environment.json what only a worker knows."""
    environment = json.loads(folder.environment.read_text(encoding="utf-8"))
    write_json(folder.environment, {**environment, "training": hardware})
