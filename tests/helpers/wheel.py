"""A wheel of fervit in an environment of its own."""

from __future__ import annotations

import subprocess
import sys
import sysconfig
import venv
from pathlib import Path

from tests.conftest import ROOT


def install_wheel(folder: Path) -> Path:
    """Builds the wheel and installs it into a new environment, which sees the packages of this one, but no fervit.

    Args:
        folder: an empty folder for both.

    Returns:
        The folder of the environment's programs, which has the command `fervit`.
    """
    build = [sys.executable, "-m", "pip", "wheel", ROOT, "--no-deps", "--no-build-isolation", "--wheel-dir", folder]
    done = subprocess.run([*build, "-q"], capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    (wheel,) = folder.glob("fervit-*.whl")
    venv.create(folder / "env", with_pip=False)
    programs = folder / "env" / "bin"
    (site,) = (folder / "env" / "lib").glob("python*/site-packages")
    target = ["--target", site, "--no-deps", "--no-index", "-q"]
    subprocess.run([sys.executable, "-m", "pip", "install", wheel, *target], check=True)
    (site / "packages.pth").write_text(sysconfig.get_path("purelib") + "\n")  # whose own .pth files are not read
    command = programs / "fervit"
    command.write_text(f'#!/bin/sh\nexec {programs / "python"} -m fervit "$@"\n')
    command.chmod(0o755)
    return programs
