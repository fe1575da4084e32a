"""Optuna's study with one writer, of which samplers see a bounded number of trials."""

from __future__ import annotations

import heapq
import json
from collections.abc import Container
from pathlib import Path
from typing import Any

from optuna.storages import BaseStorage
from optuna.storages.journal import JournalFileBackend
from optuna.study import Study
from optuna.trial import FrozenTrial, TrialState

from fervit.json_lines import drop_torn_line
from fervit.search.space.search_space import SearchSpace

BEST_SEEN, LATEST_SEEN = 50, 200
"""Trials that TPE and the Gaussian process go by."""


class SingleWriterJournal(JournalFileBackend):
    """Optuna's journal file as its only writer writes it: without locking, and without waiting for the disk.

    What is written outlives the process at once; a power cut may take the tail, which the sweep's own journal brings
    back.
    """

    def __init__(self, path: Path) -> None:
        drop_torn_line(path)  # over which Optuna would stumble
        super().__init__(str(path))
        self._file = path.open("ab", buffering=0)

    def append_logs(self, logs: list[dict[str, Any]]) -> None:
        """Writes Optuna's log records as lines of JSON."""
        self._file.write("".join(json.dumps(log, separators=(",", ":")) + "\n" for log in logs).encode())


class BoundedStudy(Study):
    """A study of which samplers that read all trials for each new one see the best and the latest: TPE weighs the
    latest most, and what a suggestion costs stays the same however long the sweep is."""

    def __init__(self, space: SearchSpace, storage: BaseStorage) -> None:
        super().__init__(space.name, storage)
        self._bounded = space.search.sampler in ("tpe", "gp") and space.metric.against is None
        self._sign = 1 if space.metric.goal == "maximize" else -1
        self._best: list[tuple[float, int]] = []
        """A heap of (value, the higher the better; number), the worst of the best first."""
        for trial in storage.get_all_trials(self._study_id, deepcopy=False):
            if trial.state == TrialState.COMPLETE:
                self.note(trial.number, trial.values[0])

    def note(self, number: int, value: float) -> None:
        """A trial has finished with a value."""
        if len(self._best) < BEST_SEEN:
            heapq.heappush(self._best, (self._sign * value, number))
        else:
            heapq.heappushpop(self._best, (self._sign * value, number))

    def _get_trials(
        self, deepcopy: bool = True, states: Container[TrialState] | None = None, use_cache: bool = False
    ) -> list[FrozenTrial]:
        if deepcopy or not self._bounded:
            return super()._get_trials(deepcopy, states, use_cache)
        trials = self._storage.get_all_trials(self._study_id, deepcopy=False)
        latest = max(0, len(trials) - LATEST_SEEN)
        seen = [trials[number] for number in sorted(number for _, number in self._best) if number < latest]
        return [trial for trial in seen + trials[latest:] if states is None or trial.state in states]
