from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pytest
import torch

from fervit.encoders import load_encoder
from fervit.encoders.demo import demo_network
from fervit.encoders.e4e import Encoder4Editing
from fervit.encoders.fuse import fuse
from fervit.encoders.psp import GradualStyleEncoder
from fervit.encoders.runner import EncoderRunner
from fervit.encoders.stylegan2 import Decoder
from fervit.errors import UserError


def test_the_networks_have_the_official_keys_and_shapes(shared: Path) -> None:
    with torch.device("meta"):
        networks = {
            "psp_encoder": ("encoder", GradualStyleEncoder()),
            "e4e_encoder": ("encoder", Encoder4Editing()),
            "stylegan2_1024_decoder": ("decoder", Decoder()),
        }
    for name, (prefix, network) in networks.items():
        keys = json.loads((shared / "spec" / f"{name}_keys.json").read_text())
        ours = {f"{prefix}.{key}": list(value.shape) for key, value in network.state_dict().items()}
        assert ours == {key: shape for key, shape, _ in keys if key != "latent_avg"}


def test_e4e_tells_styles_as_differences_from_the_first() -> None:
    psp = demo_network()[0]
    e4e = Encoder4Editing(width=16, size=64).eval()
    e4e.load_state_dict(psp.state_dict())
    images = torch.rand(2, 3, 64, 64) * 2 - 1
    with torch.inference_mode():
        heads, codes = psp(images), e4e(images)
    torch.testing.assert_close(codes[:, 0], heads[:, 0])
    torch.testing.assert_close(codes[:, 5], heads[:, 0] + heads[:, 5])


@pytest.mark.parametrize(("dtype", "limit"), [(torch.float32, 1e-5), (torch.bfloat16, 2e-2)])
def test_the_fast_form_gives_the_plain_forms_codes(dtype: torch.dtype, limit: float) -> None:
    network = demo_network()[0]
    images = torch.rand(4, 3, 64, 64) * 2 - 1
    with torch.inference_mode():
        plain = network(images)
        fast = fuse(network, dtype)(images.to(dtype)).float()
    assert (fast - plain).norm() <= limit * plain.norm()


def test_a_code_is_the_same_bit_for_bit_whatever_stands_beside_the_face() -> None:
    runner = EncoderRunner(load_encoder("demo"), batch_size=4)
    pixels = np.random.default_rng(0).integers(0, 256, (7, 64, 64, 3), np.uint8)
    codes = runner(pixels)
    assert codes.shape == (7, 18, 512)
    order = np.array([3, 6, 0])
    assert torch.equal(runner(pixels[order]), codes[order])


def test_codes_do_not_depend_on_the_batch_size_in_float32() -> None:
    pixels = np.random.default_rng(0).integers(0, 256, (7, 64, 64, 3), np.uint8)
    one, four = (EncoderRunner(load_encoder("demo"), batch_size=n)(pixels) for n in (1, 4))
    assert (one - four).norm() <= 1e-5 * one.norm()


def test_the_demo_encoder_is_the_same_each_time_and_says_that_it_is_untrained() -> None:
    one, two = load_encoder("demo"), load_encoder("demo")
    images = torch.rand(2, 3, 64, 64) * 2 - 1
    torch.testing.assert_close(one(images), two(images), rtol=0, atol=0)
    assert one(images).shape == (2, 18, 512)
    assert one.fingerprint == two.fingerprint
    assert one.fingerprint.untrained
    assert not one.training


def test_a_picture_of_another_size_is_refused() -> None:
    with pytest.raises(ValueError, match=r"images must be \[n, 3, 64, 64\]"):
        load_encoder("demo")(torch.zeros(1, 3, 128, 128))


def test_unknown_names_are_refused_with_the_known_ones(tmp_path: Path) -> None:
    for kind, checkpoint, precision, message in (
        ("styleclip", None, "float32", "there is no such encoder; known are psp, e4e, demo"),
        ("e4e", None, "float32", "--encoder_type e4e: needs --encoder_model"),
        ("demo", tmp_path, "float32", "takes no --encoder_model"),
        ("demo", None, "float8", "--precision float8: there is no such precision; known are float32, bfloat16"),
    ):
        with pytest.raises(UserError, match=message):
            load_encoder(kind, checkpoint, precision=precision)
