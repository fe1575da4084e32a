"""The command `fervit`, in the code and installed from a wheel."""

from __future__ import annotations

import subprocess
import sys
import sysconfig
import venv
from collections.abc import Callable
from pathlib import Path

import pytest

from fervit.commands.program import HOMES
from fervit.version import __version__
from tests.conftest import ROOT

Ended = subprocess.CompletedProcess[str]


def fervit(*words: str, python: str | Path = sys.executable, cwd: Path | None = None) -> Ended:
    return subprocess.run([python, "-m", "fervit", *words], cwd=cwd, capture_output=True, text=True, check=False)


def test_it_names_each_script_of_launch_and_says_what_each_does() -> None:
    assert {path.stem for path in (ROOT / "launch").glob("*.py")} == HOMES.keys() - {"demo"}
    ended = fervit("--help")
    assert ended.returncode == 0, ended.stderr
    for name in HOMES:
        assert f"\n  {name} " in ended.stdout
    assert max(map(len, ended.stdout.splitlines())) <= 80
    assert fervit("--version").stdout == f"fervit {__version__}\n"


def test_a_command_is_called_by_its_name_and_a_wrong_one_is_one_line(tmp_path: Path) -> None:
    ended = fervit("evaluate", "--checkpoint-path", "x", cwd=tmp_path)
    assert (ended.returncode, ended.stderr.count("\n")) == (2, 1)
    assert ended.stderr.startswith("fervit evaluate: error: ")
    assert "usage: fervit tune [-h]" in fervit("tune", "--help").stdout
    wrong = fervit("evalute")
    assert (wrong.returncode, wrong.stderr.count("\n")) == (2, 1)
    assert "did you mean evaluate?" in wrong.stderr


def test_completions_know_commands_and_flags() -> None:
    for shell in ("bash", "zsh"):
        printed = fervit("completion", shell).stdout
        assert "--latent_test_dir" in printed
        assert "preprocess" in printed


@pytest.fixture(scope="module")
def installed(tmp_path_factory: pytest.TempPathFactory) -> Callable[..., Ended]:
    """Runs the command of a wheel in an environment of its own, which sees the packages of this one, but no fervit."""
    folder = tmp_path_factory.mktemp("wheel")
    build = [sys.executable, "-m", "pip", "wheel", ROOT, "--no-deps", "--no-build-isolation", "--wheel-dir", folder]
    done = subprocess.run([*build, "-q"], capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    (wheel,) = folder.glob("fervit-*.whl")
    venv.create(folder / "env", with_pip=False)
    python = folder / "env" / "bin" / "python"
    (site,) = (folder / "env" / "lib").glob("python*/site-packages")
    target = ["--target", site, "--no-deps", "--no-index", "-q"]
    subprocess.run([sys.executable, "-m", "pip", "install", wheel, *target], check=True)
    (site / "packages.pth").write_text(sysconfig.get_path("purelib") + "\n")  # whose own .pth files are not read

    def run(*words: str, cwd: Path) -> Ended:
        return fervit(*words, python=python, cwd=cwd)

    return run


@pytest.mark.long
def test_a_wheel_has_all_that_the_commands_need(installed: Callable[..., Ended], tmp_path: Path) -> None:
    wrong = installed("tune", "--space", "vitt", cwd=tmp_path)
    assert "a space of fervit: demo, regularised, vit" in wrong.stderr
    missing = installed("tune", "--space", "vit", cwd=tmp_path)
    assert missing.returncode == 2
    assert "fervit encode" in missing.stderr
    assert "launch/" not in missing.stderr


@pytest.mark.extra
def test_the_demo_of_a_wheel_ends_with_a_report_in_an_empty_folder(
    installed: Callable[..., Ended], tmp_path: Path
) -> None:
    ended = installed("demo", cwd=tmp_path)
    assert ended.returncode == 0, ended.stdout[-3000:] + ended.stderr[-3000:]
    (report,) = (tmp_path / "experiments").glob("demo_*/report.html")
    assert "fervit tune --space demo --latents latents/demo" in report.read_text()
