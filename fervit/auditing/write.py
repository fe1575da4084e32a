"""Writes what an audit found: exclusion lists, contact sheets, `audit.json`, and the page `audit.html`."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import NamedTuple

import numpy as np
import plotly.graph_objects as go

from fervit.auditing.findings import Finding, counts, imbalance, name_of_class
from fervit.auditing.folder import PAGE, RESULTS, AuditFolder
from fervit.auditing.pictures import Rows
from fervit.auditing.sheets import captions, draw_sheet, read_shown
from fervit.images import passed_over
from fervit.images.face_index import FaceIndex
from fervit.io.files import JsonObject, write_json, write_text
from fervit.io.json_lines import text_of
from fervit.progress import Say
from fervit.report.faces import data_uri
from fervit.report.html import Card, Section, Table
from fervit.report.plots.plot import Plot
from fervit.report.write import render_page
from fervit.system.program import called
from fervit.system.side_channels import SideChannel
from fervit.version import __version__

TABLE, LISTS, SHEETS = "labels.csv", "exclude", "sheets"
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


def write_audit(
    folder: AuditFolder, parts: Sequence[Part], about: JsonObject, tell: Say, *, no_faces: bool = False
) -> JsonObject:
    """Writes all files of an audit, the page last.

    Files that an earlier audit wrote into the folder are deleted first, but for those that were changed since. Contact
    sheets are a side channel: if one cannot be made, the others are left out, and nothing else.

    Args:
        folder: the folder.
        parts: what was found.
        about: what else audit.json says: the data root, the latents, the settings.
        tell: gets a line about what is left out.
        no_faces: whether to write no picture: no sheets, and a page without faces.

    Returns:
        The content of audit.json.
    """
    folder.clear()
    listed: dict[tuple[str, str], str] = {}
    results: list[JsonObject] = []
    sections: list[Section] = []
    sheets = SideChannel("the contact sheets", tell)
    for part in parts:
        if part.table:
            folder.write(TABLE, part.table)
        if part.index is not None and part.index.passed_over:
            folder.write(passed_over.FILE, passed_over.text_of_all(part.index.passed_over))
        for finding in part.findings:
            lines = [_line(part.rows, row, reason) for row, reason in finding.reasons.items()]
            name = folder.write(f"{LISTS}/{finding.key}.jsonl", text_of(lines)) if lines else None
            if finding.certain:
                listed |= {(line["image_id"], line["split"]): line["reason"] for line in lines}
            shown = ({} if no_faces else sheets(read_shown, finding, part.rows, part.index)) or {}
            texts = captions(finding, part.rows)
            sheet = sheets(_write_sheet, folder, finding, part.rows, shown, texts) if shown else None
            results.append(_result(finding, part.rows, name, sheet))
            sections.append(_section(finding, part.rows, shown, texts, name, sheet))
    certain = [{"image_id": name, "split": split, "reason": reason} for (name, split), reason in listed.items()]
    all_certain = folder.write(f"{LISTS}/{CERTAIN}.jsonl", text_of(certain)) if certain else None
    content = _content(parts, about, results, {"rows": len(certain), "list": all_certain}, folder)
    write_json(folder.path / RESULTS, content)
    first = [_answer(content), *(_balance(part) for part in parts)]
    page = render_page(f"Audit of {about['of']}", _subtitle(parts, no_faces=no_faces), [*first, *sections])
    write_text(folder.path / PAGE, page)
    return content


def _content(
    parts: Sequence[Part], about: JsonObject, results: list[JsonObject], certain: JsonObject, folder: AuditFolder
) -> JsonObject:
    """The content of audit.json. `files` names what a later audit may delete as long as nobody has changed it."""
    found = {_kind(part): counts(part.rows) for part in parts}
    return {
        "version": __version__,
        **about,
        "counts": found,
        "imbalance": {
            kind: {split: imbalance(of_classes) for split, of_classes in of_kind.items()}
            for kind, of_kind in found.items()
        },
        "findings": results,
        "certain": certain,
        "files": folder.written,
        "kept": folder.kept,
    }


def _write_sheet(
    folder: AuditFolder, finding: Finding, rows: Rows, shown: dict[int, np.ndarray], texts: dict[int, str]
) -> str:
    """Writes the contact sheet of a finding, and returns its path below the folder."""
    return folder.write(f"{SHEETS}/{finding.key}.png", draw_sheet(shown, rows, texts))


def _line(rows: Rows, row: int, reason: str) -> dict[str, str]:
    return {"image_id": rows.image_ids[row], "split": str(rows.splits[row]), "reason": reason}


def _result(finding: Finding, rows: Rows, name: str | None, sheet: str | None) -> JsonObject:
    return {
        "key": finding.key,
        "title": finding.title,
        "text": finding.text,
        "rows": len(finding.reasons),
        "by_split": finding.by_split(rows),
        "list": name,
        "sheet": sheet,
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
        "and give it to the commands encode, train, tune or evaluate as --exclude FILE [FILE ...], which write it into "
        "their records. A later audit keeps a list that was edited. A test split is always measured whole, and without "
        "the list beside."
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


def _section(
    finding: Finding,
    rows: Rows,
    shown: dict[int, np.ndarray],
    texts: dict[int, str],
    name: str | None,
    sheet: str | None,
) -> Section:
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
            caption=f"The first of {name}",
            headings=["image_id", "split", "class", "reason"],
            rows=[
                [rows.image_ids[row], str(rows.splits[row]), name_of_class(rows, row), reason]
                for row, reason in listed[:20]
            ],
        )
    )
    if sheet:
        section.notes.append(f"{len(shown)} of them are on {sheet}.")
    return section


def _shares(of_classes: dict[str, int]) -> list[float]:
    total = max(1, sum(of_classes.values()))
    return [round(100 * n / total, 2) for n in of_classes.values()]


def _by_split(by_split: dict[str, int]) -> str:
    return ", ".join(f"{n:,} of {split}" for split, n in by_split.items())
