"""Compares what several runs, sweeps or checkpoints reached, and says which differences are more than noise."""

from __future__ import annotations

import csv
import shutil
import sys
from pathlib import Path
from typing import TYPE_CHECKING

from fervit.cli import Parser, positive_int, refuse_missing
from fervit.commands.output import add_format, printing
from fervit.errors import NO_RUN, UserError

if TYPE_CHECKING:
    from fervit.evaluation.comparison.contenders import Compared, Contender


def parser() -> Parser:
    """Defines the flags of `launch/compare.py`.

    Returns:
        The parser of the flags.
    """
    flags = Parser(description=__doc__)
    flags.add_argument(
        "runs", nargs="+", type=Path, metavar="RUN", help="folder of a run, a sweep or an evaluation, or a checkpoint"
    )
    flags.add_argument(
        "--latent_test_dir",
        help="evaluate all on this split now; left out: what `evaluate` or the sweep said of each model",
    )
    add_format(flags, "table", "csv", of="compare")
    flags.add_argument(
        "--picture", type=Path, default=Path("comparison.png"), help="file for the picture: .png, .pdf or .svg"
    )
    flags.add_argument("--batch_size", type=positive_int, default=32, help="codes in a forward pass")
    flags.add_argument(
        "--heads", type=positive_int, help="attention heads of other scripts' models whose files do not name them"
    )
    return flags


def main() -> None:
    """Runs the command with the flags of `sys.argv`.

    Raises:
        UserError: none of the paths holds a model, or a model does not fit the rows of the split.
    """
    flags = parser()
    args = flags.parse()
    if args.picture.suffix.lower() not in (".png", ".pdf", ".svg"):
        flags.error(f"--picture {args.picture}: must end in .png, .pdf or .svg")
    refuse_missing([str(run) for run in args.runs], NO_RUN)

    from fervit.evaluation.comparison.compare import compare, read_contender, record_comparison, runs_in
    from fervit.evaluation.comparison.figure import draw_comparison
    from fervit.latents import LatentSet
    from fervit.system.side_channels import SideChannel

    latents = LatentSet.read(args.latent_test_dir) if args.latent_test_dir else None
    with printing(args.format) as give:
        contenders: list[Contender] = []
        for path in [run for given in args.runs for run in runs_in(given)]:
            try:
                contenders.append(read_contender(path, latents, args.batch_size, heads=args.heads))
            except UserError as error:
                if len(args.runs) == 1 or not path.exists():
                    raise
                _say(f"left out: {error}")
        if not contenders:
            raise UserError("none of these holds a model; give folders of experiments/, checkpoints, or evaluations")
        for line in record_comparison(contenders, latents, args.picture.parent) if latents is not None else ():
            _say(line)
        rows = compare(contenders)
        if args.format != "json":
            (_csv if args.format == "csv" else _table)(rows)
        give(rows)
    evaluated = [row for row in rows if row.accuracy is not None]
    if seen := [one.name for one in contenders if one.seen]:
        _say(f"NOT unseen, so the numbers are optimistic: these rows trained or chose {', '.join(seen)}")
    if len(evaluated) == 1 and len(rows) > 1:
        _say("only one of these is evaluated, so nothing is compared")
    if len(evaluated) < len(rows):
        _say("not evaluated: --latent_test_dir evaluates all on the same rows")
    if any(row.accuracy_95 is not None for row in evaluated):
        drawn = [row for row in evaluated if row.accuracy_95 is not None]
        earlier = ", in place of the one that was there" if args.picture.exists() else ""
        SideChannel("the picture", _say)(draw_comparison, drawn, args.picture)
        _say(f"picture: {args.picture}{earlier}")


def _table(rows: list[Compared]) -> None:
    def number(value: float | None, interval: tuple[float, float] | None = None) -> str:
        if value is None:
            return "-"
        return f"{value:.3f}" + (f" ({interval[0]:.3f} to {interval[1]:.3f})" if interval else "")

    headings = ["", "validation macro-F1", "split", "n", "accuracy (95 %)", "macro-F1 (95 %)", "p", "McNemar p", ""]
    cells = [
        [
            row.name,
            number(row.validation_f1_macro),
            row.split or "-",
            str(row.n or "-"),
            number(row.accuracy, row.accuracy_95),
            number(row.f1_macro, row.f1_macro_95),
            *("-" if p is None else f"{p:.3g}" for p in (row.p_among_best, row.p_mcnemar)),
            row.standing + (", but more often right" if row.more_accurate else ""),
        ]
        for row in rows
    ]
    widths = [max(len(line[i]) for line in [headings, *cells]) for i in range(len(headings))]
    if sys.stdout.isatty() and sum(widths) + 2 * len(widths) > shutil.get_terminal_size().columns:
        _blocks(headings, cells)
    else:
        for line in [headings, *cells]:
            print("  ".join(cell.ljust(width) for cell, width in zip(line, widths, strict=True)).rstrip())
    if any(row.p_among_best is not None for row in rows):
        print(
            "tie: may be the best by macro-F1; equally good models are called worse in 5 % of test sets, however many "
            "they are (p, model confidence set). McNemar's test of accuracy only informs"
        )


def _blocks(headings: list[str], cells: list[list[str]]) -> None:
    """Prints some lines for each model, where its row does not fit into the terminal."""
    for name, *values, standing in cells:
        print(f"{name}: {standing}")
        known = [f"{what} {value}" for what, value in zip(headings[1:], values, strict=False) if value != "-"]
        for i in range(0, len(known), 2):
            print("    " + ", ".join(known[i : i + 2]))


def _csv(rows: list[Compared]) -> None:
    def flat(row: Compared) -> dict[str, object]:
        found: dict[str, object] = {}
        for key, value in row.to_json().items():
            if key.endswith("_95"):
                low, high = value or ("", "")
                found |= {f"{key}_low": low, f"{key}_high": high}
            else:
                found[key] = "" if value is None else value
        return found

    writer = csv.DictWriter(sys.stdout, list(flat(rows[0])), lineterminator="\n")
    writer.writeheader()
    writer.writerows(flat(row) for row in rows)


def _say(message: str) -> None:
    """Prints a message to standard error, since standard output has only the table."""
    print(message, file=sys.stderr)
