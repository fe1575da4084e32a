"""Writes report.html: one file that opens from disk and asks nothing of the network."""

from __future__ import annotations

import json
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import jinja2
from plotly.offline import get_plotlyjs

from fervit.files import write_text
from fervit.report.html import Section
from fervit.report.results import Story, read_story
from fervit.report.sections import sections_of, subtitle_of, title_of, warnings_of
from fervit.version import __version__

FILE = "report.html"
HERE = Path(__file__).parent


def write_report(
    folder: Path, *, evaluation: Path | None = None, data_root: str | None = None, running: bool | None = None
) -> Path:
    """Writes `report.html` into a folder of results, whole or not at all, and returns its path.

    Args:
        folder: of a sweep, a training run, or what launch/evaluate.py wrote.
        evaluation: what launch/evaluate.py wrote for a run; left out, `evaluation/` in the folder.
        data_root: the faces, to show those that the model gets wrong; left out, where encode.py found them.
        running: whether the sweep or run goes on; None looks.

    Raises:
        UserError: the folder holds no results, or lacks a file.
    """
    story = read_story(folder, evaluation=evaluation, running=running)
    path = folder / FILE
    write_text(path, render(story, sections_of(story, data_root)))
    return path


def render(story: Story, sections: list[Section]) -> str:
    """The page."""
    environment = jinja2.Environment(
        loader=jinja2.FileSystemLoader(HERE), autoescape=True, trim_blocks=True, undefined=jinja2.StrictUndefined
    )
    figures: dict[str, Any] = {}
    for section in sections:
        for plot in section.plots:
            figures[plot["id"]] = json.loads(plot["figure"].to_json())
            figures[plot["id"]]["layout"].pop("template", None)
    return environment.get_template("page.html.jinja").render(
        title=title_of(story),
        subtitle=subtitle_of(story),
        warnings=warnings_of(story),
        sections=sections,
        figures=json.dumps(figures, separators=(",", ":")).replace("<", "\\u003c"),
        css=(HERE / "page.css").read_text(encoding="utf-8"),
        js=(HERE / "page.js").read_text(encoding="utf-8"),
        plotly=get_plotlyjs(),
        version=__version__,
        footer=f"Written by fervit {__version__} on {datetime.now(UTC):%Y-%m-%d %H:%M} UTC.",
    )
