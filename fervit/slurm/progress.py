"""Says how much a job's command has saved, so that jobs that reach their limit without saving anything new end.

    python -m fervit.slurm.progress JOB_FOLDER COMMAND ...

prints a word that changes with each new saved epoch, trial or part of codes, 0 if nothing has been saved yet, and
nothing if that is not known. `clusters/slurm.sh` asks for it in the last seconds of a job, so it loads no torch and
reads files by their names.
"""

from __future__ import annotations

import sys
from collections.abc import Sequence
from pathlib import Path

from fervit.cluster.job import JOB_FOLDER
from fervit.io.files import is_uri
from fervit.io.json_lines import each_row


def progress(job_folder: Path, command: Sequence[str]) -> str:
    """Returns a word that changes when the command saves more; "0" for nothing, "" if that is not known.

    Args:
        job_folder: the folder `slurm/` of the sweep, the run or the encoding.
        command: the words of the command.
    """
    for i, word in enumerate(command):
        flag, equals, value = word.partition("=")
        if flag.replace("-", "_") == "__latent_out":
            return _of_codes(value if equals else "".join(command[i + 1 : i + 2]))
    folder = job_folder.parent
    if job_folder.name != JOB_FOLDER or not (job_folder / "job.sh").is_file():
        return ""  # a script that was written by hand
    if (folder / "trials.jsonl").is_file():
        return _of_sweep(folder / "trials.jsonl")
    last = folder / "checkpoints" / "last.pt"
    return str(last.stat().st_mtime_ns) if last.is_file() else "0"


def _of_sweep(journal: Path) -> str:
    """Counts the saved epochs of all trials, and the trials that have ended."""
    saved: dict[str, int] = {}
    ended = 0
    for row in each_row(journal, damaged="skip"):
        if row.get("event") == "epoch":
            saved[row["name"]] = max(saved.get(row["name"], 0), row.get("saved", 0))
        ended += row.get("event") in ("end", "chosen", "done")
    return f"{sum(saved.values())}.{ended}" if ended or any(saved.values()) else "0"


def _of_codes(latent_out: str) -> str:
    if not latent_out or is_uri(latent_out):
        return ""
    sizes = [path.stat().st_size for path in Path(latent_out).glob("*/*.parquet")]
    return f"{len(sizes)}.{sum(sizes)}" if sizes else "0"


if __name__ == "__main__":
    print(progress(Path(sys.argv[1]), sys.argv[2:]))  # noqa: T201
