"""Runs the encoding job with the demo encoder."""

from __future__ import annotations

from functools import cache
from pathlib import Path

from fervit.cluster.nodes import Cluster
from fervit.encoders.fingerprint import EncoderFingerprint
from fervit.encoders.registry import fingerprint_of
from fervit.encoding.job import EncodeSummary, encode_faces
from fervit.encoding.placement import place
from fervit.encoding.plan import EncodePlan, EncoderChoice, plan_encoding
from fervit.images.index import open_faces

DEMO = EncoderChoice(kind="demo", precision="float32")


@cache
def demo_fingerprint() -> EncoderFingerprint:
    """Returns the fingerprint of the demo encoder. It is cached, since it takes some seconds of the network."""
    return fingerprint_of("demo")


def plan(faces: Path, out: Path | str, retry_errors: bool = False) -> EncodePlan:
    index = open_faces(str(faces))
    return plan_encoding(index, str(out), DEMO, demo_fingerprint(), retry_errors=retry_errors)


def encode(
    faces: Path, out: Path, cluster: Cluster, batch_size: int = 16, actors: int = 1, retry_errors: bool = False
) -> EncodeSummary:
    to_do = plan(faces, out, retry_errors)
    return encode_faces(to_do, place(to_do, cluster, batch_size=batch_size, actors=actors))
