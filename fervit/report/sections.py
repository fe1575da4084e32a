"""The sections of the report in their order, and its title, subtitle and warnings."""

from __future__ import annotations

from fervit.evaluation.evaluate import SEEN
from fervit.latents.copies import copies_in_words
from fervit.report.answer import answer
from fervit.report.html import Section
from fervit.report.model_sections import (
    attention,
    by_group,
    earlier_model,
    layers,
    model,
    provenance,
    simple,
    wrong,
)
from fervit.report.results import Results
from fervit.report.search_sections import curves, failures, parameters, pareto, time, trials
from fervit.search.records.ranking import counts_by_state


def sections_of(results: Results, data_root: str | None = None, *, no_faces: bool = False) -> list[Section]:
    """Makes the sections of the report for which there are results, the answer first.

    Args:
        results: the results.
        data_root: the data root of the pictures; None for the one that launch/encode.py read.
        no_faces: whether to show no pictures of faces.
    """
    found = [
        answer(results),
        curves(results),
        parameters(results),
        pareto(results),
        trials(results),
        failures(results),
        time(results),
    ]
    found += [
        model(results),
        earlier_model(results),
        simple(results),
        by_group(results),
        layers(results),
        attention(results),
        wrong(results, data_root, no_faces=no_faces),
        provenance(results),
    ]
    return [section for section in found if section is not None]


def title_of(results: Results) -> str:
    """The title of the page."""
    what = {"sweep": "Sweep", "run": "Training run", "evaluation": "Evaluation"}[results.kind]
    return f"{what} {results.folder.name}"


def subtitle_of(results: Results) -> str:
    """The line below the title: how many trials there are, and whether they are still running."""
    if results.kind == "evaluation":
        return "The evaluation of one checkpoint."
    counts = counts_by_state(results.records)
    states = ", ".join(f"{n} {state}" for state, n in counts.items())
    going = {
        "running": "it is still running, and this page shows how far it has come",
        "interrupted": "it was interrupted; the same command with --resume goes on",
        "finished": "it has ended",
    }[results.state]
    return (
        f"{len(results.records)} trials ({states}); {going}." if results.kind == "sweep" else f"One training; {going}."
    )


def warnings_of(results: Results) -> list[str]:
    """What a reader must know before reading the results, such as that they are optimistic."""
    found = list(results.remarks)
    encoder = results.encoder
    if encoder.get("untrained"):
        found.append("The encoder is fervit's demo with UNTRAINED random weights: this shows the way, not a result.")
    if results.evaluation is not None and results.evaluation["seen"] is not None:
        found.append(f"The evaluation is optimistic. {SEEN[results.evaluation['seen']]}.")
    copies = results.environment.get("copies") or {}
    if any(copies.values()):
        found.append(f"{copies_in_words(copies)[0].upper()}{copies_in_words(copies)[1:]}.")
    if len(results.looks) > 1:
        found.append(f"The test split was opened {len(results.looks)} times: the last choice knew the earlier results.")
    return found
