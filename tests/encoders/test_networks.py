from __future__ import annotations

import json
import subprocess
import sys
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import numpy as np
import pytest
import torch

from fervit.encoders import load_encoder
from fervit.encoders.demo import demo_network
from fervit.encoders.e4e import Encoder4Editing
from fervit.encoders.fast.fuse import fuse
from fervit.encoders.fast.merge import MergedBottleneck
from fervit.encoders.psp import GradualStyleEncoder
from fervit.encoders.runner import EncoderRunner, Pipeline
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


@pytest.mark.parametrize(("dtype", "limit"), [(torch.float32, 1e-5), (torch.bfloat16, 2e-2), (torch.float16, 2e-3)])
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
        (
            "demo",
            None,
            "float8",
            "--precision float8: there is no such precision; known are float32, bfloat16, float16",
        ),
    ):
        with pytest.raises(UserError, match=message):
            load_encoder(kind, checkpoint, precision=precision)


def test_codes_are_rounded_on_the_device_as_numpy_rounds_them_by_every_path() -> None:
    """The path of a GPU runs on the CPU here. Threads call it at once, and last batches are not full."""
    encoder = load_encoder("demo")
    pixels = np.random.default_rng(0).integers(0, 256, (23, 64, 64, 3), np.uint8)
    middle = EncoderRunner(encoder, 4)(pixels)[:, 3, 0].median()
    encoder.latent_avg[3, 0] = 65520 - middle  # half of the faces are beyond float16
    exact = EncoderRunner(encoder, 4, threads=1)(pixels).numpy()
    with np.errstate(over="ignore"):
        codes = exact.astype(np.float16)
    finite = np.isfinite(codes).all(axis=(1, 2))
    assert 5 < finite.sum() < 18
    runner = EncoderRunner(encoder, 4, threads=1, dtype=torch.float16)
    pipeline = Pipeline(encoder, 4, torch.float16)
    parts = [slice(0, 23), slice(2, 11), slice(5, 5), slice(7, 10), slice(1, 22), slice(20, 21)]
    with ThreadPoolExecutor(3, initializer=torch.set_num_threads, initargs=(1,)) as threads:
        for encode in (runner.encode, pipeline):
            for part, found in zip(parts, threads.map(encode, [pixels[part] for part in parts]), strict=True):
                assert found.values.dtype == torch.float16
                np.testing.assert_array_equal(found.values.numpy(), codes[part])
                np.testing.assert_array_equal(found.finite.numpy(), finite[part])


@pytest.mark.gpu
@pytest.mark.parametrize(("precision", "limit"), [("float32", 1e-5), ("float16", 5e-3)])
def test_a_gpu_gives_the_codes_of_a_cpu_the_same_in_each_process(precision: str, limit: float) -> None:
    pixels = np.random.default_rng(0).integers(0, 256, (23, 64, 64, 3), np.uint8)
    expected = EncoderRunner(load_encoder("demo"), 4)(pixels)
    with ThreadPoolExecutor(3) as threads:
        runner = EncoderRunner(load_encoder("demo", device="cuda", precision=precision), 4)
        assert runner.captured
        assert any(isinstance(part, MergedBottleneck) for part in runner.encoder.network.modules())
        first, second, third = threads.map(runner, [pixels, pixels[:5], pixels])
    assert (first - expected).norm() <= limit * expected.norm()
    assert torch.equal(third, first)
    assert torch.equal(second, first[:5])
    again = EncoderRunner(load_encoder("demo", device="cuda", precision=precision), 4)
    assert torch.equal(again(pixels), first)


def test_more_calls_than_slots_do_not_wait_for_each_other_for_ever() -> None:
    pixels = np.random.default_rng(0).integers(0, 256, (9, 64, 64, 3), np.uint8)
    pipeline = Pipeline(load_encoder("demo"), 2, torch.float32)
    expected = pipeline(pixels).values
    threads = ThreadPoolExecutor(12, initializer=torch.set_num_threads, initargs=(1,))
    for found in threads.map(pipeline, [pixels] * 36, timeout=300):
        torch.testing.assert_close(found.values, expected, rtol=1e-3, atol=1e-3)


def test_a_call_that_fails_leaves_the_pipeline_usable() -> None:
    pixels = np.random.default_rng(0).integers(0, 256, (9, 64, 64, 3), np.uint8)
    pipeline = Pipeline(load_encoder("demo"), 2, torch.float32)
    expected = pipeline(pixels).values
    for _ in range(5):
        with pytest.raises(ValueError, match="broadcast"):
            pipeline(pixels[:, :32])
    assert torch.equal(pipeline(pixels).values, expected)


SETTINGS = (
    "",
    "torch.backends.fp32_precision = 'tf32'",
    "torch.backends.cudnn.conv.fp32_precision = 'tf32'; torch.backends.fp32_precision = 'ieee'",
    "torch.backends.cuda.matmul.fp32_precision = 'tf32'",
    "torch.set_float32_matmul_precision('high')",
    "torch.backends.cudnn.allow_tf32 = False; torch.backends.cudnn.benchmark = True",
)
"""What a caller may have done to the precision of float32, by PyTorch's old and new functions."""
LOOK = """
import os, sys, torch
from fervit.system.gpu import exact_arithmetic
backends = torch.backends
others = backends, backends.cudnn, backends.cudnn.rnn, backends.mkldnn.matmul
def look():
    own = [backends.cudnn.conv.fp32_precision, backends.cuda.matmul.fp32_precision, backends.cudnn.benchmark]
    return own, backends.cudnn.deterministic, [place.fp32_precision for place in others]
for setting in sys.argv[1:]:
    child = os.fork()  # since the settings are those of a process
    if child == 0:
        exec(setting)
        before = look()
        with exact_arithmetic():
            inside = look()
        print([before == look(), *inside[0]], flush=True)
        os._exit(0)
    os.waitpid(child, 0)
"""


def test_exact_arithmetic_turns_tf32_off_and_leaves_every_setting_of_the_caller_as_it_was() -> None:
    ended = subprocess.run([sys.executable, "-c", LOOK, *SETTINGS], capture_output=True, text=True, check=False)
    assert ended.stdout.splitlines() == ["[True, 'ieee', 'ieee', False]"] * len(SETTINGS), ended.stderr
