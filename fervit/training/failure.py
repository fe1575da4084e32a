"""How a training fails: what went wrong, of which kind, and whether the configuration is to blame."""

from __future__ import annotations

import os
import traceback
from dataclasses import dataclass, replace

import torch

from fervit.system.hardware import says_memory_is_short

DIVERGED, OUT_OF_MEMORY, DEVICE_FAULT = "diverged", "out of memory", "GPU fault"
PROCESS_DIED, NODE_LEAVES = "process died", "node leaves"
_OF_NUMBERS = ("ValueError", "ZeroDivisionError", "OverflowError", "FloatingPointError")
"""The exceptions that numbers raise, and neither a process nor a node nor a disk: the same ones raise them again."""
MAX_LENGTH = 300
"""Characters of a failure as text."""


class DivergedError(Exception):
    """The loss became NaN or infinite."""


@dataclass(frozen=True)
class Failure:
    """What went wrong in a training."""

    kind: str
    """One of the constants above, or the name of an exception's class."""
    message: str
    """What went wrong, in one line."""
    details: str = ""
    """A traceback; "" for none."""

    def __str__(self) -> str:
        """ "kind: message", as journals, leaderboards and reports write it."""
        return " ".join(f"{self.kind}: {self.message}".split())[:MAX_LENGTH]

    @classmethod
    def parse(cls, text: str) -> Failure | None:
        """Reads what `str` of a failure gave; None for ""."""
        kind, _, message = text.partition(":")
        return cls(kind, message.strip()) if text else None

    @classmethod
    def of(cls, error: BaseException) -> Failure:
        """The failure that an exception of a training is; within an `except` block its traceback is kept."""
        if isinstance(error, FailedError):
            return error.failure
        if isinstance(error, DivergedError):
            kind = DIVERGED
        elif is_out_of_memory(error):
            kind = OUT_OF_MEMORY
        elif is_device_fault(error):
            kind = DEVICE_FAULT
        else:
            kind = type(error).__name__
        return cls(kind, " ".join(str(error).split()), "".join(traceback.format_exception(error)))

    @property
    def infeasible(self) -> bool:
        """Whether the configuration can never give a result on this hardware: samplers learn so."""
        return self.kind in (OUT_OF_MEMORY, DIVERGED, *_OF_NUMBERS)

    @property
    def by_configuration(self) -> bool:
        """Whether the same configuration would fail again, so that trying it anew is of no use."""
        return self.kind not in (PROCESS_DIED, NODE_LEAVES, DEVICE_FAULT)


class FailedError(Exception):
    """Another worker of the training has failed."""

    def __init__(self, failure: Failure) -> None:
        super().__init__(str(failure))
        self.failure = failure


DEVICE_SIGNS = ("CUDA error", "CUDNN_STATUS_EXECUTION_FAILED", "CUBLAS_STATUS_EXECUTION_FAILED", "device-side assert")


def is_out_of_memory(error: BaseException) -> bool:
    """Whether memory was short: Torch has a class for that on a GPU; elsewhere only the text of the error says so."""
    if isinstance(error, MemoryError | torch.OutOfMemoryError):
        return True
    return isinstance(error, RuntimeError) and says_memory_is_short(str(error))


def is_device_fault(error: BaseException) -> bool:
    """Whether the GPU failed for this process for good, such as by an illegal access: only a new process can use it."""
    if isinstance(error, FailedError):
        return error.failure.kind == DEVICE_FAULT
    if is_out_of_memory(error):
        return False
    kind = getattr(torch, "AcceleratorError", None)  # of torch 2.8 and newer
    if kind is not None and isinstance(error, kind):
        return True
    return isinstance(error, RuntimeError) and any(sign in str(error) for sign in DEVICE_SIGNS)


def failure_of(error: BaseException, batch_size: int, device: torch.device) -> Failure:
    """The failure of a training, with advice where memory was short.

    Args:
        error: what the training raised.
        batch_size: the batch size of all workers together.
        device: the device that the training ran on.
    """
    failure = Failure.of(error)
    if failure.kind != OUT_OF_MEMORY or isinstance(error, FailedError):
        return failure  # another worker has given the advice already
    message = f"on {_memory(device)} with batch_size {batch_size}: {failure.message[:140]}"
    return replace(failure, message=f"{message}; try a smaller batch_size, or a smaller model")


def _memory(device: torch.device) -> str:
    """The name of a device with its total and its free memory."""
    gib = 1024**3
    try:
        if device.type == "cuda":
            free, total = torch.cuda.mem_get_info(device)
            name = torch.cuda.get_device_name(device)
        else:
            page = os.sysconf("SC_PAGE_SIZE")
            total, free = (page * os.sysconf(f"SC_{kind}_PAGES") for kind in ("PHYS", "AVPHYS"))
            name = "this machine"
    except (RuntimeError, ValueError, OSError):  # the device is beyond answering, or this system does not count pages
        return "this machine" if device.type == "cpu" else "the GPU"
    return f"{name} ({total / gib:.0f} GiB, {free / gib:.1f} free)"
