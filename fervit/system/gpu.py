"""What the encoders and the training ask of a GPU beyond tensors: exact float32, streams, captured graphs, memory."""

from __future__ import annotations

import logging
import os
import threading
from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager, suppress
from functools import cache
from typing import Any, NamedTuple, TypeVar

import torch

from fervit.system.hardware import FORCED_DEVICE, per_gpu

CONTEXT_BYTES = 600 * 1024**2
"""The memory of a GPU that a process takes beside its tensors, for its context and libraries: 0.4 to 0.6 GB."""

ENOUGH_BYTES = 1024**3
"""The free memory below which a GPU is left to those that use it already."""

work_lock = threading.RLock()
"""Is held by each thread that puts work on a `work_stream`, which must not become part of another thread's capture."""

_Result = TypeVar("_Result")


def device_at_hand(*, mps: bool = False) -> str:
    """The device for work of this process that has reserved none: a GPU that it sees and that has room, else the CPU.

    Args:
        mps: whether the GPU of a Mac will do, too. It has no float64.

    Returns:
        "cuda", "mps" or "cpu".
    """
    forced = os.environ.get(FORCED_DEVICE)
    if forced:
        return forced
    if torch.cuda.is_available():
        try:
            torch.ones(2, device="cuda").sum().item()  # fails if this PyTorch has no kernels for it
            return "cuda" if torch.cuda.mem_get_info()[0] > ENOUGH_BYTES else "cpu"
        except RuntimeError:
            return "cpu"
    return "mps" if mps and has_mps() else "cpu"


def has_mps() -> bool:
    """Whether this is a Mac whose GPU PyTorch can use. Encoding on one has not been tried."""
    return FORCED_DEVICE not in os.environ and torch.backends.mps.is_available()


class Capture(NamedTuple):
    """A captured graph."""

    graph: torch.cuda.CUDAGraph
    result: Any
    """What the captured function returned. Each replay writes into the same tensors."""


@cache
def work_stream(index: int) -> torch.cuda.Stream:
    """The stream of a GPU for warm-up steps and captures, the same one each time.

    cuBLAS keeps a workspace of up to 32 MiB for each stream that it has seen, until the process ends. Graphs that were
    captured on one stream share its workspace, so they must not be replayed at the same time.
    """
    return torch.cuda.Stream(index)


def index_of(device: torch.device) -> int:
    """The number of a GPU; that of the current one for "cuda"."""
    return torch.cuda.current_device() if device.index is None else device.index


def try_capture(work: Callable[[], _Result], device: torch.device) -> Capture | None:
    """Captures the work of a function on a GPU in a graph, without doing the work.

    Returns:
        The graph and the function's result; None if the capture broke off, such as by a kernel that cannot be captured.
        Stream and random numbers of the GPU are then those of before, so that the same work can be done eagerly.
    """
    index = index_of(device)
    generator, stream = torch.cuda.default_generators[index], torch.cuda.current_stream(device)
    seed, offset = generator.initial_seed(), generator.get_offset()
    graph = torch.cuda.CUDAGraph()
    try:
        # Other threads, such as Ray's, may use the GPU, too.
        with work_lock, torch.cuda.graph(graph, stream=work_stream(index), capture_error_mode="thread_local"):
            result = work()
    except RuntimeError as error:  # a driver, an allocator or a kernel that cannot be captured
        torch.cuda.set_stream(stream)  # which the context of the capture leaves as it is when its end fails
        torch.cuda.synchronize(device)
        # Some versions of torch leave the generator as within a capture, where it refuses to be used otherwise.
        sound = torch.Generator(device)
        sound.manual_seed(seed)
        sound.set_offset(offset)
        generator.graphsafe_set_state(sound.graphsafe_get_state())
        logging.getLogger(__name__).warning("a capture failed, and the work goes on without a graph: %s", error)
        return None
    return Capture(graph, result)


@contextmanager
def exact_arithmetic() -> Iterator[None]:
    """A context in which float32 is not rounded to TF32 on GPUs, and cuDNN chooses its algorithms without measuring.

    By default, convolutions round float32 to TF32 (10 bits). Algorithms that are chosen by measuring differ from
    process to process, and with them the last digits of results. All settings of the caller, by PyTorch's old and new
    functions, are restored.
    """
    cudnn = torch.backends.cudnn
    with ExitStack() as settings:
        for name, value in (("enabled", True), ("benchmark", False), ("deterministic", True)):
            settings.callback(setattr, cudnn, name, getattr(cudnn, name))
            setattr(cudnn, name, value)
        if hasattr(cudnn, "conv"):  # torch 2.9 and newer
            mkldnn: Any = torch.backends.mkldnn
            for place in (cudnn.conv, torch.backends.cuda.matmul, mkldnn.matmul):
                settings.callback(_restore, place, place.fp32_precision)
            cudnn.conv.fp32_precision = "ieee"
        else:
            settings.callback(setattr, cudnn, "allow_tf32", cudnn.allow_tf32)
            cudnn.allow_tf32 = False
        with suppress(RuntimeError):  # raised if the caller has used the new functions; those are restored above
            settings.callback(torch.set_float32_matmul_precision, torch.get_float32_matmul_precision())
        torch.set_float32_matmul_precision("highest")
        yield


def _restore(place: Any, before: str) -> None:
    """Restores a precision. Where it had none of its own, it follows that of all operations again."""
    if place.fp32_precision == before:
        return
    place.fp32_precision = "none"
    if place.fp32_precision != before:
        place.fp32_precision = before


def memory_cap(total: int, share: float) -> int:
    """The bytes of tensors that a process with a share of a GPU may have, so that all that share it find room.

    The contexts of all of them are taken off first, but at most half of the share.

    Args:
        total: the memory of the GPU in bytes.
        share: the share of the process, at most 1.
    """
    return int(share * max(total - CONTEXT_BYTES * per_gpu(share), total / 2))


def room_for_tensors(device: torch.device, share: float) -> int:
    """The bytes that a process can still allocate on a GPU: what is free, within its share."""
    free, total = torch.cuda.mem_get_info(device)
    if share >= 1:
        return int(free)
    return max(0, min(int(free), memory_cap(total, share) - torch.cuda.memory_allocated(device)))
