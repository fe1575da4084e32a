"""third_party/check_parity.py on a folder with the layout of the upstream repositories."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import pytest

from tests.conftest import ROOT
from tests.helpers.official import Official

OPERATIONS = "raise ImportError('compiles CUDA code when it is imported')"
STYLEGAN2 = "from models.stylegan2.op import FusedLeakyReLU, fused_leaky_relu, upfirdn2d"
ENCODERS = """
import models.stylegan2.model
from fervit.encoders import psp

class GradualStyleEncoder(psp.GradualStyleEncoder):
    def __init__(self, num_layers, mode="ir", opts=None):
        assert (num_layers, mode, opts.input_nc) == (50, "ir_se", 3)
        super().__init__(n_styles=opts.n_styles)

    def forward(self, x):
        return super().forward(x){changed}
"""


@pytest.fixture
def clone(tmp_path: Path) -> Path:
    for name, text in {"stylegan2/op": OPERATIONS, "stylegan2": "", "encoders": "", ".": ""}.items():
        folder = tmp_path / "models" / name
        folder.mkdir(parents=True, exist_ok=True)
        (folder / "__init__.py").write_text(text)
    (tmp_path / "models" / "stylegan2" / "model.py").write_text(STYLEGAN2)
    return tmp_path


def check(clone: Path, kind: str, checkpoint: Path) -> subprocess.CompletedProcess[str]:
    script = ROOT / "third_party" / "check_parity.py"
    args = ("--clone", clone, "--encoder_type", kind, "--encoder_model", checkpoint, "--images", "1")
    return subprocess.run([sys.executable, script, *args], capture_output=True, text=True, check=False)


@pytest.mark.full_size
def test_equal_codes_and_others_are_told_apart(official: Official, clone: Path) -> None:
    encoders = clone / "models" / "encoders" / "psp_encoders.py"
    encoders.write_text(ENCODERS.format(changed=""))
    equal = check(clone, "psp", official.psp)
    assert equal.returncode == 0, equal.stderr
    assert "all styles: relative L2" in equal.stdout
    assert equal.stdout.count("style ") == 18
    encoders.write_text(ENCODERS.format(changed=".roll(1, dims=1)"))
    other = check(clone, "psp", official.psp)
    assert other.returncode == 1
    assert "NOT EQUAL" in other.stdout


def test_a_folder_that_is_no_clone_is_one_line(tmp_path: Path) -> None:
    ended = check(tmp_path, "psp", tmp_path / "psp.pt")
    assert ended.returncode == 2
    assert len(ended.stderr.splitlines()) == 1
    assert "clone pixel2style2pixel" in ended.stderr
