"""The encoding job: faces -> W+ codes in Parquet, on Ray Data.

Pictures are decoded in CPU tasks, encoded by a pool of actors that hold the network, and written by CPU tasks, so that
an actor never waits for a disk. A part file appears whole or not at all, and the same job again encodes only what no
part holds yet.
"""

from __future__ import annotations

import hashlib
import json
import os
import time
from collections.abc import Iterator
from dataclasses import dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.parquet as pq

from fervit.cluster import Cluster
from fervit.errors import JobError, UserError
from fervit.images.index import FaceIndex, SourceKind, read_source
from fervit.images.pictures import resize
from fervit.latents.schema import ERRORS_FILE, encoder_in, locate, read_columns, schema, table
from fervit.progress import Progress

if TYPE_CHECKING:
    from fervit.encoders import Encoder

BLOCK_ROWS = 128
"""Faces in one task and in one part file (2.4 MB of codes)."""
HELPER_CPUS = 0.5
"""Of a CPU, for a task that decodes or writes."""


@dataclass(frozen=True, kw_only=True)
class EncoderChoice:
    """Which encoder, as the user named it; every actor loads it for itself."""

    kind: str
    checkpoint: str | None = None


@dataclass(frozen=True, kw_only=True)
class EncodeSummary:
    done: int
    """Faces encoded by this job."""
    present: int
    """Faces that were there before."""
    failed: int
    seconds: float


@dataclass(frozen=True, kw_only=True)
class EncodePlan:
    """What there is to do, found out before any Ray."""

    kind: SourceKind
    latent_out: str
    encoder: EncoderChoice
    fingerprint: dict[str, Any]
    missing: pa.Table
    """Rows of the index that no part file holds."""
    present: int
    folders: dict[str, str]
    """Where the parts of each split go."""


def plan_encoding(index: FaceIndex, latent_out: str, encoder: EncoderChoice) -> EncodePlan:
    """Compares the index with what `latent_out` holds.

    Args:
        index: the faces.
        latent_out: folder or URI; a folder a split is made in it, unless the index is of one split.
        encoder: what will encode them.

    Raises:
        UserError: the encoder cannot be loaded, or `latent_out` holds codes of another one.
    """
    from fervit.encoders import load_encoder

    fingerprint = load_encoder(encoder.kind, encoder.checkpoint).fingerprint.to_json()
    # Tasks may run elsewhere than where the user stands, so they get absolute paths.
    latent_out = latent_out if "://" in latent_out else str(Path(latent_out).absolute())
    if encoder.checkpoint is not None:
        encoder = replace(encoder, checkpoint=str(Path(encoder.checkpoint).absolute()))
    folders = {split: latent_out if index.one_split else f"{latent_out}/{split}" for split in index.splits()}
    missing = pa.concat_tables([_missing(index, split, folder, fingerprint) for split, folder in folders.items()])
    return EncodePlan(
        kind=index.kind,
        latent_out=latent_out,
        encoder=encoder,
        fingerprint=fingerprint,
        missing=missing,
        present=len(index.table) - len(missing),
        folders=folders,
    )


def encode_faces(
    plan: EncodePlan, cluster: Cluster, *, batch_size: int = 4, actors: int = 1, gpus_per_actor: float = 0
) -> EncodeSummary:
    """Encodes the missing faces of a plan.

    Args:
        plan: from `plan_encoding`.
        cluster: the Ray that this process is connected to.
        batch_size: faces that go through the network at once.
        actors: encoders that work side by side.
        gpus_per_actor: of a GPU, 0 to encode on the CPU.

    Raises:
        UserError: the actors can never be placed.
        JobError: not one face of the index has a code, neither from before nor now.
    """
    started = time.monotonic()
    errors: dict[str, list[dict[str, str]]] = {split: [] for split in plan.folders}
    progress = Progress(total=len(plan.missing), unit="faces", label="encode")
    cpus = _actor_cpus(cluster, actors, gpus_per_actor)
    for receipt in _receipts(plan, batch_size, actors, cpus, gpus_per_actor):
        failed = [row for row in receipt if row["error"]]
        for row in failed:
            errors[row["split"]].append({"image_id": row["image_id"], "reason": row["error"]})
        progress.add(len(receipt) - len(failed), failed=len(failed))
    progress.close()
    for split, folder in plan.folders.items():
        _write_errors(folder, errors[split])
    if progress.done == 0 and plan.present == 0:
        first = next(row for rows in errors.values() for row in rows)
        raise JobError(
            f"none of the {len(plan.missing)} faces could be encoded; the first, {first['image_id']}: "
            f"{first['reason']}; all reasons stand in {plan.latent_out}, {ERRORS_FILE} of each split"
        )
    seconds = time.monotonic() - started
    return EncodeSummary(done=progress.done, present=plan.present, failed=progress.failed, seconds=seconds)


def _missing(index: FaceIndex, split: str, folder: str, fingerprint: dict[str, Any]) -> pa.Table:
    """The rows of a split that no part file holds."""
    found = encoder_in(folder)
    rows = index.table.filter(pc.equal(index.table["split"], split))
    if found is None:
        return rows
    if found != fingerprint:
        different = [key for key in fingerprint if found.get(key) != fingerprint[key]]
        raise UserError(
            f"{folder}: holds codes of another encoder ({', '.join(f'{k} {found.get(k)}' for k in different)}; now "
            f"{', '.join(f'{k} {fingerprint[k]}' for k in different)}); codes of two encoders never mix: choose "
            "another --latent_out"
        )
    present = read_columns(folder, ["image_id"])["image_id"].combine_chunks()
    return rows.filter(pc.invert(pc.is_in(rows["image_id"], value_set=present)))


def _blocks(rows: pa.Table) -> list[pa.Table]:
    """Tables of at most BLOCK_ROWS rows, each of one split."""
    blocks = []
    for split in pc.unique(rows["split"]).to_pylist():
        of_split = rows.filter(pc.equal(rows["split"], split))
        blocks += [of_split.slice(i, BLOCK_ROWS).combine_chunks() for i in range(0, len(of_split), BLOCK_ROWS)]
    return blocks


def _actor_cpus(cluster: Cluster, actors: int, gpus_per_actor: float) -> float:
    """CPUs to ask for an actor, leaving room for the tasks that decode and write."""
    largest = max(node.gpus for node in cluster.nodes)
    if not 0 <= gpus_per_actor <= largest:
        raise UserError(f"--gpus_per_actor {gpus_per_actor}: the largest node has {largest:g} GPUs; ask for no more")
    room = (cluster.cpus - HELPER_CPUS) / actors
    if room <= 0:
        raise UserError(f"--actors {actors}: the cluster has {cluster.cpus:g} CPUs; ask for fewer actors")
    return 1 if room >= 1 else round(room, 2)


def _receipts(
    plan: EncodePlan, batch_size: int, actors: int, cpus: float, gpus: float
) -> Iterator[list[dict[str, str]]]:
    """Runs the job and yields, for each part written, its rows' image_id, split and error ("" for none)."""
    import ray

    context = ray.data.DataContext.get_current()
    context.enable_progress_bars = False
    context.print_on_execution_start = False
    dataset = ray.data.from_arrow(_blocks(plan.missing))
    dataset = dataset.map_batches(
        decode_block,
        fn_kwargs={"kind": plan.kind, "size": plan.fingerprint["size"]},
        batch_size=None,
        batch_format="pyarrow",
        num_cpus=HELPER_CPUS,
    )
    dataset = dataset.map_batches(
        EncoderActor,
        fn_constructor_kwargs={"encoder": plan.encoder, "batch_size": batch_size, "device": "cuda" if gpus else "cpu"},
        batch_size=None,
        batch_format="numpy",
        num_cpus=cpus,
        num_gpus=gpus or None,
        compute=ray.data.ActorPoolStrategy(size=actors),
    )
    dataset = dataset.map_batches(
        write_block,
        fn_kwargs={"folders": plan.folders, "fingerprint": plan.fingerprint},
        batch_size=None,
        batch_format="numpy",
        num_cpus=HELPER_CPUS,
    )
    for batch in dataset.iter_batches(batch_size=None, batch_format="pyarrow"):
        yield batch.to_pylist()


def decode_block(block: pa.Table, kind: SourceKind, size: int) -> dict[str, np.ndarray]:
    """Rows of an index -> their pixels, uint8 [n, size, size, 3]; a face that cannot be read has an `error`."""
    pixels = np.zeros((len(block), size, size, 3), np.uint8)
    errors = []
    for i, source in enumerate(block["source"].to_pylist()):
        try:
            pixels[i] = resize(read_source(kind, source), size)
            errors.append("")
        except Exception as error:  # whatever is wrong with one picture must not stop the job
            errors.append(f"{type(error).__name__}: {error}")
    return {
        "image_id": np.array(block["image_id"].to_pylist(), object),
        "split": np.array(block["split"].to_pylist(), object),
        "label": block["label"].to_numpy(),
        "sha256": np.array([hashlib.sha256(picture.tobytes()).hexdigest() for picture in pixels], object),
        "pixels": pixels,
        "error": np.array(errors, object),
    }


class EncoderActor:
    """Holds the network; turns blocks of pixels into codes."""

    def __init__(self, encoder: EncoderChoice, batch_size: int, device: str) -> None:
        import torch

        from fervit.encoders import load_encoder

        if device == "cpu":
            torch.set_num_threads(os.cpu_count() or 1)  # Ray gives an actor one thread a CPU that it asked for
        self.batch_size, self.device = batch_size, device
        self.encoder: Encoder = load_encoder(encoder.kind, encoder.checkpoint, device)

    def __call__(self, block: dict[str, np.ndarray]) -> dict[str, np.ndarray]:
        pixels, errors = block.pop("pixels"), block["error"].astype(object)
        good = np.flatnonzero(errors == "")
        fingerprint = self.encoder.fingerprint
        codes = np.zeros((len(pixels), fingerprint.seq_len, fingerprint.latent_dim), np.float16)
        for start in range(0, len(good), self.batch_size):
            rows = good[start : start + self.batch_size]
            codes[rows] = self._encode(pixels[rows])
        for i in np.flatnonzero(~np.isfinite(codes).all(axis=(1, 2))):
            codes[i], errors[i] = 0, "the encoder's code has numbers that are not finite in float16"
        block["latent"], block["error"] = codes, errors
        return block

    def _encode(self, pixels_nhwc: np.ndarray) -> np.ndarray:
        import torch

        with torch.inference_mode():
            images = torch.from_numpy(pixels_nhwc).to(self.device).permute(0, 3, 1, 2)
            codes: np.ndarray = self.encoder(images.float() / 127.5 - 1).half().cpu().numpy()
        return codes


def write_block(
    block: dict[str, np.ndarray], folders: dict[str, str], fingerprint: dict[str, Any]
) -> dict[str, np.ndarray]:
    """Writes one part file a split and returns image_id, split and error of each row.

    A part is named after the ids in it, so a task that Ray runs twice writes the same file twice.
    """
    good = block["error"] == ""
    for split in np.unique(block["split"].astype(str)):
        rows = np.flatnonzero(good & (block["split"] == split))
        if len(rows) == 0:
            continue
        ids = block["image_id"][rows].tolist()
        part = table(
            ids, block["label"][rows], block["sha256"][rows].tolist(), block["latent"][rows], schema(fingerprint)
        )
        name = hashlib.sha256("\n".join(ids).encode()).hexdigest()[:16]
        _write_part(part, folders[split], f"part-{name}.parquet")
    return {name: block[name] for name in ("image_id", "split", "error")}


def _write_part(part: pa.Table, folder: str, name: str) -> None:
    filesystem, inner = locate(folder)
    filesystem.create_dir(inner, recursive=True)
    aside = f"{inner}/.{name}.{os.getpid()}"
    # Codes do not repeat: a dictionary of them makes files larger and reading four times slower.
    pq.write_table(part, aside, filesystem=filesystem, compression="none", use_dictionary=False)
    filesystem.move(aside, f"{inner}/{name}")


def _write_errors(folder: str, errors: list[dict[str, str]]) -> None:
    """The faces that failed this time; the file is removed when there are none."""
    filesystem, inner = locate(folder)
    path = f"{inner}/{ERRORS_FILE}"
    if not errors:
        if filesystem.get_file_info(path).is_file:
            filesystem.delete_file(path)
        return
    filesystem.create_dir(inner, recursive=True)
    lines = "".join(
        json.dumps(row, ensure_ascii=False) + "\n" for row in sorted(errors, key=lambda row: row["image_id"])
    )
    with filesystem.open_output_stream(f"{path}.new") as file:
        file.write(lines.encode())
    filesystem.move(f"{path}.new", path)
