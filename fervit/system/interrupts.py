"""Signals that ask a process to end: Ctrl-C (SIGINT), SIGTERM, SIGHUP at the end of a login, and SIGUSR1.

SIGTERM comes from Slurm, `docker stop`, Kubernetes and `kill`, and SIGUSR1 from Slurm before a time limit. All of them
are answered alike. Signals that arrive together are one request, since `timeout` and some schedulers send the same
signal to a process and to its group.
"""

from __future__ import annotations

import _thread
import os
import signal
import sys
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from types import FrameType
from typing import Any, ClassVar, NoReturn

SIGNALS = tuple(getattr(signal, name) for name in ("SIGINT", "SIGTERM", "SIGHUP", "SIGUSR1") if hasattr(signal, name))
TOGETHER_S = 0.3
"""The seconds within which further signals count as the same request."""
SHORT_S = 10.0
"""The seconds within which an epoch must end to be waited for after a request; a longer one is given up."""
LEAVE_S = 45.0
"""The seconds that are kept of the notice of a time limit, for saving, leaving and requeueing."""
NOTICE = "FERVIT_SAVE_BEFORE"
"""The variable with the seconds between SIGUSR1 and the time limit of the job."""

Handlers = dict[signal.Signals, Any]
"""The handler of each signal, as `signal.getsignal` returns it."""


class _Requests:
    """The requests that this process has got; `number` is the signal of the latest one, 0 before the first."""

    number: int = 0
    time: float = float("-inf")
    handlers: ClassVar[Handlers] = {}
    """The handlers of the innermost block of `answering`."""


def status() -> int:
    """The exit status of a process that ends because of the latest signal: 130 for Ctrl-C, 143 for SIGTERM.

    The notice of a time limit means the same as Ctrl-C, so SIGUSR1 gives 130, too.
    """
    number = _Requests.number or signal.SIGINT
    return 128 + (signal.SIGINT if number == getattr(signal, "SIGUSR1", None) else number)


def patience_s() -> float:
    """Returns the seconds within which an epoch must end to be waited for after the latest request.

    The notice of a time limit says how long that is; whoever presses Ctrl-C wants to leave soon.
    """
    if _Requests.number != getattr(signal, "SIGUSR1", None):
        return SHORT_S
    try:
        return max(SHORT_S, float(os.environ.get(NOTICE, "")) - LEAVE_S)
    except ValueError:
        return SHORT_S


def interrupt(number: int) -> NoReturn:
    """The usual answer to a request.

    Raises:
        KeyboardInterrupt: always.
    """
    raise KeyboardInterrupt


def leave(words: str = "") -> NoReturn:
    """Ends this process at once, without any further Python code, after a line on standard error."""
    cursor = "\x1b[?25h" if _is_terminal() else ""  # which a live table may have hidden
    with suppress(OSError):
        os.write(2, f"{cursor}{words}\n".encode() if words else cursor.encode())
    os._exit(status())


@contextmanager
def answering(answer: Callable[[int], None]) -> Iterator[None]:
    """Calls a function for each request to end, while the block runs.

    A signal that the process ignores, such as SIGHUP under `nohup`, stays ignored. Outside the main thread the block
    does nothing, since Python delivers signals to the main thread.

    Args:
        answer: gets the number of the signal, and may raise an exception in the main thread.
    """
    if threading.current_thread() is not threading.main_thread():
        yield
        return
    before = {number: signal.getsignal(number) for number in SIGNALS}

    def handle(number: int, frame: FrameType | None) -> None:
        now = time.monotonic()
        if now - _Requests.time < TOGETHER_S:
            return
        _Requests.number, _Requests.time = number, now
        answer(number)

    outer = _Requests.handlers
    ours = {number: handle for number, handler in before.items() if handler not in (signal.SIG_IGN, None)}
    _Requests.handlers = ours
    with suppress(OSError, ValueError):
        restore(ours)
    try:
        yield
    finally:
        _Requests.handlers = outer
        restore(before)


def take_back() -> None:
    """Sets the handlers of the innermost block of `answering` again, after other code has set its own."""
    if threading.current_thread() is threading.main_thread():
        restore(_Requests.handlers)


def again(delay_s: float = 0.05) -> None:
    """Repeats the latest request in a moment, since it fell into code that swallows exceptions, such as `__del__`."""

    def send() -> None:
        _Requests.time = float("-inf")
        _thread.interrupt_main(signal.Signals(_Requests.number or signal.SIGINT))

    timer = threading.Timer(delay_s, send)
    timer.daemon = True
    timer.start()


def handlers() -> Handlers:
    """The handlers of the signals that ask a process to end; empty outside the main thread."""
    if threading.current_thread() is not threading.main_thread():
        return {}
    return {number: signal.getsignal(number) for number in SIGNALS}


def restore(before: Handlers) -> None:
    """Sets the handlers that `handlers` has returned, which also takes a signal back from C++ code such as Ray's."""
    for number, handler in before.items():
        if handler is not None:
            signal.signal(number, handler)


def _is_terminal() -> bool:
    try:
        return sys.stderr is not None and os.isatty(2)
    except (OSError, ValueError):
        return False
