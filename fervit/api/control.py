"""`fervit.control` steers a sweep while it runs."""

from __future__ import annotations

from pathlib import Path
from typing import get_args

from fervit.errors import UserError
from fervit.io.files import from_home
from fervit.progress import Say, silent
from fervit.search.policy.sources import trial_name
from fervit.search.records.events import Action
from fervit.search.records.history import History
from fervit.search.records.journal import read_journal
from fervit.search.records.record import TrialRecord, params_text
from fervit.search.records.requests import Request, send
from fervit.search.records.sweep_folder import SweepFolder
from fervit.search.space.search_space import Params
from fervit.search.space.space_file import configuration_of, override

TAKEN_UP = "a sweep that runs takes it up within seconds, one that does not when it goes on (--resume)"


def control(sweep: str | Path, action: str, *what: str | int, say: Say | None = print) -> str:
    """Stops, keeps or adds a trial of a sweep, holds the sweep, or says why a trial ended.

    A request is a file in the folder of the sweep, so it can be made on any machine that sees the folder and at any
    moment. The sweep carries it out once and writes it into its journal.

    Args:
        sweep: the folder of the sweep.
        action: "stop" ends a trial after its epoch, and the sampler learns what it has reached; "keep" lets a trial
            train to its end; "add" tries a configuration next, one more than the space says; "pause" begins no further
            trials, while those that train go on; "go" begins trials again; "why" asks for nothing, and says how a trial
            ended and why.
        what: for "stop", "keep" and "why" the number or the name of a trial; for "add" hyperparameters such as
            "lr=3e-4". What it leaves open has the default, or the sampler's value.
        say: gets each line of text; None for silence.

    Returns:
        What was asked or found, in words.

    Raises:
        UserError: the folder is no sweep's, or what is asked for cannot be done.

    Example:
        fervit.control("experiments/vit_20260102_030405", "stop", 3)
    """
    folder, words = SweepFolder(Path(from_home(str(sweep))).absolute()), [str(word) for word in what]
    if not folder.journal.is_file():
        raise UserError(f"{folder.path}: holds no sweep (a trials.jsonl); give the folder of one, in experiments/")
    if action == "why":
        text = _why(folder, _trial(folder, words, action))
    elif action in get_args(Action):
        request = _request(folder, action, words)  # type: ignore[arg-type]
        try:
            send(folder, request)
        except OSError as error:
            raise UserError(f"{folder.requests}: cannot be written to ({error.strerror}); ask as its owner") from None
        text = f"asked: {request.words}; {TAKEN_UP}"
    else:
        raise UserError(f"'{action}': must be one of {', '.join((*get_args(Action), 'why'))}")
    (say or silent)(text)
    return text


def _request(folder: SweepFolder, action: Action, words: list[str]) -> Request:
    """Returns a request that the sweep can carry out as far as its journal says now."""
    if action in ("stop", "keep"):
        record = _trial(folder, words, action)
        if record.purpose != "search":
            raise UserError(f"{action} {record.name}: is a rerun; only trials of the search can be steered")
        if record.state != "running":
            raise UserError(f"{action} {record.name}: has ended ({record.state}); `why` says more")
        return Request(action=action, name=record.name)
    if action == "add":
        return Request(action=action, params=_configuration(folder, words))
    if words:
        raise UserError(f"{action}: takes nothing more, but got '{' '.join(words)}'")
    return Request(action=action)


def _trial(folder: SweepFolder, words: list[str], action: str) -> TrialRecord:
    """Returns the record of the trial that the user names."""
    if len(words) != 1:
        raise UserError(f"{action}: takes one trial, such as 3 or trial_0003, but got {len(words)}")
    name = trial_name(int(words[0])) if words[0].isdecimal() else words[0]
    records = History(read_journal(folder.journal)).records
    if name not in records:
        raise UserError(f"{action} {words[0]}: there is no such trial; {folder.leaderboard.name} lists them")
    return records[name]


def _configuration(folder: SweepFolder, words: list[str]) -> Params:
    """Returns the configuration that the user adds, with values read as YAML does."""
    given: Params = {}
    for word in " ".join(words).split():
        if "=" not in word or "." in word.partition("=")[0]:
            raise UserError(f"add {word}: must be name=value, such as lr=3e-4")
        override(given, word)
    if not given:
        raise UserError("add: needs hyperparameters, such as 'lr=3e-4 depth=2'")
    return configuration_of(folder.read_space(), given, "add")


def _why(folder: SweepFolder, record: TrialRecord) -> str:
    """Says how a trial ended and why, what it reached, and what it is."""
    metric = folder.read_space().metric
    best = record.best(metric)
    n = f"{len(record.epochs)} epoch{'s' * (len(record.epochs) != 1)}"
    if record.failure is not None:
        how = f"failed after {n}: {record.failure}"
    elif record.state == "finished":
        how = f"finished: it trained all of its {n}"
    elif record.state == "running" and not record.paused:
        how = f"trains: {n} so far" + (f"; {record.why}" if record.why else "")
    else:
        cut = "cut by the end of the search or its budget" if record.cut else "stopped early, and no reason is recorded"
        how = record.why or f"{cut}, after {n}"
    lines = [f"{record.name}  {how}"]
    if best is not None:
        lines.append(f"  best {metric.words} {metric.value(best):.4f} at epoch {best.epoch}")
    if record.expected is not None:
        lines.append(f"  {record.expected:.4f} expected of its configuration in the mean over seeds")
    return "\n".join([*lines, f"  {params_text(record.params)}, seed {record.seed}"])
