from __future__ import annotations

import json
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import ClassVar, NamedTuple

import numpy as np
import pytest
import torch
from PIL import Image

import fervit
from fervit.checkpoints.checkpoint import Checkpoint, save_checkpoint
from fervit.checkpoints.export import export
from fervit.encoders.runner import Codes, EncoderRunner
from fervit.errors import JobError, UserError
from fervit.evaluation.evaluate import evaluate
from fervit.evaluation.predictions import Predictions
from fervit.evaluation.predictor import open_encoder
from fervit.labels.emotions import EMOTIONS
from fervit.latents import LatentSet
from fervit.model import LatentViT
from fervit.training.config import TrainConfig
from tests.conftest import Ended
from tests.helpers.encoding import demo_fingerprint

CONFIG = TrainConfig(embed_dim=32, depth=1, heads=2, mlp_dim=32, standardise=True)


class Trained(NamedTuple):
    checkpoint: Checkpoint
    folder: Path
    faces: Path


@pytest.fixture(scope="module")
def model(tmp_path_factory: pytest.TempPathFactory, demo_faces: Path) -> Trained:
    """A model for the codes of the demo encoder, whose random weights give pictures different predictions."""
    torch.manual_seed(0)
    network = LatentViT(**CONFIG.model())
    for weight in network.parameters():
        torch.nn.init.normal_(weight, std=0.2)
    checkpoint = Checkpoint(
        model_state_dict=network.state_dict(),
        config=CONFIG,
        epoch=3,
        metrics={"f1_macro": 0.5},
        encoder=demo_fingerprint(),
        data={},
    )
    folder = tmp_path_factory.mktemp("model") / "best"
    export(checkpoint, folder)
    return Trained(checkpoint, folder, demo_faces)


def pictures(model: Trained) -> list[Path]:
    return sorted((model.faces / "test").rglob("*.png"))


@pytest.mark.usefixtures("cluster")
def test_pictures_get_the_predictions_of_the_evaluation(
    model: Trained, command: Callable[..., Ended], tmp_path: Path
) -> None:
    encode = ("--data_root", model.faces, "--latent_out", "latents", "--encoder_type", "demo")
    assert command("encode", *encode, "--precision", "float32").status == 0
    latents = LatentSet.read("latents/test")
    evaluate(model.checkpoint, latents, tmp_path / "evaluation", samples=3)
    expected = Predictions.read(tmp_path / "evaluation" / "predictions.parquet")
    ended = command("predict", "--checkpoint_path", model.folder, "--format", "json", *pictures(model))
    assert ended.status == 0
    assert "UNTRAINED" in ended.err
    said = {"/".join(Path(one["name"]).parts[-3:]): one for one in json.loads(ended.out)}
    assert len(said) == len(expected.image_ids) == 14
    for name, row in zip(expected.image_ids, expected.probabilities, strict=True):
        assert said[name]["label"] == EMOTIONS[row.argmax()]
        assert list(said[name]["probabilities"].values()) == pytest.approx(row.tolist(), abs=1e-4)
    # The encoding job recorded the folder of the faces, so they are found again.
    from fervit.latents.source import find_faces

    faces = find_faces(latents)
    assert faces is not None
    found = faces.find(latents.image_ids, latents.sha256)
    assert all(face is not None for face in found)
    assert faces.find(latents.image_ids[:1], ["another"]) == [None]


def test_three_lines_in_a_notebook(model: Trained) -> None:
    loaded = fervit.load(model.folder, encoder_type="demo")
    found = loaded.predict(pictures(model)[:2])
    assert [one.label in EMOTIONS for one in found] == [True, True]
    assert sum(found[0].probabilities.values()) == pytest.approx(1)
    one = loaded.predict(np.asarray(Image.open(pictures(model)[0]).convert("RGB")))
    assert one[0].probabilities == pytest.approx(found[0].probabilities, abs=1e-5)  # from another batch size
    assert one[0].name == "picture 0"
    with pytest.raises(UserError, match="needs the encoder"):
        fervit.load(model.folder).predict(pictures(model)[0])


class LittleMemory(EncoderRunner):
    """A real runner on a machine without the memory for more than four pictures at once."""

    room = 4
    tried: ClassVar[list[int]] = []

    def encode(self, pixels_nhwc: np.ndarray) -> Codes:
        self.tried.append(self.batch_size)
        if self.batch_size > self.room:
            raise torch.OutOfMemoryError("CUDA out of memory. Tried to allocate 2.00 GiB")
        return super().encode(pixels_nhwc)


def test_batches_fit_the_pictures_and_the_memory(model: Trained, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("fervit.evaluation.predictor.EncoderRunner", LittleMemory)
    monkeypatch.setattr("fervit.evaluation.predictor.BATCH_SIZES", {"cpu": (1, 4, 16, 64)})
    monkeypatch.setattr(LittleMemory, "tried", [])
    loaded = fervit.load(model.folder, encoder_type="demo")
    alone = loaded.predict(pictures(model)[0])
    assert LittleMemory.tried == [1]
    together = loaded.predict(pictures(model))
    assert LittleMemory.tried == [1, 16, 4]
    assert together[0].probabilities == pytest.approx(alone[0].probabilities, abs=1e-4)
    loaded.predict(pictures(model)[:5])
    assert LittleMemory.tried == [1, 16, 4, 4]  # it knows by now
    monkeypatch.setattr(LittleMemory, "room", 0)
    with pytest.raises(JobError, match=r"predict: memory is short even for one picture \(CUDA out of memory"):
        loaded.predict(pictures(model))


def test_on_a_cpu_a_model_of_float16_codes_reads_codes_of_float32(model: Trained) -> None:
    encoder = replace(demo_fingerprint(), precision="float16")
    opened = open_encoder(replace(model.checkpoint, encoder=encoder), None, None)
    assert opened.fingerprint.precision == "float32"


def test_annotated_pictures_and_a_picture_that_cannot_be_read(
    model: Trained, command: Callable[..., Ended], tmp_path: Path
) -> None:
    good = pictures(model)[0]
    (tmp_path / "broken.png").write_bytes(good.read_bytes()[:300])
    given = (good, tmp_path / "broken.png", "--checkpoint-path", model.folder, "--save-pictures", "annotated")
    ended = command("predict", *given)
    assert ended.status == 1
    assert ended.out.count("\n") == 2
    assert "broken.png" in ended.out.splitlines()[1]
    assert "OSError" in ended.out or "SyntaxError" in ended.out or "cannot" in ended.out
    assert [path.name for path in Path("annotated").iterdir()] == [f"{good.stem}.png"]
    with Image.open(Path("annotated") / f"{good.stem}.png") as picture, Image.open(good) as before:
        assert picture.height > picture.width * before.height / before.width + 50


def test_the_pictures_of_a_folder_are_those_that_encoding_finds_and_others_are_counted(
    model: Trained, command: Callable[..., Ended], tmp_path: Path
) -> None:
    good = pictures(model)[0]
    with Image.open(good) as picture:
        picture.save(tmp_path / "face.gif")
    for name in ("face.jfif", "__MACOSX/._a.png", "@eaDir/a.jpg", ".hidden/a.png", "notes.txt"):
        (tmp_path / name).parent.mkdir(exist_ok=True)
        (tmp_path / name).write_bytes(good.read_bytes() if "notes" not in name else b"hello")
    ended = command("predict", tmp_path, "--checkpoint_path", model.folder, "--format", "json")
    assert ended.status == 0, ended.err
    assert [Path(one["name"]).name for one in json.loads(ended.out)] == ["face.gif", "face.jfif"]
    line = "2 pictures, 4 passed over (2 of an operating system or an archiver, 1 hidden, 1 no picture)"
    assert line in ended.err
    (tmp_path / "empty").mkdir()
    ended = command("predict", tmp_path / "empty", "--checkpoint_path", model.folder)
    assert (ended.status, ended.err.count("\n")) == (2, 1)
    assert "empty: holds no picture" in ended.err


def test_a_face_is_found_and_cut_out_when_asked(
    model: Trained, command: Callable[..., Ended], shared: Path, tmp_path: Path
) -> None:
    from fervit.images.index import open_faces

    face = next(open_faces(str(shared / "data" / "fer2013_train_val.csv.gz")).limited(20).stream())
    canvas = Image.new("RGB", (400, 300), (120, 130, 140))
    canvas.paste(Image.fromarray(face.pixels).resize((160, 160)), (200, 80))
    canvas.save(tmp_path / "photo.jpg")
    Image.new("RGB", (200, 200), (90, 90, 90)).save(tmp_path / "wall.jpg")
    detector = shared / "data" / "yunet" / "yunet_n_dynamic.onnx"
    photos = (tmp_path / "photo.jpg", tmp_path / "wall.jpg")
    given = (*photos, "--checkpoint_path", model.folder, "--format", "json", "--align", "--face_detector", detector)
    ended = command("predict", *given, "--save_pictures", "there")
    assert ended.status == 1
    photo, wall = json.loads(ended.out)
    x, y, w, h = photo["box"]
    assert 180 < x < 260
    assert x + w < 380
    assert 60 < y < 160
    assert h > 60
    assert wall["error"] == "no face was found"
    assert Path("there/photo.png").is_file()
    ended = command("predict", photos[0], "--checkpoint_path", model.folder, "--save_pictures", tmp_path)
    assert ended.status == 2
    assert "holds pictures that are read; give another folder" in ended.err
    ended = command("predict", photos[0], "--checkpoint_path", model.folder, "--align")
    assert ended.status == 2
    assert "--align: needs --face_detector" in ended.err


def test_another_encoder_is_refused_with_the_one_that_fits(
    model: Trained, command: Callable[..., Ended], tmp_path: Path
) -> None:
    assert model.checkpoint.encoder is not None
    psp = replace(model.checkpoint.encoder, encoder="psp", checkpoint_sha256="ab" * 32)
    save_checkpoint(replace(model.checkpoint, encoder=psp), tmp_path / "psp.pt")
    other = replace(model.checkpoint.encoder, checkpoint_sha256="cd" * 32)
    save_checkpoint(replace(model.checkpoint, encoder=other), tmp_path / "other.pt")
    picture = pictures(model)[0]
    (tmp_path / "page.pt").write_text("<html>")
    for given, message in (
        (
            ("psp.pt", "--encoder_type", "demo"),
            "the model was trained on codes of psp (abababababab); give that encoder",
        ),
        (("psp.pt",), "--encoder_type psp: needs --encoder_model"),
        (("psp.pt", "--encoder_model", "page.pt"), "page.pt: is a web page"),
        (("other.pt",), "but the model was trained on codes of demo (cdcdcdcdcdcd)"),
        (("page.pt",), "page.pt: is a web page"),
        (("nowhere",), "nowhere: there is no such checkpoint"),
    ):
        ended = command("predict", picture, "--checkpoint_path", *given)
        assert ended.status == 2, given
        assert message in ended.err, ended.err
        assert ended.err.count("\n") == 1
    ended = command("predict", "nothing.jpg", "--checkpoint_path", model.folder)
    assert (ended.status, ended.err) == (2, "error: nothing.jpg: there is no such picture\n")
