"""Writes the model card of the model that a sweep exports."""

from __future__ import annotations

from fervit.checkpoints.card import card
from fervit.checkpoints.checkpoint import Checkpoint
from fervit.search.outcome.baseline import baseline_name
from fervit.search.outcome.result import SweepResult


def model_card(result: SweepResult, checkpoint: Checkpoint) -> str:
    """Returns the model card in Markdown: the results of the sweep, and the sections of every model card."""
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
    of = (
        f"n = {test.metrics['n']}; look {result.verdict.looks}"
        if test.split == "test"
        else "NOT unseen: chose the model"
    )
    lines.append(f"| {test.split} | {test.metrics['f1_macro']:.3f} | {test.metrics['accuracy']:.3f} | {of} |")
    if result.left_out:
        numbers = ", ".join(f"trial {record.number}" for record in result.left_out)
        lines += ["", f"Left out of the confirmation, since none of their reruns finished: {numbers}."]
    if result.verdict.remark:
        lines += ["", result.verdict.remark + "."]
    title = f"LatentViT, trial {chosen.number} of sweep {result.space.name}"
    return card(checkpoint, title, lines, [f"{name} {value}" for name, value in chosen.params.items()])
