from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
import torch

import fervit
from fervit.checkpoints.checkpoint import save_checkpoint
from fervit.evaluation.evaluate import evaluate
from tests.conftest import CONFIG, Ended, latent_set, trained

hub = pytest.importorskip("huggingface_hub")


def test_the_hubs_library_reads_the_metrics_of_the_card(command: Callable[..., Ended], tmp_path: Path) -> None:
    checkpoint, latents = trained(CONFIG), latent_set(20, seed=2)
    save_checkpoint(checkpoint, tmp_path / "run" / "checkpoints" / "best_model.pt")
    evaluate(checkpoint, latents, tmp_path / "run" / "evaluation", split="test", samples=0)
    ended = command("export", "--checkpoint_path", "run", "--hub_folder", "hub")
    assert ended.status == 0, ended.err
    folder = tmp_path / "hub"
    assert {path.name for path in folder.iterdir()} == {"README.md", "config.json", "model.safetensors"}
    card = hub.ModelCard.load(folder / "README.md")
    assert (card.data.library_name, card.data.pipeline_tag) == ("fervit", "image-classification")
    results = json.loads((tmp_path / "run" / "evaluation" / "evaluation_results.json").read_text())
    found = {result.metric_type: result for result in card.data.eval_results}
    assert found["f1"].metric_value == pytest.approx(results["f1_macro"], abs=1e-6)
    assert found["accuracy"].metric_value == pytest.approx(results["accuracy"], abs=1e-6)
    assert found["f1"].dataset_split == "test"
    assert found["f1"].dataset_name.startswith("140 faces")
    assert "# LatentViT" in card.text
    assert "library_name" not in card.text  # one header, not two
    codes = latents.codes.astype(np.float32)
    assert torch.equal(fervit.load(folder)(codes), fervit.load(tmp_path / "run")(codes))


def test_without_an_evaluation_the_card_says_that_its_metrics_are_optimistic(
    command: Callable[..., Ended], tmp_path: Path
) -> None:
    save_checkpoint(trained(CONFIG), tmp_path / "run" / "checkpoints" / "best_model.pt")
    assert command("export", "--checkpoint_path", "run", "--hub_folder", "hub").status == 0
    card = hub.ModelCard.load(tmp_path / "hub" / "README.md")
    assert {result.dataset_split for result in card.data.eval_results} == {"validation"}
    assert all("optimistic" in result.dataset_name for result in card.data.eval_results)
    again = command("export", "--checkpoint_path", "run", "--hub_folder", "hub")
    assert again.status == 2
    assert "--hub_folder" in again.err
    assert "is not empty" in again.err
