"""On which hardware encoders run, and in which precision. Does not use Ray."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import pytest
import torch

from fervit.cluster.gpus import GpuLook
from fervit.cluster.nodes import Cluster, Node, not_on
from fervit.encoding.placement import HELPER_CPUS, choose_precision, place
from fervit.encoding.plan import EncodePlan, EncoderChoice, plan_encoding
from fervit.errors import UserError
from fervit.images.index import open_faces
from fervit.system.hardware import cpu_has_bfloat16
from tests.conftest import latent_set, write_latents
from tests.helpers.encoding import demo_fingerprint
from tests.helpers.gpus import A100, T4

LAPTOP = (Node(address="a", cpus=8, gpus=0),)
GPUS = (Node(address="a", cpus=4, gpus=0), Node(address="b", cpus=16, gpus=4, gpu_type="A100"))


def cluster(nodes: tuple[Node, ...]) -> Cluster:
    return Cluster(nodes=nodes, dashboard=None, started_here=False)


def plan(faces: Path, out: Path, precision: str | None = None) -> EncodePlan:
    choice = EncoderChoice(kind="demo", precision=precision)
    fingerprint = replace(demo_fingerprint(), precision=precision)
    return plan_encoding(open_faces(str(faces)), str(out), choice, fingerprint)


def test_gpus_are_used_where_there_are_some(demo_faces: Path, tmp_path: Path) -> None:
    placed = place(plan(demo_faces, tmp_path), cluster(GPUS))
    assert (placed.device, placed.actors, placed.gpus, placed.precision) == ("cuda", 4, 1, "float16")
    assert placed.part_rows % placed.batch_size == 0
    assert place(plan(demo_faces, tmp_path), cluster(GPUS), gpus_per_actor=0.5).actors == 8
    assert place(plan(demo_faces, tmp_path), cluster(GPUS), gpus_per_actor=0).device == "cpu"
    placed = place(plan(demo_faces, tmp_path), cluster(LAPTOP))
    assert (placed.device, placed.actors, placed.gpus, placed.threads) == ("cpu", 1, 0, 8)
    assert place(plan(demo_faces, tmp_path), cluster(LAPTOP), actors=4).threads == 2


def test_the_precision_is_what_the_hardware_is_fast_at_and_the_line_says_so(demo_faces: Path, tmp_path: Path) -> None:
    one = (Node(address="a", cpus=8, gpus=1),)
    assert "float16 (the GPU's fast format)" in str(place(plan(demo_faces, tmp_path), cluster(GPUS)))
    for seen in ([A100], [A100, T4]):
        assert "float16 (the GPU's fast format)" in str(place(plan(demo_faces, tmp_path), cluster(one), seen=seen))
    pascal = replace(T4, name="Tesla P40", capability=(6, 1))
    found = choose_precision(plan(demo_faces, tmp_path), "cuda", [A100, pascal])
    assert found == ("float32", "a GPU of compute capability 6.1 has no fast float16")
    with pytest.raises(UserError, match=r"--precision bfloat16: Tesla T4 \(compute capability 7.5\) has no bfloat16"):
        place(plan(demo_faces, tmp_path, "bfloat16"), cluster(one), seen=[T4])
    placed = place(plan(demo_faces, tmp_path), cluster(LAPTOP))
    assert placed.precision == ("bfloat16" if cpu_has_bfloat16() else "float32")
    assert "float32 (as asked for)" in str(place(plan(demo_faces, tmp_path, "float32"), cluster(GPUS)))


def test_a_macs_gpu_encodes_where_the_mac_is_the_only_node(
    demo_faces: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Only the placing: on no Mac have the tests run."""
    monkeypatch.delenv("FERVIT_DEVICE", raising=False)
    monkeypatch.setattr(torch.backends.mps, "is_available", lambda: True)
    own = Cluster(nodes=LAPTOP, dashboard=None, started_here=True)
    to_do = plan(demo_faces, tmp_path)
    placed = place(to_do, own)
    assert (placed.device, placed.actors, placed.precision) == ("mps", 1, "float32")
    assert "1 encoder (this Mac's GPU)" in str(placed)
    assert place(to_do, own, gpus_per_actor=0).device == "cpu"
    assert place(to_do, cluster(LAPTOP)).device == "cpu"  # a Ray that runs elsewhere, as far as anybody knows


def test_what_can_never_be_placed_is_refused(demo_faces: Path, tmp_path: Path) -> None:
    for wrong, message in (
        ({"gpus_per_actor": 2}, "--gpus_per_actor 2: an encoder computes on one GPU"),
        ({"gpus_per_actor": -1}, "--gpus_per_actor -1"),
        ({"gpus_per_actor": 0.6, "actors": 5}, "room for 4 with 0.6 GPU each"),
    ):
        with pytest.raises(UserError, match=message):
            place(plan(demo_faces, tmp_path), cluster(GPUS), **wrong)
    with pytest.raises(UserError, match="--gpus_per_actor 1: the largest node has 0 GPUs"):
        place(plan(demo_faces, tmp_path), cluster(LAPTOP), gpus_per_actor=1)


def test_a_batch_that_cannot_fit_into_the_gpu_is_refused_before_anything_starts(
    demo_faces: Path, tmp_path: Path
) -> None:
    official = plan(demo_faces, tmp_path)
    official = replace(official, fingerprint=replace(official.fingerprint, untrained=False, size=256))
    assert place(official, cluster(GPUS), batch_size=256, seen=[A100, T4]).batch_size == 256
    with pytest.raises(UserError, match=r"--batch_size 10000: takes more than .* GiB, and Tesla T4 has 15"):
        place(official, cluster(GPUS), batch_size=10_000, seen=[A100, T4])


def test_a_batch_that_cannot_fit_into_this_machine_is_refused_before_anything_starts(
    demo_faces: Path, tmp_path: Path
) -> None:
    here = replace(cluster(LAPTOP), started_here=True)
    for untrained in (True, False):
        to_do = plan(demo_faces, tmp_path)
        to_do = replace(to_do, fingerprint=replace(to_do.fingerprint, untrained=untrained))
        with pytest.raises(UserError, match=r"--batch_size 100000000: takes more than .* GiB, and this machine has"):
            place(to_do, here, batch_size=100_000_000)
        assert place(to_do, here, batch_size=8).batch_size == 8


def test_encoders_keep_off_nodes_whose_gpu_cannot_be_used(demo_faces: Path, tmp_path: Path) -> None:
    nodes = tuple(Node(address=name, cpus=8, gpus=1, node_id=name * 3) for name in "ab")
    look = GpuLook.of(cluster(nodes), {"a": A100, "b": "it gave no answer"})
    placed = place(plan(demo_faces, tmp_path), look.cluster, seen=look.seen)
    assert (placed.device, placed.actors, placed.avoid) == ("cuda", 1, ("bbb",))
    assert not_on(placed.avoid) == {"ray.io/node-id": "!in(bbb)"}
    look = GpuLook.of(cluster(nodes), dict.fromkeys("ab", "it gave no answer"))
    assert place(plan(demo_faces, tmp_path), look.cluster, seen=look.seen).device == "cpu"


def test_there_is_always_room_for_a_task_that_decodes(demo_faces: Path, tmp_path: Path) -> None:
    to_do = plan(demo_faces, tmp_path)
    for cpus in (2, 4, 8, 16):
        for actors in range(1, 2 * cpus):
            placed = place(to_do, cluster((Node(address="a", cpus=cpus, gpus=0),)), actors=actors)
            assert 0 < placed.cpus * actors + HELPER_CPUS <= cpus
            assert 1 <= placed.threads <= cpus


def test_all_threads_have_work_whatever_the_batch_size(demo_faces: Path, tmp_path: Path) -> None:
    for batch_size in (1, 4, 32, 100):
        placed = place(plan(demo_faces, tmp_path), cluster(LAPTOP), batch_size=batch_size)
        assert placed.part_rows % (8 * batch_size) == 0


def test_another_split_by_another_encoder_is_refused_too(demo_faces: Path, tmp_path: Path) -> None:
    write_latents(tmp_path / "train", latent_set(1))
    only_test = tmp_path / "faces"
    (only_test / "test").parent.mkdir()
    (only_test / "test").symlink_to(demo_faces / "test")
    with pytest.raises(UserError, match="train: holds codes of another encoder"):
        plan(only_test, tmp_path)


def test_more_codes_get_the_precision_of_those_that_are_there(demo_faces: Path, tmp_path: Path) -> None:
    fingerprint = demo_fingerprint()
    there = latent_set(1)
    encoder = replace(fingerprint, seq_len=4, latent_dim=16)
    write_latents(tmp_path / "test", there, encoder=encoder)
    wanted = replace(encoder, precision=None)
    index = open_faces(str(demo_faces))
    choice = EncoderChoice(kind="demo")
    again = plan_encoding(index, str(tmp_path), choice, wanted)
    assert place(again, cluster(GPUS)).precision == "float32"
    with pytest.raises(UserError, match=r"precision float32\); now precision bfloat16|precision float32; now"):
        plan_encoding(index, str(tmp_path), choice, replace(encoder, precision="bfloat16"))
