"""The encoding job, which turns faces into W+ codes in Parquet on Ray Data.

Pictures are decoded in CPU tasks, encoded by a pool of actors that hold the network, and written by CPU tasks, so that
an actor never waits for a disk. A part file appears whole or not at all. The same job, run again, encodes only the
faces that no part file holds yet.
"""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import suppress
from dataclasses import dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

from fervit.cluster.nodes import not_on
from fervit.encoders.fingerprint import EncoderFingerprint
from fervit.encoders.runner import CALLS_AT_ONCE
from fervit.encoding.failures import ERRORS_FILE, FLOAT32_FILE, FaceList, read_faces
from fervit.encoding.import_pt import load_block
from fervit.encoding.placement import HELPER_CPUS, Placement
from fervit.encoding.plan import EncodePlan
from fervit.encoding.ray_data import Job, Receipts, blocks_of, follow, rows_of, settle_data
from fervit.encoding.stages import EncoderActor, decode_block, write_block
from fervit.errors import JobError
from fervit.io.disk import remove
from fervit.latents.parts import drop_duplicates, float32_in
from fervit.progress import Say, silent
from fervit.system.side_channels import SideChannel, ascii_tag

if TYPE_CHECKING:
    import ray

START_S = 600
"""The time in seconds within which all encoders have to start, on nodes that are running."""
BEYOND_FLOAT16 = "its code is not finite in float16 arithmetic; encoded in float32"
IMPORT_ROWS = 512
"""The number of codes in one part file of an import."""
BLOCKS_AN_ENCODER = 4 * CALLS_AT_ONCE
"""The number of blocks that an encoder on a GPU has at a time, the waiting ones included."""
FEW_ROUNDS = 4
"""A job of fewer such rounds of blocks is small: the encoder that starts first could do most of it."""
WHOLE: dict[str, Any] = {"batch_size": None, "num_cpus": HELPER_CPUS}
"""The options of the steps beside the encoders: each call gets a whole block."""


@dataclass(frozen=True, kw_only=True)
class EncodeSummary:
    """What an encoding job has done."""

    done: int
    """The number of faces that this job encoded."""
    failed: int
    """The number of faces that this job could not encode."""
    in_float32: int
    """The number of faces that this job encoded in float32, as their codes were not finite in float16 arithmetic."""
    seconds: float
    """The duration of the job."""
    hosts: dict[str, int]
    """The number of faces that each machine encoded."""


def encode_faces(plan: EncodePlan, placement: Placement | None, say: Say | None = print) -> EncodeSummary:
    """Encodes or imports the faces of a plan on the Ray cluster that this process is connected to.

    Args:
        plan: from `plan_encoding`.
        placement: from `place`; None for an import, which needs no encoder.
        say: where progress goes; see `Progress`.

    Raises:
        JobError: no face of the index has a code, neither from an earlier job nor from this one; the disk is full; an
            actor cannot load its encoder; or Ray has lost a part of the job. What was written stays, and the same call
            continues from there.
    """
    metrics = SideChannel("metrics", say or silent)
    meter = metrics(_Meter, plan.latent_out) if len(plan) else None
    failures = FaceList(plan.folders, plan.failures)
    in_float32 = FaceList(plan.folders, _unlisted_float32(plan), FLOAT32_FILE)

    def taken_in(rows: Receipts, failed: int) -> None:
        for row in rows:
            if row["in_float32"]:
                in_float32.add(row["split"], row["image_id"], BEYOND_FLOAT16)
        if meter is not None:
            metrics(meter.add, len(rows) - failed, failed)

    def finish() -> None:
        in_float32.write()
        for folder in plan.folders.values():
            drop_duplicates(folder)
        for path in plan.leftovers:
            remove(Path(path))

    job = Job(folder=plan.latent_out, total=len(plan), label="encode" if placement else "import", verb="encoded")
    try:
        shown = say if len(plan) else None
        followed = follow(job, _receipts(plan, placement) if len(plan) else (), failures, taken_in, finish, shown)
    finally:
        with suppress(OSError):
            in_float32.write()  # these faces have their codes and will not be encoded again
    if followed.done == 0 and plan.present == 0:
        _refuse_nothing(plan, failures)
    return EncodeSummary(
        done=followed.done,
        failed=followed.failed,
        in_float32=in_float32.added,
        seconds=followed.seconds,
        hosts=followed.hosts,
    )


def _unlisted_float32(plan: EncodePlan) -> dict[str, dict[str, str]] | None:
    """The lists of faces in float32 of those splits where a killed job has written a part but not the list."""
    if not plan.present or plan.fingerprint.precision != "float16":
        return None
    found = {}
    for split, folder in plan.folders.items():
        listed, noted = read_faces(folder, FLOAT32_FILE), float32_in(folder)
        if not listed.keys() >= set(noted):
            found[split] = {**dict.fromkeys(noted, BEYOND_FLOAT16), **listed}
    return found


class _Meter:
    """The Prometheus metrics of the job. Ray exports them with the prefix `ray_`.

    Args:
        folder: the folder of the codes, which becomes a tag of each metric.
    """

    def __init__(self, folder: str) -> None:
        from ray.util.metrics import Counter

        self._done = Counter("fervit_images_encoded", "Images encoded", ("folder",))
        self._failed = Counter("fervit_images_failed", "Images that could not be encoded", ("folder",))
        for counter in (self._done, self._failed):
            counter.set_default_tags({"folder": ascii_tag(folder)})

    def add(self, done: int, failed: int) -> None:
        for counter, n in ((self._done, done), (self._failed, failed)):
            if n:
                counter.inc(n)


def _refuse_nothing(plan: EncodePlan, failures: FaceList) -> None:
    listed = f"all reasons are in {plan.latent_out}, {ERRORS_FILE} of each split"
    if failures.first is None:
        raise JobError(f"all {plan.failed_before} images failed before; {listed}; --retry_errors tries them again")
    name, reason = failures.first
    raise JobError(f"none of the {len(plan)} images could be encoded; the first, {name}: {reason}; {listed}")


def _receipts(plan: EncodePlan, placement: Placement | None) -> Iterator[Receipts]:
    """Runs the job and yields the rows of each block as `write_block` returns them."""
    import ray

    settle_data(START_S if placement is not None and _waits(placement, len(plan)) else -1)
    fingerprint, label_set = plan.fingerprint, plan.index.label_set
    if placement is None:
        dataset = ray.data.from_arrow(blocks_of(plan.index.table, IMPORT_ROWS)).map_batches(
            load_block, fn_kwargs={"fingerprint": fingerprint, "label_set": label_set}, batch_format="pyarrow", **WHOLE
        )
    else:
        fingerprint = replace(fingerprint, precision=placement.precision)
        dataset = _encoded(plan, placement, fingerprint)
    dataset = dataset.map_batches(
        write_block,
        fn_kwargs={"folders": plan.folders, "fingerprint": fingerprint, "label_set": label_set},
        batch_format="numpy",
        **WHOLE,
    )
    yield from rows_of(dataset)


def _encoded(plan: EncodePlan, placement: Placement, fingerprint: EncoderFingerprint) -> ray.data.Dataset:
    """The codes of the faces of a plan, as a dataset that is computed when it is read."""
    import ray

    assert plan.encoder is not None
    blocks = blocks_of(plan.index.table, placement.part_rows)
    pixels = ray.data.from_arrow(blocks).map_batches(
        decode_block,
        fn_kwargs={"kind": plan.index.kind, "filesystem": plan.index.filesystem, "size": fingerprint.input_size},
        batch_format="pyarrow",
        **WHOLE,
    )
    # The public `map_batches` refuses whole blocks on a GPU. With a number of rows in their place, Ray would bundle
    # small blocks, even those of two splits. `map_groups` passes whole blocks to GPUs by the same internal call.
    return pixels.map_batches_internal(
        EncoderActor,
        fn_constructor_kwargs={
            "encoder": replace(plan.encoder, precision=placement.precision),
            "fingerprint": fingerprint,
            "batch_size": placement.batch_size,
            "device": placement.device,
            "threads": placement.threads,
        },
        batch_size=None,
        batch_format="numpy",
        num_cpus=placement.cpus,
        num_gpus=placement.gpus or None,
        label_selector=not_on(placement.avoid),
        compute=ray.data.ActorPoolStrategy(
            size=min(placement.actors, len(blocks)),
            # On a GPU a second block begins while the last batches of the first are on their way back. Ray looks ten
            # times a second for blocks that are done, so that more have to wait at the actor than it has at a time.
            max_concurrent_calls_per_actor=CALLS_AT_ONCE if placement.gpus else None,
            max_tasks_in_flight_per_actor=BLOCKS_AN_ENCODER if placement.gpus else None,
            enable_true_multi_threading=placement.gpus > 0,
        ),
    )


def _waits(placement: Placement, faces: int) -> bool:
    """Whether no picture is decoded before all encoders run.

    The first encoder would otherwise get all blocks of a small job. A single one, and those of a large job, begin with
    pictures that were decoded while they were loaded. (Ray Data does one task at a time for its first seconds, until it
    has learnt what the cluster has.) Machines that have yet to join and resources that have yet to be freed are not
    waited for.
    """
    small = faces < FEW_ROUNDS * BLOCKS_AN_ENCODER * placement.actors * placement.part_rows
    return placement.actors > 1 and small and _all_can_start(placement)


def _all_can_start(placement: Placement) -> bool:
    """Whether the running nodes have the free resources for all actors."""
    import ray

    free = ray.available_resources()
    needed = {"CPU": placement.actors * placement.cpus, "GPU": placement.actors * placement.gpus}
    return placement.all_there and all(free.get(name, 0) >= n for name, n in needed.items())
