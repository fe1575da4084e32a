"""Writes the model card of the model that a sweep exports."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Literal

from fervit.checkpoints.card import card
from fervit.checkpoints.checkpoint import Checkpoint
from fervit.evaluation.intervals import OF_FACES
from fervit.evaluation.paired.simple_models import SimpleScores, ahead_text
from fervit.evaluation.statistics import ece_in_words
from fervit.latents.looks import others_in_words
from fervit.search.outcome.baseline import baseline_name, is_guide
from fervit.search.outcome.confirm import OF_SEEDS, why_it_stays
from fervit.search.outcome.folds import OPTIMISTIC
from fervit.search.outcome.result import SweepResult
from fervit.training.recipes import GUIDE_RESULT, THE_GUIDE

BRIEF: tuple[Literal["f1_macro", "accuracy"], ...] = ("f1_macro", "accuracy")
"""The metrics of the table."""


def model_card(result: SweepResult, checkpoint: Checkpoint, changes: Sequence[str] = ()) -> str:
    """Returns the model card in Markdown: the results of the sweep, and the sections of every model card.

    Args:
        result: the result of the sweep.
        checkpoint: the exported model.
        changes: what was changed of the latents (`fervit.checkpoints.card.card`).
    """
    metric, chosen, test = result.space.metric, result.chosen, result.verdict.evaluation
    best = chosen.best(metric)
    assert best is not None
    confirmed = next((c for c in result.confirmed if c.record.number == chosen.number), None)
    lines = [
        "| split | macro-F1 | accuracy | |",
        "|---|---|---|---|",
        f"| validation | {best.f1_macro:.3f} | {best.accuracy:.3f} | epoch {best.epoch}, seed "
        f"{chosen.seed}; the best of {len(result.records)} trials, so optimistic |",
    ]
    if confirmed is not None:
        interval = f" ± {confirmed.half_width:.3f} (95 %)" if confirmed.half_width is not None else ""
        failed = f"; {confirmed.missing} more failed or were stopped" if confirmed.missing else ""
        lines.append(
            f"| validation, {len(confirmed.values)} fresh seeds{failed} | {metric.name} {confirmed.mean:.3f}{interval} "
            "| | the interval is of the seeds alone; each run's best epoch was chosen on these faces, so optimistic |"
        )
        if result.gain is not None:
            name = baseline_name(result.space, result.gain.baseline.record)
            lines.append(f"| validation, against {name} | {metric.name} {result.gain.text} | | mean of fresh seeds |")
    if result.folds is not None:
        lines.append(
            f"| training and validation, {result.folds.runs} | {metric.name} {result.folds.text} | | {OPTIMISTIC} |"
        )
    of = (
        f"n = {test.metrics['n']}; opened {'once' if result.verdict.looks == 1 else f'{result.verdict.looks} times'}"
        if test.split == "test"
        else "NOT unseen: chose the model"
    )
    f1_macro, accuracy = (
        "{:.3f} ({:.3f} to {:.3f})".format(test.metrics[name], *test.metrics["intervals_95"][name]) for name in BRIEF
    )
    of = f"{of}; in brackets 95 % for the choice of faces; {ece_in_words(test.metrics)}"
    lines.append(f"| {test.split} | {f1_macro} | {accuracy} | {of} |")
    lines += [_simple_row(test.split, one) for one in result.simple]
    look = result.verdict.look
    if look is not None and look.seeds_text:
        spread = f"{look.over_seeds('f1_macro')} | {look.over_seeds('accuracy')}"
        lines.append(
            f"| test, {len(look.seeds)} fresh seeds | {spread} | mean and standard deviation (sd) over the seeds |"
        )
    if confirmed is not None:
        stays = why_it_stays(confirmed, result.ties, metric)
        lines += ["", *([f"{stays}."] if stays else []), OF_SEEDS]
    lines += ["", OF_FACES.format(split=test.split)]
    if result.gain is not None and is_guide(result.space, result.gain.baseline.record):
        lines += ["", f"The guide is {THE_GUIDE}; the checkpoint that it names reaches {GUIDE_RESULT}."]
    if result.left_out:
        numbers = ", ".join(f"trial {record.number}" for record in result.left_out)
        lines += ["", f"Left out of the confirmation, since none of their reruns finished: {numbers}."]
    others = others_in_words((look.others if look is not None else None) or 0)
    if others:
        lines += ["", f"On the test split: {others}."]
    if result.verdict.remark:
        lines += ["", result.verdict.remark + "."]
    title = f"LatentViT, trial {chosen.number} of sweep {result.space.name}"
    return card(checkpoint, title, lines, [f"{name} {value}" for name, value in chosen.params.items()], changes)


def _simple_row(split: str, one: SimpleScores) -> str:
    """The row of a simple model on the same codes."""
    f1_macro, accuracy = ("{:.3f} ({:.3f} to {:.3f})".format(one[name], *one["intervals_95"][name]) for name in BRIEF)
    lead = f"the model's lead in macro-F1 is {ahead_text(one)}, 95 % for the choice of faces, paired"
    return f"| {split}, {one['name']} on the same codes | {f1_macro} | {accuracy} | {one['what']}; {lead} |"
