"""Writes tables as LaTeX (booktabs, tabularx), CSV and Markdown."""

from __future__ import annotations

import csv
import io
import re
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path

from fervit.io.files import write_text
from fervit.report.html import Card, Section, Table

LEFT_OUT = {"provenance", "wrong"}
"""The sections whose tables are of machines and of single faces."""
LONGEST = 20
"""The most rows of a LaTeX table, which stands on one page. The CSV beside it has all."""
OF_TRIALS = "trials"
"""The name of the table of all trials, which is that of its section."""
NOT_IN_PAPERS = {"rank", "state", "validation loss", "epochs", "seconds", "why"}
"""The columns of that table that a LaTeX table leaves out, since it would be wider than a page."""
COLUMN_CHARACTERS = 44
"""The characters that fit into a line of a column of 3.4 inches; a wider table takes the width of the text."""
WRAPPED = 14
"""The characters from which on a cell of text may take several lines, in a table of the width of the text."""
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
MINUS = re.compile(r"(?<![\w.{}-])-(?=\d)")
"""The hyphen before a negative number."""
NUMBER = re.compile(r"[-+]?[\d,]*\.?\d+(e[-+]?\d+)?( %|%)?", re.IGNORECASE)


def tables_of(sections: Sequence[Section], warnings: Sequence[str] = ()) -> list[Table]:
    """Returns the tables of a report, each with a name of its own, and its large numbers as a table "results".

    Args:
        sections: the sections of the report.
        warnings: what a reader must know first, such as that an encoder is untrained; each caption ends with it.
    """
    found = [_of_cards(section.cards) for section in sections if section.cards]
    taken = {table.name for table in found}
    for section in sections:
        for table in section.tables if section.id not in LEFT_OUT else ():
            base = re.sub(r"\W+", "_", table.name or section.id).strip("_")
            name = next(name for name in (base, *(f"{base}_{i}" for i in range(2, 10_000))) if name not in taken)
            taken.add(name)
            found.append(replace(table, name=name))
    said = " ".join(warnings)
    return [
        replace(table, caption=f"{table.caption.rstrip('.')}. {said}" if said else table.caption)
        for table in found
        if table.rows
    ]


def _of_cards(cards: Sequence[Card]) -> Table:
    rows = [[card.name, card.value, card.note] for card in cards]
    return Table(name="results", caption="Results", headings=["what", "value", "note"], rows=rows)


def write_table(table: Table, folder: Path) -> None:
    """Writes a table as NAME.tex, NAME.csv and NAME.md, each whole or not at all."""
    for suffix, text in (("tex", latex(table)), ("csv", as_csv(table)), ("md", markdown(table))):
        write_text(folder / f"{table.name}.{suffix}", text)


def latex(table: Table) -> str:
    r"""Returns a table in LaTeX, which needs the packages booktabs and tabularx.

    One that fits is as wide as a column. A wider one is a `table*` of the width of the text, whose texts take several
    lines. Of many rows it shows the first.
    """
    if table.name == OF_TRIALS:
        table = _narrower(table)
    caption, rows = table.caption, table.rows[:LONGEST]
    if len(rows) < len(table.rows):
        caption = f"{caption.rstrip('.')}. The first {LONGEST} of {len(table.rows)}; {table.name}.csv has all."
    columns = [[heading, *(row[i] for row in rows)] for i, heading in enumerate(table.headings)]
    kinds = ["r" if _is_numeric(column[1:]) else "l" for column in columns]
    longest = [max(map(len, column)) for column in columns]
    wide = sum(longest) + len(longest) > COLUMN_CHARACTERS
    if wide:
        texts = [i for i, kind in enumerate(kinds) if kind == "l" and longest[i] > WRAPPED]
        for i in texts or [longest.index(max(longest))]:
            kinds[i] = r">{\raggedright\arraybackslash}X"
    # A heading of several words beside numbers breaks between them, as it would make its column wide.
    heads = [_stacked(head) if wide and kinds[i] == "r" else escaped(head) for i, head in enumerate(table.headings)]
    body = (
        rf"\begin{{tabularx}}{{\linewidth}}{{{''.join(kinds)}}}" if wide else rf"\begin{{tabular}}{{{''.join(kinds)}}}"
    )
    environment, ending = ("table*", "tabularx") if wide else ("table", "tabular")
    return "\n".join(
        [
            "% Needs the packages booktabs and tabularx.",
            rf"\begin{{{environment}}}",
            r"\centering\footnotesize",
            r"\setlength{\belowcaptionskip}{4pt}\setlength{\tabcolsep}{3pt}",
            rf"\caption{{{escaped(caption)}}}",
            rf"\label{{tab:{table.name}}}",
            body,
            r"\toprule",
            _row(heads),
            r"\midrule",
            *(_row([escaped(cell) for cell in row]) for row in rows),
            r"\bottomrule",
            rf"\end{{{ending}}}",
            rf"\end{{{environment}}}",
            "",
        ]
    )


def _narrower(table: Table) -> Table:
    """The table of all trials with the columns that a paper shows."""
    kept = [i for i, heading in enumerate(table.headings) if heading not in NOT_IN_PAPERS]
    return replace(
        table, headings=[table.headings[i] for i in kept], rows=[[row[i] for i in kept] for row in table.rows]
    )


def _stacked(heading: str) -> str:
    """A heading, each of whose words has a line."""
    words = heading.split()
    if len(words) < 2:
        return escaped(heading)
    lines = r"\\".join(map(escaped, words))
    return rf"\begin{{tabular}}[b]{{@{{}}r@{{}}}}{lines}\end{{tabular}}"


def tables_latex(tables: Sequence[Table], folder: str) -> str:
    """A LaTeX file that includes each table of a folder."""
    lines = ["% Needs the packages booktabs and tabularx.", *(rf"\input{{{folder}/{one.name}.tex}}" for one in tables)]
    return "\n".join([*lines, ""])


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
    text = "".join(SPECIAL.get(character, character) for character in text).replace("--", "-{}-")
    return MINUS.sub(r"\\ensuremath{-}", text)


def _row(cells: Sequence[str]) -> str:
    row = " & ".join(cells) + r" \\"
    return "{}" + row if row.startswith(("[", "*")) else row  # which would belong to the line or the rule before it


def _is_numeric(column: Sequence[str]) -> bool:
    """Whether a column has numbers alone, and so stands to the right."""
    return any(column) and all(NUMBER.fullmatch(cell) for cell in column if cell)
