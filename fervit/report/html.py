"""What a section of the report is made of."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Any, NamedTuple

from fervit.report.faces import Face
from fervit.report.plots.plot import Plot


class Card(NamedTuple):
    name: str
    value: str
    note: str = ""


@dataclass(frozen=True, kw_only=True)
class Table:
    caption: str
    headings: list[str]
    rows: list[list[str]]
    sortable: bool = False


@dataclass(kw_only=True)
class Section:
    id: str
    title: str
    texts: list[str] = field(default_factory=list)
    cards: list[Card] = field(default_factory=list)
    plots: list[dict[str, Any]] = field(default_factory=list)
    tables: list[Table] = field(default_factory=list)
    faces: list[Face] = field(default_factory=list)
    blocks: list[tuple[str, str]] = field(default_factory=list)
    """Each with the line above it."""
    notes: list[str] = field(default_factory=list)
    """Below all else."""

    def add(self, plot: Plot | None, note: str = "", *, small: bool = False) -> None:
        """Takes a figure in; None is passed over. Small ones stand side by side where there is room."""
        if plot is not None:
            name = f"{self.id}-{len(self.plots) + 1}"
            self.plots.append(
                {
                    "id": name,
                    "figure": plot.figure,
                    "alt": plot.alt,
                    "height": plot.height,
                    "note": note,
                    "small": small,
                }
            )
