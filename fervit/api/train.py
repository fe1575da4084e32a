"""`fervit.train` trains one LatentViT."""

from __future__ import annotations

import dataclasses
import json
import os
import sys
import time
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Any

from fervit.api.arguments import Changes, Files, as_text, check_at_least, exclusion_in, votes_in
from fervit.errors import UserError
from fervit.io.files import JsonObject
from fervit.labels.dealing import Fractions
from fervit.labels.label_set import SEVEN
from fervit.progress import Say, silent
from fervit.system.program import called

# The functions import slow modules themselves, so that the process that trains is started before these imports.
if TYPE_CHECKING:
    from fervit.cluster.gpus import GpuLook
    from fervit.cluster.nodes import Cluster
    from fervit.cluster.workers import Workers
    from fervit.runs.console import Job
    from fervit.runs.folder import RunFolder
    from fervit.runs.process import WarmProcess
    from fervit.runs.run import Run
    from fervit.training.epoch import EpochResult


@dataclass(frozen=True, kw_only=True)
class TrainResult:
    """The result of a training."""

    folder: Path
    """The folder of the run, which has all its files."""
    state: str
    """How the training ended: "finished", or "stopped" by Ctrl-C or since its machine will be taken away."""
    epochs: int
    """The number of epochs that all sessions of the run have trained."""
    seconds: float
    """The duration of these epochs."""
    best: EpochResult | None
    """The epoch whose model is kept, which has the highest macro-F1 on validation; None before the first epoch."""

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
    exclude: Files | None = None,
    votes: str | Path | None = None,
    votes_as: str = "majority",
    output_dir: str | Path = "experiments",
    checkpoint_dir: str | Path | None = None,
    experiment_name: str | None = None,
    num_classes: int | None = None,
    use_augmentation: bool = False,
    val_fraction: float | None = None,
    test_fraction: float | None = None,
    split_seed: int = 0,
    say: Say | None = print,
    **hyperparameters: Any,
) -> TrainResult:
    """Trains a model, or resumes a run that was interrupted.

    Args:
        latent_train_dir: the folder or URI of the training split's Parquet files. `resume` needs it if they have moved.
        latent_val_dir: the folder or URI of the validation split's Parquet files, as for `latent_train_dir`.
        recipe: the name of a set of hyperparameters: "strong", or "guide" (which None means) for those of the guide.
        resume: the folder of a run to resume; None for a new run.
        workers: the number of processes that train together (DDP); None for one, which is often as fast as two GPUs.
        use_gpu: True for a GPU for each worker, False for the CPU, None for GPUs if there are any.
        address: of a Ray cluster; None for RAY_ADDRESS, a running Ray of this process or machine, or no Ray.
        exclude: a list of faces to train and validate without, as of `fervit.audit`, or several.
        votes: a CSV file with the votes of taggers, such as FER+'s fer2013new.csv, which replace the labels.
        votes_as: "majority" for the class of most votes, or "distribution" to train on the shares of the votes.
        output_dir: the folder in which the run gets its folder `<name>_<time>`.
        checkpoint_dir: in place of `output_dir`, a folder in which the run gets the folder `<name>/<time>`.
        experiment_name: the name of the run; None for one of its hyperparameters.
        num_classes: the number of classes, which must be that of the latents; None for whatever they have.
        use_augmentation: a flag of the guide's scripts, which other hyperparameters replace; an error says which.
        val_fraction: in place of `latent_val_dir`, the share of the training codes that validates: of every class, with
            copies of a face on one side. None for none, or, on `resume`, for what the run began with.
        test_fraction: the share of the training codes that is left out, as `fervit.tune` makes a test split of it.
        split_seed: another seed takes others.
        say: gets each line of text; None for silence.
        hyperparameters: fields of `fervit.training.config.TrainConfig`, such as `lr=1e-3`, which replace those of the
            recipe.

    Returns:
        The run's folder, its best epoch, and the path of that epoch's model.

    Raises:
        UserError: an argument or the latents are wrong, or the run cannot be resumed with them.
        JobError: the training diverged, ran out of memory, or lost its workers too often.
        KeyboardInterrupt: the user pressed Ctrl-C. The message says how to resume the run.

    Example:
        fervit.load(fervit.train("latents/train", "latents/val", recipe="strong", epochs=5).model)
    """
    started = time.time()
    _check_flags_of_the_guide(use_augmentation=use_augmentation)
    given = checked_hyperparameters(hyperparameters)
    latents = {"train": as_text(latent_train_dir), "val": as_text(latent_val_dir)}
    fractions = _fractions(latents, val_fraction, test_fraction, split_seed)
    place = partial(_new_folder, output_dir, checkpoint_dir, experiment_name)
    changes, tell = Changes(exclude, votes, votes_as, fractions), say or silent
    return _run(started, given, recipe, latents, resume, workers, use_gpu, num_classes, address, place, changes, tell)


def _run(
    started: float,
    given: JsonObject,
    recipe: str | None,
    latents: dict[str, str | None],
    resume: str | Path | None,
    workers: int | None,
    use_gpu: bool | None,
    num_classes: int | None,
    address: str | None,
    place: Callable[[str], Path],
    changes: Changes,
    tell: Say,
) -> TrainResult:
    """Trains a run from its start or its last saved state, and returns its result."""
    check_at_least(1, {"workers": workers})
    resume = as_text(resume)
    process = _warm_process(latents, resume, workers, use_gpu, address)
    tell(f"reading {latents['train'] or f'the latents of {resume}'} ...")
    try:
        run, folder = _plan(given, recipe, latents, resume, workers, use_gpu, num_classes, place, changes)
        if not folder.finished:
            stages = [("command", started), ("latents", time.time())]
            _train(run, folder, stages, workers, use_gpu, address, process, tell)
            tell("")
    finally:
        if process:
            process.kill()
    return _conclude(run, folder, tell)


def _fractions(
    latents: dict[str, str | None], val_fraction: float | None, test_fraction: float | None, seed: int
) -> Fractions | None:
    """How splits are taken out of the training codes; None if none is.

    If validation is, `latents` then has the path of the training codes for both.
    """
    if val_fraction is None and not test_fraction:
        return None
    fractions = Fractions(val=val_fraction or 0.0, test=test_fraction or 0.0, seed=seed)
    fractions.check()
    if val_fraction is None:
        return fractions
    if latents["val"] is not None:
        raise UserError("--val_fraction: takes validation out of the training codes; leave --latent_val_dir out")
    if not val_fraction:
        raise UserError("--val_fraction 0: leaves nothing to choose the model on; give a share such as 0.1")
    latents["val"] = latents["train"]
    return fractions


def _check_num_classes(num_classes: int | None, run: Run) -> None:
    """Raises UserError if the latents have another number of classes than the user says."""
    classes = run.train.label_set.classes
    if num_classes not in (None, len(classes)):
        what = "emotions" if run.train.label_set == SEVEN else "classes"
        raise UserError(
            f"--num_classes {num_classes}: the latents have the {len(classes)} {what} {', '.join(classes)}; leave it "
            "out"
        )


def _check_flags_of_the_guide(*, use_augmentation: bool) -> None:
    """Raises UserError for values of the guide's flags that mean nothing here."""
    if use_augmentation:
        raise UserError(
            "--use_augmentation: fervit augments codes by --latent_noise 0.1, --latent_mask 0.1 and --mixup 0.8; give "
            "one of them instead"
        )


def checked_hyperparameters(given: Mapping[str, Any]) -> JsonObject:
    """Checks the names and types of hyperparameters.

    Args:
        given: the name of each hyperparameter -> its value.

    Returns:
        The same hyperparameters, where whole numbers are converted to floats if the type is float.

    Raises:
        UserError: there is no hyperparameter of a name, or a value has the wrong type.
    """
    import typing

    from fervit.parsing import check_keys, convert
    from fervit.training.config import TrainConfig

    check_keys(given, [field.name for field in dataclasses.fields(TrainConfig)], "hyperparameters")
    kinds = typing.get_type_hints(TrainConfig)
    return {
        name: value if type(value) is kinds[name] else convert(value, kinds[name], f"hyperparameters.{name}")
        for name, value in given.items()
    }


def _warm_process(
    latents: Mapping[str, str | None],
    resume: str | Path | None,
    workers: int | None,
    use_gpu: bool | None,
    address: str | None,
) -> WarmProcess | None:
    """Starts the process that trains, if Ray is not needed. It imports torch while this process reads the latents."""
    from fervit.runs.folder import RunFolder, RunRecord

    begins = resume is None
    if resume is not None:
        folder = RunFolder(Path(resume).absolute())
        begins = folder.prepared
        if not begins:
            record = RunRecord.read(folder)
            workers, use_gpu = workers or record.workers, record.use_gpu if use_gpu is None else use_gpu
        if folder.finished:
            return None
    for split in latents if begins else ():
        if latents[split] is None:
            raise UserError(
                f"--latent_{split}_dir: is missing; give the folder that {called('encode')} wrote, or --resume RUN"
                + (", or --val_fraction 0.1, which takes it out of train" if split == "val" else "")
            )
    if (workers or 1) > 1 or address or os.environ.get("RAY_ADDRESS"):
        return None
    from fervit.runs.process import WarmProcess

    looks = use_gpu is not False
    process = None if "ray" in sys.modules else WarmProcess(looks=looks)
    from fervit.cluster.connection import would_join  # a slow import, so the process is started before

    if not would_join(address):
        return process or WarmProcess(looks=looks)
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
    num_classes: int | None,
    place: Callable[[str], Path],
    changes: Changes,
) -> tuple[Run, RunFolder]:
    """Checks the arguments, and returns the run and its folder. `place` makes a new one under a name."""
    from fervit.runs.folder import RunFolder, run_name
    from fervit.runs.run import prepare, prepare_resume
    from fervit.training.recipes import RECIPES

    if recipe not in (None, *RECIPES):
        raise UserError(f"recipe: must be one of {', '.join(RECIPES)}, but got {recipe!r}")
    exclusion, votes = exclusion_in(changes.exclude), votes_in(changes.votes, changes.votes_as)
    made = RunFolder(Path(resume).absolute()) if resume is not None else None
    if made is not None and not made.prepared:
        run, folder = prepare_resume(made, given, recipe, latents, exclusion, votes), made
        if changes.fractions not in (None, run.record.fractions):
            began = run.record.fractions or "a validation split of its own"
            raise UserError(
                f"--resume {made.path}: began with {began}, not {changes.fractions}; leave the fractions out"
            )
        _check_num_classes(num_classes, run)
        return run, folder
    train, val = latents["train"], latents["val"]
    assert train is not None
    assert val is not None
    preparing = partial(prepare, workers=workers or 1, use_gpu=use_gpu, exclusion=exclusion, votes=votes)
    run = preparing(given, recipe or "guide", train, val, fractions=changes.fractions)
    _check_num_classes(num_classes, run)
    return run, made or RunFolder(place(run_name(run.config)))


def _new_folder(output_dir: str | Path, checkpoint_dir: str | Path | None, given: str | None, name: str) -> Path:
    """Makes the folder of a new run."""
    from fervit.runs.folder import new_folder

    name = name if given is None else given
    if not name or name.startswith(".") or "/" in name:
        raise UserError(f"--experiment_name {name!r}: must be the name of a folder, without a slash")
    if checkpoint_dir is not None:
        return new_folder("", Path(str(as_text(checkpoint_dir)), name))
    return new_folder(name, Path(str(as_text(output_dir))))


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
    """Trains the run to its end, and prints a line for each epoch."""
    from fervit.cluster.shared_folder import check_shared
    from fervit.cluster.workers import place
    from fervit.runs.console import Follower
    from fervit.runs.run import first_lines

    use_gpu = run.record.use_gpu if use_gpu is None else use_gpu
    try:
        with folder.locked(), _hardware(folder, address, process, use_gpu) as look:
            cluster = look.cluster
            if process is None:
                stages.append(("Ray", time.time()))
            if len(cluster.nodes) > 1:
                check_shared(cluster.nodes, folder.path)
            placed = place(cluster, workers or run.record.workers, use_gpu, problem=look.why)
            if look.problems:
                tell(look.remark("--no_use_gpu"))
            run.write(folder, cluster)
            for line in first_lines(run, folder, cluster):
                tell(line)
            start = _starter(run, folder, cluster, placed, process, tell)
            engine = "" if process else "Ray Train"
            Follower(folder, run.config.epochs, run.config.batch_size, stages, tell, engine).follow(start)
    except BaseException:
        folder.remove_if_new()
        raise


@contextmanager
def _hardware(
    folder: RunFolder, address: str | None, process: WarmProcess | None, use_gpu: bool | None
) -> Iterator[GpuLook]:
    """A context that gives this machine, or the Ray cluster that it joins or starts, and what its GPUs are like."""
    if process:
        yield process.machine()
        return
    from fervit.cluster.connection import connect
    from fervit.cluster.gpu_look import look_at_gpus
    from fervit.cluster.gpus import GpuLook

    with connect(address, folder.ray_log) as cluster:
        yield GpuLook.none(cluster) if use_gpu is False else look_at_gpus(cluster)


def _starter(
    run: Run, folder: RunFolder, cluster: Cluster, workers: Workers, process: WarmProcess | None, tell: Say
) -> Callable[[], Job]:
    """Returns a function that starts the training, in the process or on Ray Train."""
    if process:
        from fervit.runs.process import ProcessJob

        return partial(ProcessJob, process, run.config, run.train, run.val, workers, folder)
    from fervit.cluster.gpu_nodes import GpuNodes
    from fervit.runs.distributed import TrainingJob

    return partial(
        TrainingJob,
        *(run.config, run.train, run.val, workers, folder),
        local=cluster.started_here,
        elsewhere=len(cluster.nodes) > 1,
        gpu_nodes=GpuNodes(cluster.unusable, tell),
    )


def _conclude(run: Run, folder: RunFolder, tell: Say) -> TrainResult:
    """Prints the summary of the run, and returns its result."""
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
