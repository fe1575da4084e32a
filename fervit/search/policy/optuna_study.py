"""An Optuna study with a single writer, and what samplers see of it."""

from __future__ import annotations

import copy
import heapq
import json
from collections.abc import Container, Generator
from pathlib import Path
from types import NoneType
from typing import Any

from optuna.distributions import BaseDistribution
from optuna.storages import BaseStorage
from optuna.storages.journal import JournalFileBackend
from optuna.study import Study
from optuna.trial import FrozenTrial, TrialState

from fervit.io.disk import AppendedFile
from fervit.io.json_lines import drop_torn_line
from fervit.search.policy.ordinal import Ordinal
from fervit.search.space.search_space import SearchSpace

LogRow = dict[str, Any]
"""A record of Optuna's journal."""
BEST_SEEN, LATEST_SEEN = 50, 200
"""The numbers of best and of latest trials that TPE and the Gaussian process learn from."""


class SingleWriterJournal(JournalFileBackend):
    """Optuna's journal file for a single writer, which needs no lock and does not wait for the disk.

    A write survives the death of the process. A power cut may lose the last writes, which are then restored from the
    sweep's own journal.
    """

    def __init__(self, path: Path) -> None:
        drop_torn_line(path)  # Optuna 5.0 would append to a line that was cut off, and then read the file no more
        self._file = AppendedFile(path)
        super().__init__(str(path))
        self._read = (0, 0)
        """The number and the offset of the first log record that has not been read."""
        self._written: list[tuple[LogRow, int]] = []
        """The records that were written since all of the file had been read, with the number of their bytes. They need
        not be read from the disk."""
        self._is_read = False
        """Whether all of the file but these has been read."""

    def read_logs(self, log_number_from: int) -> Generator[LogRow, None, None]:
        """Yields Optuna's log records from a number on. Optuna's own method keeps the offsets of all records."""
        if self._is_read and log_number_from == self._read[0]:
            yield from self._take_written()
            return
        number, offset = self._read if self._read[0] <= log_number_from else (0, 0)
        self._written.clear()
        with Path(self._file_path).open("rb") as file:
            file.seek(offset)
            for line in file:
                if not line.endswith(b"\n"):
                    return
                number, offset = number + 1, offset + len(line)
                self._read = number, offset
                if number > log_number_from:
                    yield json.loads(line)
        self._is_read = True

    def append_logs(self, logs: list[LogRow]) -> None:
        """Writes Optuna's log records as lines of JSON.

        Raises:
            OSError: the file cannot be written, such as on a full disk.
        """
        lines = [_ENCODER.encode(log).encode() + b"\n" for log in logs]
        self._file.append(b"".join(lines))
        if self._is_read:
            self._written += [(_as_read(log, line), len(line)) for log, line in zip(logs, lines, strict=True)]

    def _take_written(self) -> list[LogRow]:
        """Returns the records that were written since, as read."""
        written, self._written = self._written, []
        self._read = self._read[0] + len(written), self._read[1] + sum(length for _, length in written)
        return [log for log, _ in written]


_ENCODER = json.JSONEncoder(separators=(",", ":"))
_SCALARS = (str, int, float, bool, NoneType)


def _as_read(log: LogRow, line: bytes) -> LogRow:
    """Returns a record as it is read from its line. One of plain values is the same, and need not be parsed."""
    if all(isinstance(value, _SCALARS) for value in log.values()):
        return log
    read: LogRow = json.loads(line)
    return read


class SamplerView(Study):
    """A study as Optuna's samplers see it.

    - It shows only the best and the latest trials to samplers that read all trials for each suggestion. The time of a
      suggestion thus does not grow with the sweep. TPE gives the latest trials the largest weight anyway.
    - Lists of numbers are shown as whole numbers in their order (`Ordinal`).
    - The Gaussian process and CMA-ES learn from complete trials only. They are shown a trial that was stopped early as
      complete with its best value so far, and one that can never run as complete with the worst value.
    """

    def __init__(self, space: SearchSpace, storage: BaseStorage) -> None:
        super().__init__(space.name, storage)
        one_objective = space.metric.against is None
        self._bounded = space.search.sampler in ("tpe", "gp") and one_objective
        self._completes = space.search.sampler in ("gp", "cmaes")
        self._one_objective = one_objective
        self._ordinals = Ordinal.of(space)
        self._sign = 1 if space.metric.goal == "maximize" else -1
        self._shown: dict[int, FrozenTrial] = {}
        """The number of each ended trial -> the trial as samplers see it."""
        self._best: list[tuple[float, int]] = []
        """A heap of (value, trial number) of the best trials, the worst first. A higher value is always better here."""
        for trial in storage.get_all_trials(self._study_id, deepcopy=False):
            if trial.state == TrialState.COMPLETE:
                self.note(trial.number, trial.values[0])

    def note(self, number: int, value: float) -> None:
        """Records the value of a finished trial."""
        if len(self._best) < BEST_SEEN:
            heapq.heappush(self._best, (self._sign * value, number))
        else:
            heapq.heappushpop(self._best, (self._sign * value, number))

    def _get_trials(
        self, deepcopy: bool = True, states: Container[TrialState] | None = None, use_cache: bool = False
    ) -> list[FrozenTrial]:
        trials = self._storage.get_all_trials(self._study_id, deepcopy=False)
        if self._bounded:
            latest = max(0, len(trials) - LATEST_SEEN)
            best = [trials[number] for number in sorted(number for _, number in self._best) if number < latest]
            trials = best + trials[latest:]
        shown = [self._show(trial) for trial in trials]
        if self._completes:
            shown = self._with_worst(shown)
        found = [trial for trial in shown if states is None or trial.state in states]
        return copy.deepcopy(found) if deepcopy else found

    def _show(self, trial: FrozenTrial) -> FrozenTrial:
        """Returns a trial as samplers see it."""
        known = self._shown.get(trial.number)
        if known is not None:
            return known
        shown = copy.copy(trial)
        shown.distributions = {n: self._distribution(n, d) for n, d in trial.distributions.items()}
        shown.params = {n: self._ordinals[n].index(v) if n in self._ordinals else v for n, v in trial.params.items()}
        reported = trial.intermediate_values
        stopped = trial.state == TrialState.PRUNED and not _is_infeasible(trial)
        if self._completes and self._one_objective and stopped and reported:
            shown.state, shown.values = TrialState.COMPLETE, [reported[max(reported)]]
        if trial.state.is_finished():
            self._shown[trial.number] = shown
        return shown

    def _distribution(self, name: str, distribution: BaseDistribution) -> BaseDistribution:
        return self._ordinals[name].distribution if name in self._ordinals else distribution

    def _with_worst(self, trials: list[FrozenTrial]) -> list[FrozenTrial]:
        """Gives the trials that can never run the worst value of the others, in each objective."""
        values = [trial.values for trial in trials if trial.state == TrialState.COMPLETE]
        if not values:
            return trials
        metric, *costs = zip(*values, strict=True)
        worst = [self._sign * min(self._sign * value for value in metric), *map(max, costs)]
        return [_completed(trial, worst) if _is_infeasible(trial) else trial for trial in trials]


def _is_infeasible(trial: FrozenTrial) -> bool:
    return trial.state == TrialState.PRUNED and bool(trial.constraints)


def _completed(trial: FrozenTrial, values: list[float]) -> FrozenTrial:
    """Returns a trial as complete with these values, and without constraints."""
    completed = copy.copy(trial)
    completed.state, completed.values = TrialState.COMPLETE, values
    completed.system_attrs = {k: v for k, v in trial.system_attrs.items() if not k.startswith("constraints")}
    return completed
