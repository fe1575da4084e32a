"""`fervit.train`: one LatentViT, trained from its start to its end."""

from __future__ import annotations

import dataclasses
import json
import os
import sys
import time
from collections.abc import Callable, Mapping
from contextlib import AbstractContextManager, nullcontext
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Any

from fervit.api.arguments import as_text, check_at_least
from fervit.errors import UserError
from fervit.files import JsonObject
from fervit.progress import Say, silent

# What takes time to import is imported within the functions: the process that trains is started before.
if TYPE_CHECKING:
    from fervit.cluster.nodes import Cluster
    from fervit.runs.console import Job
    from fervit.runs.folder import RunFolder
    from fervit.runs.placement import Workers
    from fervit.runs.process import WarmProcess
    from fervit.runs.run import Run
    from fervit.training.epoch import EpochResult


@dataclass(frozen=True, kw_only=True)
class TrainResult:
    """What one training came to."""

    folder: Path
    """Of the run, with all its files."""
    state: str
    """"finished", or "stopped" after Ctrl-C or by a machine that will be taken away."""
    epochs: int
    """How many epochs were trained, in all sessions of the run."""
    seconds: float
    """Duration of these epochs."""
    best: EpochResult | None
    """The epoch whose model is kept: that of the highest macro-F1 on validation; None before the first epoch's end."""

    @property
    def model(self) -> Path:
        """The checkpoint of the best epoch, for `fervit.load` and `fervit.evaluate`."""
        from fervit.runs.folder import RunFolder

        return RunFolder(self.folder).best


def train(
    latent_train_dir: str | Path | None = None,
    latent_val_dir: str | Path | None = None,
    *,
    recipe: str | None = None,
    resume: str | Path | None = None,
    workers: int | None = None,
    use_gpu: bool | None = None,
    address: str | None = None,
    say: Say | None = print,
    **hyperparameters: Any,
) -> TrainResult:
    """Trains a model, or goes on with a run that was cut short.

    Args:
        latent_train_dir: folder or URI with the training split's Parquet files; with `resume`, only if it has moved.
        latent_val_dir: the same of the validation split.
        recipe: a set of hyperparameters, "guide" (which None means) or "strong".
        resume: the folder of a run to go on with.
        workers: processes that train together, by DDP; None for one.
        use_gpu: True for a GPU a worker, False for the CPU, None for GPUs where there are some.
        address: of a Ray cluster; None for RAY_ADDRESS, the Ray of this process or machine, or none.
        say: is given each line of text; None for silence.
        hyperparameters: the fields of `fervit.training.config.TrainConfig`, such as `lr=1e-3`, over the recipe's.

    Returns:
        The run's folder, its best epoch, and the path of that epoch's model.

    Raises:
        UserError: an argument or the latents are not what they should be, or a run cannot go on with these.
        JobError: the training diverged, ran out of memory, or lost its workers too often.
        KeyboardInterrupt: Ctrl-C, with a text that says how to go on.

    Example:
        run = fervit.train("latents/train", "latents/val", recipe="strong", epochs=5)
        fervit.load(run.model)
    """
    started, tell = time.time(), say or silent
    check_at_least(1, {"workers": workers})
    given = checked_hyperparameters(hyperparameters)
    latents = {"train": as_text(latent_train_dir), "val": as_text(latent_val_dir)}
    process = _warm_process(latents, resume, workers, address)
    try:
        run, folder = _plan(given, recipe, latents, resume, workers, use_gpu)
        if not folder.finished:
            stages = [("command", started), ("latents", time.time())]
            _train(run, folder, stages, workers, use_gpu, address, process, tell)
            tell("")
    finally:
        if process:
            process.kill()
    return _conclude(run, folder, tell)


def checked_hyperparameters(given: Mapping[str, Any]) -> JsonObject:
    """Hyperparameters of the types that a training takes.

    Args:
        given: name -> value.

    Returns:
        The same, with whole numbers as floats where a float is wanted.

    Raises:
        UserError: there is no hyperparameter of that name, or its value is of another type.
    """
    import typing

    from fervit.parsing import check_keys, convert
    from fervit.training.config import TrainConfig

    check_keys(given, [field.name for field in dataclasses.fields(TrainConfig)], "hyperparameters")
    kinds = typing.get_type_hints(TrainConfig)
    return {name: convert(value, kinds[name], f"hyperparameters.{name}") for name, value in given.items()}


def _warm_process(
    latents: Mapping[str, str | None], resume: str | Path | None, workers: int | None, address: str | None
) -> WarmProcess | None:
    """The process that trains where Ray is not needed; it imports torch while this one reads the latents."""
    from fervit.runs.folder import RunFolder, RunRecord

    if resume is not None:
        folder = RunFolder(Path(resume).absolute())
        workers = workers or RunRecord.read(folder).workers
        if folder.finished:
            return None
    for split in latents if resume is None else ():
        if latents[split] is None:
            raise UserError(
                f"--latent_{split}_dir: is missing; give the folder that launch/encode.py wrote, or --resume RUN"
            )
    if (workers or 1) > 1 or address or os.environ.get("RAY_ADDRESS"):
        return None
    from fervit.runs.process import WarmProcess

    process = None if "ray" in sys.modules else WarmProcess()
    from fervit.cluster.connection import would_join  # which takes a while: the process is under way

    if not would_join(address):
        return process or WarmProcess()
    if process:
        process.kill()
    return None


def _plan(
    given: JsonObject,
    recipe: str | None,
    latents: dict[str, str | None],
    resume: str | Path | None,
    workers: int | None,
    use_gpu: bool | None,
) -> tuple[Run, RunFolder]:
    """The run that is asked for, checked, and its folder."""
    from fervit.runs.folder import RunFolder, new_folder, run_name
    from fervit.runs.run import prepare, prepare_resume
    from fervit.training.recipes import RECIPES

    if recipe not in (None, *RECIPES):
        raise UserError(f"recipe: must be one of {', '.join(RECIPES)}, but got {recipe!r}")
    if resume is not None:
        folder = RunFolder(Path(resume).absolute())
        return prepare_resume(folder, given, recipe, latents), folder
    train, val = latents["train"], latents["val"]
    assert train is not None
    assert val is not None
    run = prepare(given, recipe or "guide", train, val, workers=workers or 1, use_gpu=use_gpu)
    return run, RunFolder(new_folder(run_name(run.config)))


def _train(
    run: Run,
    folder: RunFolder,
    stages: list[tuple[str, float]],
    workers: int | None,
    use_gpu: bool | None,
    address: str | None,
    process: WarmProcess | None,
    tell: Say,
) -> None:
    """Trains to the end, a line an epoch."""
    from fervit.cluster.shared_folder import check_shared
    from fervit.runs.console import Follower
    from fervit.runs.placement import place
    from fervit.runs.run import first_lines

    try:
        with folder.locked(), _hardware(folder, address, process) as cluster:
            if process is None:
                stages.append(("Ray", time.time()))
            if len(cluster.nodes) > 1:
                check_shared(cluster.nodes, folder.path)
            placed = place(cluster, workers or run.record.workers, run.record.use_gpu if use_gpu is None else use_gpu)
            run.write(folder, cluster)
            for line in first_lines(run, folder, cluster):
                tell(line)
            start = _starter(run, folder, cluster, placed, process)
            engine = "" if process else "Ray Train"
            Follower(folder, run.config.epochs, run.config.batch_size, stages, tell, engine).follow(start)
    except BaseException:
        folder.remove_if_new()
        raise


def _hardware(folder: RunFolder, address: str | None, process: WarmProcess | None) -> AbstractContextManager[Cluster]:
    """This machine, or the cluster that Ray joins or starts."""
    if process:
        return nullcontext(process.machine())
    from fervit.cluster.connection import connect

    return connect(address, folder.ray_log)


def _starter(
    run: Run, folder: RunFolder, cluster: Cluster, workers: Workers, process: WarmProcess | None
) -> Callable[[], Job]:
    """What starts the training, in the process or with Ray Train."""
    if process:
        from fervit.runs.process import ProcessJob

        return partial(ProcessJob, process, run.config, run.train, run.val, workers, folder)
    from fervit.runs.distributed import TrainingJob

    return partial(
        TrainingJob,
        *(run.config, run.train, run.val, workers, folder),
        local=cluster.started_here,
        elsewhere=len(cluster.nodes) > 1,
    )


def _conclude(run: Run, folder: RunFolder, tell: Say) -> TrainResult:
    """What has been reached, told and returned."""
    from fervit.runs.run import summary_lines
    from fervit.training.epoch import EpochResult

    for line in summary_lines(folder, run):
        tell(line)
    summary = json.loads(folder.summary.read_text(encoding="utf-8"))
    return TrainResult(
        folder=folder.path,
        state=summary["state"],
        epochs=summary["epochs"],
        seconds=summary["seconds"],
        best=EpochResult.from_json(summary["best"]) if summary["best"] is not None else None,
    )
