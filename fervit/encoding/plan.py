"""The plan of an encoding job, made before the first face is opened: which faces still need a code. No Ray."""

from __future__ import annotations

from dataclasses import dataclass, replace

import pyarrow as pa
import pyarrow.compute as pc

from fervit.encoders.fingerprint import EncoderFingerprint
from fervit.encoding.failures import read_faces
from fervit.errors import JobError, UserError
from fervit.images.face_index import FaceIndex
from fervit.io.storage import absolute, cannot_write, child
from fervit.labels.emotions import SPLITS
from fervit.labels.label_set import LabelSet
from fervit.latents.parts import about_in, drop_duplicates, leftovers, read_split
from fervit.latents.schema import About


@dataclass(frozen=True, kw_only=True)
class EncoderChoice:
    """The encoder that the user has named. Every actor loads it for itself."""

    kind: str
    """"psp", "e4e", "demo", or the name of a registered encoder."""
    checkpoint: str | None = None
    """The path of its checkpoint; None for the demo encoder."""
    module: str | None = None
    """The Python file or the module that registers it; None for fervit's own encoders."""
    precision: str | None = None
    """None takes the precision of the codes that the folder holds, or else the one that is fast on the hardware."""


@dataclass(frozen=True, kw_only=True)
class EncodePlan:
    """What an encoding job has to do."""

    index: FaceIndex
    """The faces that have no code yet."""
    latent_out: str
    """The folder or URI of the codes."""
    encoder: EncoderChoice | None
    """The encoder, or None for an import, whose sources hold codes already."""
    fingerprint: EncoderFingerprint
    """The fingerprint of the codes. Its precision is None until `place` chooses one that suits the hardware."""
    present: int
    """The number of faces that have a code already."""
    failed_before: int
    """The number of faces that failed in an earlier job and are left out of this one."""
    folders: dict[str, str]
    """The folder of each split's part files."""
    failures: dict[str, dict[str, str]]
    """For each split, the failures of earlier jobs that stay in its list: image_id -> reason."""
    leftovers: tuple[str, ...]
    """Unfinished files of a killed job."""
    strangers: dict[str, int]
    """The number of codes in each folder that holds codes, but of none of the faces of its split."""

    def __len__(self) -> int:
        return len(self.index.table)


def plan_encoding(
    index: FaceIndex,
    latent_out: str,
    encoder: EncoderChoice | None,
    fingerprint: EncoderFingerprint,
    *,
    retry_errors: bool = False,
) -> EncodePlan:
    """Compares the index with what `latent_out` holds.

    Args:
        index: the faces.
        latent_out: a folder or URI. Each split gets a folder in it, unless the index is of one split.
        encoder: the encoder that will encode the faces; None if the index is of codes.
        fingerprint: the fingerprint of the new codes. Its precision is None if the folder or the hardware is to decide.
        retry_errors: whether to try faces again that failed in an earlier job.

    Raises:
        UserError: `latent_out` holds codes of another encoder or label set, or files that are no latents.
        JobError: duplicate rows of a killed job cannot be removed.
    """
    latent_out = absolute(latent_out)
    folders = {split: latent_out if index.one_split else child(latent_out, split) for split in index.splits()}
    for split in () if index.one_split else SPLITS:
        found = None if split in folders else about_in(child(latent_out, split))
        if found is not None:
            fingerprint = _joined(fingerprint, index.label_set, found, child(latent_out, split))
    plans = {}
    for split, folder in folders.items():
        found, ids = _encoded_ids(folder)
        if found is not None:
            fingerprint = _joined(fingerprint, index.label_set, found, folder)
        plans[split] = _plan_split(index.of_split(split), ids, read_faces(folder), retry_errors=retry_errors)
    return EncodePlan(
        index=index.with_table(pa.concat_tables([plan.rows for plan in plans.values()])),
        latent_out=latent_out,
        encoder=encoder,
        fingerprint=fingerprint,
        present=sum(plan.present for plan in plans.values()),
        failed_before=sum(plan.failed_before for plan in plans.values()),
        folders=folders,
        failures={split: plan.failures for split, plan in plans.items()},
        leftovers=tuple(path for folder in folders.values() for path in leftovers(folder)),
        strangers={folders[split]: plan.strangers for split, plan in plans.items() if plan.strangers},
    )


@dataclass(frozen=True, kw_only=True)
class _SplitPlan:
    """What an encoding job has to do for one split; the fields are those of `EncodePlan`."""

    rows: pa.Table
    present: int
    failed_before: int
    failures: dict[str, str]
    strangers: int


def _plan_split(rows: pa.Table, encoded: pa.Array, failures: dict[str, str], *, retry_errors: bool) -> _SplitPlan:
    """Chooses the rows of a split that need a code.

    Args:
        rows: the faces of the split.
        encoded: the image ids that have a code.
        failures: the failures of earlier jobs: image_id -> reason.
        retry_errors: whether to try faces again that failed in an earlier job.
    """
    rows, present = _split_rows(rows, encoded)
    strangers = 0 if len(present) else len(encoded)
    failed_before_encoded = pc.is_in(encoded, value_set=pa.array(list(failures), pa.string()))
    encoded_since = set(encoded.filter(failed_before_encoded).to_pylist())
    failures = {name: reason for name, reason in failures.items() if name not in encoded_since}
    failed_before = 0
    if retry_errors:
        tried_again = set(rows["image_id"].to_pylist())
        failures = {name: reason for name, reason in failures.items() if name not in tried_again}
    else:
        rows, failed = _split_rows(rows, pa.array(list(failures), pa.string()))
        failed_before = len(failed)
    return _SplitPlan(
        rows=rows, present=len(present), failed_before=failed_before, failures=failures, strangers=strangers
    )


def _encoded_ids(folder: str) -> tuple[About | None, pa.Array]:
    """What is said in a split's folder, or None if it is empty, and the ids with a code. Removes duplicate rows."""
    found, columns = read_split(folder, ["image_id"])
    if found is not None and pc.count_distinct(columns["image_id"]).as_py() < len(columns):
        try:
            drop_duplicates(folder)
        except OSError as error:
            raise JobError(cannot_write(folder, error)) from None
        found, columns = read_split(folder, ["image_id"])
    return found, columns["image_id"].cast(pa.string()).combine_chunks()


def _joined(wanted: EncoderFingerprint, label_set: LabelSet, about: About, folder: str) -> EncoderFingerprint:
    """The fingerprint of new codes for a folder that holds codes already.

    Raises:
        UserError: the folder holds codes of another encoder or label set.
    """
    if about.label_set != label_set:
        raise UserError(
            f"{folder}: holds codes whose labels are {about.label_set}, but these are {label_set}; label sets "
            "never mix: choose another --latent_out, or the same --labels"
        )
    found = about.encoder
    if wanted.precision is None:
        wanted = replace(wanted, precision=found.precision)
    if found != wanted:
        now, there = wanted.to_json(), found.to_json()
        different = [key for key in {**now, **there} if there.get(key) != now.get(key)]
        raise UserError(
            f"{folder}: holds codes of another encoder ({', '.join(f'{k} {there.get(k)}' for k in different)}; now "
            f"{', '.join(f'{k} {now.get(k)}' for k in different)}); codes of two encoders never mix: choose "
            "another --latent_out"
        )
    return wanted


def _split_rows(rows: pa.Table, ids: pa.Array) -> tuple[pa.Table, pa.Table]:
    """Divides rows into those whose image_id is not among `ids` and those whose image_id is."""
    known = pc.is_in(rows["image_id"], value_set=ids)
    return rows.filter(pc.invert(known)), rows.filter(known)
