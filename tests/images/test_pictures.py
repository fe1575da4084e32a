"""Reads pictures of every file format as the RGB array that pSp needs."""

from __future__ import annotations

import os
from pathlib import Path

import numpy as np
import pyarrow.fs as pafs
import pytest
from PIL import Image

from fervit.images.index import open_faces
from fervit.images.pictures import read_picture, resize

LOCAL = pafs.LocalFileSystem()


@pytest.fixture
def face(demo_faces: Path) -> Image.Image:
    return Image.open(demo_faces / "train" / "happy" / "face_000.png").convert("RGB")


def read(path: Path) -> np.ndarray:
    return read_picture(LOCAL, str(path))


def test_grey_palette_and_transparent_pictures_become_rgb(face: Image.Image, tmp_path: Path) -> None:
    grey = np.asarray(face.convert("L"))
    face.convert("L").save(tmp_path / "grey.png")
    np.testing.assert_array_equal(read(tmp_path / "grey.png"), np.repeat(grey[..., None], 3, axis=2))
    palette = face.quantize(32)
    palette.save(tmp_path / "palette.png")
    np.testing.assert_array_equal(read(tmp_path / "palette.png"), np.asarray(palette.convert("RGB")))
    rgba = face.copy()
    rgba.putalpha(128)
    rgba.save(tmp_path / "rgba.png")
    np.testing.assert_array_equal(read(tmp_path / "rgba.png"), np.asarray(face))
    face.convert("1").save(tmp_path / "black_and_white.png")
    assert set(np.unique(read(tmp_path / "black_and_white.png"))) <= {0, 255}
    face.convert("CMYK").save(tmp_path / "print.jpg")
    assert read(tmp_path / "print.jpg").shape == (96, 96, 3)


def test_sixteen_bits_of_grey_are_scaled_to_eight(face: Image.Image, tmp_path: Path) -> None:
    grey = np.asarray(face.convert("L"))
    Image.fromarray(grey.astype(np.uint16) * 257).save(tmp_path / "deep.png")
    Image.fromarray(grey.astype(np.uint16) * 257).save(tmp_path / "deep.tiff")
    for name in ("deep.png", "deep.tiff"):
        np.testing.assert_array_equal(read(tmp_path / name)[..., 1], grey)


def test_grey_values_of_other_types_are_scaled_by_their_range_or_refused(face: Image.Image, tmp_path: Path) -> None:
    grey = np.asarray(face.convert("L"))
    for i, values in enumerate(
        (
            (grey / 255).astype(np.float32),
            grey.astype(np.float32),
            grey.astype(np.float32) * 257,
            grey.astype(np.int32),
            grey.astype(np.int32) * 257,
            grey.astype(np.uint16),
        )
    ):
        Image.fromarray(values).save(tmp_path / f"{i}.tiff")
        np.testing.assert_array_equal(read(tmp_path / f"{i}.tiff")[..., 1], grey, err_msg=f"{values.dtype}")
    for values in (grey - np.float32(300), np.where(grey > 9, np.float32("nan"), grey), grey.astype(np.int32) * 9999):
        Image.fromarray(values).save(tmp_path / "odd.tiff")
        with pytest.raises(ValueError, match="its grey values lie in"):
            read(tmp_path / "odd.tiff")


def test_pictures_are_turned_upright_as_their_camera_says(face: Image.Image, tmp_path: Path) -> None:
    exif = Image.Exif()
    exif[0x0112] = 6  # the camera was turned: rotate by 90 degrees to the right
    face.resize((96, 64)).save(tmp_path / "turned.png", exif=exif)
    upright = face.resize((96, 64)).transpose(Image.Transpose.ROTATE_270)
    np.testing.assert_array_equal(read(tmp_path / "turned.png"), np.asarray(upright))


def test_pictures_are_resized_as_pillow_resizes_them(face: Image.Image) -> None:
    for size in (64, 256):
        expected = np.asarray(face.resize((size, size), Image.Resampling.BILINEAR))
        np.testing.assert_array_equal(resize(np.asarray(face), size), expected)


def test_what_is_wrong_with_a_picture_is_said(tmp_path: Path) -> None:
    for name, content, reason in (
        ("empty.png", b"", "is empty"),
        ("text.png", b"no picture", "is no picture of a kind that Pillow reads"),
    ):
        (tmp_path / name).write_bytes(content)
        with pytest.raises(ValueError, match=reason):
            read(tmp_path / name)
    Image.new("1", (20_000, 20_000)).save(tmp_path / "bomb.png")
    with pytest.raises(Image.DecompressionBombError):
        read(tmp_path / "bomb.png")


def test_names_with_odd_characters_are_read_and_names_that_are_no_text_are_told(
    face: Image.Image, tmp_path: Path
) -> None:
    folder = tmp_path / "happy"
    folder.mkdir()
    odd = "new\nline 'quoted\" é😀 #1?.png"
    face.save(folder / odd)
    face.save(folder / "plain.png")
    os.rename(folder / "plain.png", bytes(folder) + b"/caf\xe9.png")  # noqa: PTH104  (pathlib takes no bytes)
    index = open_faces(str(tmp_path))
    sources = dict(zip(index.table["image_id"].to_pylist(), index.table["source"].to_pylist(), strict=True))
    assert set(sources) == {f"happy/{odd}", "happy/caf\\xe9.png"}
    np.testing.assert_array_equal(index.read(sources[f"happy/{odd}"]), np.asarray(face))
    with pytest.raises(ValueError, match="not UTF-8: rename it"):
        index.read(sources["happy/caf\\xe9.png"])
