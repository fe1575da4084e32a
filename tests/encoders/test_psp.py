from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
import torch

from fervit.encoders import load_encoder
from fervit.encoders.psp import GradualStyleEncoder
from fervit.errors import UserError


@pytest.mark.slow
def test_codes_of_a_full_size_checkpoint_equal_the_original_networks(shared: Path, tmp_path: Path) -> None:
    spec = shared / "spec"
    checkpoint = tmp_path / "psp_ffhq_encode.pt"
    subprocess.run(
        [
            *(sys.executable, spec / "make_checkpoint.py", "--kind", "psp", "--seed", "0", "--cuda-tags"),
            *("--keys", spec / "psp_encoder_keys.json", "--out", checkpoint),
        ],
        check=True,
    )
    sys.path.insert(0, str(spec))
    try:
        import make_checkpoint
    finally:
        sys.path.remove(str(spec))
    golden = np.load(spec / "golden_psp_seed0.npz")["latents"]
    encoder = load_encoder("psp", checkpoint)
    with torch.inference_mode():
        codes = encoder(torch.from_numpy(make_checkpoint.make_images(0, 3))).numpy()
    assert codes.shape == (3, 18, 512)
    assert np.linalg.norm(codes - golden) <= 1e-5 * np.linalg.norm(golden)


def test_the_network_has_the_official_keys_and_shapes(shared: Path) -> None:
    keys = json.loads((shared / "spec" / "psp_encoder_keys.json").read_text())
    official = {key: shape for key, shape, _ in keys if key != "latent_avg"}
    with torch.device("meta"):
        ours = GradualStyleEncoder().state_dict()
    assert {f"encoder.{key}": list(value.shape) for key, value in ours.items()} == official


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


def test_what_is_no_checkpoint_is_refused(tmp_path: Path) -> None:
    page = tmp_path / "psp_ffhq_encode.pt"
    page.write_text("<!DOCTYPE html><html>Too many users</html>")
    other = tmp_path / "other.pt"
    torch.save(
        {"state_dict": {"encoder.styles.0.linear.weight": torch.zeros(2)}, "latent_avg": torch.zeros(1, 512)}, other
    )
    for args, message in (
        (("psp", page), "is no PyTorch checkpoint"),
        (("psp", tmp_path / "none.pt"), "there is no such file"),
        (("psp", None), "needs --encoder_model"),
        (("psp", other), "do not fit pSp's network"),
        (("demo", page), "takes no --encoder_model"),
        (("styleclip", None), "there is no such encoder; known are psp, demo"),
    ):
        with pytest.raises(UserError, match=message):
            load_encoder(*args)


def test_a_checkpoint_that_wants_to_run_code_runs_nothing(tmp_path: Path) -> None:
    witness = tmp_path / "executed"

    class Evil:
        def __reduce__(self) -> tuple[object, tuple[str]]:
            return Path.touch, (str(witness),)  # type: ignore[return-value]

    path = tmp_path / "evil.pt"
    torch.save({"state_dict": Evil()}, path)
    with pytest.raises(UserError):
        load_encoder("psp", path)
    assert not witness.exists()
