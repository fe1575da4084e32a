"""Computes again what follows from the journal of a sweep: best values, leaderboard, confirmation, choice, card."""

from __future__ import annotations

import csv
import io

from fervit.checkpoints.checkpoint import load_checkpoint
from fervit.checkpoints.export import CARD_FILE
from fervit.checkpoints.places import MODEL_CONFIG, WEIGHTS
from fervit.errors import UserError
from fervit.evaluation.evaluate import Evaluation
from fervit.evaluation.paired.simple_models import read_simple_models
from fervit.search.outcome.confirm import (
    Confirmed,
    baseline_that_may_stay,
    candidates,
    choose,
    confirmations,
    gain_over_baseline,
)
from fervit.search.outcome.folds import folded
from fervit.search.outcome.leaderboard import leaderboard_text
from fervit.search.outcome.result import SweepResult
from fervit.search.outcome.sealed import SealedLook, Verdict
from fervit.search.outcome.sweep_card import model_card
from fervit.search.records.events import EpochEnded
from fervit.search.records.history import History
from fervit.search.records.journal import JournalReader
from fervit.search.records.ranking import pareto_front, ranked
from fervit.search.records.record import TrialRecord
from fervit.search.splits import Splits
from fervit.verification.comparison import Comparison, DifferenceError
from fervit.verification.sweep import EndedSweep


def confirmed_in(sweep: EndedSweep) -> list[Confirmed]:
    """Returns the confirmed trials with their values over fresh seeds, best of the search first."""
    metric = sweep.space.metric
    best = candidates(ranked(sweep.searched, metric), sweep.records, sweep.space)
    return confirmations(best, sweep.records, sweep.space)


def check_journal(sweep: EndedSweep, compare: Comparison) -> None:
    """Computes the best value so far of each epoch again, which the journal states beside the epoch."""
    metric, history = sweep.space.metric, History()
    for event in JournalReader(sweep.files.journal):
        record = history.apply(event)
        if isinstance(event, EpochEnded) and record is not None:
            where = f"{sweep.files.journal.name}, {event.name}, epoch {event.row.epoch}: best {metric.name} so far"
            compare.same(where, event.best_value, record.best_value(metric))


def check_leaderboard(sweep: EndedSweep, compare: Comparison) -> None:
    """Writes the leaderboard again from the journal, and compares each cell."""
    path = sweep.files.leaderboard
    if not path.is_file():
        raise DifferenceError(f"{path.name} is missing")
    computed = _rows(leaderboard_text(sweep.records, sweep.space, confirmed_in(sweep), sweep.chosen))
    stated = _rows(path.read_text(encoding="utf-8"))
    compare.same(f"{path.name}: rows", len(stated), len(computed))
    for place, (row, again) in enumerate(zip(stated, computed, strict=True), start=1):
        for column, value in again.items():
            compare.same(f"{path.name}, row {place} (trial {again['trial']}): {column}", row.get(column), value)


def check_choice(sweep: EndedSweep, compare: Comparison) -> None:
    """Computes again which configuration was chosen, which ones tie with it, and which run of it is the best."""
    metric, choice = sweep.space.metric, sweep.history.choice
    if choice is None:
        raise DifferenceError(f"{sweep.files.journal.name}: it has no choice")
    confirmed, where = confirmed_in(sweep), sweep.files.journal.name
    runs = sweep.records
    if confirmed:
        baseline = baseline_that_may_stay(sweep.space, ranked(sweep.searched, metric), confirmed)
        winner, ties = choose(confirmed, metric, baseline, int(sweep.environment["data"]["val"]["rows"]))
        compare.same(f"{where}: number of the chosen trial", choice.number, winner.record.number)
        compare.same(f"{where}: ties", choice.ties, tuple(one.record.number for one in ties))
        compare.same(f"{where}: confirmed trials", choice.confirmed, tuple(one.record.number for one in confirmed))
        runs = [run for run in runs if run.number == winner.record.number]
    for run in ranked(runs, metric):
        if run is sweep.chosen:
            break
        if _has_model(sweep, run):
            raise DifferenceError(
                f"{where}: seed {choice.seed} of trial {choice.number} was chosen, but seed {run.seed} of trial "
                f"{run.number} is better"
            )
    best = sweep.chosen.best(metric)
    compare.same(f"{where}: epoch of the chosen model", choice.epoch, best.epoch if best else None)


def _has_model(sweep: EndedSweep, run: TrialRecord) -> bool:
    """Returns whether a run has a model of its best epoch, which could have been chosen."""
    best = run.best(sweep.space.metric)
    try:
        return best is not None and load_checkpoint(sweep.files.trial(run.name).best_model).epoch == best.epoch
    except UserError:
        return False


def check_model(sweep: EndedSweep, compare: Comparison) -> None:
    """Compares the files of the exported model with each other and with the journal."""
    model, files, best = sweep.model, sweep.files, sweep.chosen.best(sweep.space.metric)
    assert best is not None
    compare.same("best/best_model.pt: epoch", model.epoch, best.epoch)
    compare.same("best/best_model.pt: metrics", model.metrics, best.to_json())
    stated = {**sweep.space.config(sweep.chosen.params, sweep.chosen.seed).to_json(), "seq_len": model.config.seq_len}
    compare.same("best/best_model.pt: training", model.config.to_json(), stated)
    exported = load_checkpoint(files.best / WEIGHTS)  # with config.json
    compare.same(f"best/{WEIGHTS}: fingerprint of the weights", exported.fingerprint, model.fingerprint)
    for name in ("epoch", "metrics", "data"):
        compare.same(f"best/{MODEL_CONFIG}: {name}", getattr(exported, name), getattr(model, name))
    compare.same(f"best/{MODEL_CONFIG}: training", exported.config.to_json(), model.config.to_json())


def check_card(sweep: EndedSweep, splits: Splits, evaluation: Evaluation, look: SealedLook | None, looks: int) -> None:
    """Writes the model card again, and looks for each of its lines in the one that is there."""
    metric, confirmed = sweep.space.metric, confirmed_in(sweep)
    numbers = [one.record.number for one in confirmed]
    choice, ranking = sweep.history.choice, ranked(sweep.searched, metric)
    assert choice is not None
    result = SweepResult(
        folder=sweep.files.path,
        space=sweep.space,
        records=sweep.searched,
        chosen=sweep.chosen,
        confirmed=confirmed,
        ties=[one for one in confirmed if one.record.number in choice.ties],
        left_out=[one for one in candidates(ranking, sweep.records, sweep.space) if one.number not in numbers],
        gain=gain_over_baseline(sweep.space, ranking, sweep.chosen.number, confirmed),
        front=pareto_front(sweep.searched, metric),
        ended_because="",
        verdict=Verdict(evaluation=evaluation, looks=looks, look=look),
        encoder=sweep.environment["encoder"],
        seconds=0.0,
        simple=read_simple_models(evaluation.output_dir),
        folds=folded(sweep.history.records.values(), sweep.chosen.number, sweep.space.confirm.folds, metric),
    )
    path = sweep.files.best / CARD_FILE
    stated = path.read_text(encoding="utf-8").splitlines() if path.is_file() else []
    for line in model_card(result, sweep.model, splits.changes).splitlines():
        if line not in stated:
            raise DifferenceError(f"best/{CARD_FILE} lacks the line that was computed again: {line}")


def _rows(text: str) -> list[dict[str, str]]:
    return list(csv.DictReader(io.StringIO(text, newline="")))
