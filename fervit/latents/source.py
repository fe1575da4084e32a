"""`_faces.json` beside the codes names the data root of their pictures, so that the pictures can be shown later."""

from __future__ import annotations

import json
from collections.abc import Sequence
from pathlib import PurePosixPath

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

from fervit.images.finder import FaceFinder
from fervit.io.storage import absolute, child, locate, write_whole
from fervit.labels.label_set import SEVEN, LabelSet
from fervit.latents.latent_set import LatentSet
from fervit.latents.parts import read_split

FILE = "_faces.json"


def write_source(latent_out: str, data_root: str, labels: LabelSet = SEVEN) -> None:
    """Writes `_faces.json` for an encoding job, with its label set. It replaces that of an earlier job."""
    filesystem, inner = locate(child(latent_out, FILE))
    of_set = {} if labels is SEVEN else {"labels": labels.to_json()}
    content = json.dumps({"data_root": absolute(data_root), **of_set}).encode()
    write_whole(filesystem, inner, lambda file: file.write(content))


def noted_root(latent_out: str) -> str | None:
    """Returns the data root that `_faces.json` names; None without that file."""
    noted = _noted(latent_out)
    return noted[0] if noted is not None else None


def find_faces(latents: LatentSet, data_root: str | None = None) -> FaceFinder | None:
    """Opens the pictures of a split; None if the data root is not known or cannot be opened.

    Args:
        latents: the split.
        data_root: the data root of its pictures; None for the one that `_faces.json` names.

    Raises:
        UserError: a data root was given, and there are no faces in it.
    """
    return _finder(latents.path, latents.encoder.size, data_root)


def find_faces_of(split: str, image_ids: Sequence[str], data_root: str | None = None) -> list[np.ndarray | None]:
    """Reads the pictures of some rows of a split.

    Args:
        split: the folder or URI of the split's latents.
        image_ids: the rows.
        data_root: the data root of the pictures; None for the one that `_faces.json` names.

    Returns:
        RGB pixels, uint8 [size, size, 3], for each row; None for a picture that cannot be found.

    Raises:
        UserError: there are no latents, or a data root was given and there are no faces in it.
    """
    about, rows = read_split(split, ["image_id", "sha256"])
    finder = _finder(split, about.encoder.size if about else None, data_root)
    if finder is None or about is None:
        return [None] * len(image_ids)
    wanted = rows.filter(pc.is_in(rows["image_id"], value_set=pa.array(image_ids, pa.string())))
    sha256 = dict(zip(wanted["image_id"].to_pylist(), wanted["sha256"].to_pylist(), strict=True))
    return finder.find(image_ids, [sha256.get(name, "") for name in image_ids])


def _finder(split: str, size: int | None, data_root: str | None) -> FaceFinder | None:
    noted = _noted(split)
    labels = noted[1] if noted is not None else None
    if data_root is not None:
        return FaceFinder(data_root, size or 256, labels)
    if noted is None or size is None:
        return None
    try:
        return FaceFinder(noted[0], size, labels)
    except Exception:  # the data root was moved or its disk removed; pictures are optional
        return None


def _noted(split: str) -> tuple[str, LabelSet | None] | None:
    """The data root and the label set, if it is not the default, that `_faces.json` names."""
    filesystem, inner = locate(absolute(split))
    for folder in (PurePosixPath(inner), PurePosixPath(inner).parent):
        try:
            with filesystem.open_input_stream(str(folder / FILE)) as stream:
                content = json.loads(stream.read())
            labels = LabelSet.from_json(content["labels"]) if "labels" in content else None
            return str(content["data_root"]), labels
        except (OSError, ValueError, KeyError, TypeError):
            continue
    return None
