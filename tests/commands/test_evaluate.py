"""launch/evaluate.py as a user types it."""

from __future__ import annotations

from pathlib import Path

from tests.conftest import Command


def test_bad_input_to_evaluate_is_one_line_and_status_2(command: Command, latents_folder: Path, tmp_path: Path) -> None:
    (tmp_path / "page.pt").write_text("<html>")
    for checkpoint, latents, message in (
        ("none.pt", latents_folder / "test", "none.pt: there is no such checkpoint"),
        ("page.pt", latents_folder / "test", "page.pt: is a web page (HTML)"),
    ):
        ended = command("evaluate", "--checkpoint_path", checkpoint, "--latent_test_dir", latents)
        assert ended.status == 2
        assert message in ended.err
        assert ended.err.count("\n") == 1
