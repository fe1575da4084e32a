"""A process of a run that ends early, and what the next one then does."""

from __future__ import annotations

from pathlib import Path

import pytest

from fervit.io.disk import make_folder
from fervit.io.files import write_json
from fervit.io.json_lines import read_rows
from fervit.runs.folder import RunFolder
from fervit.runs.worker import WorkerJob, run_on_worker
from fervit.training.config import TrainConfig
from fervit.training.epoch import EpochResult
from fervit.training.trainer import Trainer
from tests.conftest import latent_set

CONFIG = TrainConfig(
    seq_len=4, latent_dim=16, embed_dim=8, depth=1, heads=2, mlp_dim=8, batch_size=32, lr=3e-3, epochs=4
)


def test_after_a_fault_of_its_gpu_the_process_ends_and_another_one_trains_on(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    folder = RunFolder(tmp_path / "run")
    make_folder(folder.path)
    write_json(folder.environment, {})
    job = WorkerJob(config=CONFIG, folder=folder, threads=1, device="cpu")
    run_epoch, faults = Trainer.run_epoch, [3]

    def faulty(trainer: Trainer) -> EpochResult:
        if trainer.epoch + 1 in faults:
            faults.clear()
            raise RuntimeError("CUDA error: an illegal memory access was encountered")
        return run_epoch(trainer)

    monkeypatch.setattr(Trainer, "run_epoch", faulty)
    with pytest.raises(RuntimeError, match="illegal memory access"):  # a process that dies is replaced
        run_on_worker(job, latent_set(30), latent_set(10, seed=1), entered=0.0, imported=0.0)
    assert [event for event in read_rows(folder.events) if event["event"] == "failed"] == []
    assert run_on_worker(job, latent_set(30), latent_set(10, seed=1), entered=0.0, imported=0.0) == "finished"
    assert [row["epoch"] for row in read_rows(folder.history)] == [1, 2, 3, 4]
