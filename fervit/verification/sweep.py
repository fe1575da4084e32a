"""Opens a sweep that has ended, with the latents that it was made from."""

from __future__ import annotations

import json
from dataclasses import dataclass, replace
from functools import cached_property
from pathlib import Path
from typing import Any

from fervit.checkpoints.checkpoint import Checkpoint, load_checkpoint
from fervit.checkpoints.places import BEST_MODEL
from fervit.errors import UserError
from fervit.io.files import JsonObject, is_locked
from fervit.io.storage import child
from fervit.labels.dealing import Fractions
from fervit.latents.exclusion import Exclusion
from fervit.latents.parts import about_in
from fervit.latents.votes import resumed
from fervit.runs.environment import describe
from fervit.search.records.history import History
from fervit.search.records.journal import JournalReader
from fervit.search.records.record import TrialRecord
from fervit.search.records.sweep_folder import SweepFolder
from fervit.search.space.search_space import SearchSpace
from fervit.search.splits import Splits, open_splits
from fervit.system.program import called
from fervit.verification.comparison import DifferenceError


@dataclass(frozen=True)
class EndedSweep:
    """A sweep that has ended, as its files state it."""

    files: SweepFolder
    space: SearchSpace
    history: History
    environment: JsonObject

    @property
    def records(self) -> list[TrialRecord]:
        """The trials and reruns on the splits of the sweep, in the order in which they started; those on folds decide
        nothing."""
        return [record for record in self.history.records.values() if record.purpose != "fold"]

    @property
    def searched(self) -> list[TrialRecord]:
        """The trials of the search."""
        return [record for record in self.records if record.purpose == "search"]

    @cached_property
    def chosen(self) -> TrialRecord:
        """The run whose model was exported."""
        choice = self.history.choice
        runs = [run for run in self.records if choice and (run.number, run.seed) == (choice.number, choice.seed)]
        if not runs:
            raise DifferenceError(f"{self.files.journal.name}: it does not have the run that was chosen")
        return runs[0]

    @cached_property
    def model(self) -> Checkpoint:
        """The exported model."""
        return load_checkpoint(self.files.best / BEST_MODEL)

    @property
    def sessions(self) -> list[JsonObject]:
        """What environment.json says of each session."""
        return [self.environment, *self.environment.get("sessions", [])]

    @property
    def same_kind(self) -> bool:
        """Whether this machine computes the same bits as the one that trained: one CPU core of the same kind.

        That needs the same processor and torch, and trials on one thread of the machine whose session is recorded.
        """
        here, trial = describe(), self.space.trial
        of_one_core = trial.workers == 1 and trial.cpus == 1 and trial.gpus_each == 0
        alike = (
            session.get("processor") == here["processor"]
            and (session.get("packages") or {}).get("torch") == here["packages"]["torch"]
            and (session.get("cluster") or {}).get("nodes") == 1
            for session in self.sessions
        )
        return of_one_core and bool(here["processor"]) and all(alike)


def open_sweep(folder: Path) -> EndedSweep:
    """Opens the folder of a sweep.

    Raises:
        UserError: it is none, it has not ended, or it was ended by an earlier version.
        DifferenceError: a file of it is missing or damaged.
    """
    files = SweepFolder(folder.absolute())
    if not files.is_sweep():
        names = f"{files.space.name} and {files.environment.name}"
        raise UserError(f"{folder}: holds no {names}; give the folder of a sweep")
    again = f"`{called('tune')} --resume {folder}` with the space and latents that it began with"
    if is_locked(files.path):
        raise UserError(f"{folder}: a command is working on this sweep; verify it when it has ended")
    if not files.journal.is_file():
        raise DifferenceError(f"{files.journal.name} is missing")
    reader = JournalReader(files.journal)
    history = History(reader)
    for remark in (*reader.remarks, history.remark):
        if remark:
            raise DifferenceError(remark)
    if history.sessions and not history.done:
        raise UserError(f"{folder}: has not ended; {again} goes on, and then it can be verified")
    if not files.fingerprints.is_file():
        raise UserError(
            f"{folder}: has no {files.fingerprints.name}, so an earlier version has ended it or its end was cut off; "
            f"{again} writes it"
        )
    try:
        return EndedSweep(files, files.read_space(), history, _environment(files))
    except UserError as error:
        raise DifferenceError(str(error)) from None


def _environment(files: SweepFolder) -> JsonObject:
    """Reads environment.json.

    Raises:
        DifferenceError: it is damaged.
    """
    try:
        found: Any = json.loads(files.environment.read_text(encoding="utf-8"))
        for session in [found, *found.get("sessions", [])]:
            for name in {"train", "val", *session["data"]}:
                str(session["data"][name]["path"]), str(session["data"][name]["sha256"])
        return {**found, "encoder": found["encoder"]}
    except (ValueError, KeyError, TypeError, AttributeError):
        raise DifferenceError(f"{files.environment.name} is damaged") from None


def read_latents(sweep: EndedSweep, latents: str | None) -> Splits:
    """Reads the latents that the sweep was made from.

    Args:
        sweep: the sweep.
        latents: where they are now; None for where they were.

    Raises:
        UserError: they are not there.
    """
    where = sweep.environment["data"]["train"]["path"].rpartition("/")[0] if latents is None else latents
    if about_in(child(where, "train")) is None:
        moved = "its latents are no longer" if latents is None else "--latents: no latents are"
        raise UserError(f"{sweep.files.path}: {moved} in {where}; give the folder that holds train/ with --latents")
    dealt = sweep.environment.get("fractions")
    fractions = Fractions(**dealt) if dealt else None
    excluded = sweep.files.excluded
    exclusion = Exclusion.read([str(excluded)]) if excluded.is_file() else None
    if exclusion is not None:  # its own copy of the lists, which results name as the user did
        named = (sweep.sessions[-1].get("exclude") or {}).get("files", exclusion.files)
        exclusion = replace(exclusion, files=tuple(named))
    votes = resumed(sweep.environment.get("votes"), None, sweep.files.path, "copy their file back")
    return open_splits(where, sweep.space, exclusion, fractions, votes)
