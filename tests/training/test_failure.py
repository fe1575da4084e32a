from __future__ import annotations

import pytest
import torch

from fervit.training.failure import DivergedError, FailedError, Failure, is_device_fault


@pytest.mark.parametrize(
    ("error", "kind", "infeasible"),
    [
        (DivergedError("the loss became nan"), "diverged", True),
        (torch.OutOfMemoryError("CUDA out of memory"), "out of memory", True),
        (MemoryError("no more"), "out of memory", True),
        (RuntimeError("DefaultCPUAllocator: can't allocate memory"), "out of memory", True),
        (RuntimeError("CUDA error: out of memory"), "out of memory", True),  # of a context, or of a graph
        (RuntimeError("CUDA error: CUBLAS_STATUS_NOT_INITIALIZED when calling `cublasCreate`"), "out of memory", True),
        (RuntimeError("NCCL Error 1: Failed to CUDA calloc 6291456 bytes"), "out of memory", True),
        (RuntimeError("cuDNN error: CUDNN_STATUS_ALLOC_FAILED"), "out of memory", True),
        (ValueError("a\n  b"), "ValueError", True),
        (PermissionError("no"), "PermissionError", False),
    ],
)
def test_the_kind_of_a_failure_is_that_of_its_exception(error: Exception, kind: str, infeasible: bool) -> None:
    failure = Failure.of(error)
    assert (failure.kind, failure.infeasible, failure.by_configuration) == (kind, infeasible, True)
    assert "\n" not in str(failure)
    read = Failure.parse(str(failure))
    assert read is not None
    assert (read.kind, read.message) == (failure.kind, failure.message)
    assert Failure.of(FailedError(failure)) is failure  # another worker's failure stays what it was


@pytest.mark.parametrize(
    "error",
    [
        torch.AcceleratorError("CUDA error: device-side assert triggered"),
        RuntimeError("CUDA error: an illegal memory access was encountered"),
        RuntimeError("cuDNN error: CUDNN_STATUS_EXECUTION_FAILED"),
        RuntimeError("CUDA error: uncorrectable ECC error encountered"),
    ],
)
def test_what_a_gpu_did_is_not_the_configurations_doing_in_whichever_worker(error: Exception) -> None:
    failure = Failure.of(error)
    assert (failure.kind, failure.infeasible, failure.by_configuration) == ("GPU fault", False, False)
    assert is_device_fault(error)
    assert is_device_fault(FailedError(failure))  # told by another worker of the same training
    assert not is_device_fault(FailedError(Failure.of(torch.OutOfMemoryError("CUDA out of memory"))))


def test_what_ended_a_process_is_not_the_configurations_doing() -> None:
    assert not Failure("process died", "SIGKILL").by_configuration
    assert not Failure("node leaves", "spot").by_configuration
    assert Failure.parse("") is None


def test_a_failure_keeps_its_traceback_and_its_text_stays_short() -> None:
    try:
        raise KeyError("x" * 1000)
    except KeyError as error:
        failure = Failure.of(error)
    assert "Traceback" in failure.details
    assert len(str(failure)) == 300
