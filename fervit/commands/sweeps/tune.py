"""Searches for the best LatentViT over a space of hyperparameters, on Ray Tune with Optuna."""

from __future__ import annotations

import sys
from pathlib import Path

from fervit.cli import Parser, add_exclude, add_fractions, add_votes
from fervit.system.program import called, in_words


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
    return flags


def main() -> None:
    """Runs the command with the flags of `sys.argv`.

    Raises:
        UserError: the space or the latents are wrong.
        JobError: no trial finished.
        KeyboardInterrupt: the user pressed Ctrl-C. The message says how to continue.
    """
    args = parser().parse()

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
        dry_run(args.space, args.latents, **given)
        return
    try:
        tune(args.space, args.latents, **given, second_look=args.second_look)
    except SweepInterrupted as interrupt:
        command = in_words(sys.argv) + ("" if args.resume is not None else " --resume")
        raise KeyboardInterrupt(interrupt.summary(command)) from None


def _resume(given: str | None) -> bool | str:
    """Converts the value of `--resume`, which is None, "" or a folder, to the argument of `fervit.tune`."""
    return False if given is None else given or True
