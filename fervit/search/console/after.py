"""Writes the summary of a sweep, for one screen."""

from __future__ import annotations

from pathlib import Path

import numpy as np

from fervit.evaluation.evaluate import CONFUSION_FILE
from fervit.evaluation.paired.simple_models import ahead_text
from fervit.evaluation.results import excluded_in_words, votes_in_words
from fervit.io.files import near
from fervit.latents.looks import others_in_words
from fervit.progress import clock
from fervit.search.outcome.baseline import baseline_name, why_no_comparison
from fervit.search.outcome.confirm import why_it_stays
from fervit.search.outcome.result import SweepResult
from fervit.search.records.history import History
from fervit.search.records.journal import JournalReader
from fervit.search.records.ranking import better_until_it_failed, counts_by_state, failures_by_kind, ranked
from fervit.search.records.record import params_text
from fervit.search.records.sweep_folder import SweepFolder
from fervit.search.space.search_space import SearchSpace
from fervit.training.metrics import majority_f1_macro
from fervit.training.objective import DEFAULT_METRIC


def summarise(result: SweepResult, dashboard: str) -> str:
    """Returns what the sweep found, how good it is, and where its files are.

    Args:
        result: the result of the sweep.
        dashboard: the text to print about the Ray dashboard.
    """
    metric, files = result.space.metric, SweepFolder(result.folder)
    best = result.chosen.best(metric)
    assert best is not None
    states = counts_by_state(result.records)
    lines = [
        f"Sweep {result.space.name}: {len(result.records)} trials in {clock(result.seconds)}, "
        + ", ".join(f"{states[state]} {state}" for state in ("finished", "stopped", "failed") if states[state])
    ]
    lines += [f"  {n} failed: {kind}" for kind, n in failures_by_kind(result.records).items()]
    if result.ended_because:
        lines.append(f"  ended early: {result.ended_because}")
    lines += [
        "",
        f"Best: trial {result.chosen.number}, seed {result.chosen.seed} ({result.chosen.name}): "
        f"{metric.words} {metric.value(best):.3f} on "
        f"validation at epoch {best.epoch} of {len(result.chosen.epochs)}",
        f"  {params_text(result.chosen.params)}",
    ]
    lines += _confirmation(result)
    lines += _folds(result)
    lines += failed_late(result)
    lines += _pareto(result)
    lines += _evaluation(result)
    evaluation = result.verdict.evaluation
    faces = np.array(evaluation.metrics["confusion_matrix"]).sum(axis=1)
    lines.append(f"Always answering the largest class would reach macro-F1 {majority_f1_macro(faces):.3f}")
    lines += [
        f"A {one['name']} on the same codes: macro-F1 {one['f1_macro']:.3f}; the model's lead is {ahead_text(one)}"
        for one in result.simple
    ]
    if result.encoder.get("untrained"):
        lines.append(f"Encoder: {result.encoder['encoder']}, UNTRAINED random weights: shows the way, not a result")
    lines += [
        "",
        f"Model        {near(files.best)}",
        f"Pictures     {near(files.path) / evaluation.output_dir.name / CONFUSION_FILE}",
        f"Leaderboard  {near(files.leaderboard)}",
        f"TensorBoard  tensorboard --logdir {near(files.logs)}",
        f"Dashboard    {dashboard}",
    ]
    if result.train_again:
        lines.append(f"Train again  {result.train_again}")
        if metric.name != DEFAULT_METRIC.name:
            lines.append(f"             (which keeps the epoch of the best {DEFAULT_METRIC.words}, not {metric.words})")
    return "\n".join(lines)


def _evaluation(result: SweepResult) -> list[str]:
    """How good the chosen model is on the test split, or on the validation split if there is no test split."""
    evaluation, look = result.verdict.evaluation, result.verdict.look
    metrics = evaluation.metrics
    if evaluation.split != "test":
        return [
            f"NO TEST SPLIT: macro-F1 {metrics['f1_macro']:.3f}, accuracy {metrics['accuracy']:.3f} on the "
            f"{metrics['n']} validation faces that also chose the model (optimistic)"
        ]
    when = "opened once, after the choice" if result.verdict.looks == 1 else f"opened {result.verdict.looks} times"
    low, high = metrics["intervals_95"]["f1_macro"]
    lines = [
        f"Test: macro-F1 {metrics['f1_macro']:.3f} (95 %: {low:.3f} to {high:.3f}), accuracy "
        f"{metrics['accuracy']:.3f} on {metrics['n']} faces, {when}"
    ]
    lines += [f"  {text}" for text in (*votes_in_words(metrics), *excluded_in_words(metrics))]
    if look is not None:
        lines += [f"  {text}" for text in (look.seeds_text, others_in_words(look.others or 0)) if text]
    if result.verdict.remark:
        lines.append(f"  {result.verdict.remark}")
    return lines


def summarise_interrupted(space: SearchSpace, folder: Path, command: str) -> str:
    """Returns how far an interrupted sweep has come, and how to resume it.

    Args:
        space: the search space.
        folder: the folder of the sweep.
        command: the command that resumes the sweep.
    """
    files = SweepFolder(folder)
    everything = History(JournalReader(files.journal)).records.values()
    records = [record for record in everything if record.purpose == "search"]
    states = counts_by_state(records)
    lines = [
        f"Interrupted: {len(records)} of {space.search.trials} trials begun, "
        + ", ".join(f"{n} {'to go on' if state == 'running' else state}" for state, n in states.items())
    ]
    ranking = ranked(records, space.metric)
    best = ranking[0].best_value(space.metric) if ranking else None
    if best is not None:
        lines.append(f"Best so far: {ranking[0].name}, {space.metric.words} {best:.3f} on validation")
    lines += [f"Leaderboard  {near(files.leaderboard)}", f"Go on with   {command}"]
    return "\n".join(lines)


def _pareto(result: SweepResult) -> list[str]:
    """Returns the lines of the Pareto front; none if the metric has no second objective."""
    metric = result.space.metric
    if metric.against is None:
        return []
    lines = [f"Best at its cost ({metric.against}, {metric.words}):"]
    for record in result.front:
        best = record.best_value(metric)
        assert best is not None
        assert record.cost is not None
        params = params_text(record.params)
        lines.append(f"  {record.cost:>12,.6g}  {best:.3f}  trial {record.number}: {params}")
    return lines


def _confirmation(result: SweepResult) -> list[str]:
    if not result.space.confirm.top:
        return []
    if not result.confirmed:
        why = f" ({result.confirmation_ended_because})" if result.confirmation_ended_because else ""
        return [f"NOT CONFIRMED: no rerun with a fresh seed finished{why}"]
    chosen = next(c for c in result.confirmed if c.record.number == result.chosen.number)
    interval = f" ± {chosen.half_width:.3f} (95 %)" if chosen.half_width is not None else ""
    runs = f"{len(chosen.values)} fresh seeds"
    if chosen.missing:
        runs = f"{len(chosen.values)} of {len(chosen.values) + chosen.missing} fresh seeds, the others DID NOT FINISH"
    line = f"Confirmed: {result.space.metric.words} {chosen.mean:.3f}{interval} over {runs}"
    if chosen.record.expected is not None:
        line += f" ({chosen.record.expected:.3f} was expected)"
    if result.ties:
        others = ", ".join(f"trial {c.record.number} ({c.mean:.3f})" for c in result.ties)
        line += f"; a tie with {others}"
    early = [f"  ended early: {result.confirmation_ended_because}"] if result.confirmation_ended_because else []
    stays = why_it_stays(chosen, result.ties, result.space.metric)
    return [line, *([stays] if stays else []), *early, *against_baseline(result), *not_compared(result)]


def _folds(result: SweepResult) -> list[str]:
    """Returns the line about the chosen configuration over folds; none if the space asks for none."""
    folds, why = result.space.confirm.folds, result.confirmation_ended_because
    if not folds:
        return []
    if result.folds is None:
        return [f"NO FOLDS: none of {folds} finished" + (f" ({why})" if why else "")]
    values = ", ".join(f"{value:.3f}" for value in result.folds.values)
    return [f"Folds: {result.space.metric.words} {result.folds.text} over {result.folds.runs}: {values}"]


def against_baseline(result: SweepResult) -> list[str]:
    """Returns the line that compares the chosen configuration with the baseline, or says why nothing does."""
    if result.gain is None:
        return [why_no_comparison(result.space, ranked(result.records, result.space.metric), result.chosen)]
    name = baseline_name(result.space, result.gain.baseline.record)
    return [f"{result.gain.sentence(name)}, in the mean {result.space.metric.words} of fresh seeds"]


def not_compared(result: SweepResult) -> list[str]:
    """Returns lines on the configurations that could not be compared fairly, since reruns did not finish."""
    metric = result.space.metric
    incomplete = [one for one in result.confirmed if one.missing and one.record.number != result.chosen.number]
    lines = [
        f"Ranked last: trial {one.record.number} ({one.mean:.3f}), {one.missing} of {one.missing + len(one.values)} of "
        "its reruns did not finish"
        for one in incomplete
    ]
    values = [(record.number, record.best_value(metric)) for record in result.left_out]
    return lines + [
        f"Left out: trial {number} ({value:.3f} in the search), none of its reruns with fresh seeds finished"
        for number, value in values
    ]


def failed_late(result: SweepResult) -> list[str]:
    """Returns a line on a trial that was better than the chosen one before it failed; none if there is none."""
    text = better_until_it_failed(result.records, result.chosen, result.space.metric)
    return [text] if text else []
