"""Reads the results of a sweep, a training run or an evaluation from its folder."""

from __future__ import annotations

import csv
import json
from collections.abc import Iterable
from dataclasses import dataclass, field
from pathlib import Path
from typing import Literal

from fervit.checkpoints.checkpoint import load_checkpoint
from fervit.checkpoints.export import CARD_FILE
from fervit.checkpoints.places import BEST_MODEL, checkpoint_in
from fervit.errors import HOLDS_NO_RESULTS, NO_RESULTS, UserError
from fervit.evaluation.evaluate import RESULTS_FILE
from fervit.io.files import JsonObject, is_locked
from fervit.labels.label_set import SEVEN
from fervit.report.earlier_scripts import EarlierEvaluation, evaluation_of, trial_of
from fervit.report.times import Timing
from fervit.runs.folder import RunFolder, RunRecord
from fervit.runs.recorder import read_history
from fervit.search.outcome.baseline import baseline_name, is_guide, why_no_comparison
from fervit.search.outcome.confirm import Confirmed, candidates, choose, confirmations, gain_over_baseline
from fervit.search.outcome.folds import Folded, folded
from fervit.search.outcome.sealed import SealedLook, read_looks
from fervit.search.records.events import Event
from fervit.search.records.history import History
from fervit.search.records.journal import JournalReader
from fervit.search.records.ranking import ranked
from fervit.search.records.record import TrialRecord
from fervit.search.records.sweep_folder import SweepFolder
from fervit.search.space.search_space import SearchSpace
from fervit.system.program import called
from fervit.training.objective import Metric

RESULTS_KEYS = {"split", "seen", "n", "intervals_95", "copies_of_training", "attention", "classification_report"}
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
    fold_runs: list[TrialRecord] = field(default_factory=list)
    """The trainings of the chosen configuration over folds, whose faces to validate on are others."""
    folds: Folded | None = None
    """What came of them; None if the sweep has none that finished, or has not chosen yet."""
    events: Iterable[Event] = ()
    """The events of a sweep in order, which are read from the journal each time."""
    timing: Timing = field(default_factory=Timing)
    ended_early: list[str] = field(default_factory=list)
    """Why the search and the confirmation ended before their last trial, if they did."""
    chosen: TrialRecord | None = None
    """The trial or rerun with the best model; None before the first epoch."""
    confirmed: list[Confirmed] = field(default_factory=list)
    ties: list[Confirmed] = field(default_factory=list)
    left_out: list[TrialRecord] = field(default_factory=list)
    """The trials that were to be confirmed, but of which no rerun with a fresh seed finished."""
    evaluation: JsonObject | None = None
    evaluation_dir: Path | None = None
    earlier: EarlierEvaluation | None = None
    """What an earlier script's evaluation says, which has less than `evaluation`; None if there is no such."""
    environment: JsonObject = field(default_factory=dict)
    model: JsonObject = field(default_factory=dict)
    """The arguments of `LatentViT` for the chosen model."""
    looks: list[SealedLook] = field(default_factory=list)
    """The record of every evaluation on the test split."""
    look: SealedLook | None = None
    """The look at the test split that `evaluation` is the result of; None if it is not of a look."""
    evaluated: str = ""
    """The run that was evaluated, if it is not the chosen one; "" otherwise."""
    remarks: list[str] = field(default_factory=list)
    """Caveats that the reader of the report must know."""

    @property
    def no_faces(self) -> bool:
        """Whether a session of the sweep was asked to show no pictures of faces."""
        return any(session.get("no_faces") for session in self.sessions)

    @property
    def sessions(self) -> list[JsonObject]:
        """The environment of each command that worked in the folder, the first one first."""
        earlier, later = (self.environment.get(name, []) for name in ("earlier", "sessions"))
        return [*earlier, self.environment, *later]

    @property
    def parameters(self) -> list[str]:
        """The names of the hyperparameters that were searched."""
        return list(self.space.parameters) if self.space is not None else []

    @property
    def classes(self) -> list[str]:
        """The names of the evaluation's classes."""
        return list((self.evaluation or {}).get("labels", SEVEN.classes))

    @property
    def encoder(self) -> JsonObject:
        """The fingerprint of the encoder; empty if it is not known."""
        return dict(self.environment.get("encoder") or (self.evaluation or {}).get("encoder") or {})

    def is_guide(self, record: TrialRecord) -> bool:
        """Returns whether a trial has the configuration of the guide, from which the defaults of fervit come."""
        assert self.space is not None
        return is_guide(self.space, record)

    def confirmation_of(self, record: TrialRecord) -> Confirmed | None:
        """Returns the confirmation of a trial; None if the trial was not confirmed."""
        return next((one for one in self.confirmed if one.record.number == record.number), None)

    def against_baseline(self) -> str:
        """Returns a sentence that compares the chosen configuration with the baseline; "" without a comparison."""
        if self.space is None or self.chosen is None:
            return ""
        ranking = ranked(self.records, self.metric)
        compared = gain_over_baseline(self.space, ranking, self.chosen.number, self.confirmed)
        if compared is None:
            return f"{why_no_comparison(self.space, ranking, self.chosen)}." if self.confirmed else ""
        name = baseline_name(self.space, compared.baseline.record)
        return f"{compared.sentence(name)}, in the mean {self.metric.words} of fresh seeds."

    def warm_start(self, record: TrialRecord) -> int | None:
        """Returns the number of a trial among the warm starts, from 1; None if the sampler suggested it."""
        assert self.space is not None
        return record.number + 1 if record.number < len(self.space.search.warm_start) else None


class SweepReading:
    """What has been read of a sweep's journal. `update` reads on where the last reading ended.

    Args:
        path: the path of the journal.
    """

    def __init__(self, path: Path) -> None:
        self.events = JournalReader(path)
        self.history, self.timing = History(), Timing()

    def update(self) -> None:
        """Reads the events that were added since the last reading."""
        for event in self.events.new():
            self.history.apply(event)
            self.timing.apply(event)


def read_results(
    folder: Path,
    *,
    evaluation: Path | None = None,
    running: bool | None = None,
    reading: SweepReading | None = None,
    heads: int | None = None,
) -> Results:
    """Reads a folder of results.

    Args:
        folder: the folder of a sweep or a training run, or the output folder of launch/evaluate.py.
        evaluation: the output folder of launch/evaluate.py for a run; None for `evaluation/` in the run's folder, or
            for `eval_results/`, where earlier scripts have it.
        running: whether a command is working in the folder; None to find out from its lock.
        reading: what an earlier call has read of the sweep, to read on from there; None reads all.
        heads: the number of attention heads of another script's model whose file does not name it.

    Raises:
        UserError: the folder holds no results, lacks a file, or has a damaged file.
    """
    folder = folder.absolute()
    if not folder.is_dir():
        raise UserError(f"{folder}: {NO_RESULTS}")
    files = SweepFolder(folder)
    if files.space.is_file() or files.journal.is_file():
        results = _sweep(folder, running, reading or SweepReading(files.journal))
    elif _is_run(folder):
        results = _run(folder, running)
    elif (folder / RESULTS_FILE).is_file():
        results = Results(folder=folder, kind="evaluation")
        _take_evaluation(results, folder, required=True)
        return results
    elif (folder / "checkpoints" / BEST_MODEL).is_file():
        results = _earlier_run(folder, heads)
    else:
        raise UserError(f"{folder}: {HOLDS_NO_RESULTS}")
    if evaluation is not None or results.kind == "run":
        own = (folder / name for name in ("evaluation", "eval_results"))
        place = evaluation or next((one for one in own if (one / RESULTS_FILE).is_file()), folder / "evaluation")
        _take_evaluation(results, place, required=evaluation is not None)
        _check_model(results, heads, required=evaluation is not None)
    return results


def _sweep(folder: Path, running: bool | None, reading: SweepReading) -> Results:
    files = SweepFolder(folder)
    for path in (files.space, files.journal, files.environment):
        if not path.is_file():
            raise UserError(f"{folder}: lacks {path.name}, which every sweep has; copy the whole folder of the sweep")
    space, history = files.read_space(), reading.history
    reading.update()
    everything = list(history.records.values())
    records = sorted((r for r in everything if r.purpose == "search"), key=lambda record: record.number)
    reruns = [record for record in everything if record.purpose not in ("search", "fold")]
    running = is_locked(folder) if running is None else running
    results = Results(
        folder=folder,
        kind="sweep",
        state="running" if running else "finished" if _ended(files, history) else "interrupted",
        space=space,
        metric=space.metric,
        records=records,
        reruns=reruns,
        fold_runs=[record for record in everything if record.purpose == "fold"],
        events=reading.events,
        timing=reading.timing,
        ended_early=[end.why for end in history.ends.values()],
        remarks=[remark for remark in (*reading.events.remarks, history.remark) if remark],
        environment=_json(files.environment),
        looks=read_looks(files),
    )
    ranking = ranked(records, space.metric)
    if not ranking:
        return results
    results.chosen = ranking[0]
    results.confirmed = confirmations(candidates(ranking, reruns, space), reruns, space)
    if results.state == "finished":
        results.chosen = _take_choice(results, history, files, space)
    if results.chosen is None:
        return results
    results.model = space.config(results.chosen.params).model() | {"seq_len": _seq_len(results.environment)}
    if results.state == "finished":
        results.folds = folded(results.fold_runs, results.chosen.number, space.confirm.folds, space.metric)
        _take_sealed(results, files)
    return results


def _take_choice(results: Results, history: History, files: SweepFolder, space: SearchSpace) -> TrialRecord | None:
    """Reads the confirmed trials and the ties from the journal, and returns the chosen run; None if it is lost."""
    runs = list(history.records.values())
    choice = history.choice
    if choice is None:  # a version before 0.2, which marked the choice only in the leaderboard
        marked = _marked(files.leaderboard)
        if len(results.confirmed) > 1:
            results.ties = choose(results.confirmed, results.metric)[1]
        return next((run for run in runs if (run.number, run.seed) == marked), results.chosen)
    chosen = next((run for run in runs if (run.number, run.seed) == (choice.number, choice.seed)), None)
    if chosen is None:
        results.remarks.append(f"The line of the journal that began the chosen run, trial {choice.number}, is lost.")
        return None
    of_number = {record.number: record for record in results.records}
    best = [of_number[number] for number in choice.confirmed if number in of_number]
    results.confirmed = confirmations(best, results.reruns, space)
    results.ties = [one for one in results.confirmed if one.record.number in choice.ties]
    results.left_out = [of_number[number] for number in choice.left_out if number in of_number]
    return chosen


def _run(folder: Path, running: bool | None) -> Results:
    run = RunFolder(folder)
    try:
        record = RunRecord.read(run)
    except UserError:
        raise UserError(
            f"{run.config}: is no config.json of a run of {called('train')}; give a folder of experiments/"
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
        environment={
            **_json(run.environment),
            "training": record.training.to_json(),
            "exclude": record.exclude,
            "votes": record.votes,
        },
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


def _earlier_run(folder: Path, heads: int | None) -> Results:
    """Reads a run of an earlier LatentViT script."""
    checkpoint = load_checkpoint(folder / "checkpoints" / BEST_MODEL, heads=heads)
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
        required: raises a UserError if the output is missing or says nothing, which is otherwise a remark.
    """
    path = folder / RESULTS_FILE
    if not required and not path.is_file():
        return
    content = _json(path)
    if not content.keys() >= RESULTS_KEYS:
        results.earlier, again = evaluation_of(content), f"run {called('evaluate')} again"
        if results.earlier is not None:
            results.remarks.append(
                f"{path} was written by an earlier script or version, and says less than those of today; {again} for "
                "intervals, calibration, attention and layers. Whether it is of this model is not known."
            )
            return
        message = f"{path}: holds neither accuracy and f1_macro nor what evaluations of today say; {again}"
        if required:
            raise UserError(message)
        results.remarks.append(message)
        return
    results.evaluation, results.evaluation_dir = content, folder


def _take_sealed(results: Results, files: SweepFolder) -> None:
    """Reads the sweep's own evaluation: that of the look at the test split for the chosen run, or else of the last.

    Other evaluations in the folder, such as those that launch/evaluate.py wrote there, are not the sweep's result.
    """
    best = results.chosen.best(results.metric) if results.chosen is not None else None
    if results.chosen is None or best is None:
        return
    chosen, looks = results.chosen, results.looks
    number = next((i for i, look in enumerate(looks) if look.complete and look.is_of(chosen, best.epoch)), None)
    of_chosen = number is not None or not looks
    if number is None:
        number = max((i for i, look in enumerate(looks) if look.complete), default=0)
    _take_evaluation(results, files.evaluation(number + 1))
    if results.evaluation is None:
        return
    results.look = looks[number] if looks else None
    evaluated = str(results.evaluation["checkpoint"]["fingerprint"])
    sealed = results.look.checkpoint if results.look is not None else ""
    if (sealed and sealed != evaluated) or (of_chosen and not _is_exported(files, evaluated)):
        results.remarks.append(
            f"{results.evaluation_dir}: is the evaluation of another model than the one that the sweep evaluated; "
            "copy the folder of the sweep again"
        )
        results.evaluation = results.evaluation_dir = results.look = None
    elif not of_chosen:
        look = looks[number]
        results.evaluated = f"trial {look.trial}, seed {look.seed}"
        results.remarks.append(
            f"The evaluation is of {results.evaluated}, for which the test split was opened on {look.opened[:10]}. "
            "Another run has been chosen since, and the test split stays closed; --second_look opens it again and "
            "records that."
        )


def _is_exported(files: SweepFolder, fingerprint: str) -> bool:
    """Returns whether best/ holds this model; also True if it holds none that can be read."""
    if not (files.best / BEST_MODEL).is_file():
        return True
    try:
        return load_checkpoint(files.best).fingerprint == fingerprint
    except UserError:
        return True


def _check_model(results: Results, heads: int | None, *, required: bool) -> None:
    """Removes an evaluation of another model than the folder's best, or raises a UserError if `required`."""
    if results.evaluation is None:
        return
    evaluated = results.evaluation["checkpoint"]["fingerprint"]
    if load_checkpoint(checkpoint_in(results.folder), heads=heads).fingerprint == evaluated:
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
