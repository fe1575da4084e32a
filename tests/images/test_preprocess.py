from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path

import numpy as np
from PIL import Image

from fervit.cluster.nodes import Cluster
from fervit.images.index import open_faces
from tests.conftest import Ended


def test_pictures_become_aligned_faces_that_encode_reads(
    cluster: Cluster, command: Callable[..., Ended], shared: Path, tmp_path: Path
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
    (tmp_path / "raw" / "train" / "happy" / "torn.png").write_bytes(b"torn")
    two = Image.new("RGB", (500, 300), (120, 130, 140))  # of two faces, the larger is taken
    two.paste(Image.open(tmp_path / "raw/train/happy/session/2.jpg").resize((200, 200)), (0, 50))
    two.paste(Image.open(tmp_path / "raw/train/happy/session/2.jpg"), (200, 0))
    two.save(tmp_path / "raw/train/happy/two.png")
    Image.open(tmp_path / "raw/train/happy/session/0.jpg").save(tmp_path / "raw/train/happy/session/0.png")
    args = ("--input_dir", "raw", "--output_dir", "faces", "--face_detector", detector)
    ended = command("preprocess", *args)
    assert ended.status == 0, ended.err
    index = open_faces(str(tmp_path / "faces"))
    assert len(index.table) >= 12
    assert {pixels.shape for pixels in (face.pixels for face in index.stream())} == {(256, 256, 3)}
    errors = [json.loads(line) for line in (tmp_path / "faces" / "train" / "_errors.jsonl").read_text().splitlines()]
    assert {"image_id": "train/happy/wall.png", "reason": "no face was found"} in errors
    assert {"image_id": "train/happy/torn.png", "reason": "is no picture of a kind that Pillow reads"} in errors
    assert len(index.table) + len(errors) == 18
    assert "1 picture with several faces: the largest was taken" in ended.out
    assert f"found: happy {len(index.table)} of 18" in ended.out
    alone, largest = (
        np.asarray(Image.open(tmp_path / f"faces/train/happy/{name}.png"), int) for name in ("session/2", "two")
    )
    assert np.abs(alone - largest).mean() < 12
    with Image.open(tmp_path / "faces" / "preview.png") as preview:
        assert preview.width > 7 * 112  # eight faces a class, each before and after
        assert preview.height > 2 * 112
    assert "preview.png" not in {Path(name).name for name in index.table["image_id"].to_pylist()}
    names = {path.name for path in (tmp_path / "faces" / "train" / "happy" / "session").iterdir()}
    assert {"0.jpg.png", "0.png.png"} <= names | {f"{Path(e['image_id']).name}.png" for e in errors}
    one = next((tmp_path / "faces" / "train").rglob("*.png"))
    before = one.stat().st_mtime_ns
    again = command("preprocess", *args)
    assert f"aligned 0 faces, {len(index.table)} were there before" in again.out
    assert f"{len(errors)} of them failed in an earlier run; --retry_errors tries them again" in again.out
    assert one.stat().st_mtime_ns == before
    one.unlink()
    (one.parent / f".{one.name}.k1ll3d").write_bytes(b"half")  # what a killed task leaves
    (tmp_path / "raw/train/happy/torn.png").write_bytes((tmp_path / "raw/train/happy/session/1.jpg").read_bytes())
    mended = command("preprocess", *args, "--retry_errors")
    assert "aligned 2 faces" in mended.out
    assert one.is_file()
    assert not list(one.parent.glob(".*"))
    left = (tmp_path / "faces" / "train" / "_errors.jsonl").read_text()
    assert "wall.png" in left
    assert "torn.png" not in left


def test_not_one_face_is_a_failure_and_no_detector_a_mistake(
    cluster: Cluster, command: Callable[..., Ended], shared: Path, tmp_path: Path
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
