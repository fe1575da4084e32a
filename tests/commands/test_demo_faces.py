"""launch/demo_faces.py as a user types it."""

from __future__ import annotations

from pathlib import Path

from tests.conftest import Command


def test_demo_faces(command: Command, tmp_path: Path) -> None:
    done = command("demo_faces", "--output_dir", "faces", "--train", 2, "--val", 1, "--test", 1)
    assert done.status == 0
    assert "28 demo faces" in done.out
    assert len(list((tmp_path / "faces").rglob("*.png"))) == 28
