"""The end of a sweep on one screen."""

from __future__ import annotations

from pathlib import Path

import numpy as np

from fervit.evaluation.evaluate import CONFUSION_FILE
from fervit.progress import clock
from fervit.search.pipeline import SweepResult
from fervit.search.selection import counts_by_state, failures_by_kind
from fervit.training.metrics import majority_f1_macro


def summarise(result: SweepResult, dashboard: str) -> str:
    """What was found, how good it is, and where everything lies.

    Args:
        result: the sweep.
        dashboard: what to say of the Ray dashboard.
    """
    metric, folder = result.space.metric, _near(result.folder)
    best = result.chosen.best(metric)
    assert best is not None
    states = counts_by_state(result.records)
    lines = [
        f"Sweep {result.space.name}: {len(result.records)} trials in {clock(result.seconds)}, "
        + ", ".join(f"{states[state]} {state}" for state in ("finished", "stopped", "failed") if states[state])
    ]
    lines += [f"  {n} failed: {kind}" for kind, n in failures_by_kind(result.records).items()]
    lines += [
        "",
        f"Best: trial {result.chosen.number}, seed {result.chosen.seed}: {metric.name} {best[metric.name]:.3f} on "
        f"validation at epoch {best['epoch']} of {len(result.chosen.epochs)}",
        "  " + ", ".join(f"{name} {_short(value)}" for name, value in result.chosen.params.items()),
    ]
    lines += _confirmation(result)
    metrics = result.evaluation.metrics
    if result.evaluation.split == "test":
        lines.append(
            f"Test: macro-F1 {metrics['f1_macro']:.3f}, accuracy {metrics['accuracy']:.3f} on {metrics['n']} faces, "
            "opened once, after the choice"
        )
    else:
        lines.append(
            f"NO TEST SPLIT: macro-F1 {metrics['f1_macro']:.3f}, accuracy {metrics['accuracy']:.3f} on the "
            f"{metrics['n']} validation faces that also chose the model (optimistic)"
        )
    faces = np.array(metrics["confusion_matrix"]).sum(axis=1)
    lines.append(f"Always answering the largest class would reach macro-F1 {majority_f1_macro(faces):.3f}")
    if result.encoder.get("untrained"):
        lines.append(f"Encoder: {result.encoder['encoder']}, UNTRAINED random weights: shows the way, not a result")
    lines += [
        "",
        f"Model        {folder / 'best'}",
        f"Pictures     {folder / result.evaluation.output_dir.name / CONFUSION_FILE}",
        f"Leaderboard  {folder / 'leaderboard.csv'}",
        f"TensorBoard  tensorboard --logdir {folder / 'logs'}",
        f"Dashboard    {dashboard}",
    ]
    return "\n".join(lines)


def _confirmation(result: SweepResult) -> list[str]:
    if not result.space.confirm.top:
        return []
    if not result.confirmed:
        return ["NOT CONFIRMED: no rerun with a fresh seed finished"]
    chosen = next(c for c in result.confirmed if c.record.number == result.chosen.number)
    interval = f" ± {chosen.half_width:.3f} (95 %)" if chosen.half_width is not None else ""
    runs = f"{len(chosen.values)} of {result.space.confirm.seeds} fresh seeds"
    line = f"Confirmed: {result.space.metric.name} {chosen.mean:.3f}{interval} over {runs}"
    if result.ties:
        others = ", ".join(f"trial {c.record.number} ({c.mean:.3f})" for c in result.ties)
        line += f"; a tie with {others}"
    return [line]


def _near(path: Path) -> Path:
    """Relative to where the user stands, if it lies below that."""
    here = Path.cwd()
    return path.relative_to(here) if path.is_relative_to(here) else path


def _short(value: object) -> str:
    return f"{value:.3g}" if isinstance(value, float) else str(value)
