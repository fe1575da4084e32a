"""The look at the test split after a power cut at every step: it is recorded before it begins, and never made twice."""

from __future__ import annotations

import shutil
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import pytest

from fervit.checkpoints.checkpoint import Checkpoint
from fervit.errors import UserError
from fervit.evaluation.evaluate import RESULTS_FILE, Evaluation
from fervit.io.disk import make_folder
from fervit.io.files import write_json
from fervit.latents.looks import looks_at
from fervit.search.outcome import sealed
from fervit.search.records.sweep_folder import SweepFolder
from fervit.search.splits import Splits
from tests.conftest import latent_set, write_latents
from tests.crash import sweeps
from tests.crash.explore import explore, scratch
from tests.crash.recorder import recorded
from tests.helpers.records import trial

CHOSEN = trial(3, [0.2, 0.9])
METRICS = {"f1_macro": 0.5, "accuracy": 0.25, "n": 14}


@pytest.fixture(scope="module")
def part(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("test")
    write_latents(folder, latent_set(2))
    return next(folder.glob("*.parquet"))


def command(root: Path, part: Path, checkpoint: Checkpoint, promise: Callable[[Any], None]) -> sealed.Verdict:
    """Opens the test split for the chosen model, or reads what an earlier command sealed."""
    files, split = SweepFolder(root / "sweep"), root / "latents"
    make_folder(files.path)
    make_folder(split)
    shutil.copy(part, split)

    def evaluate(*_: Any, **__: Any) -> Evaluation:
        promise("opened")
        write_json(files.evaluation() / RESULTS_FILE, METRICS)
        return Evaluation(split="test", metrics=METRICS, output_dir=files.evaluation())

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(sealed, "evaluate", evaluate)
        splits = Splits(train=latent_set(1), val=latent_set(1), test=str(split), copies={})
        verdict = sealed.open_test(files, checkpoint, CHOSEN, splits)
    promise("sealed")
    return verdict


@pytest.fixture(scope="module")
def checkpoint() -> Checkpoint:
    return sweeps.checkpoint_of(sweeps.space().config({"lr": 1e-3, "heads": 1}, 1), CHOSEN.epochs[1])


def test_a_sealed_result_whose_file_is_gone_is_said_and_never_measured_again(
    part: Path, checkpoint: Checkpoint, tmp_path: Path
) -> None:
    command(tmp_path, part, checkpoint, lambda what: None)
    (SweepFolder(tmp_path / "sweep").evaluation() / RESULTS_FILE).unlink()
    told: list[str] = []
    with pytest.raises(UserError, match=r"sealed_test\.json says that the test split was opened for it; copy it back"):
        command(tmp_path, part, checkpoint, told.append)
    assert not told


def test_a_look_is_on_record_before_it_begins_and_is_not_made_again_once_its_result_was_told(
    part: Path, checkpoint: Checkpoint
) -> None:
    place = scratch()
    with recorded(place) as recording:
        undisturbed = command(place, part, checkpoint, recording.promise)

    told: list[str] = []

    def kept(root: Path, promised: Sequence[Any]) -> str:
        told[:] = promised
        on_record = sealed.read_looks(SweepFolder(root / "sweep")) and looks_at(str(root / "latents"))
        return "" if on_record or "opened" not in promised else "the split was opened, and that is not on record"

    def recover(root: Path) -> str:
        files, again = SweepFolder(root / "sweep"), list[str]()
        verdict = command(root, part, checkpoint, again.append)
        if "sealed" in told and "opened" in again:
            return "its result was told, and it is opened again"
        if verdict.evaluation.metrics != undisturbed.evaluation.metrics or verdict.looks != 1:
            return f"ends otherwise: {verdict}"
        return "" if sealed.read_looks(files)[0].complete and looks_at(str(root / "latents")) else "is not sealed"

    found = explore(recording, kept, recover)
    assert found.states > 30
    assert not found.wrong
