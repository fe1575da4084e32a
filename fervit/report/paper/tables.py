"""Writes tables as LaTeX (booktabs), CSV and Markdown."""

from __future__ import annotations

import csv
import io
import re
from collections.abc import Sequence
from pathlib import Path

from fervit.io.files import write_text
from fervit.report.html import Card, Section, Table

LEFT_OUT = {"provenance", "wrong"}
"""The sections whose tables are of machines and of single faces."""
LONGEST = 40
"""The most rows of a LaTeX table that stands on one page; a longer one is a longtable."""
SPECIAL = {
    "\\": r"\textbackslash{}",
    "~": r"\textasciitilde{}",
    "^": r"\textasciicircum{}",
    "<": r"\textless{}",
    ">": r"\textgreater{}",
    "±": r"\ensuremath{\pm}",
    "\u00d7": r"\ensuremath{\times}",
    "\u2265": r"\ensuremath{\geq}",
    "\u2264": r"\ensuremath{\leq}",
    "\u2192": r"\ensuremath{\rightarrow}",
    "\u2212": r"\ensuremath{-}",
    "\u00b5": r"\ensuremath{\mu}",
    "\u03bc": r"\ensuremath{\mu}",
    "|": r"\textbar{}",
    '"': "''",
    "`": r"\textasciigrave{}",
    **{character: f"\\{character}" for character in "&%$#_{}"},
}
NUMBER = re.compile(r"[-+]?[\d,]*\.?\d+(e[-+]?\d+)?( %|%)?", re.IGNORECASE)


def tables_of(sections: Sequence[Section]) -> list[Table]:
    """Returns the tables of a report, each with a name of its own, and its large numbers as a table "results"."""
    found = [_of_cards(section.cards) for section in sections if section.cards]
    taken = {table.name for table in found}
    for section in sections:
        for table in section.tables if section.id not in LEFT_OUT else ():
            base = re.sub(r"\W+", "_", table.name or section.id).strip("_")
            name = next(name for name in (base, *(f"{base}_{i}" for i in range(2, 10_000))) if name not in taken)
            taken.add(name)
            found.append(Table(name=name, caption=table.caption, headings=table.headings, rows=table.rows))
    return [table for table in found if table.rows]


def _of_cards(cards: Sequence[Card]) -> Table:
    rows = [[card.name, card.value, card.note] for card in cards]
    return Table(name="results", caption="Results", headings=["what", "value", "note"], rows=rows)


def write_table(table: Table, folder: Path) -> None:
    """Writes a table as NAME.tex, NAME.csv and NAME.md, each whole or not at all."""
    for suffix, text in (("tex", latex(table)), ("csv", as_csv(table)), ("md", markdown(table))):
        write_text(folder / f"{table.name}.{suffix}", text)


def latex(table: Table) -> str:
    """Returns a table in LaTeX, which needs the package booktabs, and longtable if it is longer than a page."""
    columns = "".join("r" if _is_numeric([row[i] for row in table.rows]) else "l" for i in range(len(table.headings)))
    rows = [_row(row) for row in table.rows]
    caption = f"\\caption{{{escaped(table.caption)}}}"
    label = f"\\label{{tab:{table.name}}}"
    head = [r"\toprule", _row(table.headings), r"\midrule"]
    if len(rows) > LONGEST:
        top = [f"\\begin{{longtable}}{{{columns}}}", rf"{caption}{label}\\"]
        return "\n".join([*top, *head, r"\endhead", *rows, r"\bottomrule", r"\end{longtable}", ""])
    top = [r"\begin{table}", r"\centering", caption, label, f"\\begin{{tabular}}{{{columns}}}"]
    return "\n".join([*top, *head, *rows, r"\bottomrule", r"\end{tabular}", r"\end{table}", ""])


def as_csv(table: Table) -> str:
    """Returns a table as CSV, whose first line has the headings."""
    text = io.StringIO()
    csv.writer(text, lineterminator="\n").writerows([table.headings, *table.rows])
    return text.getvalue()


def markdown(table: Table) -> str:
    """Returns a table in Markdown, below its caption."""

    def row(cells: Sequence[str]) -> str:
        return "| " + " | ".join(cell.replace("|", r"\|") for cell in cells) + " |"

    rule = "|" + "---|" * len(table.headings)
    return "\n".join([table.caption, "", row(table.headings), rule, *map(row, table.rows), ""])


def escaped(text: str) -> str:
    """Returns a text in which no character means anything to LaTeX."""
    return "".join(SPECIAL.get(character, character) for character in text).replace("--", "-{}-")


def _row(cells: Sequence[str]) -> str:
    row = " & ".join(map(escaped, cells)) + r" \\"
    return "{}" + row if row.startswith(("[", "*")) else row  # which would belong to the line's end before it


def _is_numeric(column: Sequence[str]) -> bool:
    """Whether a column has numbers alone, and so stands to the right."""
    return any(column) and all(NUMBER.fullmatch(cell) for cell in column if cell)
