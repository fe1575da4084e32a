from __future__ import annotations

import argparse
import json
from pathlib import Path

import numpy as np
import pytest
import torch
from safetensors.torch import load_file
from sklearn.metrics import confusion_matrix, f1_score
from torch import nn

import fervit
from benchmarks.train import GuideViT
from fervit.checkpoints.checkpoint import Checkpoint, load_checkpoint, save_checkpoint
from fervit.checkpoints.export import export
from fervit.errors import UserError
from fervit.labels.emotions import EMOTIONS
from fervit.model import LatentViT
from fervit.training.config import TrainConfig
from tests.conftest import ENCODER

CONFIG = TrainConfig(seq_len=4, latent_dim=16, embed_dim=16, depth=2, heads=2, mlp_dim=16)


def checkpoint() -> Checkpoint:
    return Checkpoint(
        model_state_dict=LatentViT(**CONFIG.model()).state_dict(),
        config=CONFIG,
        epoch=3,
        metrics={"f1_macro": 0.5},
        encoder=ENCODER,
        data={"train": "a", "val": "b"},
    )


def test_what_is_saved_is_loaded(tmp_path: Path) -> None:
    saved = checkpoint()
    save_checkpoint(saved, tmp_path / "best_model.pt")
    loaded = load_checkpoint(tmp_path / "best_model.pt")
    assert (loaded.config, loaded.epoch, loaded.metrics) == (saved.config, 3, {"f1_macro": 0.5})
    codes = torch.randn(2, 4, 16)
    assert torch.equal(loaded.model()(codes), saved.model()(codes))


def test_the_exported_folder_loads_in_one_call(tmp_path: Path) -> None:
    saved = checkpoint()
    export(saved, tmp_path / "best")
    model = fervit.load(tmp_path / "best")
    codes = torch.randn(2, 4, 16)
    assert torch.equal(model(codes), saved.model()(codes))
    assert torch.equal(model(codes.numpy()), model(codes))
    assert model.labels == EMOTIONS
    assert model.encoder == ENCODER
    config = json.loads((tmp_path / "best" / "config.json").read_text())
    assert config["labels"] == list(EMOTIONS)
    assert config["model"]["depth"] == 2
    tensors = load_file(tmp_path / "best" / "model.safetensors")
    assert {name: value.shape for name, value in tensors.items()} == {
        name: value.shape for name, value in saved.model_state_dict.items()
    }


def test_what_is_no_checkpoint_is_refused_and_runs_nothing(tmp_path: Path) -> None:
    witness = tmp_path / "executed"

    class Evil:
        def __reduce__(self) -> tuple[object, tuple[str]]:
            return Path.touch, (str(witness),)

    torch.save(Evil(), tmp_path / "evil.pt")
    (tmp_path / "page.pt").write_text("<html>")
    torch.save({"weights": 1}, tmp_path / "other.pt")
    save_checkpoint(checkpoint(), tmp_path / "whole.pt")
    whole = torch.load(tmp_path / "whole.pt", weights_only=True)
    torch.save([1], tmp_path / "list.pt")
    torch.save({**whole, "model_state_dict": {"x": torch.zeros(1)}}, tmp_path / "weights.pt")
    earlier = {name: whole[name] for name in ("model_state_dict", "epoch", "metrics")}
    torch.save({**earlier, "config": {"model": {"depth": 2}}}, tmp_path / "heads.pt")
    torch.save({**earlier, "config": {"model": {"heads": 3}}}, tmp_path / "three.pt")
    torch.save({**whole, "config": {"training": {"hedas": 2}}}, tmp_path / "hedas.pt")
    torch.save({**earlier, "config": {"model": {"heads": 2}}, "model_state_dict": {"w": 1}}, tmp_path / "resnet.pt")
    torch.save({**whole, "epoch": float("nan")}, tmp_path / "epoch.pt")
    torch.save({**whole, "labels": ["happy", "sad"]}, tmp_path / "labels.pt")
    nan = {name: value * float("nan") for name, value in whole["model_state_dict"].items()}
    torch.save({**whole, "model_state_dict": nan}, tmp_path / "nan.pt")
    torch.save({**whole, "metrics": {"val_loss": float("nan"), "f1_macro": 0.5}}, tmp_path / "loss.pt")
    assert load_checkpoint(tmp_path / "loss.pt").metrics == {"f1_macro": 0.5}
    (tmp_path / "empty.pt").touch()
    (tmp_path / "text.pt").write_text("hello")
    (tmp_path / "cut.pt").write_bytes((tmp_path / "whole.pt").read_bytes()[:-2000])
    for name, message in (
        ("none.pt", "there is no such checkpoint"),
        ("evil.pt", "wants to run code"),
        ("page.pt", "is a web page"),
        ("cut.pt", "is cut off"),
        ("empty.pt", "is empty"),
        ("text.pt", "is no PyTorch checkpoint"),
        ("other.pt", "is no checkpoint of LatentViT"),
        ("list.pt", "it holds no dict"),
        ("heads.pt", "config: lacks model.heads"),
        ("three.pt", "`embed_dim % heads == 0` must hold, but got embed_dim=16, heads=3"),
        ("hedas.pt", "there is no key 'hedas'; did you mean 'heads'?"),
        ("resnet.pt", "its weights do not fit LatentViT"),
        ("epoch.pt", "its epoch is nan"),
        ("labels.pt", "its labels are"),
        ("nan.pt", "are not finite numbers"),
        ("weights.pt", "do not fit its own configuration"),
    ):
        with pytest.raises(UserError, match=message):
            load_checkpoint(tmp_path / name)
    assert not witness.exists()


@pytest.mark.parametrize("zipped", [True, False])
@pytest.mark.parametrize("prefix", ["", "module."])
def test_a_checkpoint_of_an_earlier_run_gives_the_same_logits(tmp_path: Path, zipped: bool, prefix: str) -> None:
    torch.manual_seed(0)
    earlier = GuideViT(TrainConfig(embed_dim=64, depth=3, heads=4, mlp_dim=96)).eval()
    for weight in earlier.parameters():
        nn.init.normal_(weight, std=0.2)  # trained: no bias is 0, no two layers are equal
    content = {
        "epoch": 12,
        "model_state_dict": {prefix + name: value for name, value in earlier.state_dict().items()},
        "optimizer_state_dict": torch.optim.AdamW(earlier.parameters()).state_dict(),
        "metrics": {
            "accuracy": f1_score([0, 1, 1], [0, 1, 0], average="micro"),
            "f1_macro": np.float64(0.5),
            "confusion_matrix": confusion_matrix([0, 1, 1], [0, 1, 0]),
        },
        "config": {"model": {"heads": 4, "dropout": 0.1, "num_classes": 7}, "train_dir": "latents/train"},
    }
    torch.save(content, tmp_path / "best_model.pt", _use_new_zipfile_serialization=zipped)
    loaded = load_checkpoint(tmp_path / "best_model.pt")
    assert (loaded.epoch, loaded.metrics["f1_macro"], loaded.encoder) == (12, 0.5, None)
    codes = torch.randn(5, 18, 512)
    with torch.inference_mode():
        torch.testing.assert_close(loaded.model()(codes), earlier(codes), rtol=0, atol=1e-5)
    torch.testing.assert_close(fervit.load(tmp_path / "best_model.pt")(codes), earlier(codes), rtol=0, atol=1e-5)


def guide_model(classes: int = 7) -> GuideViT:
    torch.manual_seed(1)
    model = GuideViT(TrainConfig(embed_dim=32, depth=1, heads=4, mlp_dim=32)).eval()
    if classes != 7:
        model.mlp_head[1] = nn.Linear(32, classes)
    return model


@pytest.mark.parametrize("prefix", ["_orig_mod.", "module._orig_mod.", "_orig_mod.module.", "model."])
def test_weights_of_a_wrapped_model_load_in_whichever_order_it_was_wrapped(tmp_path: Path, prefix: str) -> None:
    weights = {prefix + name: value for name, value in guide_model().state_dict().items()}
    torch.save({"epoch": 1, "model_state_dict": weights, "config": {"model": {"heads": 4}}}, tmp_path / "m.pt")
    codes = torch.randn(2, 18, 512)
    torch.testing.assert_close(fervit.load(tmp_path / "m.pt")(codes), guide_model()(codes), rtol=0, atol=1e-5)


def test_what_the_simple_training_script_saves_loads_without_running_code(tmp_path: Path) -> None:
    args = argparse.Namespace(lr=1e-4, heads=4, latent_dir=Path("latents"), use_class_weights=True)
    content = {"epoch": 7, "model_state_dict": guide_model().state_dict(), "val_f1": 0.5, "args": args}
    torch.save(content, tmp_path / "m.pt")
    loaded = load_checkpoint(tmp_path / "m.pt")
    assert (loaded.epoch, loaded.metrics, loaded.config.heads) == (7, {"f1_macro": 0.5}, 4)
    del args.heads
    torch.save(content, tmp_path / "m.pt")
    with pytest.raises(UserError, match="give it as --heads N"):
        load_checkpoint(tmp_path / "m.pt")
    assert load_checkpoint(tmp_path / "m.pt", heads=4).config.heads == 4
    torch.save(guide_model().state_dict(), tmp_path / "bare.pt")
    logits = fervit.load(tmp_path / "bare.pt", heads=4)(torch.ones(1, 18, 512))
    assert logits.numpy().shape == (1, 7)  # without gradients


KAGGLES = ["Anger", "Disgust", "Fear", "Happiness", "Sadness", "Surprise", "Neutral"]
BY_NAME = {name: i for i, name in reversed(list(enumerate(KAGGLES)))}
BY_NUMBER = dict(enumerate(KAGGLES))


@pytest.mark.parametrize(
    "said",
    [
        {"class_names": KAGGLES},
        {"labels": tuple(KAGGLES)},
        {"label_names": KAGGLES},
        {"class_names": np.array(KAGGLES)},
        {"emotion_labels": np.array(KAGGLES, object)},
        {"class_to_idx": BY_NAME},
        {"classes": BY_NAME},
        {"label2id": {name: str(i) for name, i in BY_NAME.items()}},
        {"idx_to_class": {str(i): name for i, name in BY_NUMBER.items()}},
        {"class_names": BY_NUMBER},
        {"id2label": {i + 1: name for i, name in BY_NUMBER.items()}},
        {"emotion_map": list(BY_NUMBER.items())},
        {"config": {"model": {"heads": 4}, "data": {"class_names": KAGGLES}}},
        {"args": argparse.Namespace(heads=4, emotions=",".join(KAGGLES)), "class_weights": [1.0] * 7},
        {
            "metrics": {"per_class_f1": dict.fromkeys(KAGGLES, 0.5)},
            "class_names": KAGGLES,
            "expression_classes": BY_NAME,
        },
    ],
    ids=lambda given: "+".join(given) if isinstance(given, dict) else "",
)
def test_logits_in_the_order_of_the_file_are_put_into_ours(tmp_path: Path, said: dict[str, object]) -> None:
    content = {"epoch": 1, "model_state_dict": guide_model().state_dict(), "config": {"model": {"heads": 4}}, **said}
    torch.save(content, tmp_path / "m.pt")
    codes = torch.randn(2, 18, 512)
    theirs = guide_model()(codes)
    torch.testing.assert_close(fervit.load(tmp_path / "m.pt")(codes), theirs[:, [0, 1, 2, 3, 6, 4, 5]])


@pytest.mark.parametrize(
    ("said", "message"),
    [
        (
            {"class_to_idx": {name: name[0] for name in KAGGLES}},
            "its class_to_idx seems to name the classes, but not in",
        ),
        ({"class_to_idx": {name: 2 * i for name, i in BY_NAME.items()}}, "its class_to_idx seems to name the classes"),
        ({"data": {"label_order": dict(zip("abcdefg", KAGGLES, strict=True))}}, r"its data\.label_order seems to name"),
        ({"class_to_idx": {"angry": "a", "sad": "b"}}, "its class_to_idx seems to name the classes"),
        ({"labels": [0, 4, 2, 3, 1, 5, 6]}, "its labels seems to name the classes"),
        ({"class_names": KAGGLES, "id2label": dict(enumerate(sorted(KAGGLES)))}, "under class_names and id2label"),
    ],
    ids=lambda given: "+".join(given) if isinstance(given, dict) else "",
)
def test_names_of_classes_that_are_not_understood_are_refused(
    tmp_path: Path, said: dict[str, object], message: str
) -> None:
    content = {"epoch": 1, "model_state_dict": guide_model().state_dict(), "config": {"model": {"heads": 4}}, **said}
    torch.save(content, tmp_path / "m.pt")
    with pytest.raises(UserError, match=message):
        fervit.load(tmp_path / "m.pt")


def test_other_networks_and_other_classes_are_one_line_that_says_what_they_are(tmp_path: Path) -> None:
    config = {"epoch": 1, "config": {"model": {"heads": 4}}}
    torch.save({**config, "model_state_dict": guide_model(8).state_dict()}, tmp_path / "eight.pt")
    torch.save({**config, "model_state_dict": nn.Conv1d(2, 2, 1).state_dict()}, tmp_path / "cnn.pt")
    more = {**guide_model().state_dict(), "spe.weight": torch.ones(1), "leam.bias": torch.ones(1)}
    torch.save({**config, "model_state_dict": more}, tmp_path / "v2.pt")
    for name, message in (
        ("eight.pt", "is a model of 8 classes, and does not say which"),
        ("cnn.pt", "so it is another network .weight, bias.; fervit reads LatentViT only"),
        ("v2.pt", "is a LatentViT with parts of its own .spe, leam."),
    ):
        with pytest.raises(UserError, match=message) as told:
            load_checkpoint(tmp_path / name)
        assert "\n" not in str(told.value)
