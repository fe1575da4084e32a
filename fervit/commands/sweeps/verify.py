"""Computes every printed number of a sweep again from its record, its models and its latents, and names the first that
differs."""

from __future__ import annotations

from pathlib import Path

from fervit.cli import Parser
from fervit.commands.folders import refuse_no_sweep
from fervit.commands.output import add_format, printing


def parser() -> Parser:
    """Defines the flags of `launch/verify.py`.

    Returns:
        The parser of the flags.
    """
    flags = Parser(description=__doc__)
    flags.add_argument("sweep", type=Path, help="folder of a sweep that has ended")
    flags.add_argument("--latents", help="its latents, if they have moved; left out: where they were")
    flags.add_argument(
        "--retrain",
        action="store_true",
        help="train the chosen run again, too: the same bits on one CPU core of the same kind, else within the noise",
    )
    add_format(flags, of="verify")
    return flags


def main() -> int:
    """Runs the command with the flags of `sys.argv`.

    Returns:
        The exit status: 1 if a number or a file differs.

    Raises:
        UserError: the folder is no sweep's, the sweep has not ended, or its latents are not there.
    """
    args = parser().parse()
    refuse_no_sweep(args.sweep)

    from fervit.api.verify import verify
    from fervit.commands.results import Verified

    with printing(args.format) as give:
        found = verify(args.sweep, latents=args.latents, retrain=args.retrain)
        give(Verified(sweep=args.sweep, numbers=found.numbers, difference=found.difference))
    return int(bool(found.difference))
