"""Writes report.html: one page, in one file, that shows what a sweep, a training run or an evaluation found."""

from __future__ import annotations

from pathlib import Path

from fervit.cli import Parser, positive_int
from fervit.commands.folders import refuse_no_results
from fervit.commands.output import add_format, printing
from fervit.system.program import called


def parser() -> Parser:
    """Defines the flags of `launch/report.py`.

    Returns:
        The parser of the flags.
    """
    flags = Parser(description=__doc__)
    flags.add_argument(
        "folder", type=Path, help=f"of a sweep or a run in experiments/, or what {called('evaluate')} wrote"
    )
    flags.add_argument(
        "--evaluation", type=Path, metavar="DIR", help="what `evaluate` wrote for it; left out: evaluation/ in it"
    )
    flags.add_argument(
        "--data_root", help="the faces, to show those that the model gets wrong; left out: where `encode` found them"
    )
    flags.add_argument(
        "--no_faces", action="store_true", help="show no pictures of faces, whose licence may forbid to publish them"
    )
    flags.add_argument(
        "--heads", type=positive_int, help="attention heads of another script's model whose file does not name them"
    )
    flags.add_argument(
        "--paper",
        type=Path,
        metavar="DIR",
        help="write all figures (PDF and SVG, column and page width, captions) and tables (LaTeX, CSV, Markdown), too",
    )
    add_format(flags, of="report")
    return flags


def main() -> None:
    """Runs the command with the flags of `sys.argv`.

    Raises:
        UserError: the folder holds no results, or the paper's is a file.
    """
    args = parser().parse()
    refuse_no_results(args.folder)

    from fervit.commands.results import Reported
    from fervit.report.write import write_report

    options = {"data_root": args.data_root, "no_faces": args.no_faces, "heads": args.heads}
    with printing(args.format) as give:
        path = write_report(args.folder, evaluation=args.evaluation, **options)
        size = path.stat().st_size
        print(f"written: {path} ({size / 1e6:.1f} MB); open it in any browser")
        files: list[str] = []
        if args.paper is not None:
            from fervit.report.paper.write import write_paper

            files = write_paper(args.folder, args.paper, evaluation=args.evaluation, heads=args.heads, say=print)
            print(f"written: {args.paper}, {len(files)} files: figures in three forms, tables and captions")
        give(Reported(report=path, bytes=size, paper=[str(args.paper / name) for name in files]))
