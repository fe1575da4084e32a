"""Searches for the best LatentViT over a space of hyperparameters, on Ray Tune with Optuna."""

from __future__ import annotations

import argparse
import contextlib
import shlex
import sys
from pathlib import Path
from typing import TYPE_CHECKING

from fervit.cli import Parser, run
from fervit.errors import UserError
from fervit.files import first_line, near

if TYPE_CHECKING:
    from fervit.search.space.search_space import SearchSpace
    from fervit.search.splits import Splits


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
    parser.add_argument(
        "--resume",
        nargs="?",
        const="",
        metavar="SWEEP",
        help="go on with a sweep that was interrupted, or add trials to one that has ended: the folder given, or the "
        "newest of this space; where there is none, a new one starts",
    )
    parser.add_argument(
        "--dry_run", action="store_true", help="say what the sweep would do and take, without starting a trial"
    )
    parser.add_argument(
        "--second_look",
        action="store_true",
        help="open the test split again where the choice has changed since it was opened; this is recorded",
    )
    parser.add_argument("--address", help="address of a Ray cluster; left out, RAY_ADDRESS or a local Ray")
    args = parser.parse()

    import yaml

    from fervit.search.preflight import describe_space
    from fervit.search.records.sweep_folder import SweepFolder, check_same, earlier_sweep
    from fervit.search.space.space_file import read_space
    from fervit.search.splits import open_splits

    space = read_space(args.space, args.set)
    print(yaml.safe_dump(space.to_json(), sort_keys=False, default_flow_style=None, width=120).rstrip())
    print(f"space {space.name}: {describe_space(space)}")
    splits = open_splits(args.latents, space)
    print(f"latents: {len(splits.train)} train, {len(splits.val)} val, {splits.test or 'NO test split'}")
    if splits.test is None:
        print(f"{args.latents}/test: no latents there; the best model will be evaluated on validation, marked as such")

    from fervit.runs.folder import new_folder

    earlier = earlier_sweep(space, args.resume or "")
    if args.resume is not None and earlier is not None:
        check_same(space, splits, earlier)
        print(f"going on with {earlier.path}")
        files, is_new = earlier, False
    else:
        if earlier is not None and not args.dry_run:
            print(f"a new sweep; --resume would go on with {earlier.path}")
        files, is_new = SweepFolder(new_folder(space.name)), True
    with files.locked():
        try:
            _sweep(space, splits, files.path, args, is_new=is_new)
        except UserError:
            if is_new:
                files.remove_if_new()
            raise
        if args.dry_run and is_new:
            files.remove_if_new()


def _sweep(space: SearchSpace, splits: Splits, folder: Path, args: argparse.Namespace, *, is_new: bool) -> None:
    """Everything that needs the cluster."""
    from fervit.cluster.connection import connect
    from fervit.search.startup import expectations, look_around

    with connect(args.address, folder / "ray.log") as cluster:
        resources = look_around(space, splits, args.latents, folder, cluster, print)
        if args.dry_run or is_new:
            print(expectations(space, splits, resources, cluster, measure=args.dry_run))
        if args.dry_run:
            print("nothing was started")
            return
        print(f"watch: {cluster.watch} | tensorboard --logdir {folder / 'logs'}", end=" | ")
        print(f"optuna-dashboard {folder / 'study.journal'}")

        from fervit.report.live import live_report
        from fervit.search.console.after import summarise, summarise_interrupted
        from fervit.search.console.live import screen
        from fervit.search.pipeline import run_sweep
        from fervit.search.workers.prometheus import Metrics

        try:
            with live_report(folder), screen(print) as shown:
                share = resources.gpus * resources.workers / cluster.gpus if cluster.gpus else 0.0
                observers = [shown, Metrics(folder.name, share)]
                result = run_sweep(
                    space, splits, resources, folder, cluster, print, observers=observers, second_look=args.second_look
                )
        except KeyboardInterrupt:
            command = shlex.join(["python", *sys.argv]) + ("" if args.resume is not None else " --resume")
            print(summarise_interrupted(space, folder, command), file=sys.stderr)
            with contextlib.suppress(KeyboardInterrupt):  # whoever presses again wants to leave
                _report(folder)
            raise SystemExit(130) from None
        except Exception:
            print(_report(folder))
            raise
        dashboard = cluster.watch
        if cluster.started_here:
            dashboard += " until this command ended (`ray start --head` first keeps it up)"
    report = _report(folder)
    print()
    print(summarise(result, dashboard))
    print(report)


def _report(folder: Path) -> str:
    """Writes report.html as the sweep stands now. What goes wrong there does not undo the sweep."""
    from fervit.report.write import write_report

    try:
        path = write_report(folder, running=False)
    except Exception as error:
        return f"Report       could not be written ({first_line(error)}); launch/report.py {folder} tries again"
    return f"Report       {near(path)}"


if __name__ == "__main__":
    run(main)
