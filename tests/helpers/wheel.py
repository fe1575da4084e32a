"""A wheel of fervit in an environment of its own."""

from __future__ import annotations

import fcntl
import shutil
import subprocess
import sys
import sysconfig
import venv
from pathlib import Path
from tempfile import gettempdir

from tests.conftest import ROOT


def build_wheel(source: Path, folder: Path) -> Path:
    """Builds the wheel of some code into a folder, one at a time, since that writes into the folder of the code."""
    with (Path(gettempdir()) / "fervit_wheel.lock").open("w") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)
        shutil.rmtree(source / "build", ignore_errors=True)  # modules of an earlier build, which may be gone since
        build = [sys.executable, "-m", "pip", "wheel", source, "--no-deps", "--no-build-isolation"]
        done = subprocess.run([*build, "--wheel-dir", folder, "-q"], capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    (wheel,) = folder.glob("fervit-*.whl")
    return wheel


def install_wheel(folder: Path) -> Path:
    """Builds the wheel and installs it into a new environment, which sees the packages of this one, but no fervit.

    Args:
        folder: an empty folder for both.

    Returns:
        The folder of the environment's programs, which has the command `fervit`.
    """
    wheel = build_wheel(ROOT, folder)
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
