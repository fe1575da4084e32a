"""The encoding job, on a real Ray."""

from __future__ import annotations

import hashlib
import json
import shutil
import subprocess
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path

import numpy as np
import pyarrow.dataset as pads
import pyarrow.parquet as pq
import pytest
import torch

from fervit.cluster.nodes import Cluster
from fervit.encoders import load_encoder
from fervit.encoding.job import encode_faces
from fervit.encoding.placement import place
from fervit.errors import JobError, UserError
from fervit.images.index import open_faces
from fervit.images.pictures import resize
from fervit.labels.emotions import EMOTIONS
from fervit.latents import LatentSet
from fervit.latents.parts import drop_duplicates, write_part
from tests.helpers.encoding import encode, plan


@pytest.fixture(scope="module")
def encoded(demo_faces: Path, cluster: Cluster, tmp_path_factory: pytest.TempPathFactory) -> Path:
    out = tmp_path_factory.mktemp("latents")
    summary = encode(demo_faces, out, cluster)
    assert (summary.done, summary.failed) == (77, 0)
    return out


def test_each_face_is_there_once_with_its_label_and_code(demo_faces: Path, encoded: Path) -> None:
    encoder = load_encoder("demo")
    for split, n in {"train": 42, "val": 21, "test": 14}.items():
        latents = LatentSet.read(str(encoded / split))
        assert len(set(latents.image_ids)) == len(latents) == n
        assert [EMOTIONS[label] for label in latents.labels] == [name.split("/")[1] for name in latents.image_ids]
    face = next(face for face in open_faces(str(demo_faces)).stream() if face.image_id == latents.image_ids[0])
    pixels = resize(face.pixels, 64)
    code = encoder(torch.from_numpy(pixels.copy()).permute(2, 0, 1)[None].float() / 127.5 - 1)
    np.testing.assert_allclose(latents.codes[0], code[0].numpy(), atol=2e-3)  # float16 on disk
    assert latents.sha256[0] == hashlib.sha256(pixels.tobytes()).hexdigest()


def test_any_reader_of_parquet_opens_the_latents(encoded: Path) -> None:
    table = pads.dataset(encoded / "train", format="parquet").to_table()
    assert table.column_names == ["image_id", "label", "sha256", "latent"]
    assert str(table.schema.field("latent").type).startswith("extension<arrow.fixed_shape_tensor")
    metadata = json.loads(table.schema.metadata[b"fervit"])
    assert (metadata["version"], metadata["encoder"], metadata["untrained"]) == (1, "demo", True)
    assert (metadata["seq_len"], metadata["latent_dim"]) == (18, 512)


def test_the_same_job_again_encodes_only_what_is_new(
    demo_faces: Path, encoded: Path, cluster: Cluster, tmp_path: Path
) -> None:
    faces, out = tmp_path / "faces", tmp_path / "latents"
    shutil.copytree(demo_faces, faces)
    shutil.copytree(encoded, out)
    assert len(plan(faces, out)) == 0
    shutil.copy(faces / "val" / "sad" / "face_000.png", faces / "val" / "sad" / "new.png")
    before = {path: path.stat().st_mtime_ns for path in out.rglob("*.parquet")}
    assert (len(plan(faces, out)), plan(faces, out).present) == (1, 77)
    assert encode(faces, out, cluster).done == 1
    assert {path: path.stat().st_mtime_ns for path in before} == before
    assert len(LatentSet.read(str(out / "val"))) == 22


def test_codes_do_not_depend_on_the_batch_size(
    demo_faces: Path, encoded: Path, cluster: Cluster, tmp_path: Path
) -> None:
    encode(demo_faces / "test", tmp_path, cluster, batch_size=5)
    alone, together = LatentSet.read(str(tmp_path)), LatentSet.read(str(encoded / "test"))
    assert [f"test/{name}" for name in alone.image_ids] == together.image_ids
    np.testing.assert_allclose(alone.codes, together.codes, atol=2e-3)


def test_pictures_that_cannot_be_read_are_listed_and_do_not_stop_the_job(
    demo_faces: Path, cluster: Cluster, tmp_path: Path
) -> None:
    faces, out = tmp_path / "faces", tmp_path / "latents"
    shutil.copytree(demo_faces / "test", faces / "test")
    bad = faces / "test" / "happy"
    (bad / "empty.png").touch()
    (bad / "text.jpg").write_text("not a picture")
    (bad / "cut.png").write_bytes((bad / "face_000.png").read_bytes()[:500])
    (bad / "dangling.png").symlink_to(tmp_path / "nowhere.png")
    summary = encode(faces, out, cluster)
    assert (summary.done, summary.failed) == (14, 4)
    lines = [json.loads(line) for line in (out / "test" / "_errors.jsonl").read_text().splitlines()]
    assert [row["image_id"] for row in lines] == [
        f"test/happy/{n}" for n in ("cut.png", "dangling.png", "empty.png", "text.jpg")
    ]
    assert all(row["reason"] for row in lines)
    assert len(LatentSet.read(str(out / "test"))) == 14
    again = plan(faces, out)
    assert (len(again), again.present, again.failed_before) == (0, 14, 4)  # not tried again unless asked for
    shutil.copy(bad / "face_000.png", bad / "empty.png")  # mended
    summary = encode(faces, out, cluster, retry_errors=True)
    assert (summary.done, summary.failed) == (1, 3)
    lines = (out / "test" / "_errors.jsonl").read_text().splitlines()
    assert [Path(json.loads(line)["image_id"]).name for line in lines] == ["cut.png", "dangling.png", "text.jpg"]


def test_nothing_to_be_read_at_all_fails(cluster: Cluster, tmp_path: Path) -> None:
    (tmp_path / "faces" / "test" / "happy").mkdir(parents=True)
    (tmp_path / "faces" / "test" / "happy" / "a.png").touch()
    with pytest.raises(JobError, match=r"none of the 1 images could be encoded; .*happy/a.png: the file is empty"):
        encode(tmp_path / "faces", tmp_path / "latents", cluster)
    with pytest.raises(JobError, match=r"all 1 images failed before; .*--retry_errors"):
        encode(tmp_path / "faces", tmp_path / "latents", cluster)


def test_another_encoder_into_the_same_folder_is_refused(demo_faces: Path, tmp_path: Path) -> None:
    from tests.conftest import latent_set, write_latents

    write_latents(tmp_path / "test", latent_set(1))
    with pytest.raises(UserError, match="codes of two encoders never mix: choose another --latent_out"):
        plan(demo_faces, tmp_path)


@pytest.fixture
def small_disk(tmp_path: Path) -> Iterator[Path]:
    """A disk of 1 MiB."""
    disk = tmp_path / "disk"
    disk.mkdir()
    mounted = subprocess.run(["mount", "-t", "tmpfs", "-o", "size=1m", "tmpfs", disk], capture_output=True, check=False)
    if mounted.returncode != 0:
        pytest.skip("mounting a small disk needs root")
    yield disk
    subprocess.run(["umount", "--lazy", disk], check=True)


def test_when_the_disk_is_full_what_was_written_stays_and_the_job_goes_on_later(
    demo_faces: Path, encoded: Path, cluster: Cluster, small_disk: Path
) -> None:
    with pytest.raises(JobError, match=r"the disk is full; free some space, then the same command goes on .*whole"):
        encode(demo_faces, small_disk, cluster)
    written = sum(len(LatentSet.read(str(folder))) for folder in small_disk.iterdir() if any(folder.glob("*.parquet")))
    assert 0 < written < 77
    assert not list(small_disk.rglob(".part-*"))
    subprocess.run(["mount", "-o", "remount,size=8m", small_disk], check=True)
    # A task of the ended job may still have found room for its part after the parts were counted.
    assert 0 < encode(demo_faces, small_disk, cluster).done <= 77 - written
    for split in ("train", "val", "test"):
        assert LatentSet.read(str(small_disk / split)).fingerprint == LatentSet.read(str(encoded / split)).fingerprint


def test_a_face_that_stands_in_two_parts_is_kept_once(demo_faces: Path, encoded: Path, tmp_path: Path) -> None:
    """This happens if the last part of a killed job appears after the next job has listed the parts."""
    out = tmp_path / "latents"
    shutil.copytree(encoded, out)
    part = next((out / "val").glob("*.parquet"))
    whole = pq.read_table(part)
    write_part(whole.slice(5, 4), str(out / "val"), ["late"])
    with pytest.raises(UserError, match="4 image_ids appear more than once"):
        LatentSet.read(str(out / "val"))
    assert len(plan(demo_faces, out)) == 0
    assert LatentSet.read(str(out / "val")).fingerprint == LatentSet.read(str(encoded / "val")).fingerprint


def test_parts_that_overlap_in_any_way_lose_no_face(encoded: Path, tmp_path: Path) -> None:
    whole = pq.read_table(next((encoded / "val").glob("*.parquet")))
    ids = whole["image_id"].to_pylist()
    for seed in range(20):
        folder = tmp_path / str(seed)
        cuts = sorted(np.random.default_rng(seed).choice(range(1, len(ids)), 3, replace=False).tolist())
        for start, end in ((0, cuts[0]), (cuts[0], cuts[1]), (cuts[1], len(ids)), (0, cuts[2]), (0, len(ids))):
            write_part(whole.slice(start, end - start), str(folder), ids[start:end])
        assert drop_duplicates(str(folder)) == len(ids) + cuts[2]
        assert LatentSet.read(str(folder)).image_ids == sorted(ids)


@pytest.mark.long
def test_codes_of_the_first_release_are_continued(
    demo_faces: Path, encoded: Path, cluster: Cluster, tmp_path: Path
) -> None:
    """These codes lack their precision, which was float32."""
    old = pq.read_table(next((encoded / "test").glob("*.parquet")))
    metadata = json.loads(old.schema.metadata[b"fervit"])
    del metadata["precision"]
    tmp_path.joinpath("test").mkdir()
    pq.write_table(
        old.slice(0, 5).replace_schema_metadata({b"fervit": json.dumps(metadata)}), tmp_path / "test" / "part-0.parquet"
    )
    encode(demo_faces, tmp_path, cluster)
    assert LatentSet.read(str(tmp_path / "test")).fingerprint == LatentSet.read(str(encoded / "test")).fingerprint


@pytest.mark.long
def test_codes_do_not_depend_on_the_number_of_actors(
    demo_faces: Path, encoded: Path, cluster: Cluster, tmp_path: Path
) -> None:
    to_do = plan(demo_faces, tmp_path)
    placement = place(to_do, cluster, batch_size=16, actors=3)
    assert encode_faces(to_do, replace(placement, part_rows=16)).done == 77
    for split in ("train", "val", "test"):
        three, one = LatentSet.read(str(tmp_path / split)), LatentSet.read(str(encoded / split))
        assert three.image_ids == one.image_ids
        np.testing.assert_array_equal(three.codes, one.codes)


@pytest.mark.long
def test_a_checkpoint_that_is_another_file_where_the_actor_runs_is_told(
    demo_faces: Path, cluster: Cluster, tmp_path: Path
) -> None:
    to_do = plan(demo_faces / "test", tmp_path)
    to_do = replace(to_do, fingerprint=replace(to_do.fingerprint, checkpoint_sha256="0" * 64))
    with pytest.raises(JobError, match=r"an encoder could not start: .*another file here than where the job began"):
        encode_faces(to_do, place(to_do, cluster))
