"""An import of codes in this process: the plan, the parts and the lists of an encoding, without Ray in between."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch

from fervit.encoding import job
from fervit.encoding.failures import FLOAT32_FILE, read_faces
from fervit.encoding.import_pt import fingerprint_of_pt, index_pt, load_block
from fervit.encoding.plan import EncodePlan, plan_encoding
from fervit.encoding.ray_data import blocks_of
from fervit.encoding.stages import write_block
from fervit.images import passed_over
from fervit.io.storage import child
from fervit.labels.emotions import EMOTIONS
from fervit.latents import LatentSet
from fervit.latents.parts import leftovers
from fervit.latents.source import write_source

ROWS = 3
"""The faces in a part."""
Result = dict[str, Any]


def write_sources(folder: Path) -> None:
    """Writes the files to import: seven faces of a split in parts of `ROWS`, one of which cannot be read."""
    rng = np.random.default_rng(0)
    for split in ("train", "val"):
        (folder / split).mkdir(parents=True)
        for emotion in EMOTIONS:
            code = torch.from_numpy(rng.normal(size=(14, 512)).astype(np.float16))
            torch.save({"latent": code}, folder / split / f"{emotion}_0.pt")
    (folder / "train" / "sad_broken.pt").write_bytes(b"PK nothing")


def command(
    sources: Path, root: Path | str, promise: Callable[[Any], None] = lambda what: None, *, float16: bool = True
) -> None:
    """Imports what is missing, as `encode.py --from_pt` does.

    Args:
        sources: the folder of the files to import.
        root: the folder in which the codes are.
        promise: gets what the user is told.
        float16: whether to note the precision of an encoding in float16, in which some codes were not finite.
    """
    index = index_pt(str(sources))
    fingerprint = fingerprint_of_pt(index, None, "")
    if float16:
        fingerprint = replace(fingerprint, precision="float16")
    plan = plan_encoding(index, child(str(root), "latents"), None, fingerprint)

    def receipts(plan: EncodePlan, placement: None) -> Iterator[list[dict[str, Any]]]:
        for block in blocks_of(plan.index.table, ROWS):
            rows = load_block(block, plan.fingerprint)
            beyond = [float16 and name.startswith(("train/angry", "train/happy")) for name in rows["image_id"]]
            rows["in_float32"] = np.array(beyond)  # as if their codes were not finite in float16
            told = write_block(rows, plan.folders, plan.fingerprint)
            yield [dict(zip(told, values, strict=True)) for values in zip(*told.values(), strict=True)]
            good = [name for name, error in zip(told["image_id"], told["error"], strict=True) if not error]
            promise(("encoded", str(told["split"][0]), good))

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(job, "_receipts", receipts)
        patch.setattr(job, "_Meter", lambda folder: None)
        job.encode_faces(plan, None, None)
    write_source(plan.latent_out, str(sources))
    passed_over.write(plan.latent_out, index.passed_over)
    promise(("listed", "", []))


def result_of(root: Path | str) -> Result:
    """Reads what an import has left."""
    found: Result = {}
    for split in ("train", "val"):
        folder = child(str(root), "latents", split)
        latents = LatentSet.read(folder)
        assert len(set(latents.image_ids)) == len(latents), "a face appears twice"
        codes = [code.tobytes() for code in latents.codes]
        found[split] = dict(zip(latents.image_ids, zip(codes, latents.sha256, strict=True), strict=True))
        found[f"{split} errors"] = read_faces(folder)
        found[f"{split} float32"] = read_faces(folder, FLOAT32_FILE)
        found[f"{split} leftovers"] = [Path(path).name for path in leftovers(folder)]
    return found


def broken_promises(root: Path, promised: Sequence[Any]) -> str:
    """Returns which promise of an import its folder no longer keeps; "" if it keeps all."""
    for what, split, ids in promised:
        if what == "encoded" and ids:
            folder = root / "latents" / split
            missing = set(ids) - set(LatentSet.read(str(folder)).image_ids if folder.is_dir() else ())
            if missing:
                return f"said to be encoded, and not there: {missing}"
        if what == "listed" and not read_faces(str(root / "latents" / "train")):
            return "said to be listed, and not there"
    return ""
