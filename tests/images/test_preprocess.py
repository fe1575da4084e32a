from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path

from PIL import Image

from fervit.images.index import open_faces
from tests.conftest import Ended


def test_pictures_become_aligned_faces_that_encode_reads(
    command: Callable[..., Ended], shared: Path, tmp_path: Path
) -> None:
    detector = shared / "data" / "yunet" / "yunet_n_dynamic.onnx"
    csv = open_faces(str(shared / "data" / "fer2013_train_val.csv.gz")).limited(14)
    for i, face in enumerate(csv.stream()):
        canvas = Image.new("RGB", (300, 300), (120, 130, 140))
        canvas.paste(Image.fromarray(face.pixels).resize((140, 140)), (80, 60))
        path = tmp_path / "raw" / "train" / "happy" / "session" / f"{i}.jpg"
        path.parent.mkdir(parents=True, exist_ok=True)
        canvas.save(path)
    Image.new("RGB", (200, 200), (90, 90, 90)).save(tmp_path / "raw" / "train" / "happy" / "wall.png")
    Image.open(tmp_path / "raw/train/happy/session/0.jpg").save(tmp_path / "raw/train/happy/session/0.png")
    args = ("--input_dir", "raw", "--output_dir", "faces", "--face_detector", detector)
    ended = command("preprocess", *args)
    assert ended.status == 0, ended.err
    index = open_faces(str(tmp_path / "faces"))
    assert len(index.table) >= 12
    assert {pixels.shape for pixels in (face.pixels for face in index.stream())} == {(256, 256, 3)}
    errors = [json.loads(line) for line in (tmp_path / "faces" / "train" / "_errors.jsonl").read_text().splitlines()]
    assert {"image_id": "train/happy/wall.png", "error": "no face was found"} in errors
    assert len(index.table) + len(errors) == 16
    names = {path.name for path in (tmp_path / "faces" / "train" / "happy" / "session").iterdir()}
    assert {"0.jpg.png", "0.png.png"} <= names | {f"{Path(e['image_id']).name}.png" for e in errors}
    one = next((tmp_path / "faces").rglob("*.png"))
    before = one.stat().st_mtime_ns
    again = command("preprocess", *args)
    assert f"aligned 0 faces, {len(index.table)} were there before" in again.out
    assert one.stat().st_mtime_ns == before


def test_not_one_face_is_a_failure_and_no_detector_a_mistake(
    command: Callable[..., Ended], shared: Path, tmp_path: Path
) -> None:
    (tmp_path / "raw" / "train" / "sad").mkdir(parents=True)
    Image.new("RGB", (99, 99)).save(tmp_path / "raw" / "train" / "sad" / "black.png")
    given = ("--input_dir", "raw", "--output_dir", "faces", "--face_detector")
    ended = command("preprocess", *given, shared / "data" / "yunet" / "yunet_n_dynamic.onnx")
    assert ended.status == 1
    assert "no face was found in any of the 1 pictures" in ended.err
    ended = command("preprocess", *given, "none.onnx")
    assert ended.status == 2
    assert "none.onnx: there is no such file; download" in ended.err
