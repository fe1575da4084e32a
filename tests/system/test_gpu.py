"""Memory of a GPU that several processes share, as arithmetic; and the device for work that reserves none."""

from __future__ import annotations

import pytest
import torch

from fervit.system.gpu import CONTEXT_BYTES, device_at_hand, memory_cap, room_for_tensors, work_stream
from fervit.system.hardware import per_gpu

GIB = 1024**3


@pytest.mark.parametrize("total", [4 * GIB, 8 * GIB, 24 * GIB, 80 * GIB])
@pytest.mark.parametrize("share", [1.0, 0.6, 0.5, 0.34, 0.25, 0.2, 0.1])
def test_the_caps_of_all_that_share_a_gpu_leave_room_for_their_contexts(total: int, share: float) -> None:
    cap, processes = memory_cap(total, share), per_gpu(share)
    assert cap >= int(share * total / 2)  # or nothing would fit on a small GPU
    if processes * CONTEXT_BYTES < total / 2:
        assert processes * (cap + CONTEXT_BYTES) <= total


def test_without_a_gpu_work_that_reserves_none_is_done_on_the_cpu(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("FERVIT_DEVICE", raising=False)
    if not torch.cuda.is_available():
        assert device_at_hand() == "cpu"
    monkeypatch.setenv("FERVIT_DEVICE", "cpu")
    assert device_at_hand(mps=True) == "cpu"


@pytest.mark.gpu
def test_room_on_a_gpu_is_what_the_share_has_left() -> None:
    device = torch.device("cuda")
    total = torch.cuda.mem_get_info()[1]
    before = room_for_tensors(device, 0.25)
    assert before <= memory_cap(total, 0.25)
    held = torch.empty(GIB // 4, dtype=torch.uint8, device=device)
    assert room_for_tensors(device, 0.25) <= before - held.nbytes + 2**21
    assert work_stream(0) is work_stream(0)
