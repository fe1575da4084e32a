from __future__ import annotations

import pytest
import torch

from fervit.training.failure import DivergedError, FailedError, Failure


@pytest.mark.parametrize(
    ("error", "kind", "infeasible"),
    [
        (DivergedError("the loss became nan"), "diverged", True),
        (torch.OutOfMemoryError("CUDA out of memory"), "out of memory", True),
        (MemoryError("no more"), "out of memory", True),
        (RuntimeError("DefaultCPUAllocator: can't allocate memory"), "out of memory", True),
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
