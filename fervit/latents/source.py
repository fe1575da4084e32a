"""`_faces.json` beside the codes: where the pictures lay that they were made from, so that later they can be shown."""

from __future__ import annotations

import json
from pathlib import PurePosixPath

from fervit.images.finder import FaceFinder
from fervit.latents.latent_set import LatentSet
from fervit.storage import absolute, child, locate, write_whole

FILE = "_faces.json"


def write_source(latent_out: str, data_root: str) -> None:
    """Notes the data root of an encoding job; the last job's stays."""
    filesystem, inner = locate(child(latent_out, FILE))
    content = json.dumps({"data_root": absolute(data_root)}).encode()
    write_whole(filesystem, inner, lambda file: file.write(content))


def find_faces(latents: LatentSet, data_root: str | None = None) -> FaceFinder | None:
    """Where the faces of a split can be looked up; None where they are not at hand.

    Args:
        latents: the split.
        data_root: of its pictures; None for the one that the encoding job noted.

    Raises:
        UserError: a data root was given, and there are no faces in it.
    """
    size = latents.encoder.get("size")
    if data_root is not None:
        return FaceFinder(data_root, size or 256)
    noted = _noted(latents.path)
    if noted is None or size is None:
        return None
    try:
        return FaceFinder(noted, size)
    except Exception:  # it has moved, or the disk is gone: pictures are a help, not a need
        return None


def _noted(split: str) -> str | None:
    filesystem, inner = locate(absolute(split))
    for folder in (PurePosixPath(inner), PurePosixPath(inner).parent):
        try:
            with filesystem.open_input_stream(str(folder / FILE)) as stream:
                return str(json.loads(stream.read())["data_root"])
        except (OSError, ValueError, KeyError, TypeError):
            continue
    return None
