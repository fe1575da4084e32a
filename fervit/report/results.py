"""Reads the results of a sweep, a training run or an evaluation from its folder."""

from __future__ import annotations

import csv
import json
from dataclasses import dataclass, field
from pathlib import Path
from typing import Literal

from fervit.checkpoints.checkpoint import BEST_MODEL, checkpoint_in, load_checkpoint
from fervit.checkpoints.export import CARD_FILE
from fervit.errors import UserError
from fervit.evaluation.evaluate import RESULTS_FILE, latest_evaluation
from fervit.files import JsonObject, is_locked
from fervit.report.earlier_scripts import trial_of
from fervit.runs.folder import RunFolder, RunRecord
from fervit.runs.recorder import read_history
from fervit.search.outcome.confirm import Confirmed, choose, confirmations
from fervit.search.outcome.sealed import read_looks
from fervit.search.records.events import Event
from fervit.search.records.history import History
from fervit.search.records.journal import read_journal
from fervit.search.records.ranking import ranked
from fervit.search.records.record import TrialRecord
from fervit.search.records.sweep_folder import SweepFolder
from fervit.search.space.search_space import DEFAULTS, SearchSpace
from fervit.training.objective import Metric

RESULTS_KEYS = {"split", "seen", "n", "intervals_95", "copies_of_training", "attention", "classification_report"}
NOT_OF_THE_GUIDE = ("seed", "epochs", "seq_len", "latent_dim", "precision", "use_class_weights")
"""The hyperparameters that are ignored when a configuration is compared with that of the guide.

"The guide" is the training guide of the original LatentViT scripts. It recommends class weights, so a configuration
counts as the guide's with and without them.
"""
State = Literal["running", "interrupted", "finished"]


@dataclass(kw_only=True)
class Results:
    """The results that the report shows, read from files."""

    folder: Path
    kind: Literal["sweep", "run", "evaluation"]
    state: State = "finished"
    space: SearchSpace | None = None
    """The search space of a sweep; None for a run and an evaluation."""
    metric: Metric = field(default_factory=Metric)
    records: list[TrialRecord] = field(default_factory=list)
    """The trials of a search, sorted by their numbers. A training run is represented as a single trial."""
    reruns: list[TrialRecord] = field(default_factory=list)
    """The reruns of trials with fresh seeds."""
    events: list[Event] = field(default_factory=list)
    chosen: TrialRecord | None = None
    """The trial or rerun with the best model; None before the first epoch."""
    confirmed: list[Confirmed] = field(default_factory=list)
    ties: list[Confirmed] = field(default_factory=list)
    evaluation: JsonObject | None = None
    evaluation_dir: Path | None = None
    environment: JsonObject = field(default_factory=dict)
    model: JsonObject = field(default_factory=dict)
    """The arguments of `LatentViT` for the chosen model."""
    looks: list[JsonObject] = field(default_factory=list)
    """The record of every evaluation on the test split."""
    evaluated: str = ""
    """The run that was evaluated, if it is not the chosen one; "" otherwise."""
    remarks: list[str] = field(default_factory=list)
    """Caveats that the reader of the report must know."""

    @property
    def parameters(self) -> list[str]:
        """The names of the hyperparameters that were searched."""
        return list(self.space.parameters) if self.space is not None else []

    @property
    def encoder(self) -> JsonObject:
        """The fingerprint of the encoder; empty if it is not known."""
        return dict(self.environment.get("encoder") or (self.evaluation or {}).get("encoder") or {})

    def is_guide(self, record: TrialRecord) -> bool:
        """Returns whether a trial has the configuration of the guide, from which the defaults of fervit come."""
        assert self.space is not None
        config = self.space.config(record.params).to_json()
        return all(config[name] == value for name, value in DEFAULTS.items() if name not in NOT_OF_THE_GUIDE)

    def confirmation_of(self, record: TrialRecord) -> Confirmed | None:
        """Returns the confirmation of a trial; None if the trial was not confirmed."""
        return next((one for one in self.confirmed if one.record.number == record.number), None)

    def warm_start(self, record: TrialRecord) -> int | None:
        """Returns the number of a trial among the warm starts, from 1; None if the sampler suggested it."""
        assert self.space is not None
        return record.number + 1 if record.number < len(self.space.search.warm_start) else None


def read_results(folder: Path, *, evaluation: Path | None = None, running: bool | None = None) -> Results:
    """Reads a folder of results.

    Args:
        folder: the folder of a sweep or a training run, or the output folder of launch/evaluate.py.
        evaluation: the output folder of launch/evaluate.py for a run; None for `evaluation/` in the run's folder.
        running: whether a command is working in the folder; None to find out from its lock.

    Raises:
        UserError: the folder holds no results, lacks a file, or has a damaged file.
    """
    folder = folder.absolute()
    if not folder.is_dir():
        raise UserError(f"{folder}: there is no such folder; give one of experiments/, or what evaluate.py wrote")
    files = SweepFolder(folder)
    if files.space.is_file() or files.journal.is_file():
        results = _sweep(folder, running)
    elif _is_run(folder):
        results = _run(folder, running)
    elif (folder / RESULTS_FILE).is_file():
        results = Results(folder=folder, kind="evaluation")
        _take_evaluation(results, folder, required=True)
        return results
    elif (folder / "checkpoints" / BEST_MODEL).is_file():
        results = _earlier_run(folder)
    else:
        raise UserError(
            f"{folder}: holds no results (no {files.space.name} of a sweep, config.json of a run, or {RESULTS_FILE}); "
            "give the folder of one"
        )
    if evaluation is not None or results.kind == "run":
        _take_evaluation(results, evaluation or folder / "evaluation", required=evaluation is not None)
        _check_model(results, required=evaluation is not None)
    return results


def _sweep(folder: Path, running: bool | None) -> Results:
    files = SweepFolder(folder)
    for path in (files.space, files.journal, files.environment):
        if not path.is_file():
            raise UserError(f"{folder}: lacks {path.name}, which every sweep has; copy the whole folder of the sweep")
    space, events = files.read_space(), read_journal(files.journal)
    history = History(events)
    everything = list(history.records.values())
    records = sorted((r for r in everything if r.purpose == "search"), key=lambda record: record.number)
    reruns = [record for record in everything if record.purpose != "search"]
    running = is_locked(folder) if running is None else running
    results = Results(
        folder=folder,
        kind="sweep",
        state="running" if running else "finished" if _ended(files, history) else "interrupted",
        space=space,
        metric=space.metric,
        records=records,
        reruns=reruns,
        events=events,
        environment=_json(files.environment),
        looks=read_looks(files),
    )
    ranking = ranked(records, space.metric)
    if not ranking:
        return results
    results.chosen = ranking[0]
    results.confirmed = confirmations(ranking[: space.confirm.top], reruns, space.metric)
    if results.state == "finished":
        _take_choice(results, history, files)
    results.model = space.config(results.chosen.params).model() | {"seq_len": _seq_len(results.environment)}
    latest = latest_evaluation(folder)
    if latest is not None and results.state == "finished":
        _take_evaluation(results, latest)
        _compare_with_chosen(results)
    return results


def _take_choice(results: Results, history: History, files: SweepFolder) -> None:
    """Reads the chosen run, the confirmed trials and the ties from the journal."""
    runs = list(history.records.values())
    choice = history.choice
    if choice is None:  # a version before 0.2, which marked the choice only in the leaderboard
        marked = _marked(files.leaderboard)
        results.chosen = next((run for run in runs if (run.number, run.seed) == marked), results.chosen)
        if len(results.confirmed) > 1:
            results.ties = choose(results.confirmed, results.metric)[1]
        return
    results.chosen = next(run for run in runs if (run.number, run.seed) == (choice.number, choice.seed))
    of_number = {record.number: record for record in results.records}
    best = [of_number[number] for number in choice.confirmed]
    results.confirmed = confirmations(best, results.reruns, results.metric)
    results.ties = [one for one in results.confirmed if one.record.number in choice.ties]


def _run(folder: Path, running: bool | None) -> Results:
    run = RunFolder(folder)
    try:
        record = RunRecord.read(run)
    except UserError:
        raise UserError(
            f"{run.config}: is no config.json of a run of train.py; give a folder of experiments/"
        ) from None
    for path in (run.history, run.environment):
        if not path.is_file():
            raise UserError(f"{folder}: lacks {path.name}, which every run has; copy the whole folder of the run")
    rows = read_history(run)
    running = is_locked(folder) if running is None else running
    trial = TrialRecord(
        number=0,
        name=folder.name,
        seed=record.training.seed,
        params={},
        epochs=rows,
        state="finished" if run.finished else "running" if running else "stopped",
        seconds=sum(row.seconds for row in rows),
    )
    return Results(
        folder=folder,
        kind="run",
        state="finished" if run.finished else "running" if running else "interrupted",
        records=[trial],
        chosen=trial if rows else None,
        environment={**_json(run.environment), "training": record.training.to_json()},
        model=record.training.model(),
    )


def _is_run(folder: Path) -> bool:
    """Whether a folder is a run of train.py. A config.json beside a model may be one of an earlier script."""
    if not (folder / "config.json").is_file() or (folder / RESULTS_FILE).is_file():
        return False
    if not (folder / "checkpoints" / BEST_MODEL).is_file():
        return True
    try:
        return "recipe" in _json(folder / "config.json")
    except UserError:
        return True


def _earlier_run(folder: Path) -> Results:
    """Reads a run of an earlier LatentViT script."""
    checkpoint = load_checkpoint(folder / "checkpoints" / BEST_MODEL)
    trial = trial_of(folder, checkpoint)
    return Results(
        folder=folder,
        kind="run",
        state="finished",
        records=[trial],
        chosen=trial,
        environment={"training": checkpoint.config.to_json()},
        model=checkpoint.config.model(),
        remarks=[
            "A run of an earlier LatentViT script. Its curves are those of TensorBoard's logs; hyperparameters of the "
            "training that its checkpoint does not name are shown with fervit's defaults."
        ],
    )


def _take_evaluation(results: Results, folder: Path, *, required: bool = False) -> None:
    """Reads the output of launch/evaluate.py into `results`.

    Args:
        results: the results, which are changed.
        folder: the output folder.
        required: raises a UserError if the output is missing or of an earlier version, which is otherwise ignored.
    """
    path = folder / RESULTS_FILE
    if not required and not path.is_file():
        return
    content = _json(path)
    if not content.keys() >= RESULTS_KEYS:
        message = f"{path}: was written by an earlier version; run launch/evaluate.py again"
        if required:
            raise UserError(message)
        results.remarks.append(message)
        return
    results.evaluation, results.evaluation_dir = content, folder


def _compare_with_chosen(results: Results) -> None:
    """Adds a remark if the test split was opened for another run than the one that is chosen now."""
    if not results.looks or results.chosen is None or results.evaluation is None:
        return
    look, best = results.looks[-1], results.chosen.best(results.metric)
    assert best is not None
    if (look["trial"], look["seed"], look["epoch"]) != (results.chosen.number, results.chosen.seed, best.epoch):
        results.evaluated = f"trial {look['trial']}, seed {look['seed']}"
        results.remarks.append(
            f"The evaluation is of {results.evaluated}, for which the test split was opened on {look['opened'][:10]}. "
            "Another run has been chosen since, and the test split stays closed; --second_look opens it again and "
            "records that."
        )


def _check_model(results: Results, *, required: bool) -> None:
    """Removes an evaluation of another model than the folder's best, or raises a UserError if `required`."""
    if results.evaluation is None:
        return
    evaluated = results.evaluation["checkpoint"]["fingerprint"]
    if load_checkpoint(checkpoint_in(results.folder)).fingerprint == evaluated:
        return
    message = (
        f"{results.evaluation_dir}: is the evaluation of another model than {results.folder}'s best; evaluate that one"
    )
    if required:
        raise UserError(message)
    results.evaluation = results.evaluation_dir = None
    results.remarks.append(message)


def _ended(files: SweepFolder, history: History) -> bool:
    """Returns whether the last session completed the sweep, which the model card shows for the earliest journals."""
    never = history.sessions == 1 and not history.was_done
    return (files.best / CARD_FILE).is_file() if never else history.done


def _marked(leaderboard: Path) -> tuple[int, int] | None:
    """Returns (number, seed) of the run that the leaderboard marks as chosen; None if it marks none."""
    if not leaderboard.is_file():
        return None
    with leaderboard.open(newline="", encoding="utf-8") as file:
        rows = [row for row in csv.DictReader(file) if row.get("chosen") == "yes"]
    return (int(rows[0]["trial"]), int(rows[0]["seed"])) if rows else None


def _seq_len(environment: JsonObject) -> int:
    return int(environment.get("encoder", {}).get("seq_len", 18))


def _json(path: Path) -> JsonObject:
    try:
        content = json.loads(path.read_text(encoding="utf-8"))
    except FileNotFoundError:
        raise UserError(f"{path}: there is no such file; copy the whole folder, or make it anew") from None
    except ValueError:
        raise UserError(f"{path}: is damaged (no JSON); copy it again, or make it anew") from None
    if not isinstance(content, dict):
        raise UserError(f"{path}: is damaged (no JSON object); copy it again, or make it anew")
    return content
