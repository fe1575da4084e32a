"""An encoding into an object store that dies between two uploads, or runs twice at once."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import boto3
import pyarrow as pa
import pyarrow.fs as pafs
import pytest

from fervit.encoding import failures
from fervit.encoding import plan as planning
from fervit.io import storage
from fervit.io.storage import child
from fervit.latents import LatentSet, parts
from tests.crash import encodings

UPLOADS = 11
"""At most so many files are written: parts, lists, and where the faces lie."""


class DiedError(Exception):
    """The job ends here, as by a kill."""


@pytest.mark.long
def test_an_encoding_that_died_before_or_after_any_upload_ends_as_if_undisturbed(
    moto_server: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    sources = tmp_path / "sources"
    encodings.write_sources(sources)
    storage._from_uri.cache_clear()  # of the last test's server
    boto3.client("s3", endpoint_url=moto_server).create_bucket(Bucket="bucket")
    encodings.command(sources, "s3://bucket/undisturbed")
    undisturbed = encodings.result_of("s3://bucket/undisturbed")
    died = 0
    for n in range(UPLOADS):
        for half in (False, True):
            root = f"s3://bucket/{n}_{half}"
            with monkeypatch.context() as patch:
                _die_at(patch, n, moto_server, half=half)
                try:
                    encodings.command(sources, root)
                except DiedError:
                    died += 1
            encodings.command(sources, root)
            assert encodings.result_of(root) == undisturbed, root
    assert died > 12


def _die_at(patch: pytest.MonkeyPatch, n: int, url: str, *, half: bool) -> None:
    """Lets the job die before its n-th upload, or in the middle of it."""
    uploads, client = 0, boto3.client("s3", endpoint_url=url)

    def write_whole(filesystem: pafs.FileSystem, path: str, write: Any) -> None:
        nonlocal uploads
        uploads += 1
        if uploads > n:
            if half:  # an upload that is never completed, which no one sees
                bucket, _, key = path.partition("/")
                begun = client.create_multipart_upload(Bucket=bucket, Key=key)
                client.upload_part(Bucket=bucket, Key=key, PartNumber=1, UploadId=begun["UploadId"], Body=b"half")
            raise DiedError
        before(filesystem, path, write)

    before = parts.write_whole
    for module in (parts, failures):
        patch.setattr(module, "write_whole", write_whole)


@pytest.mark.long
def test_two_jobs_that_write_the_same_faces_leave_each_face_once(
    moto_server: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    sources = tmp_path / "sources"
    encodings.write_sources(sources)
    storage._from_uri.cache_clear()  # of the last test's server
    boto3.client("s3", endpoint_url=moto_server).create_bucket(Bucket="twice")
    monkeypatch.setattr(encodings, "ROWS", 2)
    encodings.command(sources, "s3://twice/x")
    undisturbed = encodings.result_of("s3://twice/x")
    with monkeypatch.context() as patch:  # a second job, which planned before the first one had written
        patch.setattr(planning, "_encoded_ids", lambda folder: (None, pa.array([], pa.string())))
        patch.setattr(encodings, "ROWS", 3)
        encodings.command(sources, "s3://twice/x")
    assert encodings.result_of("s3://twice/x") == undisturbed
    assert len(LatentSet.read(child("s3://twice/x", "latents", "train"))) == 7
