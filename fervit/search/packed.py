"""Recorded sweeps in one small file each: learning curves, the same configurations with many seeds, and fresh faces.

`benchmarks/recordings.py` makes them. `read_packed` is their one reader: `replay.py` searches their curves, and
`benchmarks/honesty.py` knows from them how far the seed moves a configuration and what its models do on fresh faces.
"""

from __future__ import annotations

import json
import lzma
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Literal

import numpy as np

from fervit.errors import UserError
from fervit.io.files import JsonObject, whole_file
from fervit.search.records.epochs import Epochs
from fervit.search.records.record import TrialRecord
from fervit.search.space.search_space import Params, SearchSpace
from fervit.search.space.space_file import parse_space
from fervit.training.epoch import FIELDS, EpochResult

FORMAT = 1
SUFFIX = ".json.xz"
Group = Literal["sweep", "residuals", "check"]
"""Why a training was recorded. "sweep": a configuration of the search, with the search's seed. "residuals": one of some
configurations with each of many fresh seeds. "check": as "residuals", of other configurations, to test what was learned
from those."""
FRESH = ("f1_macro", "accuracy")
"""The metrics that are recorded on the fresh faces."""


@dataclass(frozen=True, kw_only=True)
class Training:
    """A recorded training."""

    group: Group
    number: int
    """The number of the configuration."""
    seed: int
    params: Params
    epochs: list[EpochResult]
    fresh: dict[str, list[float]]
    """For each metric of `FRESH` and each epoch: its value on faces that chose nothing, of the model of the best epoch
    so far (by the space's metric on validation)."""
    failure: str = ""
    """Why the training ended before its last epoch; "" if it did not."""

    def to_json(self) -> JsonObject:
        """Returns the training as columns, which compress well; numbers have six digits, as in the leaderboard."""
        columns = {name: [_short(getattr(row, name)) for row in self.epochs] for name in FIELDS if name != "epoch"}
        about = {"group": self.group, "number": self.number, "seed": self.seed, "params": self.params}
        failed = {"failure": self.failure} if self.failure else {}
        fresh = {name: [_short(value) for value in values] for name, values in self.fresh.items()}
        return {**about, **failed, "epochs": columns, "fresh": fresh}

    @classmethod
    def from_json(cls, content: Mapping[str, object]) -> Training:
        """Reads what `to_json` wrote.

        Raises:
            KeyError, TypeError, ValueError: it is damaged.
        """
        row: JsonObject = dict(content)
        columns = row.pop("epochs")
        n = len(columns["f1_macro"])
        names = [name for name in FIELDS if name != "epoch"]
        rows = zip(*(columns[name] for name in names), strict=True)
        epochs = [EpochResult(epoch=i + 1, **dict(zip(names, values, strict=True))) for i, values in enumerate(rows)]
        if any(len(row["fresh"][name]) != n for name in FRESH):
            raise ValueError("fresh values for other epochs")
        return cls(**row, epochs=epochs)

    def record(self) -> TrialRecord:
        """Returns the training as the record of a trial that ran to its end."""
        return TrialRecord(
            number=self.number,
            name=f"trial_{self.number:04d}" + ("" if self.group == "sweep" else f"_seed{self.seed}"),
            seed=self.seed,
            params=self.params,
            state="failed" if self.failure else "finished",
            finished=not self.failure,
            epochs=Epochs(self.epochs),
            seconds=sum(row.seconds for row in self.epochs),
        )


@dataclass(frozen=True, kw_only=True)
class Packed:
    """A recorded sweep with its residuals."""

    name: str
    about: str
    """The data and the space in a sentence."""
    headroom: bool
    """Whether the configurations differ by more than their seeds, so that a search can find something."""
    space: SearchSpace
    data: JsonObject
    """The number of rows and the fingerprint of each split."""
    trainings: list[Training]

    def of(self, group: Group) -> list[Training]:
        """Returns the trainings of a group that ran to their end."""
        return [one for one in self.trainings if one.group == group and not one.failure]

    def by_configuration(self, group: Group) -> dict[int, list[Training]]:
        """Returns the trainings of a group by the number of their configuration."""
        found: dict[int, list[Training]] = {}
        for one in self.of(group):
            found.setdefault(one.number, []).append(one)
        return found

    def best_values(self, trainings: Sequence[Training]) -> np.ndarray:
        """Returns the best value of the space's metric so far, float64 [trainings, epochs]."""
        metric = self.space.metric
        curves = np.array([[metric.sign * metric.value(row) for row in one.epochs] for one in trainings])
        return np.asarray(metric.sign * np.maximum.accumulate(curves, axis=1))


def write_packed(packed: Packed, path: Path) -> None:
    """Writes a recorded sweep, compressed."""
    content = {
        **{"format": FORMAT, "name": packed.name, "about": packed.about, "headroom": packed.headroom},
        **{"space": packed.space.to_json(), "data": packed.data},
        "trainings": [one.to_json() for one in packed.trainings],
    }
    text = json.dumps(content, separators=(",", ":"))
    with whole_file(path) as aside:
        aside.write_bytes(lzma.compress(text.encode(), preset=9 | lzma.PRESET_EXTREME))


def read_packed(path: Path) -> Packed:
    """Reads a recorded sweep.

    Raises:
        UserError: there is no such file, or it is damaged or of a later version.
    """
    try:
        content = json.loads(lzma.decompress(path.read_bytes()))
        if content["format"] > FORMAT:
            raise UserError(f"{path}: was written by a later version of fervit; read it with that one")
        return Packed(
            name=content["name"],
            about=content["about"],
            headroom=content["headroom"],
            space=parse_space(content["space"], str(path)),
            data=content["data"],
            trainings=[Training.from_json(one) for one in content["trainings"]],
        )
    except FileNotFoundError:
        raise UserError(f"{path}: there is no such file; python -m benchmarks.recordings makes recordings") from None
    except (OSError, ValueError, KeyError, TypeError, lzma.LZMAError):
        raise UserError(f"{path}: is damaged or no recording; make it again: python -m benchmarks.recordings") from None


def packed_in(folder: Path) -> list[Path]:
    """Returns the recorded sweeps in a folder, in the order of their names."""
    return sorted(folder.glob(f"*{SUFFIX}"))


def numbered(trainings: Iterable[Training]) -> set[tuple[Group, int, int]]:
    """Returns what tells trainings apart: their group, configuration and seed."""
    return {(one.group, one.number, one.seed) for one in trainings}


def _short(value: float) -> float:
    """Rounds to six digits."""
    return float(f"{value:.6g}")
