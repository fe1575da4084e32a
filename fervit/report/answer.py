"""The first section of the report: the best model, how good it is, what it ties with, and what it costs.

"The guide" is the experiment guide of the original LatentViT scripts (`THE_GUIDE`; see `TrainConfig`).
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import numpy as np

from fervit.evaluation.intervals import OF_FACES
from fervit.evaluation.results import Copies
from fervit.latents.looks import others_in_words
from fervit.model import count_weights
from fervit.progress import clock
from fervit.report.earlier_scripts import EarlierEvaluation
from fervit.report.html import Card, Section, Table
from fervit.report.plots.plot import label
from fervit.report.results import Results
from fervit.search.outcome.confirm import OF_SEEDS, why_it_stays
from fervit.search.outcome.folds import OPTIMISTIC
from fervit.search.outcome.sealed import SealedLook
from fervit.search.records.ranking import better_until_it_failed, ranked
from fervit.search.records.record import TrialRecord, params_text
from fervit.training.metrics import majority_f1_macro
from fervit.training.recipes import GUIDE_RESULT, THE_GUIDE


def answer(results: Results) -> Section:
    """The section that names the best model, how good it is, what it ties with, and what it costs."""
    section = Section(id="answer", title="The answer")
    chosen = results.chosen
    if chosen is None and results.evaluation is None and results.earlier is None:
        section.texts.append(_nothing(results))
        if results.state != "running" and results.records:
            section.texts.append("What went wrong is below, under failures, and in failures.log of the sweep.")
        return section
    if results.earlier is not None:
        section.cards += _earlier_cards(results.earlier)
    if results.evaluation is not None:
        section.cards += _evaluation_cards(results.evaluation, results.evaluated)
        section.cards += _seed_cards(results.look)
    if chosen is not None:
        section.cards += [*_validation_cards(results, chosen), *_fold_cards(results)]
        section.texts += [_sentence(results, chosen), *_not_first(results, chosen)]
        if against := results.against_baseline():
            section.texts.append(against)
    section.cards += _cost_cards(results)
    section.notes += _ties(results)
    section.notes += [f"Ended early: {why}." for why in results.ended_early]
    section.notes += _not_compared(results)
    if chosen is not None and (late := better_until_it_failed(results.records, chosen, results.metric)):
        section.notes.append(f"{late}.")
    if results.kind == "sweep":
        section.tables.append(_baselines(results))
        section.tables += [*_confirmation(results), *_folds(results)]
        if not any(results.is_guide(record) for record in results.records):
            section.notes.append(
                "The guide's own configuration was not run in this sweep; a warm start in the space file runs it."
            )
    section.notes.append(
        f"To compare with: {GUIDE_RESULT}: the checkpoint that the guide names. Only the same split and encoder make "
        f"it comparable. The guide is {THE_GUIDE}."
    )
    section.notes += [*_looks(results), *_intervals(results)]
    return section


def _ties(results: Results) -> list[str]:
    """What the seeds of the confirmation cannot tell apart from the best model."""
    if results.state != "finished":
        return []
    if results.ties:
        others = ", ".join(f"trial {c.record.number} ({c.mean:.3f})" for c in results.ties)
        chosen = results.confirmation_of(results.chosen) if results.chosen is not None else None
        stays = why_it_stays(chosen, results.ties, results.metric) if chosen is not None else ""
        noise = "seeds and the faces" if stays else "seeds"
        tie = f"A tie within the noise of the {noise}: {others}. Each may as well be the best."
        return [tie, *([f"{stays}."] if stays else [])]
    return ["No other confirmed trial comes within the noise of the seeds."] if len(results.confirmed) > 1 else []


def _not_compared(results: Results) -> list[str]:
    """The configurations that could not be compared fairly, since reruns did not finish."""
    notes = [
        f"Of trial {one.record.number}, {one.missing} of {one.missing + len(one.values)} reruns did not "
        "finish, so it is ranked after those that lack fewer."
        for one in results.confirmed
        if one.missing and results.state == "finished"
    ]
    left_out = (f"trial {record.number}" for record in results.left_out)
    return notes + [f"Left out is {name}: none of its reruns with fresh seeds finished." for name in left_out]


def _looks(results: Results) -> list[str]:
    """How often the test split was opened."""
    if results.kind != "sweep" or results.evaluation is None or results.evaluation["split"] != "test":
        return []
    if not results.looks:
        return ["No look at it is recorded."]
    looks = "once, after the choice was frozen" if len(results.looks) == 1 else f"{len(results.looks)} times"
    others = others_in_words((results.look.others if results.look is not None else None) or 0)
    return [f"The test split was opened {looks}.", *([f"On the test split: {others}."] if others else [])]


def _intervals(results: Results) -> list[str]:
    """What the intervals hold and what not."""
    seeds = [OF_SEEDS] if results.confirmed else []
    return seeds + ([OF_FACES.format(split=results.evaluation["split"])] if results.evaluation is not None else [])


def _nothing(results: Results) -> str:
    """Why there is no best model."""
    if any(record.epochs for record in results.records):
        return "Every trial failed."
    return "No trial has finished an epoch yet." if results.state == "running" else "No trial finished an epoch."


def _sentence(results: Results, chosen: TrialRecord) -> str:
    """Names the best model and its hyperparameters."""
    best = chosen.best(results.metric)
    assert best is not None
    params = params_text(chosen.params)
    what = f"{label(chosen)}, seed {chosen.seed}" if chosen.purpose == "search" else label(chosen)
    if results.kind == "run":
        what = f"the epoch kept is {best.epoch} of {len(chosen.epochs)}, seed {chosen.seed}"
        return f"Of this run {what}."
    return f"The best so far: {what} ({params})." if results.state != "finished" else f"The best: {what} ({params})."


def _not_first(results: Results, chosen: TrialRecord) -> list[str]:
    """Why the best model is not of the trial that leads the leaderboard."""
    first = next(iter(ranked([one for one in results.records if one.purpose == "search"], results.metric)), None)
    if results.state != "finished" or first is None or first.number == chosen.number or not results.confirmed:
        return []
    highest = "highest" if results.metric.goal == "maximize" else "lowest"
    return [
        f"{label(first).capitalize()} has the {highest} value of a single run ({first.best_value(results.metric):.3f}) "
        "in the search; the choice goes by the means over fresh seeds."
    ]


def _evaluation_cards(results: Mapping[str, Any], evaluated: str) -> list[Card]:
    """The metrics of an evaluation.

    Args:
        results: the content of evaluation_results.json.
        evaluated: the run that was evaluated, if that is not the chosen one.
    """
    cards, intervals = [], results["intervals_95"]
    split = results["split"] + (f", of {evaluated}" if evaluated else "")
    for name, words in (("f1_macro", "macro-F1"), ("accuracy", "accuracy")):
        low, high = intervals[name]
        note = f"95 %: {low:.3f} to {high:.3f}" + ("; optimistic" if results["seen"] is not None else "")
        cards.append(Card(f"{words}, {split}", f"{results[name]:.3f}", note))
    by_chance = results.get("ece_if_calibrated")
    note = "ECE" if by_chance is None else f"ECE; a calibrated model of these confidences: {by_chance['mean']:.3f}"
    cards.append(Card(f"calibration error, {split}", f"{results['ece']:.3f}", note))
    about = [_about_copies(results["copies_of_training"])]
    of_validation = results.get("copies_of_validation")
    if of_validation and of_validation["n"]:
        about.append(f"{of_validation['n']} of validation faces")
    cards.append(Card(f"faces, {split}", str(results["n"]), "; ".join(about)))
    return cards


def _earlier_cards(earlier: EarlierEvaluation) -> list[Card]:
    """The metrics of an evaluation of an earlier script."""
    note = "of an earlier script, without an interval"
    cards = [Card(f"{name}, {earlier.split}", f"{value:.3f}", note) for name, value in earlier.metrics.items()]
    return cards if earlier.n is None else [*cards, Card(f"faces, {earlier.split}", str(earlier.n), "")]


def _seed_cards(look: SealedLook | None) -> list[Card]:
    """The mean and the spread of the runs with fresh seeds on the test split."""
    if look is None or not look.seeds_text:
        return []
    note = "mean and standard deviation over the seeds"
    return [Card(f"macro-F1, test, {len(look.seeds)} fresh seeds", look.over_seeds("f1_macro"), note)]


def _about_copies(copies: Copies | None) -> str:
    """How many faces are copies of training faces, and the macro-F1 without them."""
    if copies is None:
        return "copies of training faces were not looked for"
    if not copies["n"]:
        return "none is a copy of a training face"
    without = copies["without_copies"]
    note = f"{copies['n']} are copies of training faces"
    return f"{note}; without them macro-F1 {without['f1_macro']:.3f}" if without else note


def _validation_cards(results: Results, chosen: TrialRecord) -> list[Card]:
    """The metric on the validation split, in the search and with fresh seeds."""
    best = chosen.best(results.metric)
    assert best is not None
    name = results.metric.name
    again, evaluation = results.confirmation_of(chosen), results.evaluation
    lucky = f"the best of {len(results.records)}" if again is None else "the best of its runs"
    note = f"epoch {best.epoch}; {lucky}, so optimistic"
    words = results.metric.words
    cards = [Card(f"{words}, validation", f"{results.metric.value(best):.3f}", note)]
    of_it = evaluation is not None and evaluation["split"] == "val" and not results.evaluated
    if of_it and name in ("f1_macro", "accuracy"):  # the evaluation's card has the same number
        cards.clear()
    if again is not None:
        note = "mean, 95 % interval of the seeds alone; each run's best epoch, so optimistic"
        cards.append(Card(f"{words}, {len(again.values)} fresh seeds", again.text, note))
    return cards


def _fold_cards(results: Results) -> list[Card]:
    """The metric of the chosen configuration over folds of training and validation."""
    folds = results.folds
    if folds is None:
        return []
    half_width = f" ± {folds.half_width:.3f}" if folds.half_width is not None else ""
    spread = f"mean, 95 %; standard deviation {folds.spread:.3f}; " if folds.spread is not None else ""
    return [Card(f"{results.metric.words}, {folds.runs}", f"{folds.mean:.3f}{half_width}", f"{spread}{OPTIMISTIC}")]


def _cost_cards(results: Results) -> list[Card]:
    """The size of the model, the duration of its training, and its latency."""
    if not results.model:
        return []
    weights = count_weights({**results.model, "num_classes": len(results.classes)})
    cards = [Card("the model", f"{weights / 1e6:.2f} M weights", f"{4 * weights / 1e6:.1f} MB in float32")]
    if results.chosen is not None:
        cards.append(Card("its training", clock(results.chosen.seconds), f"{len(results.chosen.epochs)} epochs"))
        if results.chosen.cost is not None and results.metric.against == "latency_ms":
            cards.append(Card("one code takes", f"{results.chosen.cost:.2f} ms"))
    return cards


def _baselines(results: Results) -> Table:
    """The chosen trial beside the guide's configuration, other warm starts and the largest class."""
    name, rows = results.metric.name, []
    if results.chosen is not None:
        rows.append(_baseline(results, f"the best, {label(results.chosen)}", results.chosen))
    for record in results.records:
        start = results.warm_start(record)
        if results.is_guide(record):
            rows.append(_baseline(results, f"the guide's configuration, {label(record)}", record))
        elif start is not None:
            rows.append(_baseline(results, f"warm start {start} of the space file, {label(record)}", record))
    if name == "f1_macro" and results.evaluation is not None:
        faces = np.array(results.evaluation["confusion_matrix"]).sum(axis=1)
        what = f"always the largest class (on {results.evaluation['split']})"
        rows.append([what, f"{majority_f1_macro(faces):.3f}", *[""] * (4 if results.confirmed else 3)])
    return Table(
        name="baselines",
        caption=f"The best beside the baselines: {results.metric.words} on validation",
        headings=[
            "",
            results.metric.words,
            *(["mean of fresh seeds"] if results.confirmed else []),
            "epoch",
            "state",
            "hyperparameters",
        ],
        rows=rows,
    )


def _baseline(results: Results, what: str, record: TrialRecord) -> list[str]:
    """The row of a trial in the table of baselines."""
    best = record.best(results.metric)
    value = f"{results.metric.value(best):.3f}" if best is not None else ""
    epoch = str(best.epoch) if best is not None else ""
    again = results.confirmation_of(record)
    mean = [f"{again.mean:.3f}" if again is not None else ""] if results.confirmed else []
    return [what, value, *mean, epoch, record.state, params_text(record.params)]


def _confirmation(results: Results) -> list[Table]:
    """The values of the best trials in the search and with fresh seeds."""
    rows, expects = [], any(one.record.expected is not None for one in results.confirmed)
    for one in sorted(results.confirmed, key=lambda c: c.mean, reverse=results.metric.goal == "maximize"):
        best = one.record.best_value(results.metric)
        assert best is not None
        fresh = ", ".join(f"{value:.3f}" for value in one.values)
        expected = f"{one.record.expected:.3f}" if one.record.expected is not None else ""
        rows.append([label(one.record), f"{best:.3f}", *([expected] if expects else []), fresh, one.text])
    if not rows:
        return []
    highest = "highest" if results.metric.goal == "maximize" else "lowest"
    best_by = "the best by what they reached and what was expected of them" if expects else "the best of the search"
    expected_mean = ["mean expected"] if expects else []
    return [
        Table(
            name="confirmation",
            caption=f"Confirmation: {best_by}, trained again with fresh seeds; "
            f"the {highest} mean is chosen, or the baseline if that ties with it",
            headings=["", "in the search", *expected_mean, "fresh seeds", "mean, 95 % interval of the seeds alone"],
            rows=rows,
        )
    ]


def _folds(results: Results) -> list[Table]:
    """The value of the chosen configuration in each fold."""
    if results.folds is None:
        return []
    runs = [run for run in results.fold_runs if (run.number, run.folds) == (results.folds.number, results.folds.folds)]
    rows = []
    for run in sorted(runs, key=lambda one: one.fold):
        best = run.best(results.metric)
        value, epoch = (f"{results.metric.value(best):.3f}", str(best.epoch)) if best is not None else ("", "")
        rows.append([f"fold {run.fold}", value, epoch, run.state])
    return [
        Table(
            name="folds",
            caption=f"Folds: {label(results.chosen) if results.chosen else 'the best'} trained again on training and "
            f"validation, of which each fold validates once; {results.folds.text}",
            headings=["", results.metric.words, "epoch", "state"],
            rows=rows,
        )
    ]
