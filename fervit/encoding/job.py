"""The encoding job, which turns faces into W+ codes in Parquet on Ray Data.

Pictures are decoded in CPU tasks, encoded by a pool of actors that hold the network, and written by CPU tasks, so that
an actor never waits for a disk. A part file appears whole or not at all. The same job, run again, encodes only the
faces that no part file holds yet.
"""

from __future__ import annotations

import time
from collections import Counter
from collections.abc import Iterator, Sequence
from contextlib import suppress
from dataclasses import dataclass, replace
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pyarrow as pa
import pyarrow.compute as pc

from fervit.cluster.nodes import Cluster, not_on
from fervit.cluster.shared_folder import check_shared
from fervit.encoders.fingerprint import EncoderFingerprint
from fervit.encoders.runner import CALLS_AT_ONCE
from fervit.encoding.failures import ERRORS_FILE, FLOAT32_FILE, FaceList, read_faces
from fervit.encoding.import_pt import load_block
from fervit.encoding.placement import HELPER_CPUS, Placement
from fervit.encoding.plan import EncodePlan
from fervit.encoding.stages import EncoderActor, decode_block, write_block
from fervit.errors import JobError, UserError
from fervit.io.disk import make_folder, remove
from fervit.io.files import first_line
from fervit.io.storage import absolute, cannot_write, is_uri
from fervit.latents.parts import drop_duplicates, float32_in
from fervit.progress import Progress, Say, silent
from fervit.system.side_channels import SideChannel, ascii_tag

if TYPE_CHECKING:
    import ray

START_S = 600
"""The time in seconds within which all encoders have to start, on nodes that are running."""
BEYOND_FLOAT16 = "its code is not finite in float16 arithmetic; encoded in float32"
IMPORT_ROWS = 512
"""The number of codes in one part file of an import."""
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


def check_places(cluster: Cluster, latent_out: str, inputs: Sequence[str]) -> None:
    """Checks that every node sees the paths that it reads and writes. URIs are not checked.

    Args:
        cluster: the cluster that this process is connected to.
        latent_out: the folder or URI of the codes.
        inputs: the paths or URIs that tasks read.

    Raises:
        UserError: a node does not see one of the paths.
    """
    if len(cluster.nodes) == 1:
        return
    missing = partial(_missing, [absolute(path) for path in inputs if not is_uri(path)])
    if is_uri(latent_out):
        folder = None
    else:
        folder = Path(absolute(latent_out))
        make_folder(folder)
    way_out = "give a --latent_out that all nodes share under one path (NFS, EFS), or an object store (s3://, gs://)"
    for address, path in check_shared(cluster.nodes, folder, missing, way_out).items():
        raise UserError(
            f"node {address}: {path} is not there; every node reads it, under that path or from s3://, gs://"
        )


def _missing(paths: Sequence[str]) -> str:
    """The first path that does not exist on this machine, or ""."""
    return next((path for path in paths if not Path(path).exists()), "")


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
    started = time.monotonic()
    metrics = SideChannel("metrics", say or silent)
    meter = metrics(_Meter, plan.latent_out) if len(plan) else None
    progress = Progress(total=len(plan), unit="images", label="encode" if placement else "import", say=say)
    failures = FaceList(plan.folders, plan.failures)
    in_float32 = FaceList(plan.folders, _unlisted_float32(plan), FLOAT32_FILE)
    hosts: Counter[str] = Counter()
    try:
        for rows in _receipts(plan, placement) if len(plan) else ():
            if rows[0]["fatal"]:
                raise JobError(f"{rows[0]['fatal']}; what was written stays whole")
            failed = _list_faces(rows, failures, in_float32)
            hosts[rows[0]["host"]] += len(rows) - failed
            progress.add(len(rows) - failed, failed=failed)
            if meter is not None:
                metrics(meter.add, len(rows) - failed, failed)
        failures.write()
        in_float32.write()
        for folder in plan.folders.values():
            drop_duplicates(folder)
        for path in plan.leftovers:
            remove(Path(path))
    except KeyboardInterrupt:
        failures.write()
        raise KeyboardInterrupt(
            f"interrupted: {progress.done} images were encoded and stay; the same command goes on from there"
        ) from None
    except OSError as error:
        raise JobError(cannot_write(plan.latent_out, error)) from None
    except Exception as error:
        if not _is_loss(error):
            raise
        raise JobError(_lost_in_words(error, progress.done)) from None
    finally:
        progress.close()
        with suppress(OSError):
            in_float32.write()  # these faces have their codes and will not be encoded again
    if progress.done == 0 and plan.present == 0:
        _refuse_nothing(plan, failures)
    return EncodeSummary(
        done=progress.done,
        failed=progress.failed,
        in_float32=in_float32.added,
        seconds=time.monotonic() - started,
        hosts=dict(hosts),
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


def _lost_in_words(error: Exception, done: int) -> str:
    return (
        f"Ray lost a part of the job, such as its node ({first_line(error)}); {done} images were encoded and stay; the "
        "same command goes on from there"
    )


def _list_faces(rows: list[dict[str, Any]], failures: FaceList, in_float32: FaceList) -> int:
    """Adds the faces of a block to the lists to which they belong, and returns how many of them failed."""
    failed = [row for row in rows if row["error"]]
    for row in failed:
        failures.add(row["split"], row["image_id"], row["error"])
    for row in rows:
        if row["in_float32"]:
            in_float32.add(row["split"], row["image_id"], BEYOND_FLOAT16)
    return len(failed)


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
    listed = f"all reasons stand in {plan.latent_out}, {ERRORS_FILE} of each split"
    if failures.first is None:
        raise JobError(f"all {plan.failed_before} images failed before; {listed}; --retry_errors tries them again")
    name, reason = failures.first
    raise JobError(f"none of the {len(plan)} images could be encoded; the first, {name}: {reason}; {listed}")


def _is_loss(error: Exception) -> bool:
    """Whether the error says that a process or a node died, rather than that a task raised an exception."""
    from ray.exceptions import RayError, RayTaskError

    return isinstance(error, RayError) and not isinstance(error, RayTaskError)


def _receipts(plan: EncodePlan, placement: Placement | None) -> Iterator[list[dict[str, Any]]]:
    """Runs the job and yields the rows of each block as `write_block` returns them."""
    import ray

    context = ray.data.DataContext.get_current()
    context.enable_progress_bars = False
    context.print_on_execution_start = False
    # Wait until all encoders run, since the first one would otherwise get all blocks of a small job. Machines
    # that have yet to join and resources that have yet to be freed are not waited for.
    context.wait_for_min_actors_s = START_S if placement is not None and _all_can_start(placement) else -1
    fingerprint, label_set = plan.fingerprint, plan.index.label_set
    if placement is None:
        dataset = ray.data.from_arrow(_blocks(plan.index.table, IMPORT_ROWS)).map_batches(
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
    for batch in dataset.iter_batches(batch_size=None, batch_format="pyarrow", prefetch_batches=0):
        yield batch.to_pylist()


def _encoded(plan: EncodePlan, placement: Placement, fingerprint: EncoderFingerprint) -> ray.data.Dataset:
    """The codes of the faces of a plan, as a dataset that is computed when it is read."""
    import ray

    assert plan.encoder is not None
    blocks = _blocks(plan.index.table, placement.part_rows)
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
            # On a GPU a second block begins while the last batches of the first are on their way back.
            max_concurrent_calls_per_actor=CALLS_AT_ONCE if placement.gpus else None,
            enable_true_multi_threading=placement.gpus > 0,
        ),
    )


def _all_can_start(placement: Placement) -> bool:
    """Whether the running nodes have the free resources for all actors."""
    import ray

    free = ray.available_resources()
    needed = {"CPU": placement.actors * placement.cpus, "GPU": placement.actors * placement.gpus}
    return placement.all_there and all(free.get(name, 0) >= n for name, n in needed.items())


def _blocks(rows: pa.Table, size: int) -> list[pa.Table]:
    """Divides rows into tables of at most `size` rows, each of one split."""
    blocks = []
    for split in pc.unique(rows["split"]).to_pylist():
        of_split = rows.filter(pc.equal(rows["split"], split))
        blocks += [of_split.slice(i, size).combine_chunks() for i in range(0, len(of_split), size)]
    return blocks
