"""`python -m fervit.report FOLDER` writes the report of a sweep that is running, at the lowest priority."""

from __future__ import annotations

import os
import signal
import sys
from pathlib import Path

from fervit.report.write import write_report

os.nice(19)
signal.signal(signal.SIGTERM, lambda *_: sys.exit(1))  # so that an unfinished file is removed
write_report(Path(sys.argv[1]), running=True)
