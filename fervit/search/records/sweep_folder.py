"""The folder of a sweep: the names of its files, and the search for a folder to resume."""

from __future__ import annotations

import glob
import json
import re
from collections.abc import Mapping
from contextlib import AbstractContextManager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import yaml

from fervit.checkpoints.places import BEST_MODEL
from fervit.cluster.job import JOB_FOLDER, is_prepared
from fervit.errors import UserError
from fervit.io.disk import remove_tree
from fervit.io.files import locked, write_json, write_text
from fervit.search.space.search_space import DEFAULTS, SearchSpace
from fervit.search.space.space_file import parse_space
from fervit.search.splits import Splits

MAY_CHANGE = ("search.trials", "search.max_concurrent_trials", "budget", "trial", "confirm")
"""The keys of the space whose values may change when a sweep is resumed."""


NOT_DEFAULT = ("epochs", "seed")
"""The hyperparameters whose defaults no trial uses."""


@dataclass(frozen=True)
class TrialFolder:
    """The files in `checkpoints/<trial>/`, which the processes of the trial write."""

    path: Path

    @property
    def last(self) -> Path:
        """The saved state from which the trial continues after its process died."""
        return self.path / "last.pt"

    @property
    def best_model(self) -> Path:
        """The model of the trial's best epoch."""
        return self.path / BEST_MODEL

    @property
    def sweep(self) -> SweepFolder:
        """The folder of the sweep that the trial belongs to."""
        return SweepFolder(self.path.parent.parent)


PARTS = {"search": "trials", "confirm": "confirm", "fold": "folds"}
"""The folder in which Ray Tune works on each part of a sweep. It holds no result of its own."""


@dataclass(frozen=True)
class SweepFolder:
    """The files in `experiments/<space>_<time>/`. `path` is absolute, since workers have other working directories."""

    path: Path

    @property
    def space(self) -> Path:
        """The search space with all overrides and defaults, as YAML."""
        return self.path / "sweep.yaml"

    @property
    def environment(self) -> Path:
        """The versions, the hardware, the seed and the fingerprints of the data, as JSON."""
        return self.path / "environment.json"

    @property
    def excluded(self) -> Path:
        """The faces that training and validation lack, if the sweep was given lists of such."""
        return self.path / "excluded.jsonl"

    @property
    def learned(self) -> Path:
        """What the sweep took from earlier ones when it began, as JSON, if it was given any."""
        return self.path / "learned.json"

    @property
    def journal(self) -> Path:
        """The journal: the events of the sweep in order, from which it is resumed."""
        return self.path / "trials.jsonl"

    @property
    def study(self) -> Path:
        """The storage of Optuna's study, which can be rebuilt from the journal."""
        return self.path / "study.journal"

    @property
    def leaderboard(self) -> Path:
        """The leaderboard, with a row for each trial and each rerun, best first."""
        return self.path / "leaderboard.csv"

    @property
    def failures(self) -> Path:
        """The tracebacks of the trials that ended with an exception."""
        return self.path / "failures.log"

    @property
    def best(self) -> Path:
        """The folder of the exported model and its model card."""
        return self.path / "best"

    @property
    def sealed_test(self) -> Path:
        """The record of every evaluation on the test split."""
        return self.path / "sealed_test.json"

    @property
    def fingerprints(self) -> Path:
        """The SHA-256 of each file, written when the sweep has ended."""
        return self.path / "fingerprints.json"

    @property
    def checkpoints(self) -> Path:
        """The folder that holds one folder for each trial that runs or whose model is kept."""
        return self.path / "checkpoints"

    @property
    def logs(self) -> Path:
        """The folder of TensorBoard's logs."""
        return self.path / "logs"

    @property
    def ray_log(self) -> Path:
        """The output of Ray."""
        return self.path / "ray.log"

    @property
    def requests(self) -> Path:
        """The folder of what users ask of the sweep while it runs (`launch/control.py`)."""
        return self.path / "requests"

    @property
    def stop(self) -> Path:
        """A file that exists while the trials are asked to save after their current epoch."""
        return self.path / ".stop"

    def evaluation(self, look: int = 1) -> Path:
        """The folder of an evaluation.

        Args:
            look: 1 for the first evaluation on the test split or the one on validation, 2 for the second, and so on.
        """
        return self.path / ("evaluation" if look == 1 else f"evaluation_{look}")

    def trial(self, name: str) -> TrialFolder:
        """Returns the folder of a trial."""
        return TrialFolder(self.checkpoints / name)

    def locked(self) -> AbstractContextManager[None]:
        """Locks the folder, so that no second command works in it.

        Raises:
            UserError: another command holds the lock.
        """
        return locked(self.path, "sweep")

    def remove_if_new(self) -> None:
        """Removes the folder if no session has begun in it, unless it was made for a batch job."""
        if not self.journal.exists() and not (self.path / JOB_FOLDER).exists():
            remove_tree(self.path)

    def is_sweep(self) -> bool:
        """Returns whether the folder holds a sweep that can be resumed."""
        return self.space.is_file() and self.environment.is_file()

    def is_prepared(self) -> bool:
        """Returns whether the folder was made for a batch job in which no sweep has begun yet."""
        return is_prepared(self.path, self.space)

    def write_space(self, space: SearchSpace) -> None:
        """Writes the search space."""
        write_text(self.space, yaml.safe_dump(space.to_json(), sort_keys=False))

    def read_space(self) -> SearchSpace:
        """Reads the search space that `write_space` wrote.

        Raises:
            FileNotFoundError: there is no such file.
            UserError: the file is damaged.
        """
        try:
            raw = yaml.safe_load(self.space.read_text(encoding="utf-8"))
        except (yaml.YAMLError, ValueError):
            raise UserError(f"{self.space}: is damaged; copy the sweep's folder again") from None
        if not isinstance(raw, dict):
            raise UserError(f"{self.space}: is damaged; copy the sweep's folder again")
        return parse_space(raw, str(self.space))

    def write_environment(self, environment: Mapping[str, Any]) -> None:
        """Writes environment.json; the environment of a later session is appended to its `sessions`."""
        if self.environment.is_file():
            first = json.loads(self.environment.read_text(encoding="utf-8"))
            environment = {**first, "sessions": [*first.get("sessions", []), environment]}
        write_json(self.environment, environment)


def earlier_sweep(space: SearchSpace, given: str, root: Path = Path("experiments")) -> SweepFolder | None:
    """Finds the folder of a sweep to resume; None if there is none.

    Args:
        space: the search space.
        given: the folder that the user named; "" for the newest folder with the name of the space.
        root: the folder that holds all sweeps.

    Raises:
        UserError: the folder that the user named holds no sweep.
    """
    if given:
        folder = SweepFolder(Path(given).absolute())
        if not folder.is_sweep():
            names = f"{folder.space.name} and {folder.environment.name}"
            raise UserError(f"--resume {given}: holds no {names}; give the folder of a sweep in {root}/")
        return folder
    folders = [SweepFolder(path.absolute()) for path in root.glob(f"{glob.escape(space.name)}_*")]
    of_space = [
        folder
        for folder in folders
        if folder.is_sweep() and re.fullmatch(r"\d{8}_\d{6}(_\d+)?", folder.path.name[len(space.name) + 1 :])
    ]
    return max(of_space, key=lambda folder: folder.path.name, default=None)


def check_same(space: SearchSpace, splits: Splits, folder: SweepFolder) -> None:
    """Checks that a sweep can be resumed with this space and these latents.

    Raises:
        UserError: the space differs in more than the number of trials, the budget, the resources and the confirmation,
            or the latents are not those that the sweep began with.
    """
    before = folder.read_space()
    changed = [
        f"{key} {new!r}, was {old!r}"
        for key, (old, new) in _differences(before.to_json(), space.to_json()).items()
        if not any(key == may or key.startswith(f"{may}.") for may in MAY_CHANGE)
    ]
    if changed:
        raise UserError(
            f"--resume {folder.path}: began with another space ({'; '.join(changed[:3])}); take the file back to what "
            "it was, or start a new sweep without --resume"
        )
    environment = json.loads(folder.environment.read_text(encoding="utf-8"))
    _check_defaults(before, environment, folder)
    for name, split in (("train", splits.train), ("val", splits.val)):
        if environment["data"][name]["sha256"] != split.fingerprint:
            raise UserError(
                f"--resume {folder.path}: began with other latents than {split.path} (their fingerprints differ); give "
                f"those of {environment['data'][name]['path']}, or start a new sweep without --resume"
            )
    _check_test(splits, folder, environment)


def _check_test(splits: Splits, folder: SweepFolder, environment: Mapping[str, Any]) -> None:
    """Checks that the test split is the one that an earlier session found, if one did.

    Raises:
        UserError: it is another one, or is gone.
    """
    sessions = [environment, *environment.get("sessions", [])]
    first = next((session["data"]["test"] for session in sessions if "test" in session["data"]), None)
    if first is None or first["sha256"] == splits.test_fingerprint:
        return
    now = f"another test split than {splits.test} (their fingerprints differ)" if splits.test else "a test split"
    raise UserError(
        f"--resume {folder.path}: began with {now}; a sealed result is of the faces that it began with: give those of "
        f"{first['path']}, or start a new sweep without --resume"
    )


def _check_defaults(space: SearchSpace, environment: Mapping[str, Any], folder: SweepFolder) -> None:
    """Checks that the hyperparameters that the space leaves at their defaults have those that the sweep began with."""
    began = environment.get("defaults", {})  # versions before 0.2 did not note them
    never = {*NOT_DEFAULT, *space.fixed, *(name for name in space.parameters if name not in space.when)}
    unset = [name for name in began if name in DEFAULTS and name not in never]
    changed = [f"{name} {DEFAULTS[name]!r}, was {began[name]!r}" for name in unset if DEFAULTS[name] != began[name]]
    if changed:
        version = (environment.get("packages") or {}).get("fervit", "an earlier version")
        raise UserError(
            f"--resume {folder.path}: began with fervit {version}, which had other defaults "
            f"({'; '.join(changed[:3])}); go on with that version, or start a new sweep without --resume"
        )


def _differences(old: Mapping[str, Any], new: Mapping[str, Any], prefix: str = "") -> dict[str, tuple[Any, Any]]:
    """Returns dotted key -> (old value, new value) for each key whose values differ."""
    found: dict[str, tuple[Any, Any]] = {}
    for key in [*old, *(key for key in new if key not in old)]:
        a, b = old.get(key), new.get(key)
        if isinstance(a, Mapping) and isinstance(b, Mapping):
            found |= _differences(a, b, f"{prefix}{key}.")
        elif a != b:
            found[f"{prefix}{key}"] = (a, b)
    return found
