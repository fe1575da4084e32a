"""Time limits as Slurm writes them."""

from __future__ import annotations

import re

from fervit.errors import UserError

FORMS = (
    r"(?P<m>\d+)",
    r"(?P<m>\d+):(?P<s>\d+)",
    r"(?P<h>\d+):(?P<m>\d+):(?P<s>\d+)",
    r"(?P<d>\d+)-(?P<h>\d+)",
    r"(?P<d>\d+)-(?P<h>\d+):(?P<m>\d+)",
    r"(?P<d>\d+)-(?P<h>\d+):(?P<m>\d+):(?P<s>\d+)",
)
ROOM_S = 120
"""The seconds that a job needs beside those for saving: Slurm may send its notice a minute early, and Ray starts."""
SECONDS = {"d": 86400, "h": 3600, "m": 60, "s": 1}


def seconds_of(text: str) -> float | None:
    """Returns the seconds of a time limit in one of Slurm's forms; None if it is in none of them.

    Args:
        text: such as 90 (minutes), 04:00:00 or 2-12 (two and a half days).
    """
    for form in FORMS:
        if found := re.fullmatch(form, text.strip()):
            return float(sum(int(value) * SECONDS[unit] for unit, value in found.groupdict().items()))
    return None


def checked_limit(text: str, save_before: int) -> float:
    """Returns the seconds of a `--time` that leaves room for saving.

    Args:
        text: the value of `--time`.
        save_before: the seconds before the limit at which the command is asked to save.

    Raises:
        UserError: the time has another form, or the command would be asked to save before it can have begun.
    """
    seconds = seconds_of(text)
    if not seconds:
        raise UserError(
            f"--time {text}: must be hours:minutes:seconds, days-hours or minutes, such as 04:00:00 or 2-12"
        )
    if seconds < save_before + ROOM_S:
        raise UserError(
            f"--time {text}: is {seconds:g} s, of which --save_before {save_before} leaves less than {ROOM_S} s to "
            "start and to train in; Slurm reads 04:00 as four minutes, and 04:00:00 as four hours"
        )
    return seconds
