"""The merged form for GPUs computes what the network computes, and is left out where its kernels cannot be built.

The kernels run here in Triton's interpreter, on the CPU.
"""

from __future__ import annotations

import json
import subprocess
import sys

import pytest

from tests.conftest import ROOT
from tests.helpers.processes import alone

pytest.importorskip("triton", reason="this PyTorch has come without Triton")

COMPARE = """
import copy, json, logging, sys
import torch
from torch import nn
from fervit.encoders.fast import kernels
from fervit.encoders.fast.fuse import fuse
from fervit.encoders.fast.merge import MergedBottleneck, MergedConv, merge
from fervit.encoders.psp import GradualStyleEncoder

how, dtype = sys.argv[1], getattr(torch, sys.argv[2])
if how == "wrong":
    kernels.gated_sum_ = lambda x, *others: x
elif how == "missing":
    def bias_prelu_(*tensors): raise FileNotFoundError("there is no C compiler")
    kernels.bias_prelu_ = bias_prelu_
torch.manual_seed(0)
plain = GradualStyleEncoder(width=16, size=64, n_styles=14).eval().requires_grad_(False)
for part in plain.modules():
    if isinstance(part, nn.BatchNorm2d):
        part.running_var.uniform_(0.5, 2), part.running_mean.normal_(), part.weight.uniform_(0.5, 1.5)
        part.bias.normal_()
    elif isinstance(part, nn.PReLU):
        part.weight.uniform_(-0.3, 0.4)
images = torch.randn(3, 3, 64, 64)
with torch.inference_mode():
    wanted = plain(images)
    network = fuse(copy.deepcopy(plain), dtype)
    fused = network(images.to(dtype, memory_format=torch.channels_last)).float()
    merged = merge(network)
    again = merge(network) if merged else False  # a second runner on the same network
    found = network(images.to(dtype, memory_format=torch.channels_last)).float()
count = lambda kind: sum(isinstance(part, kind) for part in network.modules())
off = lambda codes: float((codes - wanted).norm() / wanted.norm())
print(json.dumps({"merged": merged, "again": again, "blocks": count(MergedBottleneck), "convs": count(MergedConv),
                  "fused": off(fused), "off": off(found), "same": torch.equal(found, fused)}))
"""


def compare(how: str, dtype: str) -> tuple[dict[str, float], str]:
    command = [sys.executable, "-c", COMPARE, how, dtype]
    ended = subprocess.run(
        command, cwd=ROOT, env=alone(TRITON_INTERPRET="1"), capture_output=True, text=True, check=True
    )
    found: dict[str, float] = json.loads(ended.stdout.splitlines()[-1])
    return found, ended.stderr


@pytest.mark.parametrize(("dtype", "limit"), [("float32", 2e-6), ("float16", 3e-3)])
def test_the_merged_form_gives_the_codes_of_the_plain_network(dtype: str, limit: float) -> None:
    found, _ = compare("right", dtype)
    assert found["merged"]
    assert found["again"]
    assert (found["blocks"], found["convs"]) == (24, 57)  # those of the stem, of the blocks and of the heads
    assert 0 < found["off"] < limit
    assert found["off"] < 1.5 * found["fused"]


@pytest.mark.parametrize(
    ("how", "reason"), [("missing", "there is no C compiler"), ("wrong", "their results are wrong")]
)
def test_where_the_kernels_do_not_work_the_network_stays_as_it_is(how: str, reason: str) -> None:
    found, said = compare(how, "float32")
    assert not found["merged"]
    assert found["blocks"] == found["convs"] == 0
    assert found["same"]
    assert f"Triton's kernels cannot be used, so the encoder is slower: {reason}" in said
