"""Takes a validation or a test split out of the training pictures: stratified, with copies and persons on one side.

`_splits.json` beside the codes records it, so that the same command, or one without the flags, deals as before; faces
that have codes already stay where they are.
"""

from __future__ import annotations

import hashlib
from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace

import pyarrow as pa

from fervit.errors import UserError
from fervit.images.face_index import FaceIndex
from fervit.images.layouts.ckplus import person_of
from fervit.io.storage import child
from fervit.labels.dealing import Fractions, deal, merged
from fervit.latents.fractions import recorded_fractions
from fervit.latents.parts import read_split
from fervit.system.hardware import usable_cpus


def settled(latent_out: str, wanted: Fractions | None) -> Fractions | None:
    """The shares of a job: those that the user names, or else those of an earlier job in the folder; None for none.

    Raises:
        UserError: the shares are wrong, or an earlier job had others.
    """
    recorded = recorded_fractions(latent_out)
    if wanted is not None and recorded is not None and wanted != recorded:
        raise UserError(
            f"--latent_out {latent_out}: its splits were made with {recorded}, now {wanted}; leave the flags out, or "
            "choose another --latent_out"
        )
    if wanted is not None:
        wanted.check()
    return wanted or recorded


def with_fractions(index: FaceIndex, latent_out: str, fractions: Fractions) -> FaceIndex:
    """Takes splits out of the training pictures of an index. One split, whichever, counts as training pictures.

    Args:
        index: the pictures.
        latent_out: the folder or URI of the codes.
        fractions: the shares.

    Raises:
        UserError: the splits are there, or there are no training pictures.
    """
    there = ["train"] if index.one_split else index.splits()
    for split in fractions.shares:
        if split != "train" and split in there:
            raise UserError(
                f"--{split}_fraction: {index.root} has a split {split} of its own; leave the flag out, and choose "
                "another --latent_out if this one was made with it"
            )
    if "train" not in there:
        raise UserError(f"{fractions}: {index.root} has no split train to take from; rename the folder that is it")
    if index.one_split:
        place = index.table.schema.get_field_index("split")
        train = pa.array(["train"] * len(index.table), pa.string())
        index = index.with_table(index.table.set_column(place, "split", train))
    dealt = _dealt(index, latent_out, fractions)
    empty = next((split for split in fractions.shares if split not in dealt.splits()), None)
    if empty is not None:
        raise UserError(
            f"--latent_out {latent_out}: nothing is left for {empty}, since faces that have codes there stay in their "
            "split, or there are too few; choose another --latent_out"
        )
    return dealt


def _dealt(index: FaceIndex, latent_out: str, fractions: Fractions) -> FaceIndex:
    """The index with splits dealt to the training pictures. Those with codes keep theirs, and so do their groups."""
    rows = index.of_split("train")
    ids = rows["image_id"].to_pylist()
    groups = merged(_pictures(index, rows), [person_of(name) for name in ids], ids)
    placed: dict[str, str] = {}
    for split in fractions.shares:
        _, columns = read_split(child(latent_out, split), ["image_id"])
        placed |= dict.fromkeys(columns["image_id"].to_pylist(), split)
    fixed = {group: placed[name] for name, group in zip(ids, groups, strict=True) if name in placed}
    splits = deal(groups, rows["label"].to_pylist(), fractions.shares, seed=fractions.seed, fixed=fixed)
    dealt = rows.set_column(rows.schema.get_field_index("split"), "split", pa.array(splits, pa.string()))
    others = [index.of_split(split) for split in index.splits() if split != "train"]
    parts = [dealt, *others]
    return replace(index, table=pa.concat_tables(parts), one_split=False)


def _pictures(index: FaceIndex, rows: pa.Table) -> list[str | None]:
    """The hash of each picture's pixels; None for one that cannot be read."""

    def digest(source: str) -> str | None:
        try:
            pixels = index.read(source)
        except Exception:  # it is listed as failed when it is encoded
            return None
        return hashlib.sha256(f"{pixels.shape}".encode() + pixels.tobytes()).hexdigest()

    with ThreadPoolExecutor(usable_cpus()) as pool:
        return list(pool.map(digest, rows["source"].to_pylist()))
