"""A sweep that has ended, for all tests of this folder."""

from __future__ import annotations

import shutil
from pathlib import Path

import pytest

from fervit.evaluation import evaluate
from tests.conftest import write_splits
from tests.helpers.whole_sweeps import whole_sweep


@pytest.fixture(scope="session")
def ended(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The folder of a sweep that has ended, which no test changes; its latents lie beside it."""
    folder = tmp_path_factory.mktemp("verified")
    write_splits(folder / "latents")
    sections = {"search": {"trials": 3}, "early_stopping": {"max_epochs": 3}, "confirm": {"top": 2, "seeds": 2}}
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(evaluate, "_draw_samples", lambda *args: None)  # the slowest of the pictures
        whole_sweep(folder / "sweep", folder / "latents", **sections)
    return folder / "sweep"


@pytest.fixture
def sweep(ended: Path, tmp_path: Path) -> Path:
    """A copy of that sweep, to be changed."""
    return shutil.copytree(ended, tmp_path / "sweep")
