"""The commands of the pages that are marked to run do run, in an empty folder, with the command of a wheel."""

from __future__ import annotations

import os
import subprocess
import time
from collections import Counter
from collections.abc import Callable
from pathlib import Path

import pytest

from tests.helpers.pages import Block, blocks, lines_of
from tests.helpers.wheel import install_wheel

WALK = ("docs/getting-started.md", "docs/encoders.md")
"""The pages with commands that run, in the order in which a reader gets to them."""


def marked() -> list[Block]:
    return [block for page in WALK for block in blocks(page) if block.mark.startswith(("run", "file: "))]


def test_the_walk_goes_all_the_way() -> None:
    commands = [line.split()[1] for block in marked() if block.mark == "run" for line in lines_of(block)]
    order = ["demo_faces", "encode", "train", "tune", "evaluate", "compare", "predict", "export", "report"]
    assert commands == [*order, "verify", "encode", "train"]


@pytest.mark.long
@pytest.mark.timeout(1800)
def test_marked_commands_run_from_a_wheel(
    tmp_path: Path, tmp_path_factory: pytest.TempPathFactory, measured: Callable[[str], None]
) -> None:
    programs = install_wheel(tmp_path_factory.mktemp("wheel"))
    path = f"{programs}{os.pathsep}{os.environ['PATH']}"
    environment = {**os.environ, "PATH": path, "COLUMNS": "80", "PYTHONPATH": ""}
    seconds: Counter[str] = Counter()
    for block in marked():
        if block.mark.startswith("file: "):
            (tmp_path / block.mark.removeprefix("file: ")).write_text(block.text)
            continue
        for line in lines_of(block):
            began = time.monotonic()
            ended = subprocess.run(
                ["bash", "-c", line], cwd=tmp_path, env=environment, capture_output=True, text=True, check=False
            )
            said = f"{block.page}:{block.line}: {line}\n{ended.stdout[-2000:]}\n{ended.stderr[-2000:]}"
            assert ended.returncode == 0, said
            assert "Traceback" not in ended.stdout + ended.stderr, said
            seconds[line.split()[1]] += round(time.monotonic() - began)
    (report,) = (tmp_path / "experiments").glob("demo_*/report.html")
    assert report.stat().st_size > 1_000_000
    for left in ("eval_results/confusion_matrix.png", "exported/model.safetensors", "comparison.png"):
        assert (tmp_path / left).is_file(), left
    measured("walk of the pages: " + ", ".join(f"{name} {value} s" for name, value in seconds.items()))
