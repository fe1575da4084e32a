"""The two ways in which a command ends badly, and their exit status."""

from __future__ import annotations

NEEDS_UNIX = (
    "fervit runs on Linux and macOS; on Windows install it in WSL 2 (`wsl --install`), where GPUs can be used, too"
)
"""What Windows is told, which has no `fcntl`."""


class UserError(Exception):
    """A mistake in what the user gave. The text is one line: what, where, the rule, what to do. Exit status 2."""


class JobError(Exception):
    """The input was fine but the work could not be done (every picture failed, no trial finished). Exit status 1."""
