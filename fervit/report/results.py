"""What a folder of results tells: a sweep's, a run's, or an evaluation's."""

from __future__ import annotations

import csv
import json
from dataclasses import dataclass, field
from pathlib import Path
from typing import Literal

from fervit.checkpoints.checkpoint import checkpoint_in, load_checkpoint
from fervit.checkpoints.export import CARD_FILE
from fervit.errors import UserError
from fervit.evaluation.evaluate import RESULTS_FILE, latest_evaluation
from fervit.files import JsonObject, is_locked
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
State = Literal["running", "interrupted", "finished"]


@dataclass(kw_only=True)
class Story:
    """Everything that the report shows, read from files."""

    folder: Path
    kind: Literal["sweep", "run", "evaluation"]
    state: State = "finished"
    space: SearchSpace | None = None
    """None for a run and an evaluation."""
    metric: Metric = field(default_factory=Metric)
    records: list[TrialRecord] = field(default_factory=list)
    """Of the search, in the order of their numbers; a run is one of them."""
    reruns: list[TrialRecord] = field(default_factory=list)
    """With fresh seeds."""
    events: list[Event] = field(default_factory=list)
    chosen: TrialRecord | None = None
    """Whose model is the best; None while no trial has an epoch."""
    confirmed: list[Confirmed] = field(default_factory=list)
    ties: list[Confirmed] = field(default_factory=list)
    evaluation: JsonObject | None = None
    evaluation_dir: Path | None = None
    environment: JsonObject = field(default_factory=dict)
    model: JsonObject = field(default_factory=dict)
    """Arguments of the chosen LatentViT."""
    looks: list[JsonObject] = field(default_factory=list)
    """At the test split."""
    evaluated: str = ""
    """The run that the evaluation is of, where that is not the chosen one."""
    remarks: list[str] = field(default_factory=list)
    """What a reader must know."""

    @property
    def parameters(self) -> list[str]:
        """Names of what was searched."""
        return list(self.space.parameters) if self.space is not None else []

    @property
    def encoder(self) -> JsonObject:
        """The fingerprint of the encoder; empty where it is not known."""
        return dict(self.environment.get("encoder") or (self.evaluation or {}).get("encoder") or {})

    def is_guide(self, record: TrialRecord) -> bool:
        """Whether a trial has the configuration of the guide that LatentViT comes from, which the defaults are; the
        guide recommends class weights, too."""
        assert self.space is not None
        config = self.space.config(record.params).to_json()
        return all(config[name] == value for name, value in DEFAULTS.items() if name not in NOT_OF_THE_GUIDE)

    def confirmation_of(self, record: TrialRecord) -> Confirmed | None:
        """The reruns of a trial's configuration, if it was among the best."""
        return next((one for one in self.confirmed if one.record.number == record.number), None)

    def warm_start(self, record: TrialRecord) -> int | None:
        """Which of the space file's warm starts a trial is, from 1; None for one that the sampler drew."""
        assert self.space is not None
        return record.number + 1 if record.number < len(self.space.search.warm_start) else None


def read_story(folder: Path, *, evaluation: Path | None = None, running: bool | None = None) -> Story:
    """Reads a folder of results.

    Args:
        folder: of a sweep, a training run, or what launch/evaluate.py wrote.
        evaluation: what launch/evaluate.py wrote for a run; left out, `evaluation/` in the folder.
        running: whether a command is at it; None looks.

    Raises:
        UserError: it is none of these, or lacks a file, or one is damaged.
    """
    folder = folder.absolute()
    if not folder.is_dir():
        raise UserError(f"{folder}: there is no such folder; give one of experiments/, or what evaluate.py wrote")
    files = SweepFolder(folder)
    if files.space.is_file() or files.journal.is_file():
        story = _sweep(folder, running)
    elif (folder / "config.json").is_file() and not (folder / RESULTS_FILE).is_file():
        story = _run(folder, running)
    elif (folder / RESULTS_FILE).is_file():
        story = Story(folder=folder, kind="evaluation")
        _take_evaluation(story, folder, required=True)
        return story
    else:
        raise UserError(
            f"{folder}: holds no results (no {files.space.name} of a sweep, config.json of a run, or {RESULTS_FILE}); "
            "give the folder of one"
        )
    if evaluation is not None or story.kind == "run":
        _take_evaluation(story, evaluation or folder / "evaluation", required=evaluation is not None)
        _check_model(story, required=evaluation is not None)
    return story


def _sweep(folder: Path, running: bool | None) -> Story:
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
    story = Story(
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
        return story
    story.chosen = ranking[0]
    story.confirmed = confirmations(ranking[: space.confirm.top], reruns, space.metric)
    if story.state == "finished":
        _take_choice(story, history, files)
    story.model = space.config(story.chosen.params).model() | {"seq_len": _seq_len(story.environment)}
    latest = latest_evaluation(folder)
    if latest is not None and story.state == "finished":
        _take_evaluation(story, latest)
        _compare_with_chosen(story)
    return story


def _take_choice(story: Story, history: History, files: SweepFolder) -> None:
    """Reads which run was chosen, after which confirmations, from the journal."""
    runs = list(history.records.values())
    choice = history.choice
    if choice is None:  # of a version before 0.2, which marked it in the leaderboard alone
        marked = _marked(files.leaderboard)
        story.chosen = next((run for run in runs if (run.number, run.seed) == marked), story.chosen)
        if len(story.confirmed) > 1:
            story.ties = choose(story.confirmed, story.metric)[1]
        return
    story.chosen = next(run for run in runs if (run.number, run.seed) == (choice.number, choice.seed))
    of_number = {record.number: record for record in story.records}
    best = [of_number[number] for number in choice.confirmed]
    story.confirmed = confirmations(best, story.reruns, story.metric)
    story.ties = [one for one in story.confirmed if one.record.number in choice.ties]


def _run(folder: Path, running: bool | None) -> Story:
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
    return Story(
        folder=folder,
        kind="run",
        state="finished" if run.finished else "running" if running else "interrupted",
        records=[trial],
        chosen=trial if rows else None,
        environment={**_json(run.environment), "training": record.training.to_json()},
        model=record.training.model(),
    )


def _take_evaluation(story: Story, folder: Path, *, required: bool = False) -> None:
    """Reads what launch/evaluate.py wrote; unless `required`, passes over what is missing or of an
    earlier version."""
    path = folder / RESULTS_FILE
    if not required and not path.is_file():
        return
    results = _json(path)
    if not results.keys() >= RESULTS_KEYS:
        message = f"{path}: was written by an earlier version; run launch/evaluate.py again"
        if required:
            raise UserError(message)
        story.remarks.append(message)
        return
    story.evaluation, story.evaluation_dir = results, folder


def _compare_with_chosen(story: Story) -> None:
    """Says so if the test split was opened for another run than the one that is chosen now."""
    if not story.looks or story.chosen is None or story.evaluation is None:
        return
    look, best = story.looks[-1], story.chosen.best(story.metric)
    assert best is not None
    if (look["trial"], look["seed"], look["epoch"]) != (story.chosen.number, story.chosen.seed, best.epoch):
        story.evaluated = f"trial {look['trial']}, seed {look['seed']}"
        story.remarks.append(
            f"The evaluation is of {story.evaluated}, for which the test split was opened on {look['opened'][:10]}. "
            "Another run has been chosen since, and the test split stays closed; --second_look opens it again and "
            "records that."
        )


def _check_model(story: Story, *, required: bool) -> None:
    """Leaves out, or if `required` refuses, an evaluation of another model than the folder's best."""
    if story.evaluation is None:
        return
    evaluated = story.evaluation["checkpoint"]["fingerprint"]
    if load_checkpoint(checkpoint_in(story.folder)).fingerprint == evaluated:
        return
    message = (
        f"{story.evaluation_dir}: is the evaluation of another model than {story.folder}'s best; evaluate that one"
    )
    if required:
        raise UserError(message)
    story.evaluation = story.evaluation_dir = None
    story.remarks.append(message)


def _ended(files: SweepFolder, history: History) -> bool:
    """Whether the last session came to its end; the earliest journals do not say so, but then there is the card."""
    never = history.sessions == 1 and not history.was_done
    return (files.best / CARD_FILE).is_file() if never else history.done


def _marked(leaderboard: Path) -> tuple[int, int] | None:
    """(number, seed) of the run that the leaderboard marks as chosen."""
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
