"""The two ways in which a command ends badly, and their exit status."""

from __future__ import annotations

NEEDS_UNIX = (
    "fervit runs on Linux and macOS; on Windows install it in WSL 2 (`wsl --install`), where GPUs can be used, too"
)
"""What is said on Windows, which has no `fcntl`."""


NO_CHECKPOINT = "there is no such checkpoint; a run keeps its best as checkpoints/best_model.pt"
NO_DATA = "there is no such file or folder"
NO_RUN = "there is no such run; give folders of experiments/, checkpoints, or evaluations"
NO_RESULTS = "there is no such folder; give one of experiments/, or of an evaluation"
HOLDS_NO_RESULTS = (
    "holds no results (no sweep.yaml of a sweep, config.json of a run, or evaluation_results.json); give the folder of "
    "one"
)
NO_SWEEP = "there is no such folder; give the folder of a sweep, in experiments/"


BREAKS = {ord(break_): repr(break_)[1:-1] for break_ in "\n\r\v\f\x1c\x1d\x1e\x85\u2028\u2029"}
"""The characters at which a line breaks -> how they are written in one line."""


class UserError(Exception):
    """A mistake in what the user gave. The text is one line: what, where, the rule, what to do. Exit status 2.

    Args:
        text: the line. A break in what it cites, such as in a file's name, is written as an escape.
    """

    def __init__(self, text: object = "") -> None:
        super().__init__(str(text).translate(BREAKS))


class JobError(Exception):
    """The input was fine but the work could not be done (every picture failed, no trial finished). Exit status 1."""
