from __future__ import annotations

import json
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import numpy as np
import onnxruntime
import pytest
import torch

import fervit
from fervit.checkpoints.checkpoint import load_checkpoint, save_checkpoint
from fervit.errors import UserError
from tests.conftest import CONFIG, ROOT, Ended, latent_set, trained


def test_the_export_of_a_run_loads_back_without_a_pickle(command: Callable[..., Ended], tmp_path: Path) -> None:
    checkpoint = trained(CONFIG)
    save_checkpoint(checkpoint, tmp_path / "run" / "checkpoints" / "best_model.pt")
    ended = command("export", "--checkpoint_path", "run", "--output_dir", "exported", "--onnx")
    assert ended.status == 0, ended.err
    assert "onnxruntime gives the model's logits" in ended.out
    exported = tmp_path / "exported"
    (exported / "best_model.pt").unlink()
    codes = latent_set(3, seed=5).codes.astype(np.float32)
    expected = fervit.load(tmp_path / "run")(codes)
    loaded = fervit.load(exported)
    assert torch.equal(loaded(codes), expected)
    again = load_checkpoint(exported)
    assert (again.fingerprint, again.epoch, again.encoder) == (checkpoint.fingerprint, 5, checkpoint.encoder)
    config = json.loads((exported / "config.json").read_text())
    assert config["labels"][3] == "happy"
    assert config["preprocessing"]["mean"] == [0.5, 0.5, 0.5]
    card = (exported / "README.md").read_text()
    assert card.startswith("---\nlibrary_name: fervit")
    assert 'fervit.load("this/folder")' in card
    for words in ("Art. 5(1)(f)", "at work and in education, except for medical or safety reasons", "--no_faces"):
        assert words in card
    suffixes = {path.suffix for path in (tmp_path / "exported").iterdir()}
    assert suffixes == {".md", ".json", ".safetensors", ".onnx"}  # no pictures
    session = onnxruntime.InferenceSession(exported / "model.onnx")
    for n in (1, 21):
        (logits,) = session.run(None, {"codes": codes[:n]})
        np.testing.assert_allclose(logits, expected[:n].detach().numpy(), atol=1e-4)


def test_the_card_of_an_old_sweep_gets_what_every_card_says(command: Callable[..., Ended], tmp_path: Path) -> None:
    best = ROOT / "tests/data/version_0_1/finished/best"
    assert command("export", "--checkpoint_path", best, "--output_dir", "exported").status == 0
    card, before = ((folder / "README.md").read_text() for folder in (tmp_path / "exported", best))
    for words in ("Art. 5(1)(f)", "at work and in education, except for medical or safety reasons", "--no_faces"):
        assert words in card
        assert words not in before
    assert set(before.splitlines()) <= set(card.splitlines())
    assert command("export", "--checkpoint_path", "exported", "--output_dir", "again").status == 0
    assert (tmp_path / "again/README.md").read_text().count("Art. 5(1)(f)") == 1


@pytest.mark.parametrize(
    "options", [{"pre_norm": True, "activation": "gelu"}, {"pooling": "mean", "standardise": True}]
)
def test_every_form_of_the_model_exports(options: dict[str, object], tmp_path: Path) -> None:
    from fervit.checkpoints.export import export_onnx

    checkpoint = trained(replace(CONFIG, epochs=1, **options))  # type: ignore[arg-type]
    assert export_onnx(checkpoint, tmp_path / "model.onnx") < 1e-4


def test_a_damaged_export_is_told_in_a_line(command: Callable[..., Ended], tmp_path: Path) -> None:
    save_checkpoint(trained(CONFIG), tmp_path / "best_model.pt")
    assert command("export", "--checkpoint_path", "best_model.pt", "--output_dir", "good").status == 0
    weights = (tmp_path / "good" / "model.safetensors").read_bytes()
    config = (tmp_path / "good" / "config.json").read_text()
    ended = command("export", "--checkpoint_path", "best_model.pt", "--output_dir", "good")
    assert ended.status == 2
    assert "good: is not empty" in ended.err
    save_checkpoint(trained(replace(CONFIG, seed=9)), tmp_path / "other.pt")
    assert command("export", "--checkpoint_path", "other.pt", "--output_dir", "another").status == 0
    others = (tmp_path / "another" / "config.json").read_text()
    for name, content, beside, message in (
        ("mixed", weights, others, r"is not the model that config\.json beside it describes"),
        ("cut", weights[:-500], config, "is cut off or no safetensors file"),
        ("page", b"<html>", config, "is a web page"),
        ("lone", weights, None, r"lacks the config\.json beside it"),
        ("torn", weights, config[:40], "is damaged"),
        ("other", weights, "{}", "is no checkpoint of LatentViT"),
    ):
        folder = tmp_path / name
        folder.mkdir()
        (folder / "model.safetensors").write_bytes(content)
        if beside is not None:
            (folder / "config.json").write_text(beside)
        with pytest.raises(UserError, match=message):
            fervit.load(folder)
