"""What a command was given and is not there is told at once: before torch is imported, which takes seconds."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import pytest

from tests.conftest import ROOT


@pytest.mark.parametrize(
    ("command", "args", "message"),
    [
        ("encode", ("--data_root", "no", "--latent_out", "out"), "--data_root no: there is no such file or folder"),
        ("audit", ("--data_root", "no"), "--data_root no: there is no such file or folder"),
        ("train", ("--latent_train_dir", "no/train", "--latent_val_dir", "no/val"), "no/train: no latents here; make"),
        ("evaluate", ("--checkpoint_path", "no.pt", "--latent_test_dir", "no"), "no.pt: there is no such checkpoint"),
        ("evaluate", ("--checkpoint_path", "is", "--latent_test_dir", "no/val"), "no/val: no latents here; make them"),
        ("export", ("--checkpoint_path", "no.pt", "--output_dir", "out"), "no.pt: there is no such checkpoint"),
        ("predict", ("--checkpoint_path", "no.pt", "is"), "no.pt: there is no such checkpoint"),
        ("compare", ("is", "no"), "no: there is no such run"),
        ("control", ("no", "pause"), "no: there is no such folder; give the folder of a sweep"),
        ("verify", ("no",), "no: there is no such folder; give the folder of a sweep"),
        ("replay", ("no",), "no: there is no such folder; give the folder of a sweep"),
        ("report", ("no",), "no: there is no such folder; give one of experiments/"),
        ("tune", ("--space", "vit", "--latents", "no"), "no/train: no latents here; make them"),
        ("tune", ("--space", "no.yaml"), "no.yaml"),
        ("tune", ("--space", "empty"), "--space empty: is a folder; name a file in it"),
        ("tune", ("--space", "picture"), "--space picture: is no text in UTF-8; give a YAML file"),
        ("tune", ("--space", "vit", "--resume", "empty"), "--resume empty: holds no sweep.yaml of a sweep; give the"),
        ("tune", ("--space", "vit", "--track", "neptune"), "--track neptune: must be mlflow, mlflow=URI"),
        ("report", ("empty",), "empty: holds no results (no sweep.yaml of a sweep, config.json of a run, or"),
        ("verify", ("empty",), "empty: holds no sweep.yaml of a sweep; give the folder of one"),
        ("replay", ("empty",), "empty: holds no sweep.yaml of a sweep; give the folder of one"),
        ("control", ("empty", "pause"), "empty: holds no sweep.yaml of a sweep; give the folder of one"),
        (
            "export",
            ("--checkpoint_path", "empty", "--output_dir", "out"),
            "empty: holds no model (no model",
        ),
        ("evaluate", ("--checkpoint_path", "empty", "--latent_test_dir", "no"), "empty: holds no model (no model"),
        ("predict", ("--checkpoint_path", "empty", "is"), "empty: holds no model (no model"),
    ],
)
def test_a_path_that_is_not_there_is_told_before_torch_is_imported(
    command: str, args: tuple[str, ...], message: str, tmp_path: Path
) -> None:
    (tmp_path / "is").write_bytes(b"")
    (tmp_path / "empty").mkdir()
    (tmp_path / "picture").write_bytes(b"\x89PNG\r\n")
    words = [sys.executable, "-X", "importtime", ROOT / "launch" / f"{command}.py", *args]
    done = subprocess.run(words, cwd=tmp_path, capture_output=True, text=True, check=False)
    (line,) = [line for line in done.stderr.splitlines() if not line.startswith("import time:")]
    assert line.startswith("error: ")
    assert message in line
    assert done.returncode == 2
    imported = {line.rpartition("|")[2].strip() for line in done.stderr.splitlines()}
    assert not imported & {"torch", "ray", "sklearn"}
    assert sorted(path.name for path in tmp_path.iterdir()) == ["empty", "is", "picture"]
