"""Writes failures.log, with the tracebacks of the trials that failed."""

from __future__ import annotations

from pathlib import Path

from fervit.io.disk import append_text
from fervit.search.ledger import Ledger, Observer
from fervit.search.records.record import TrialRecord


class FailureLog(Observer):
    """Appends the traceback of each failed trial to a file, if it has one.

    Args:
        path: the path of the file.
    """

    def __init__(self, path: Path) -> None:
        self._path = path

    def ended(self, ledger: Ledger, record: TrialRecord) -> None:
        """Appends the traceback of the trial's failure, if it has one."""
        if record.failure is not None and record.failure.details:
            append_text(self._path, f"{record.name}\n{record.failure.details}\n")
