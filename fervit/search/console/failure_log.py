"""failures.log: the tracebacks of a sweep's trials that failed."""

from __future__ import annotations

from pathlib import Path

from fervit.search.ledger import Ledger, Observer
from fervit.search.records.record import TrialRecord


class FailureLog(Observer):
    """Appends the traceback of each trial that fails with one.

    Args:
        path: of the file.
    """

    def __init__(self, path: Path) -> None:
        self._path = path

    def ended(self, ledger: Ledger, record: TrialRecord) -> None:
        """Appends the traceback of the trial's failure, if it has one."""
        if record.failure is not None and record.failure.details:
            with self._path.open("a", encoding="utf-8") as file:
                file.write(f"{record.name}\n{record.failure.details}\n")
