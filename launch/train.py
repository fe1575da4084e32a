"""Trains one LatentViT on Ray Train, on one or several workers, and goes on with a run that was cut short."""

from __future__ import annotations

import time
from pathlib import Path

from fervit.cli import Parser, add_fields, given_fields, positive_int, run
from fervit.errors import UserError
from fervit.training.config import TrainConfig
from fervit.training.recipes import RECIPES


def main() -> None:
    started = time.time()
    parser = Parser(description=__doc__)
    parser.add_argument("--latent_train_dir", help="folder with the training split's Parquet files")
    parser.add_argument("--latent_val_dir", help="folder with the validation split's Parquet files")
    parser.add_argument("--recipe", choices=list(RECIPES), help="a set of hyperparameters; flags override it")
    parser.add_argument("--resume", type=Path, metavar="RUN", help="go on with the run of this folder")
    parser.add_argument("--workers", type=positive_int, help="processes that train together, by DDP (default: 1)")
    parser.add_argument("--use_gpu", action="store_true", default=None, help="a GPU a worker; used anyway if there is")
    parser.add_argument("--no_use_gpu", action="store_false", dest="use_gpu", default=None, help="train on the CPU")
    parser.add_argument("--address", help="address of a Ray cluster; left out, RAY_ADDRESS or a local Ray")
    add_fields(parser, TrainConfig, "hyperparameters")
    args = parser.parse()
    given = given_fields(args, TrainConfig)

    from fervit.runs.folder import RunFolder, new_folder, run_name
    from fervit.runs.run import first_lines, prepare, prepare_resume, summary_lines

    if args.resume:
        folder = RunFolder(args.resume.absolute())
        latents = {"train": args.latent_train_dir, "val": args.latent_val_dir}
        planned = prepare_resume(folder, given, args.recipe, latents)
        if folder.finished:
            print("\n".join(summary_lines(folder, planned)))
            return
    else:
        for flag in ("latent_train_dir", "latent_val_dir"):
            if getattr(args, flag) is None:
                raise UserError(f"--{flag}: is missing; give the folder that launch/encode.py wrote, or --resume RUN")
        planned = prepare(
            given,
            args.recipe or "guide",
            args.latent_train_dir,
            args.latent_val_dir,
            workers=args.workers or 1,
            use_gpu=args.use_gpu,
        )
        folder = RunFolder(new_folder(run_name(planned.config)))
    n_workers = args.workers or planned.record.workers
    use_gpu = planned.record.use_gpu if args.use_gpu is None else args.use_gpu

    from fervit.cluster.connection import connect
    from fervit.cluster.shared_folder import check_shared
    from fervit.runs.console import Follower
    from fervit.runs.distributed import TrainingJob, place

    stages = [("command", started), ("latents", time.time())]
    try:
        with folder.locked(), connect(args.address, folder.ray_log) as cluster:
            stages.append(("Ray", time.time()))
            if len(cluster.nodes) > 1:
                check_shared(cluster.nodes, folder.path)
            workers = place(cluster, n_workers, use_gpu)
            planned.write(folder, cluster)
            print("\n".join(first_lines(planned, folder, cluster)))

            def start() -> TrainingJob:
                return TrainingJob(
                    planned.config, planned.train, planned.val, workers, folder, local=cluster.started_here
                )

            Follower(folder, planned.config.epochs, planned.config.batch_size, stages, print).follow(start)
    except BaseException:
        folder.remove_if_new()
        raise
    print()
    print("\n".join(summary_lines(folder, planned)))


if __name__ == "__main__":
    run(main)
