"""The sections of the report in their order, and its title, subtitle and warnings."""

from __future__ import annotations

from fervit.evaluation.evaluate import SEEN
from fervit.report.answer import answer
from fervit.report.html import Section
from fervit.report.model_sections import attention, model, provenance, wrong
from fervit.report.results import Story
from fervit.report.search_sections import curves, failures, parameters, pareto, time, trials
from fervit.search.records.ranking import counts_by_state


def sections_of(story: Story, data_root: str | None = None) -> list[Section]:
    """Makes the sections of the report for which there are results, the answer first.

    Args:
        story: the results.
        data_root: the data root of the pictures; None for the one that launch/encode.py read.
    """
    found = [
        answer(story),
        curves(story),
        parameters(story),
        pareto(story),
        trials(story),
        failures(story),
        time(story),
    ]
    found += [model(story), attention(story), wrong(story, data_root), provenance(story)]
    return [section for section in found if section is not None]


def title_of(story: Story) -> str:
    """The title of the page."""
    what = {"sweep": "Sweep", "run": "Training run", "evaluation": "Evaluation"}[story.kind]
    return f"{what} {story.folder.name}"


def subtitle_of(story: Story) -> str:
    """The line below the title: how many trials there are, and whether they are still running."""
    if story.kind == "evaluation":
        return "The evaluation of one checkpoint."
    counts = counts_by_state(story.records)
    states = ", ".join(f"{n} {state}" for state, n in counts.items())
    going = {
        "running": "it is still running, and this page shows where it stands",
        "interrupted": "it was interrupted; the same command with --resume goes on",
        "finished": "it has ended",
    }[story.state]
    return f"{len(story.records)} trials ({states}); {going}." if story.kind == "sweep" else f"One training; {going}."


def warnings_of(story: Story) -> list[str]:
    """What a reader must know before reading the results, such as that they are optimistic."""
    found = list(story.remarks)
    encoder = story.encoder
    if encoder.get("untrained"):
        found.append("The encoder is fervit's demo with UNTRAINED random weights: this shows the way, not a result.")
    if story.evaluation is not None and story.evaluation["seen"] is not None:
        found.append(f"The evaluation is optimistic. {SEEN[story.evaluation['seen']]}.")
    if len(story.looks) > 1:
        found.append(f"The test split was opened {len(story.looks)} times: the last choice knew the earlier results.")
    return found
