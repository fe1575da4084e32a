"""Searches for the best LatentViT over a space of hyperparameters, on Ray Tune with Optuna."""

from __future__ import annotations

import sys
from pathlib import Path
from typing import TYPE_CHECKING

from fervit.cli import Parser, add_exclude, add_fractions, add_votes
from fervit.cluster.job import is_prepared
from fervit.commands.folders import refuse_no_sweep
from fervit.commands.output import add_format, printing
from fervit.commands.results import ChosenRun, ConfirmedTrial, Swept
from fervit.errors import UserError
from fervit.system.program import called, in_words

if TYPE_CHECKING:
    from fervit.search.outcome.result import SweepResult


def parser() -> Parser:
    """Defines the flags of `launch/tune.py`.

    Returns:
        The parser of the flags.
    """
    flags = Parser(description=__doc__)
    flags.add_argument(
        "--space", type=Path, required=True, help="a search space file, or the name of one of fervit's own, such as vit"
    )
    flags.add_argument("--latents", default="latents", help="folder with train/, val/ and test/ latents")
    flags.add_argument(
        "--set",
        action="append",
        default=[],
        metavar="A.B=V",
        help="override a key of the space file, such as search.trials=16; may be repeated",
    )
    flags.add_argument(
        "--resume",
        nargs="?",
        const="",
        metavar="SWEEP",
        help="go on with a sweep that was interrupted, or add trials to one that has ended: the folder given, or the "
        "newest of this space; where there is none, a new one starts",
    )
    flags.add_argument(
        "--dry_run", action="store_true", help="say what the sweep would do and take, without starting a trial"
    )
    flags.add_argument(
        "--second_look",
        action="store_true",
        help="open the test split again where the choice has changed since it was opened; this is recorded",
    )
    add_exclude(
        flags,
        f"lists of faces to train and validate without, as of {called('audit')}; the test split is measured whole, "
        "and without them, too",
    )
    add_votes(flags, "train and measure on the class of most votes, or on the share of each class")
    add_fractions(flags, "codes")
    flags.add_argument("--address", help="address of a Ray cluster; left out, RAY_ADDRESS or a local Ray")
    flags.add_argument("--output_dir", default="experiments", help="folder in which the sweep gets its folder")
    flags.add_argument(
        "--no_faces", action="store_true", help="show no pictures of faces in the report and the evaluation"
    )
    flags.add_argument(
        "--track",
        action="append",
        default=[],
        metavar="TRACKER",
        help="give all trials to mlflow, mlflow=URI, mlflow=FOLDER or wandb (offline), too; may be repeated",
    )
    add_format(flags, of="tune")
    return flags


def main() -> None:
    """Runs the command with the flags of `sys.argv`.

    Raises:
        UserError: the space or the latents are wrong.
        JobError: no trial finished.
        KeyboardInterrupt: the user pressed Ctrl-C. The message says how to continue.
    """
    args = parser().parse()

    from fervit.search.console.tracker_names import tracker_name
    from fervit.search.space.space_file import read_space

    for asked in args.track:
        tracker_name(asked)
    if args.resume and not is_prepared(Path(args.resume), Path(args.resume) / "sweep.yaml"):
        refuse_no_sweep(args.resume, "--resume")
    read_space(args.space, args.set)  # a mistake in it is told before torch and Ray are imported, which takes seconds

    from fervit.io.storage import child
    from fervit.latents.latent_set import refuse_missing_latents

    if args.resume is None:
        refuse_missing_latents(child(args.latents, "train"))

    from fervit.api.tune import SweepInterrupted, dry_run, tune

    given = {
        "overrides": args.set,
        "resume": _resume(args.resume),
        "address": args.address,
        "output_dir": args.output_dir,
        "exclude": args.exclude,
        "votes": args.votes,
        "votes_as": args.votes_as,
        "no_faces": args.no_faces,
        "val_fraction": args.val_fraction,
        "test_fraction": args.test_fraction,
        "split_seed": args.split_seed,
    }
    if args.dry_run:
        if args.format == "json":
            raise UserError("--format json: is of what a sweep found; leave it out with --dry_run, which says words")
        dry_run(args.space, args.latents, **given)
        return
    try:
        with printing(args.format) as give:
            give(_found(tune(args.space, args.latents, **given, track=args.track, second_look=args.second_look)))
    except SweepInterrupted as interrupt:
        command = in_words(sys.argv) + ("" if args.resume is not None else " --resume")
        raise KeyboardInterrupt(interrupt.summary(command)) from None


def _found(result: SweepResult) -> Swept:
    """Returns what a sweep found, as it is printed as JSON."""
    from fervit.report.write import FILE
    from fervit.search.records.ranking import counts_by_state, failures_by_kind

    metric, chosen = result.space.metric, result.chosen
    best = chosen.best(metric)
    assert best is not None
    ties = [one.record.number for one in result.ties]
    return Swept(
        name=result.space.name,
        folder=result.folder,
        model=result.model,
        report=result.folder / FILE,
        metric=metric.name,
        trials=dict(counts_by_state(result.records)),
        failures=dict(failures_by_kind(result.records)),
        ended_because=result.ended_because,
        seconds=result.seconds,
        chosen=ChosenRun(
            trial=chosen.number,
            seed=chosen.seed,
            params=chosen.params,
            value=metric.value(best),
            epoch=best.epoch,
            epochs=len(chosen.epochs),
        ),
        confirmed=[
            ConfirmedTrial(
                trial=one.record.number,
                values=list(one.values),
                mean=one.mean,
                half_width_95=one.half_width,
                missing=one.missing,
                tie=one.record.number in ties,
            )
            for one in result.confirmed
        ],
        evaluated_on=result.verdict.evaluation.split,
        looks=result.verdict.looks,
        evaluation=result.verdict.evaluation.metrics,
        train_again=result.train_again,
    )


def _resume(given: str | None) -> bool | str:
    """Converts the value of `--resume`, which is None, "" or a folder, to the argument of `fervit.tune`."""
    return False if given is None else given or True
