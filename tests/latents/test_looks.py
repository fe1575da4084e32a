from __future__ import annotations

from pathlib import Path

import pyarrow.fs as pafs
import pytest

from fervit.io import storage
from fervit.latents import LatentSet
from fervit.latents.looks import Seen, looks_at, others_in_words, record_look
from tests.conftest import latent_set, write_latents


@pytest.fixture
def split(tmp_path: Path) -> LatentSet:
    write_latents(tmp_path / "latents" / "test", latent_set(3))
    return LatentSet.read(str(tmp_path / "latents" / "test"))


def test_a_look_lies_beside_the_split_which_stays_the_same(split: LatentSet, tmp_path: Path) -> None:
    first = record_look(split, ["model a"], tmp_path / "results")
    assert (first.others, first.remark) == (0, "")
    assert looks_at(split.path)[0].models == (Seen(checkpoint="model a"),)  # recorded before there is a result
    first.finish([Seen(checkpoint="model a", f1_macro=0.5, accuracy=0.25)])
    again = LatentSet.read(split.path)
    assert (again.fingerprint, len(again)) == (split.fingerprint, len(split))
    (look,) = looks_at(split.path)
    assert (look.latents, look.n) == (split.fingerprint, 21)
    assert look.models == (Seen(checkpoint="model a", f1_macro=0.5, accuracy=0.25),)
    assert look.host
    assert look.command


def test_looks_with_other_models_are_counted(split: LatentSet, tmp_path: Path) -> None:
    for models in (["a"], ["a"], ["b", "a"], ["c"]):
        record_look(split, models, tmp_path)
    (tmp_path / "latents" / "test" / "_looks" / "foreign.json").write_text('{"time": 1}')
    assert len(looks_at(split.path)) == 4
    assert record_look(split, ["a"], tmp_path).others == 2
    assert record_look(split, ["d"], tmp_path, own=["a", "b"]).others == 1
    assert others_in_words(0) == ""
    assert "once" in others_in_words(1)
    assert "7 times" in others_in_words(7)


def test_a_look_at_a_split_that_cannot_be_written_is_noted_with_the_results(split: LatentSet, tmp_path: Path) -> None:
    (tmp_path / "latents" / "test" / "_looks").write_text("no folder")
    look = record_look(split, ["a"], tmp_path / "results")
    look.finish([Seen(checkpoint="a", f1_macro=0.5, accuracy=0.5)])
    assert len(list((tmp_path / "results" / "_looks").glob("*.json"))) == 1
    assert "cannot be noted in" in look.remark
    assert str(tmp_path / "results" / "_looks") in look.remark
    assert looks_at(split.path) == []
    assert len(LatentSet.read(split.path)) == 21


@pytest.mark.long
def test_looks_at_an_object_store(moto_server: str, split: LatentSet, tmp_path: Path) -> None:
    storage._from_uri.cache_clear()  # of the last test's server
    filesystem, bucket = pafs.FileSystem.from_uri("s3://faces?allow_bucket_creation=true")
    filesystem.create_dir(bucket)
    for part in Path(split.path).glob("*.parquet"):
        with filesystem.open_output_stream(f"faces/latents/test/{part.name}") as stream:
            stream.write(part.read_bytes())
    there = LatentSet.read("s3://faces/latents/test")
    assert record_look(there, ["a"], tmp_path).remark == ""
    assert record_look(there, ["b"], tmp_path).others == 1
    again = LatentSet.read("s3://faces/latents/test")
    assert (again.fingerprint, len(again)) == (split.fingerprint, 21)
