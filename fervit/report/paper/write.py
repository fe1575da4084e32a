"""Writes the figures and tables of a report into a folder for a paper."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

from fervit.errors import UserError
from fervit.io.disk import make_folder
from fervit.io.files import write_text
from fervit.plotting import COLUMN, PAGE, draw
from fervit.progress import Progress, Say
from fervit.report.paper.figures import PaperFigure, figures_of
from fervit.report.paper.tables import escaped, tables_latex, tables_of, write_table
from fervit.report.results import Results, read_results
from fervit.report.sections import sections_of, title_of, warnings_of

WIDTHS = {"column": COLUMN, "page": PAGE}
"""The widths that each figure is drawn at, in inches, by the end of the file's name."""
CAPTIONS_FILE, LATEX_FILE, FIGURES, TABLES = "captions.md", "figures.tex", "figures", "tables"
TABLES_FILE = "tables.tex"


def write_paper(
    folder: Path,
    paper: Path,
    *,
    evaluation: Path | None = None,
    heads: int | None = None,
    say: Say | None = None,
) -> list[str]:
    """Writes all figures and tables of a folder of results for a paper; those of an earlier call are replaced.

    `figures/NAME-column.pdf` and so on are 3.4 and 7 inches wide, without titles; `captions.md` has the caption of
    each, and `figures.tex` includes them in LaTeX. `tables/` has each table as LaTeX, CSV and Markdown, and
    `tables.tex` includes them.

    Args:
        folder: the folder of a sweep or a training run, or one that launch/evaluate.py wrote.
        paper: the folder to write into.
        evaluation: the folder that launch/evaluate.py wrote for a run; None for `evaluation/` in its folder.
        heads: the number of attention heads of another script's model whose file does not name it.
        say: shows the progress (`fervit.progress.Progress`); None for silence.

    Returns:
        The paths of all files, relative to `paper`, sorted.

    Raises:
        UserError: the folder holds no results, or `paper` is no folder.
    """
    if paper.exists() and not paper.is_dir():
        raise UserError(f"--paper {paper}: is a file; give a folder, which is made if it is not there")
    results = read_results(folder, evaluation=evaluation, heads=heads)
    sections = sections_of(results, no_faces=True)
    figures, tables = figures_of(results, sections), tables_of(sections, warnings_of(results))
    for part in (FIGURES, TABLES):
        make_folder(paper / part)
    files = _draw(figures, paper, say)
    for table in tables:
        write_table(table, paper / TABLES)
        files += [f"{TABLES}/{table.name}.{kind}" for kind in ("tex", "csv", "md")]
    write_text(paper / CAPTIONS_FILE, captions(results, figures))
    write_text(paper / LATEX_FILE, _latex(results, figures))
    write_text(paper / TABLES_FILE, tables_latex(tables, TABLES))
    return sorted([*files, CAPTIONS_FILE, LATEX_FILE, TABLES_FILE])


def _draw(figures: Sequence[PaperFigure], paper: Path, say: Say | None) -> list[str]:
    """Draws all figures at both widths, and returns the paths of their files, relative to `paper`."""
    files = []
    progress = Progress(len(figures), "figures", "drawing for a paper", say)
    for figure in figures:
        for name, width in WIDTHS.items():
            files += (own := [f"{FIGURES}/{figure.name}-{name}.{kind}" for kind in ("pdf", "svg")])
            draw(figure.painter, *(paper / file for file in own), width=width)
        progress.add(1)
    progress.close()
    return files


def captions(results: Results, figures: Sequence[PaperFigure]) -> str:
    """Returns the captions in Markdown, a section for each figure.

    Each ends with what a reader must know first, such as that the evaluation is optimistic.
    """
    lines = [f"# {title_of(results)}: captions of the figures", ""]
    for figure in figures:
        lines += [f"## {figure.name}", "", _caption(results, figure), ""]
    return "\n".join(lines)


def _caption(results: Results, figure: PaperFigure) -> str:
    return " ".join([figure.caption, *warnings_of(results)])


def _latex(results: Results, figures: Sequence[PaperFigure]) -> str:
    """A LaTeX file that includes each figure at the width of a column."""
    lines = ["% Needs the package graphicx. figure* with NAME-page.pdf and \\textwidth is as wide as a page.", ""]
    for figure in figures:
        lines += [
            r"\begin{figure}",
            r"\centering",
            f"\\includegraphics[width=\\columnwidth,height=0.8\\textheight,keepaspectratio]{{{FIGURES}/{figure.name}-column.pdf}}",
            f"\\caption{{{escaped(_caption(results, figure))}}}",
            f"\\label{{fig:{figure.name}}}",
            r"\end{figure}",
            "",
        ]
    return "\n".join(lines)
