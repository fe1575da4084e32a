"""`python -m fervit.report FOLDER` writes the report of a sweep that is running, at the lowest priority.

It writes the report each time that it gets a line, and answers with a line; between them it keeps what it has read of
the sweep's journal, so that a long sweep is not read from its beginning each time.
"""

from __future__ import annotations

import os
import signal
import sys
from pathlib import Path

from fervit.report.results import SweepReading
from fervit.report.write import write_report
from fervit.search.records.sweep_folder import SweepFolder

os.nice(19)
signal.signal(signal.SIGTERM, lambda *_: sys.exit(1))  # so that an unfinished file is removed
folder = Path(sys.argv[1])
reading = SweepReading(SweepFolder(folder).journal)
for _ in sys.stdin:
    write_report(folder, running=True, reading=reading)
    sys.stdout.write("\n")
    sys.stdout.flush()
