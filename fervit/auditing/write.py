"""Writes what an audit found: exclusion lists, contact sheets, `audit.json`, and the page `audit.html`."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import NamedTuple

import numpy as np
import plotly.graph_objects as go

from fervit.auditing.findings import Finding, counts, imbalance, name_of_class
from fervit.auditing.pictures import Rows
from fervit.auditing.sheets import captions, read_shown, write_sheet
from fervit.images.face_index import FaceIndex
from fervit.io.disk import remove, remove_tree
from fervit.io.files import JsonObject, write_json, write_text
from fervit.io.json_lines import text_of
from fervit.report.faces import data_uri
from fervit.report.html import Card, Section, Table
from fervit.report.plots.plot import Plot
from fervit.report.write import render_page
from fervit.system.program import called
from fervit.version import __version__

PAGE, RESULTS, TABLE, LISTS, SHEETS = "audit.html", "audit.json", "labels.csv", "exclude", "sheets"
CERTAIN = "certain"
"""The name of the list of all rows that are wrong beyond doubt."""
ON_PAGE = 36
"""The number of pictures of a finding that the page shows at most."""


class Shown(NamedTuple):
    """A picture on the page."""

    src: str
    alt: str
    caption: str


@dataclass(frozen=True, kw_only=True)
class Part:
    """The findings on one data set: on pictures or on codes."""

    rows: Rows
    findings: Sequence[Finding]
    index: FaceIndex | None = None
    """The data root of the pictures; None for codes."""
    table: str = ""
    """The content of labels.csv; "" for none."""


def write_audit(output_dir: Path, parts: Sequence[Part], about: JsonObject, *, no_faces: bool = False) -> JsonObject:
    """Writes all files of an audit, the page last.

    Lists and sheets of an earlier audit in the same folder are deleted.

    Args:
        output_dir: the folder, which is made if it does not exist.
        parts: what was found.
        about: what else audit.json says: the data root, the latents, the settings.
        no_faces: whether to write no picture: no sheets, and a page without faces.

    Returns:
        The content of audit.json.
    """
    for name in (LISTS, SHEETS):
        remove_tree(output_dir / name)
    listed: dict[tuple[str, str], str] = {}
    results: list[JsonObject] = []
    sections: list[Section] = []
    remove(output_dir / TABLE)
    for part in parts:
        if part.table:
            write_text(output_dir / TABLE, part.table)
        for finding in part.findings:
            rows = finding.reasons
            lines = [_line(part.rows, row, reason) for row, reason in rows.items()]
            if lines:
                write_text(output_dir / LISTS / f"{finding.key}.jsonl", text_of(lines))
            if finding.certain:
                listed |= {(line["image_id"], line["split"]): line["reason"] for line in lines}
            shown = {} if no_faces else read_shown(finding, part.rows, part.index)
            texts = captions(finding, part.rows)
            if shown:
                write_sheet(output_dir / SHEETS / f"{finding.key}.png", shown, part.rows, texts)
            results.append(_result(finding, part.rows, sheet=bool(shown)))
            sections.append(_section(finding, part.rows, shown, texts))
    certain = [{"image_id": name, "split": split, "reason": reason} for (name, split), reason in listed.items()]
    if certain:
        write_text(output_dir / LISTS / f"{CERTAIN}.jsonl", text_of(certain))
    content: JsonObject = {
        "version": __version__,
        **about,
        "counts": {_kind(part): counts(part.rows) for part in parts},
        "imbalance": {
            _kind(part): {split: imbalance(of_classes) for split, of_classes in counts(part.rows).items()}
            for part in parts
        },
        "findings": results,
        "certain": {"rows": len(certain), "list": f"{LISTS}/{CERTAIN}.jsonl" if certain else None},
    }
    write_json(output_dir / RESULTS, content)
    first = [_answer(content), *(_balance(part) for part in parts)]
    page = render_page(f"Audit of {about['of']}", _subtitle(parts, no_faces=no_faces), [*first, *sections])
    write_text(output_dir / PAGE, page)
    return content


def _line(rows: Rows, row: int, reason: str) -> dict[str, str]:
    return {"image_id": rows.image_ids[row], "split": str(rows.splits[row]), "reason": reason}


def _result(finding: Finding, rows: Rows, *, sheet: bool) -> JsonObject:
    return {
        "key": finding.key,
        "title": finding.title,
        "text": finding.text,
        "rows": len(finding.reasons),
        "by_split": finding.by_split(rows),
        "list": f"{LISTS}/{finding.key}.jsonl" if finding.reasons else None,
        "sheet": f"{SHEETS}/{finding.key}.png" if sheet else None,
        **finding.facts,
    }


def _kind(part: Part) -> str:
    return "codes" if part.index is None else "pictures"


def _subtitle(parts: Sequence[Part], *, no_faces: bool) -> str:
    sizes = ", ".join(f"{len(part.rows):,} {_kind(part)}" for part in parts)
    return f"{sizes}. " + (
        "No pictures are shown, as asked for."
        if no_faces
        else "This page and the sheets show people's faces: many data sets' licences forbid publishing them "
        "(--no_faces writes none)."
    )


def _answer(content: JsonObject) -> Section:
    """The section that says what was found, and what to do."""
    found = [one for one in content["findings"] if one["rows"]]
    section = Section(
        id="answer",
        title="What was found",
        cards=[Card(one["title"], f"{one['rows']:,}", _by_split(one["by_split"])) for one in found],
    )
    none = [one["title"].lower() for one in content["findings"] if not one["rows"]]
    if none:
        section.texts.append(f"None: {', '.join(none)}.")
    certain = content["certain"]
    if certain["rows"]:
        section.blocks.append(
            (
                f"{certain['rows']:,} rows are wrong beyond doubt (copies, conflicts, blank, unreadable). To train "
                "without them:",
                f"{called('train')} ... --exclude {certain['list']}\n{called('tune')} ... --exclude {certain['list']}",
            )
        )
    section.notes.append(
        "Each list exclude/*.jsonl has a line a row with its reason; look at its sheet, take out of it what is right, "
        "and give it to encode.py, train.py, tune.py or evaluate.py as --exclude FILE [FILE ...], which write it into "
        "their records. A test split is always measured whole, and without the list beside."
    )
    return section


def _balance(part: Part) -> Section:
    """The section with the rows of each class in each split."""
    found, kind = counts(part.rows), _kind(part)
    splits = list(found)
    section = Section(id=f"balance-{kind}", title=f"Classes of the {kind}")
    worst = {split: imbalance(of_classes) for split, of_classes in found.items()}
    parts = [f"{times:.1f} times in {split}" for split, times in worst.items() if times]
    section.texts.append(f"The largest class has as many rows as the smallest, {', '.join(parts)}.")
    figure = go.Figure(
        [go.Bar(name=split, x=list(found[split]), y=_shares(found[split])) for split in splits],
        {"yaxis": {"title": {"text": "share of the split, percent"}}, "barmode": "group"},
    )
    section.add(Plot(figure=figure, alt="The share of each class in each split.", height=320))
    totals = [sum(found[split].values()) for split in splits]
    section.tables.append(
        Table(
            caption="Rows of each class",
            headings=["class", *splits],
            rows=[
                *([name, *(f"{found[split][name]:,}" for split in splits)] for name in part.rows.classes),
                ["all", *(f"{total:,}" for total in totals)],
            ],
        )
    )
    unknown = int((part.rows.labels < 0).sum())
    if unknown:
        section.notes.append(f"{unknown:,} rows have an unknown class and are not counted.")
    return section


def _section(finding: Finding, rows: Rows, shown: dict[int, np.ndarray], texts: dict[int, str]) -> Section:
    """The section of one finding: its pictures, or the first rows of its list."""
    section = Section(id=finding.key, title=f"{finding.title}: {len(finding.reasons):,}", texts=[finding.text])
    if not finding.reasons:
        return section
    section.faces = [
        Shown(data_uri(pixels), f"{rows.image_ids[row]}: {texts[row]}", f"{texts[row]} ({rows.image_ids[row]})")
        for row, pixels in list(shown.items())[:ON_PAGE]
    ]
    listed = list(finding.reasons.items())
    section.tables.append(
        Table(
            caption=f"The first of exclude/{finding.key}.jsonl",
            headings=["image_id", "split", "class", "reason"],
            rows=[
                [rows.image_ids[row], str(rows.splits[row]), name_of_class(rows, row), reason]
                for row, reason in listed[:20]
            ],
        )
    )
    if shown:
        section.notes.append(f"{len(shown)} of them are on sheets/{finding.key}.png.")
    return section


def _shares(of_classes: dict[str, int]) -> list[float]:
    total = max(1, sum(of_classes.values()))
    return [round(100 * n / total, 2) for n in of_classes.values()]


def _by_split(by_split: dict[str, int]) -> str:
    return ", ".join(f"{n:,} of {split}" for split, n in by_split.items())
