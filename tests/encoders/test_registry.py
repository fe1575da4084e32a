"""Full-size checkpoints in the official layout, against the original networks' outputs."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
import torch

from fervit.encoders import load_encoder
from fervit.encoders.registry import load_decoder
from tests.helpers.official import Official

pytestmark = pytest.mark.full_size

PEAK = """
import sys, torch
from fervit.encoders import load_encoder
def kilobytes(field):
    return int(next(line for line in open("/proc/self/status") if line.startswith(field)).split()[1])
before = kilobytes("VmRSS")
load_encoder(sys.argv[1], sys.argv[2])
print((kilobytes("VmHWM") - before) / 1e6)
"""


def relative_l2(found: np.ndarray, expected: np.ndarray) -> float:
    return float(np.linalg.norm(found - expected) / np.linalg.norm(expected))


@pytest.mark.parametrize("kind", ["psp", "e4e"])
@pytest.mark.parametrize(("precision", "limit"), [("float32", 1e-5), ("bfloat16", 2e-2)])
def test_codes_equal_the_original_networks(
    official: Official, shared: Path, kind: str, precision: str, limit: float
) -> None:
    golden = np.load(shared / "spec" / f"golden_{kind}_seed0.npz")["latents"]
    encoder = load_encoder(kind, getattr(official, kind), precision=precision)
    images = torch.from_numpy(official.recipe.make_images(0, 3))
    with torch.inference_mode():
        codes = encoder(images).numpy()
        alone = encoder(images[1:2]).numpy()
    assert codes.shape == (3, 18, 512)
    assert relative_l2(codes, golden) <= limit
    assert relative_l2(alone, codes[1:2]) <= limit


@pytest.mark.parametrize("kind", ["psp", "e4e"])
def test_the_decoder_draws_what_the_original_draws(official: Official, shared: Path, kind: str) -> None:
    golden = np.load(shared / "spec" / "golden_decoder_seed0.npz")
    with torch.inference_mode():
        picture = load_decoder(kind, getattr(official, kind))(torch.from_numpy(golden["latent"]))
    picture_hwc = picture[0].permute(1, 2, 0).numpy()
    assert picture_hwc.shape == (1024, 1024, 3)
    means = picture_hwc.reshape(128, 8, 128, 8, 3).mean(axis=(1, 3))
    assert relative_l2(means, golden["image128"]) <= 1e-5
    assert relative_l2(picture_hwc[480:544, 480:544], golden["crop64"]) <= 1e-5
    assert relative_l2(picture_hwc[:64, :64], golden["corner64"]) <= 1e-5


@pytest.mark.parametrize("kind", ["psp", "e4e"])
def test_loading_takes_little_more_memory_than_the_encoder_itself(official: Official, kind: str) -> None:
    done = subprocess.run(
        [sys.executable, "-c", PEAK, kind, getattr(official, kind)], capture_output=True, text=True, check=True
    )
    assert float(done.stdout) <= 1.6  # GB; the weights alone are 1.07
