"""Side channels of a job: metrics, TensorBoard, reports, pictures. Their errors stop nothing; each is said once."""

from __future__ import annotations

from collections.abc import Callable
from contextlib import suppress
from typing import ParamSpec, TypeVar

from fervit.io.files import first_line

P = ParamSpec("P")
T = TypeVar("T")


class SideChannel:
    """Runs functions whose results no job needs. After the first error the channel is off, and the user is told.

    Args:
        name: the name of the channel, with which the message begins.
        tell: gets the message.
    """

    def __init__(self, name: str, tell: Callable[[str], object]) -> None:
        self._name, self._tell = name, tell
        self.off = False
        """Whether an error has turned the channel off."""

    def __call__(self, function: Callable[P, T], *args: P.args, **kwargs: P.kwargs) -> T | None:
        """Calls the function and returns its result; None if it fails or the channel is off."""
        if self.off:
            return None
        try:
            return function(*args, **kwargs)
        except Exception as error:
            self.off = True
            with suppress(Exception):  # the message is a side channel, too
                self._tell(f"{self._name} failed and is left out from now on: {first_line(error)}")
        return None


def ascii_tag(text: str) -> str:
    """A text as Ray's metrics take it: other characters than ASCII's are escaped, such as `caf\\xe9` for café."""
    return text.encode("ascii", "backslashreplace").decode()
