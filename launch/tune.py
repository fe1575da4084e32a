"""Searches for the best LatentViT over a space of hyperparameters, on Ray Tune with Optuna."""

from __future__ import annotations

import shutil
from pathlib import Path

from fervit.cli import Parser, run
from fervit.errors import UserError


def main() -> None:
    parser = Parser(description=__doc__)
    parser.add_argument(
        "--space", type=Path, required=True, help="the search space file, such as search_spaces/vit.yaml"
    )
    parser.add_argument("--latents", default="latents", help="folder with train/, val/ and test/ latents")
    parser.add_argument(
        "--set",
        action="append",
        default=[],
        metavar="A.B=V",
        help="override a key of the space file, such as search.trials=16; may be repeated",
    )
    parser.add_argument("--address", help="address of a Ray cluster; left out, RAY_ADDRESS or a local Ray")
    args = parser.parse()

    from fervit.search.preflight import describe_space, open_splits, placeable
    from fervit.search.space import read_space

    space = read_space(args.space, args.set)
    print(f"space {space.name}: {describe_space(space)}")
    splits = open_splits(args.latents, space)
    print(f"latents: {len(splits.train)} train, {len(splits.val)} val, {splits.test or 'NO test split'}")
    if splits.test is None:
        print(f"{args.latents}/test: no latents there; the best model will be evaluated on validation, marked as such")

    from fervit.cluster import connect
    from fervit.search.pipeline import run_sweep
    from fervit.search.summary import summarise
    from fervit.training.run_folder import new_folder

    folder = new_folder(space.name)
    with connect(args.address, folder / "ray.log") as cluster:
        try:
            resources, remark = placeable(space.trial, cluster.nodes)
        except UserError:
            shutil.rmtree(folder)  # nothing has been done in it
            raise
        if remark:
            print(remark)
        print(f"cluster: {len(cluster.nodes)} nodes, {cluster.cpus:g} CPUs, {cluster.gpus:g} GPUs")
        print(f"watch: {cluster.dashboard} | tensorboard --logdir {folder / 'logs'}")
        result = run_sweep(space, splits, resources, folder, cluster, print)
        dashboard = f"{cluster.dashboard}"
        if cluster.started_here:
            dashboard += " until this command ended (`ray start --head` first keeps it up)"
    print()
    print(summarise(result, dashboard))


if __name__ == "__main__":
    run(main)
