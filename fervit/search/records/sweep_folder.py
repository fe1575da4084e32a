"""The folder of a sweep, in which every file has its name once: a new one, or the one to go on with."""

from __future__ import annotations

import json
import re
import shutil
from collections.abc import Mapping
from contextlib import AbstractContextManager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import yaml

from fervit.checkpoints.checkpoint import BEST_MODEL
from fervit.errors import UserError
from fervit.files import locked, write_json, write_text
from fervit.search.space.search_space import SearchSpace
from fervit.search.space.space_file import parse_space
from fervit.search.splits import Splits

MAY_CHANGE = ("search.trials", "budget", "trial", "confirm")
"""Keys of the space that a resumed sweep may have with other values than before."""


@dataclass(frozen=True)
class TrialFolder:
    """Paths in `checkpoints/<trial>/`, which the trial's own processes write."""

    path: Path

    @property
    def last(self) -> Path:
        """What the trial goes on from after its process died."""
        return self.path / "last.pt"

    @property
    def best_model(self) -> Path:
        """The model of its best epoch."""
        return self.path / BEST_MODEL

    @property
    def sweep(self) -> SweepFolder:
        """The folder of the sweep that the trial is of."""
        return SweepFolder(self.path.parent.parent)


@dataclass(frozen=True)
class SweepFolder:
    """Paths in `experiments/<space>_<time>/`; `path` is absolute, since workers have other working directories."""

    path: Path

    @property
    def space(self) -> Path:
        """The resolved search space, as YAML."""
        return self.path / "sweep.yaml"

    @property
    def environment(self) -> Path:
        """Versions, hardware, the seed and the fingerprints of the data."""
        return self.path / "environment.json"

    @property
    def journal(self) -> Path:
        """All that happened, in order: what the sweep is resumed from."""
        return self.path / "trials.jsonl"

    @property
    def study(self) -> Path:
        """Optuna's storage, which is made from the journal."""
        return self.path / "study.journal"

    @property
    def leaderboard(self) -> Path:
        """A row for each training, best first."""
        return self.path / "leaderboard.csv"

    @property
    def failures(self) -> Path:
        """Tracebacks of trials that ended with an exception."""
        return self.path / "failures.log"

    @property
    def best(self) -> Path:
        """The exported model, with its card."""
        return self.path / "best"

    @property
    def sealed_test(self) -> Path:
        """Each look at the test split."""
        return self.path / "sealed_test.json"

    @property
    def report(self) -> Path:
        """The page that shows all of it."""
        return self.path / "report.html"

    @property
    def checkpoints(self) -> Path:
        """A folder for each trial that runs or whose model is kept."""
        return self.path / "checkpoints"

    @property
    def logs(self) -> Path:
        """What TensorBoard reads."""
        return self.path / "logs"

    @property
    def ray_log(self) -> Path:
        """What Ray wrote."""
        return self.path / "ray.log"

    @property
    def stop(self) -> Path:
        """Asks the trials to save after the epoch that they are in."""
        return self.path / ".stop"

    def evaluation(self, look: int = 1) -> Path:
        """What the n-th look at the test split, or the evaluation on validation, wrote."""
        return self.path / ("evaluation" if look == 1 else f"evaluation_{look}")

    def trial(self, name: str) -> TrialFolder:
        """The folder of one trial."""
        return TrialFolder(self.checkpoints / name)

    def locked(self) -> AbstractContextManager[None]:
        """Keeps a second command from working in this folder.

        Raises:
            UserError: another command works there.
        """
        return locked(self.path, "sweep")

    def remove_if_new(self) -> None:
        """Removes the folder if no session has begun in it."""
        if not self.journal.exists():
            shutil.rmtree(self.path)

    def is_sweep(self) -> bool:
        """Whether a sweep can be resumed from here."""
        return self.space.is_file() and self.environment.is_file()

    def write_space(self, space: SearchSpace) -> None:
        """Writes the resolved space."""
        write_text(self.space, yaml.safe_dump(space.to_json(), sort_keys=False))

    def read_space(self) -> SearchSpace:
        """Reads what `write_space` wrote.

        Raises:
            FileNotFoundError: there is no such file.
            UserError: it is damaged.
        """
        try:
            raw = yaml.safe_load(self.space.read_text(encoding="utf-8"))
        except (yaml.YAMLError, ValueError):
            raise UserError(f"{self.space}: is damaged; copy the sweep's folder again") from None
        if not isinstance(raw, dict):
            raise UserError(f"{self.space}: is damaged; copy the sweep's folder again")
        return parse_space(raw, str(self.space))

    def write_environment(self, environment: Mapping[str, Any]) -> None:
        """Writes it once, at the start; what a later session runs on is appended to `sessions`."""
        if self.environment.is_file():
            first = json.loads(self.environment.read_text(encoding="utf-8"))
            environment = {**first, "sessions": [*first.get("sessions", []), environment]}
        write_json(self.environment, environment)


def earlier_sweep(space: SearchSpace, given: str, root: Path = Path("experiments")) -> SweepFolder | None:
    """The folder of a sweep to go on with: the one given, or the newest of the space's name; None where there is none.

    Raises:
        UserError: the folder given is no sweep's.
    """
    if given:
        folder = SweepFolder(Path(given).absolute())
        if not folder.is_sweep():
            names = f"{folder.space.name} and {folder.environment.name}"
            raise UserError(f"--resume {given}: holds no {names}; give the folder of a sweep in {root}/")
        return folder
    folders = [SweepFolder(path.absolute()) for path in root.glob(f"{space.name}_*")]
    of_space = [
        folder
        for folder in folders
        if folder.is_sweep() and re.fullmatch(r"\d{8}_\d{6}(_\d+)?", folder.path.name[len(space.name) + 1 :])
    ]
    return max(of_space, key=lambda folder: folder.path.name, default=None)


def check_same(space: SearchSpace, splits: Splits, folder: SweepFolder) -> None:
    """Checks whether a sweep can go on with this space and these latents.

    Raises:
        UserError: the space differs in more than the number of trials, the budget, the resources and the confirmation,
            or the latents are others.
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
    for name, split in (("train", splits.train), ("val", splits.val)):
        if environment["data"][name]["sha256"] != split.fingerprint:
            raise UserError(
                f"--resume {folder.path}: began with other latents than {split.path} (their fingerprints differ); give "
                f"those of {environment['data'][name]['path']}, or start a new sweep without --resume"
            )


def _differences(old: Mapping[str, Any], new: Mapping[str, Any], prefix: str = "") -> dict[str, tuple[Any, Any]]:
    """Dotted key -> (old value, new value) of what differs."""
    found: dict[str, tuple[Any, Any]] = {}
    for key in [*old, *(key for key in new if key not in old)]:
        a, b = old.get(key), new.get(key)
        if isinstance(a, Mapping) and isinstance(b, Mapping):
            found |= _differences(a, b, f"{prefix}{key}.")
        elif a != b:
            found[f"{prefix}{key}"] = (a, b)
    return found
