"""Runs with the real Ray whose steps on the disk are recorded in all their processes."""

from __future__ import annotations

import pickle
import time
from pathlib import Path
from typing import Any

from fervit.io import disk
from fervit.io.disk import Operation
from fervit.search.records.sweep_folder import TrialFolder
from fervit.search.workers.trial import LatentTrial
from tests.crash.recorder import Recording

ASIDE = "steps_of_trials"
"""The folder beside that of the sweeps in which the processes of trials note their steps."""


class RecordedTrial(LatentTrial):
    """A trial whose process notes each of its steps on the disk, with the time at which it was made."""

    def setup(self, config: dict[str, Any], **given: Any) -> None:
        root = TrialFolder(Path(config["folder"])).sweep.path.parent
        disk._watcher = _Noted(root)  # for the life of this process, of which all is a trial's
        super().setup(config, **given)


class _Noted:
    def __init__(self, root: Path) -> None:
        self._recording = Recording(root)
        (root.parent / ASIDE).mkdir(exist_ok=True)
        self._file = (root.parent / ASIDE / f"{time.monotonic_ns()}").open("ab", buffering=0)

    def __call__(self, operation: Operation) -> None:
        now = time.monotonic_ns()  # is that of the machine, not of the process
        self._recording(operation)
        if self._recording.steps:
            pickle.dump((now, self._recording.steps.pop()), self._file)


class Timed(Recording):
    """A recording that knows the time of each step."""

    def __init__(self, folder: Path) -> None:
        super().__init__(folder)
        self.times: list[int] = []

    def __call__(self, operation: Operation) -> None:
        now, before = time.monotonic_ns(), len(self.steps)
        super().__call__(operation)
        self.times += [now] * (len(self.steps) - before)

    def with_trials(self) -> Recording:
        """Returns the steps of this process and of the trials, in the order of their times."""
        timed = list(zip(self.times, self.steps, strict=True))
        for path in (self.folder.parent / ASIDE).iterdir():
            with path.open("rb") as file:
                while file.peek(1):
                    timed.append(pickle.load(file))
        return Recording(self.folder, [step for _, step in sorted(timed, key=lambda one: one[0])])
