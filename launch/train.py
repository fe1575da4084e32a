"""Trains one LatentViT, in a process of this machine or with Ray Train, and goes on with a run that was cut short."""

from __future__ import annotations

import argparse
import os
import sys
import time
from collections.abc import Callable
from contextlib import AbstractContextManager, nullcontext
from pathlib import Path
from typing import TYPE_CHECKING

from fervit.cli import Parser, add_fields, given_fields, positive_int, run
from fervit.errors import UserError
from fervit.training.config import TrainConfig
from fervit.training.recipes import RECIPES

if TYPE_CHECKING:
    from fervit.cluster.nodes import Cluster
    from fervit.runs.console import Job
    from fervit.runs.folder import RunFolder
    from fervit.runs.placement import Workers
    from fervit.runs.process import WarmProcess
    from fervit.runs.run import Run


def main() -> None:
    started = time.time()
    args = _parser().parse()
    process = _warm_process(args)
    try:
        _train(args, started, process)
    finally:
        if process:
            process.kill()


def _parser() -> Parser:
    parser = Parser(description=__doc__)
    parser.add_argument("--latent_train_dir", help="folder with the training split's Parquet files")
    parser.add_argument("--latent_val_dir", help="folder with the validation split's Parquet files")
    parser.add_argument("--recipe", choices=list(RECIPES), help="a set of hyperparameters; flags override it")
    parser.add_argument("--resume", type=Path, metavar="RUN", help="go on with the run of this folder")
    parser.add_argument("--workers", type=positive_int, help="processes that train together, by DDP (default: 1)")
    parser.add_argument("--use_gpu", action="store_true", default=None, help="a GPU a worker; used anyway if there is")
    parser.add_argument("--no_use_gpu", action="store_false", dest="use_gpu", default=None, help="train on the CPU")
    parser.add_argument("--address", help="address of a Ray cluster; left out, RAY_ADDRESS or this machine")
    add_fields(parser, TrainConfig, "hyperparameters")
    return parser


def _warm_process(args: argparse.Namespace) -> WarmProcess | None:
    """The process that trains where Ray is not needed; it imports torch while this one reads the latents."""
    from fervit.runs.folder import RunFolder, RunRecord
    from fervit.runs.process import WarmProcess

    if args.resume:
        folder = RunFolder(args.resume.absolute())
        workers = args.workers or RunRecord.read(folder).workers
        if folder.finished:
            return None
    else:
        workers = args.workers or 1
        for flag in ("latent_train_dir", "latent_val_dir"):
            if getattr(args, flag) is None:
                raise UserError(f"--{flag}: is missing; give the folder that launch/encode.py wrote, or --resume RUN")
    if workers > 1 or args.address or os.environ.get("RAY_ADDRESS"):
        return None
    process = None if "ray" in sys.modules else WarmProcess()
    from fervit.cluster.connection import would_join  # which takes a while: the process is under way

    if not would_join(args.address):
        return process or WarmProcess()
    if process:
        process.kill()
    return None


def _train(args: argparse.Namespace, started: float, process: WarmProcess | None) -> None:
    from fervit.cluster.shared_folder import check_shared
    from fervit.runs.console import Follower
    from fervit.runs.placement import place
    from fervit.runs.run import first_lines, summary_lines

    planned, folder = _plan(args)
    if folder.finished:
        print("\n".join(summary_lines(folder, planned)))
        return
    stages = [("command", started), ("latents", time.time())]
    try:
        with folder.locked(), _hardware(args, folder, process) as cluster:
            if process is None:
                stages.append(("Ray", time.time()))
            if len(cluster.nodes) > 1:
                check_shared(cluster.nodes, folder.path)
            use_gpu = planned.record.use_gpu if args.use_gpu is None else args.use_gpu
            workers = place(cluster, args.workers or planned.record.workers, use_gpu)
            planned.write(folder, cluster)
            print("\n".join(first_lines(planned, folder, cluster)))
            start = _starter(planned, folder, cluster, workers, process)
            engine = "" if process else "Ray Train"
            Follower(folder, planned.config.epochs, planned.config.batch_size, stages, print, engine).follow(start)
    except BaseException:
        folder.remove_if_new()
        raise
    print()
    print("\n".join(summary_lines(folder, planned)))


def _plan(args: argparse.Namespace) -> tuple[Run, RunFolder]:
    """The run that is asked for, checked, and its folder."""
    from fervit.runs.folder import RunFolder, new_folder, run_name
    from fervit.runs.run import prepare, prepare_resume

    given = given_fields(args, TrainConfig)
    if args.resume:
        folder = RunFolder(args.resume.absolute())
        latents = {"train": args.latent_train_dir, "val": args.latent_val_dir}
        return prepare_resume(folder, given, args.recipe, latents), folder
    planned = prepare(
        given,
        args.recipe or "guide",
        args.latent_train_dir,
        args.latent_val_dir,
        workers=args.workers or 1,
        use_gpu=args.use_gpu,
    )
    return planned, RunFolder(new_folder(run_name(planned.config)))


def _hardware(
    args: argparse.Namespace, folder: RunFolder, process: WarmProcess | None
) -> AbstractContextManager[Cluster]:
    """This machine, or the cluster that Ray joins or starts."""
    if process:
        return nullcontext(process.machine())
    from fervit.cluster.connection import connect

    return connect(args.address, folder.ray_log)


def _starter(
    planned: Run, folder: RunFolder, cluster: Cluster, workers: Workers, process: WarmProcess | None
) -> Callable[[], Job]:
    """What starts the training, in the process or with Ray Train."""
    if process:
        from fervit.runs.process import ProcessJob

        return lambda: ProcessJob(process, planned.config, planned.train, planned.val, workers, folder)
    from fervit.runs.distributed import TrainingJob

    return lambda: TrainingJob(
        planned.config,
        planned.train,
        planned.val,
        workers,
        folder,
        local=cluster.started_here,
        elsewhere=len(cluster.nodes) > 1,
    )


if __name__ == "__main__":
    run(main)
