from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from fervit.errors import UserError
from fervit.latents import LatentSet
from fervit.latents.schema import schema
from tests.conftest import ENCODER, latent_set, write_latents


def test_rows_come_in_the_order_of_their_ids_however_they_lie_in_files(tmp_path: Path) -> None:
    latents = latent_set(5)
    rows = np.random.default_rng(0).permutation(len(latents))
    for part in np.array_split(rows, 3):
        write_latents(tmp_path / "many", latents, part)
    write_latents(tmp_path / "one", latents)
    many, one = LatentSet.read(str(tmp_path / "many")), LatentSet.read(str(tmp_path / "one"))
    assert many.image_ids == one.image_ids == latents.image_ids
    np.testing.assert_array_equal(many.codes, latents.codes)
    np.testing.assert_array_equal(many.labels, latents.labels)
    assert many.fingerprint == one.fingerprint


def test_a_row_more_or_another_label_changes_the_fingerprint(tmp_path: Path) -> None:
    latents = latent_set(5)
    assert latents.fingerprint != latent_set(6).fingerprint
    latents.labels[0] = (latents.labels[0] + 1) % 7
    assert latents.fingerprint != latent_set(5).fingerprint


def test_no_latents_says_how_to_make_some(tmp_path: Path) -> None:
    with pytest.raises(UserError, match=r"launch/encode.py .*make demo"):
        LatentSet.read(str(tmp_path / "latents" / "train"))


def test_a_split_without_a_class_names_it(tmp_path: Path) -> None:
    latents = latent_set(3)
    write_latents(tmp_path, latents, np.flatnonzero(latents.labels != 2))
    with pytest.raises(UserError, match="has no face of fear"):
        LatentSet.read(str(tmp_path)).check_classes()


def test_codes_of_two_encoders_in_one_folder_are_refused(tmp_path: Path) -> None:
    write_latents(tmp_path, latent_set(1))
    write_latents(tmp_path, latent_set(1), encoder=replace(ENCODER, checkpoint_sha256="abc"))
    with pytest.raises(UserError, match="two encoders never mix"):
        LatentSet.read(str(tmp_path))


def test_a_file_that_is_cut_off_is_named(tmp_path: Path) -> None:
    write_latents(tmp_path, latent_set(3))
    whole = next(tmp_path.glob("*.parquet"))
    (tmp_path / "part-half.parquet").write_bytes(whole.read_bytes()[:1000])
    with pytest.raises(UserError, match=r"part-half.parquet: holds no latents that can be read"):
        LatentSet.read(str(tmp_path))


def test_parquet_of_others_is_refused(tmp_path: Path) -> None:
    pq.write_table(pa.table({"image_id": ["a"], "label": [1]}), tmp_path / "part.parquet")
    with pytest.raises(UserError, match="no latents of fervit"):
        LatentSet.read(str(tmp_path))


def test_wrong_labels_and_codes_that_are_not_finite_are_refused(tmp_path: Path) -> None:
    latents = latent_set(2)
    latents.codes[3, 1, 2] = np.inf
    write_latents(tmp_path / "codes", latents)
    with pytest.raises(UserError, match="not finite"):
        LatentSet.read(str(tmp_path / "codes"))
    latents = latent_set(2)
    latents.labels[0] = 7
    write_latents(tmp_path / "labels", latents)
    with pytest.raises(UserError, match=r"labels must lie in 0\.\.6"):
        LatentSet.read(str(tmp_path / "labels"))


def test_hidden_and_underscored_files_are_no_data(tmp_path: Path) -> None:
    write_latents(tmp_path, latent_set(2))
    (tmp_path / ".part-x.parquet.123").write_bytes(b"half")
    (tmp_path / "_errors.jsonl").write_text("{}\n")
    (tmp_path / ".part-y.parquet").write_bytes(b"half")
    (tmp_path / "_part-z.parquet").write_bytes(b"half")
    assert len(LatentSet.read(str(tmp_path))) == 14


def test_columns_of_another_type_or_shape_are_named(tmp_path: Path) -> None:
    good = schema(ENCODER)
    codes = np.zeros((2, 4, 16), np.float32)
    columns = {"image_id": ["a", "b"], "label": pa.array([0, 1], pa.int8()), "sha256": ["x", "y"]}
    for i, (name, values, message) in enumerate(
        (
            ("latent", pa.FixedShapeTensorArray.from_numpy_ndarray(codes), "column latent must be"),
            (
                "latent",
                pa.FixedShapeTensorArray.from_numpy_ndarray(codes[:, :3].astype(np.float16)),
                "column latent must be",
            ),
            ("label", pa.array([1.7, 2.0]), "column label must be int8, but is double"),
        )
    ):
        latent = pa.FixedShapeTensorArray.from_numpy_ndarray(codes.astype(np.float16))
        table = pa.table({**columns, "latent": latent, name: values}).replace_schema_metadata(good.metadata)
        folder = tmp_path / str(i)
        folder.mkdir()
        pq.write_table(table, folder / "part.parquet")
        with pytest.raises(UserError, match=message):
            LatentSet.read(str(folder))


def test_a_face_that_stands_twice_is_refused(tmp_path: Path) -> None:
    write_latents(tmp_path, latent_set(2))
    write_latents(tmp_path, latent_set(2))
    with pytest.raises(UserError, match="14 image_ids appear more than once"):
        LatentSet.read(str(tmp_path))


def test_a_path_that_is_no_folder_is_one_line(tmp_path: Path) -> None:
    (tmp_path / "train").write_text("x")
    for path in (str(tmp_path / "train"), "nowhere://bucket/train"):
        with pytest.raises(UserError) as error:
            LatentSet.read(path)
        assert "\n" not in str(error.value)
