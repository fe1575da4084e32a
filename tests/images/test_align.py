from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
from PIL import Image
from scipy.ndimage import map_coordinates

from fervit.errors import UserError
from fervit.images.align import align, corners, find_and_align
from fervit.images.detector import FaceDetector, Landmarks
from fervit.images.index import open_faces


def landmarks(angle: float = 0.0, scale: float = 1.0, centre: tuple[float, float] = (200, 200)) -> Landmarks:
    """Returns the landmarks of an upright face in a box of 100 pixels, rotated and scaled about its centre."""
    turn = np.array([[np.cos(angle), -np.sin(angle)], [np.sin(angle), np.cos(angle)]])
    points = [turn @ (scale * np.array(p)) + centre for p in ((-25, -20), (25, -20), (-20, 40), (20, 40))]
    return Landmarks(
        left_eye=points[0],
        right_eye=points[1],
        left_mouth=points[2],
        right_mouth=points[3],
        box=np.array([150, 150, 100, 100]),
        score=1.0,
    )


def smooth_picture(size: int) -> np.ndarray:
    y, x = np.mgrid[:size, :size] / size
    waves = [127 + 100 * np.sin(2 * np.pi * (a * x + b * y)) for a, b in ((3, 1), (1, 4), (2, 2))]
    return np.stack(waves, axis=2).astype(np.uint8)


@pytest.mark.parametrize("angle", [0.0, 0.4, -2.0])
def test_the_cut_out_is_ffhqs_affine_map(angle: float) -> None:
    """The expected picture is the square of FFHQ's recipe, sampled by another bilinear interpolation."""
    face, size, picture = landmarks(angle), 64, smooth_picture(400)
    quad = corners(face)
    down, right = quad[1] - quad[0], quad[3] - quad[0]
    place = (np.arange(size) + 0.5) / size
    points = quad[0] + place[:, None, None] * down + place[None, :, None] * right  # [row, column, (x, y)]
    expected = np.stack(
        [
            map_coordinates(picture[..., c].astype(float), points[..., ::-1].transpose(2, 0, 1), order=1)
            for c in range(3)
        ],
        axis=2,
    )
    assert np.abs(align(picture, face, size) - expected).max() <= 1.01


def test_a_turned_and_scaled_face_comes_out_the_same() -> None:
    picture, angle, scale = Image.fromarray(smooth_picture(400)), 0.35, 1.7
    upright = align(np.asarray(picture), landmarks(), 64).astype(float)
    c, s = np.cos(-angle) / scale, np.sin(-angle) / scale
    matrix = (c, -s, 200 - c * 400 + s * 400, s, c, 200 - s * 400 - c * 400)  # output pixel -> input pixel
    turned = picture.transform((800, 800), Image.Transform.AFFINE, matrix, Image.Resampling.BICUBIC)
    found = align(np.asarray(turned), landmarks(angle, scale, (400, 400)), 64).astype(float)
    assert np.abs(found - upright).mean() < 2.5


def test_what_lies_outside_is_mirrored_and_blurred() -> None:
    picture = smooth_picture(400)
    whole, at_the_rim = align(picture, landmarks(), 128), align(picture[:, 150:], landmarks(centre=(50, 200)), 128)
    middle = slice(50, 78)
    assert np.abs(whole[middle, middle].astype(int) - at_the_rim[middle, middle]).max() <= 1
    assert at_the_rim[:, :8].std() < whole[:, :8].std()
    assert at_the_rim.min() > 0 or whole.min() == 0  # no black corner


def test_a_huge_face_is_shrunk_before_it_is_cut_out() -> None:
    """Otherwise, only every eighth pixel would be read, and a fine pattern would become a coarse one (aliasing)."""
    y, x = np.mgrid[:2000, :2000]
    pattern = np.repeat((((x + y) % 2) * 255).astype(np.uint8)[..., None], 3, axis=2)
    cut = align(pattern, landmarks(scale=9, centre=(1000, 1000)), 64)
    assert np.abs(cut.astype(int) - 127).max() < 40


def test_yunet_finds_real_faces(shared: Path) -> None:
    detector = FaceDetector(shared / "data" / "yunet" / "yunet_n_dynamic.onnx")
    index = open_faces(str(shared / "data" / "fer2013_train_val.csv.gz")).limited(40)
    pictures = [face.pixels for face in index.stream()]
    found = [detector.find(pixels) for pixels in pictures]
    assert sum(bool(faces) for faces in found) >= 36
    for faces in found:
        for face in faces:
            assert face.left_eye[0] < face.right_eye[0]
            assert face.left_eye[1] < face.left_mouth[1]
    i = next(i for i, faces in enumerate(found) if faces)
    one = np.asarray(Image.fromarray(pictures[i]).resize((150, 150)))
    two = np.full((300, 500, 3), 128, np.uint8)
    two[20:170, 20:170] = one
    two[60:260, 260:460] = np.asarray(Image.fromarray(pictures[i]).resize((200, 200)))
    aligned = find_and_align(two, detector)
    assert aligned.faces == 2
    assert aligned.box[0] > 250  # the larger of the two
    assert aligned.pixels.shape == (256, 256, 3)
    sheet = np.full((600, 800, 3), 128, np.uint8)
    for k in range(12):
        top, left = 200 * (k // 4) + 20, 200 * (k % 4) + 20
        sheet[top : top + 150, left : left + 150] = one
    assert find_and_align(sheet, detector).faces == 12
    with pytest.raises(ValueError, match="no face was found"):
        find_and_align(np.full((200, 200, 3), 90, np.uint8), detector)


def test_what_is_no_yunet_is_refused(tmp_path: Path) -> None:
    (tmp_path / "page.onnx").write_text("<!DOCTYPE html>")
    (tmp_path / "pointer.onnx").write_text("version https://git-lfs.github.com/spec/v1\n")
    (tmp_path / "other.onnx").write_bytes(b"\x08\x07" + b"x" * 200)
    for name, message in (
        ("none.onnx", "there is no such file"),
        ("page.onnx", "is a web page"),
        ("pointer.onnx", "is a Git LFS pointer"),
        ("other.onnx", "is no YuNet that OpenCV reads"),
    ):
        with pytest.raises(UserError, match=message):
            FaceDetector(tmp_path / name)
