"""What an encoding job has to do and where it will run: found out before the first face is opened. No Ray."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import pyarrow as pa
import pyarrow.compute as pc

from fervit.emotions import SPLITS
from fervit.encoding.failures import read_failures
from fervit.errors import JobError, UserError
from fervit.images.face_index import FaceIndex
from fervit.latents.parts import drop_duplicates, encoder_in, leftovers, read_split
from fervit.storage import absolute, cannot_write, child

if TYPE_CHECKING:
    pass


@dataclass(frozen=True, kw_only=True)
class EncoderChoice:
    """Which encoder, as the user named it; every actor loads it for itself."""

    kind: str
    checkpoint: str | None = None
    precision: str | None = None
    """None: what the folder's codes have, else what the hardware is good at."""


@dataclass(frozen=True, kw_only=True)
class EncodePlan:
    """Faces to encode."""

    index: FaceIndex
    """Of the faces that have no code yet."""
    latent_out: str
    encoder: EncoderChoice | None
    """None: the sources hold codes already (an import)."""
    fingerprint: dict[str, Any]
    """Of the encoder; its precision is None until the hardware is known (`place`)."""
    present: int
    """Faces of the index that have a code."""
    failed_before: int
    """Faces of the index that failed in an earlier job and are left out of this one."""
    folders: dict[str, str]
    """Where the parts of each split go."""
    failures: dict[str, dict[str, str]]
    """For each split, the reasons of earlier failures that stay."""
    leftovers: tuple[str, ...]
    """Half files of a killed job."""

    def __len__(self) -> int:
        return len(self.index.table)


def plan_encoding(
    index: FaceIndex,
    latent_out: str,
    encoder: EncoderChoice | None,
    fingerprint: dict[str, Any],
    *,
    retry_errors: bool = False,
) -> EncodePlan:
    """Compares the index with what `latent_out` holds.

    Args:
        index: the faces.
        latent_out: folder or URI; a folder a split is made in it, unless the index is of one split.
        encoder: what will encode them; None if the index is of codes.
        fingerprint: of the codes to be; its precision is None if the folder or the hardware is to decide.
        retry_errors: take faces that failed before, too.

    Raises:
        UserError: `latent_out` holds codes of another encoder, or files that are no latents.
    """
    latent_out = absolute(latent_out)
    folders = {split: latent_out if index.one_split else child(latent_out, split) for split in index.splits()}
    for split in () if index.one_split else SPLITS:
        found = None if split in folders else encoder_in(child(latent_out, split))
        if found is not None:
            fingerprint = _joined(fingerprint, found, child(latent_out, split))
    failures, kept, present, failed_before = {}, [], 0, 0
    for split, folder in folders.items():
        found, columns = read_split(folder, ["image_id"])
        if found is not None and pc.count_distinct(columns["image_id"]).as_py() < len(columns):
            try:
                drop_duplicates(folder)
            except OSError as error:
                raise JobError(cannot_write(folder, error)) from None
            found, columns = read_split(folder, ["image_id"])
        if found is not None:
            fingerprint = _joined(fingerprint, found, folder)
        rows = index.of_split(split)
        ids = columns["image_id"].cast(pa.string()).combine_chunks()
        rows, encoded = _split_rows(rows, ids)
        present += len(encoded)
        known = read_failures(folder)
        for name in ids.filter(pc.is_in(ids, value_set=pa.array(list(known), pa.string()))).to_pylist():
            del known[name]  # encoded since
        if not retry_errors:
            rows, failed = _split_rows(rows, pa.array(list(known), pa.string()))
            failed_before += len(failed)
        else:
            for name in rows["image_id"].to_pylist():
                known.pop(name, None)
        failures[split] = known
        kept.append(rows)
    return EncodePlan(
        index=index.with_table(pa.concat_tables(kept)),
        latent_out=latent_out,
        encoder=encoder,
        fingerprint=fingerprint,
        present=present,
        failed_before=failed_before,
        folders=folders,
        failures=failures,
        leftovers=tuple(path for folder in folders.values() for path in leftovers(folder)),
    )


def _joined(wanted: dict[str, Any], found: dict[str, Any], folder: str) -> dict[str, Any]:
    """The fingerprint for a folder that holds codes already; refuses codes of another one."""
    if wanted.get("precision") is None:
        wanted = {**wanted, "precision": found["precision"]}
    if found != wanted:
        different = [key for key in {**wanted, **found} if found.get(key) != wanted.get(key)]
        raise UserError(
            f"{folder}: holds codes of another encoder ({', '.join(f'{k} {found.get(k)}' for k in different)}; now "
            f"{', '.join(f'{k} {wanted.get(k)}' for k in different)}); codes of two encoders never mix: choose "
            "another --latent_out"
        )
    return wanted


def _split_rows(rows: pa.Table, ids: pa.Array) -> tuple[pa.Table, pa.Table]:
    """The rows whose image_id is not among `ids`, and those whose is."""
    known = pc.is_in(rows["image_id"], value_set=ids)
    return rows.filter(pc.invert(known)), rows.filter(known)
