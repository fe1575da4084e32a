"""The parts that a section of the report is made of. The template page.html.jinja turns them into HTML."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import NamedTuple, Protocol

import plotly.graph_objects as go

from fervit.report.plots.plot import Plot


class ShownFace(Protocol):
    """A picture with a text below it."""

    @property
    def src(self) -> str:
        """The picture as a data URI, or "" if it cannot be found."""

    @property
    def alt(self) -> str:
        """The text alternative of the picture."""

    @property
    def caption(self) -> str:
        """The text below the picture."""


class Card(NamedTuple):
    """A number in large print, with its name above and a note below."""

    name: str
    value: str
    note: str = ""


@dataclass(frozen=True, kw_only=True)
class Table:
    """A table of texts. If it is sortable, a click on a heading sorts it."""

    caption: str
    headings: list[str]
    rows: list[list[str]]
    sortable: bool = False
    hint: str = ""
    """What a reader on a screen can do with it; it ends the caption there, and is not in a paper's."""
    name: str = ""
    """The name of its files in a paper's folder; "" for one of its section."""


@dataclass(frozen=True, kw_only=True)
class PlacedPlot:
    """A figure in its section."""

    id: str
    """The id of its HTML element."""
    figure: go.Figure
    alt: str
    """The text alternative: what the figure shows."""
    height: int
    """The height in pixels."""
    note: str
    """A text that follows the text alternative in the caption."""
    hint: str
    """What a reader on a screen can do with it; it ends the caption there, and is not in a paper's."""
    name: str
    """The name of its files in a paper's folder."""
    wide: bool
    """Whether it needs more width than a phone has, and scrolls there."""
    small: bool
    """Whether it is placed beside other small figures where there is room."""


@dataclass(kw_only=True)
class Section:
    """A section of the report. Its parts are shown in the order of the fields."""

    id: str
    title: str
    texts: list[str] = field(default_factory=list)
    cards: list[Card] = field(default_factory=list)
    plots: list[PlacedPlot] = field(default_factory=list)
    tables: list[Table] = field(default_factory=list)
    faces: Sequence[ShownFace] = field(default_factory=list)
    blocks: list[tuple[str, str]] = field(default_factory=list)
    """Preformatted texts, each with the line above it."""
    notes: list[str] = field(default_factory=list)
    """Remarks in small print."""

    def add(self, plot: Plot | None, note: str = "", *, hint: str = "", name: str = "", small: bool = False) -> None:
        """Adds a figure; None adds nothing. The arguments are those of `PlacedPlot`; "" names it after its section."""
        if plot is not None:
            self.plots.append(
                PlacedPlot(
                    id=f"{self.id}-{len(self.plots) + 1}",
                    figure=plot.figure,
                    alt=plot.alt,
                    height=plot.height,
                    note=note,
                    hint=hint,
                    name=name or self.id,
                    wide=plot.wide,
                    small=small,
                )
            )
