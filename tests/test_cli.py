"""The rules that every command keeps."""

from __future__ import annotations

import subprocess
import sys

import pytest

from fervit.cli import Parser, positive_int
from tests.conftest import ROOT

COMMANDS = sorted(path.stem for path in (ROOT / "launch").glob("*.py"))


@pytest.mark.parametrize("name", COMMANDS)
def test_help_needs_neither_torch_nor_ray(name: str) -> None:
    script = f"""
import runpy, sys
sys.argv = ["{name}.py", "--help"]
try:
    runpy.run_path("launch/{name}.py", run_name="__main__")
except SystemExit as leaving:
    assert leaving.code in (0, None)
slow = {{"torch", "ray", "numpy", "pyarrow", "optuna", "sklearn", "matplotlib"}} & set(sys.modules)
assert not slow, slow
"""
    done = subprocess.run([sys.executable, "-c", script], capture_output=True, text=True, cwd=ROOT, check=False)
    assert done.returncode == 0, done.stderr
    assert "usage:" in done.stdout


def test_windows_is_told_of_wsl_in_a_line() -> None:
    script = "import runpy, sys; sys.platform = 'win32'; runpy.run_path('launch/encode.py', run_name='__main__')"
    done = subprocess.run([sys.executable, "-c", script], capture_output=True, text=True, cwd=ROOT, check=False)
    assert done.returncode == 2
    assert "on Windows install it in WSL 2" in done.stderr
    assert done.stderr.count("\n") == 1
    script = "import sys; sys.modules['fcntl'] = None; import fervit.io.files"  # as where Python has no such module
    done = subprocess.run([sys.executable, "-c", script], capture_output=True, text=True, cwd=ROOT, check=False)
    assert done.stderr.splitlines()[-1].startswith("ImportError: fervit runs on Linux and macOS")


def test_flags_may_be_written_with_dashes_or_underscores() -> None:
    parser = Parser(description="")
    parser.add_argument("--batch_size", type=positive_int, default=4)
    assert parser.parse(["--batch-size", "8"]).batch_size == 8
    assert parser.parse(["--batch_size=16"]).batch_size == 16
    assert parser.parse(["--batch-size=2-"[:-1]]).batch_size == 2


@pytest.mark.parametrize("args", [["--batch_size", "0"], ["--batch_size", "many"], ["--batchsize", "4"]])
def test_a_wrong_flag_is_one_line_and_status_2(args: list[str], capsys: pytest.CaptureFixture[str]) -> None:
    parser = Parser(description="")
    parser.add_argument("--batch_size", type=positive_int, default=4)
    with pytest.raises(SystemExit) as leaving:
        parser.parse(args)
    assert leaving.value.code == 2
    assert capsys.readouterr().err.count("\n") == 1
