"""A session: when it saves, how it is restored, and how it obeys requests to stop and notices. Does not use Ray."""

from __future__ import annotations

import time
from collections.abc import Collection
from dataclasses import replace
from pathlib import Path

import pytest
import torch

from fervit.cluster import preemption
from fervit.errors import UserError
from fervit.runs.session import RUN, TRIAL, Saving, Session, SessionFiles, TakenOverError
from fervit.training.config import TrainConfig
from fervit.training.data import DeviceLatents
from fervit.training.epoch import EpochResult
from fervit.training.trainer import Trainer
from tests.conftest import latent_set

CONFIG = TrainConfig(
    seq_len=4, latent_dim=16, embed_dim=8, depth=1, heads=2, mlp_dim=8, batch_size=32, lr=3e-3, epochs=6
)
TRAIN, VAL = DeviceLatents(latent_set(30)), DeviceLatents(latent_set(10, seed=1))
RARELY = 1e-12
"""A share of the time for saving that is so small that only the first epoch is saved without a request."""
ALWAYS = 1e12
"""A share so large that each epoch is saved, however long the disk took for the one before."""


def session(folder: Path, saving: Saving = RUN, decided_after: Collection[int] | None = None) -> Session:
    files = SessionFiles(best=folder / "best_model.pt", last=folder / "last.pt", stop=folder / ".stop")
    return Session(Trainer(CONFIG, TRAIN, VAL), files, saving, decided_after)


def on_disk(folder: Path) -> tuple[int, int, dict[str, torch.Tensor]]:
    """Returns the epoch of the best model, the epoch of the state, and the weights of the best model."""
    best, last = (torch.load(folder / name, weights_only=True) for name in ("best_model.pt", "last.pt"))
    return best["epoch"], last["trainer"]["epoch"], best["model_state_dict"]


def without_clocks(epochs: list[EpochResult]) -> list[EpochResult]:
    return [replace(epoch, seconds=0.0, samples_per_second=0.0) for epoch in epochs]


def trained(one: Session) -> list[EpochResult]:
    """Trains until the last epoch, a notice or a request to stop, and returns the epochs."""
    epochs = []
    while not (one.trainer.finished or one.leaving or one.stopping):
        result = one.run_epoch()
        if result is not None:
            epochs.append(result)
    return epochs


@pytest.fixture(scope="module")
def undisturbed() -> list[EpochResult]:
    trainer = Trainer(CONFIG, TRAIN, VAL)
    return without_clocks([trainer.run_epoch() for _ in range(CONFIG.epochs)])


@pytest.fixture
def notice(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """The file by which only this machine is given notice of preemption."""
    monkeypatch.setattr(preemption, "NOTICE", tmp_path / "notice")
    return tmp_path / "notice"


@pytest.mark.parametrize("saving", [RUN, TRIAL])
def test_a_notice_saves_and_leaves_and_the_training_goes_on_elsewhere(
    tmp_path: Path, notice: Path, undisturbed: list[EpochResult], saving: Saving
) -> None:
    first = session(tmp_path, replace(saving, share=RARELY))
    epochs = [first.run_epoch(), first.run_epoch()]
    assert first.saved_epoch == 1
    notice.write_text(f"{time.time() + 30:.0f} a test\n")
    epochs.append(first.run_epoch())  # its last epoch was not on disk
    assert first.leaving
    assert first.saved_epoch == on_disk(tmp_path)[1] == 3

    again = session(tmp_path, saving)
    assert again.restore() == epochs[-1]
    assert again.run_epoch() is None  # on the same machine nothing more is trained
    assert again.leaving
    notice.unlink()

    elsewhere = session(tmp_path, saving)
    elsewhere.restore()
    epochs += trained(elsewhere)
    assert without_clocks([epoch for epoch in epochs if epoch]) == undisturbed


def test_a_notice_does_not_take_away_a_training_that_has_just_ended(tmp_path: Path, notice: Path) -> None:
    one = session(tmp_path)
    for _ in range(CONFIG.epochs - 1):
        one.run_epoch()
    one._files.last.unlink()
    one.saved_epoch = 0
    notice.write_text(f"{time.time() + 30:.0f} a test\n")
    assert one.run_epoch() is not None
    assert one.trainer.finished
    assert not one.leaving


def test_a_request_to_stop_saves(tmp_path: Path, undisturbed: list[EpochResult]) -> None:
    first = session(tmp_path, replace(RUN, share=RARELY))
    epochs = [first.run_epoch(), first.run_epoch()]
    (tmp_path / ".stop").touch()
    epochs.append(first.run_epoch())
    assert first.stopping
    assert first.saved_epoch == 3
    (tmp_path / ".stop").unlink()
    second = session(tmp_path)
    second.restore()
    epochs += trained(second)
    assert without_clocks([epoch for epoch in epochs if epoch]) == undisturbed


def test_the_best_model_and_the_state_are_of_one_history_whenever_it_is_killed(tmp_path: Path) -> None:
    """A run writes both together. A trial's best model may be newer than its state until the trial is restored."""
    for name, saving in (("run", RUN), ("trial", TRIAL)):
        folder = tmp_path / name
        first = session(folder, replace(saving, share=RARELY))
        while not (first.trainer.improved and first.trainer.epoch > 1):
            first.run_epoch()
        best, last, _ = on_disk(folder)
        assert last == 1
        assert best == (1 if name == "run" else first.trainer.epoch)
        (folder / ".last.pt.cut_off").touch()  # what it was writing when it was killed

        second = session(folder, saving)
        second.restore()
        best, last, weights = on_disk(folder)
        assert (best, last) == (1, 1)
        state = torch.load(folder / "last.pt", weights_only=True)
        assert all(torch.equal(state["best_weights"][name], weight) for name, weight in weights.items())
        assert not list(folder.glob(".*"))


def test_epochs_that_are_reported_together_are_not_lost_if_the_process_dies_before_it_reports(tmp_path: Path) -> None:
    first = session(tmp_path, replace(TRIAL, share=ALWAYS, best_share=ALWAYS), decided_after=())
    first.run_epoch()
    assert first.saved_epoch == 1
    group = [first.run_epoch(), first.run_epoch(in_group=True), first.run_epoch(in_group=True)]
    assert first.saved_epoch == 2  # what is on disk is not ahead of what will be reported next
    (tmp_path / ".stop").touch()
    group.append(first.run_epoch(in_group=True))
    assert first.saved_epoch == 5
    (tmp_path / ".stop").unlink()
    second = session(tmp_path, TRIAL, decided_after=())
    assert second.restore() == group[-1]
    assert [one.epoch for one in second.unreported] == group
    values = [second.trainer.metric.sign * one.best_value for one in second.unreported]
    assert values == sorted(values)
    second.run_epoch()
    assert [one.epoch.epoch for one in second.unreported] == [6]


def test_only_runs_save_their_last_epoch(tmp_path: Path) -> None:
    for name, saving, last in (("run", RUN, CONFIG.epochs), ("trial", TRIAL, 1)):
        one = session(tmp_path / name, replace(saving, share=RARELY))
        trained(one)
        assert one.saved_epoch == last
        assert one.trainer.best is not None
        assert on_disk(tmp_path / name)[0] == one.trainer.best.epoch


def test_a_trial_writes_its_best_model_seldom_but_always_before_others_may_end_it(tmp_path: Path) -> None:
    one = session(tmp_path, replace(TRIAL, share=RARELY, best_share=RARELY), decided_after=(4,))

    def on_file() -> int:
        epoch: int = torch.load(tmp_path / "best_model.pt", weights_only=True)["epoch"]
        return epoch

    best = []
    for _ in range(CONFIG.epochs):
        one.run_epoch()
        assert one.trainer.best is not None
        best.append(one.trainer.best.epoch)
        assert one.best_on_disk == on_file()
        if one.trainer.epoch in (4, CONFIG.epochs):
            assert one.best_on_disk == best[-1]
        elif one.trainer.epoch == 3:
            assert one.best_on_disk == 1
    assert best[2] > 1  # or nothing was held back
    assert best[-1] > best[3]

    two = session(tmp_path / "ended early", replace(TRIAL, share=RARELY, best_share=RARELY), decided_after=())
    for _ in range(3):
        two.run_epoch()
    assert two.best_on_disk == 1 < best[2]
    two.save_best()  # as when its process turns to another trial
    weights = torch.load(tmp_path / "ended early" / "best_model.pt", weights_only=True)
    assert two.best_on_disk == weights["epoch"] == best[2]
    again = session(tmp_path)
    while again.trainer.epoch < best[2]:
        again.trainer.run_epoch()
    for name, weight in again.trainer.model.state_dict().items():
        assert torch.equal(weights["model_state_dict"][name], weight)


def test_a_damaged_state_is_one_line(tmp_path: Path) -> None:
    (tmp_path / "last.pt").write_bytes(b"PK")
    with pytest.raises(UserError, match=r"last\.pt: is damaged"):
        session(tmp_path).restore()


@pytest.mark.parametrize("saving", [RUN, TRIAL])
def test_a_process_that_was_given_up_does_not_write_over_the_one_that_goes_on(
    tmp_path: Path, undisturbed: list[EpochResult], saving: Saving
) -> None:
    """The network of the first process's machine was lost for a while, and the training went on elsewhere."""
    first = session(tmp_path, saving)
    first.restore()
    first.run_epoch()
    told: list[EpochResult] = []
    first.on_epoch = told.append
    second = session(tmp_path, saving)
    second.restore()
    second.run_epoch()
    before = {path.name: path.read_bytes() for path in tmp_path.iterdir()}
    with pytest.raises(TakenOverError, match="continues this training"):
        first.run_epoch()
    assert told == []
    assert {path.name: path.read_bytes() for path in tmp_path.iterdir()} == before
    done = second.trainer.epoch
    assert without_clocks(trained(second)) == undisturbed[done:]
