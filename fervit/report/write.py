"""Writes report.html, one file that opens from disk and loads nothing from the network."""

from __future__ import annotations

import json
from collections.abc import Sequence
from datetime import UTC, datetime
from pathlib import Path

import jinja2
from plotly.offline import get_plotlyjs

from fervit.io.files import JsonObject, write_text
from fervit.report.html import Section
from fervit.report.results import Results, SweepReading, read_results
from fervit.report.sections import sections_of, subtitle_of, title_of, warnings_of
from fervit.search.outcome.fingerprints import renew_fingerprint
from fervit.search.records.sweep_folder import SweepFolder
from fervit.version import __version__

FILE = "report.html"
HERE = Path(__file__).parent


def write_report(
    folder: Path,
    *,
    evaluation: Path | None = None,
    data_root: str | None = None,
    no_faces: bool = False,
    running: bool | None = None,
    reading: SweepReading | None = None,
    heads: int | None = None,
) -> Path:
    """Writes `report.html` into a folder of results, whole or not at all, and returns its path.

    Args:
        folder: the folder of a sweep or a training run, or one that launch/evaluate.py wrote.
        evaluation: the folder that launch/evaluate.py wrote for a run; None for `evaluation/` in its folder.
        data_root: the data root of the faces, to show those that the model gets wrong; None for the one that
            launch/encode.py read.
        no_faces: whether to show no pictures of faces, as for sweeps that were begun with `--no_faces`.
        running: whether the sweep or run is still running; None finds out by its lock.
        reading: what an earlier call has read of the sweep; None reads all of it.
        heads: the number of attention heads of another script's model whose file does not name it.

    Raises:
        UserError: the folder holds no results or lacks a file, or a file is damaged.
    """
    results = read_results(folder, evaluation=evaluation, running=running, reading=reading, heads=heads)
    path = folder / FILE
    write_text(path, render(results, sections_of(results, data_root, no_faces=no_faces)))
    if results.kind == "sweep" and results.state == "finished":
        renew_fingerprint(SweepFolder(results.folder), results.folder / FILE)
    return path


def render(results: Results, sections: list[Section]) -> str:
    """Renders the HTML of the report."""
    return render_page(title_of(results), subtitle_of(results), sections, warnings_of(results))


def render_page(title: str, subtitle: str, sections: Sequence[Section], warnings: Sequence[str] = ()) -> str:
    """Renders a page of HTML in one file, which loads nothing from the network.

    Args:
        title: the title.
        subtitle: the line below it.
        sections: the sections; the link to the result leads to the one whose id is `answer`.
        warnings: what a reader must know first.
    """
    environment = jinja2.Environment(
        loader=jinja2.FileSystemLoader(HERE), autoescape=True, trim_blocks=True, undefined=jinja2.StrictUndefined
    )
    figures: dict[str, JsonObject] = {}
    for section in sections:
        for plot in section.plots:
            figures[plot.id] = json.loads(plot.figure.to_json())
            figures[plot.id]["layout"].pop("template", None)
    return environment.get_template("page.html.jinja").render(
        title=title,
        subtitle=subtitle,
        warnings=warnings,
        sections=sections,
        figures=json.dumps(figures, separators=(",", ":")).replace("<", "\\u003c"),
        css=(HERE / "page.css").read_text(encoding="utf-8"),
        js=(HERE / "page.js").read_text(encoding="utf-8"),
        plotly=get_plotlyjs() if figures else "",
        version=__version__,
        footer=f"Written by fervit {__version__} on {datetime.now(UTC):%Y-%m-%d %H:%M} UTC.",
    )
