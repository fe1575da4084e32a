"""Draws faces beside the pictures that the generator makes of their codes, to show whether encoding works on them."""

from __future__ import annotations

from collections.abc import Iterator, Sequence

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
import torch
import torch.nn.functional as F
from PIL import Image, ImageDraw, ImageFont

from fervit.encoders.stylegan2 import Decoder
from fervit.errors import JobError
from fervit.images.face_index import FaceIndex
from fervit.images.pictures import resize
from fervit.io.storage import child, locate, write_whole
from fervit.latents.parts import read_split
from fervit.progress import Progress, Say
from fervit.system.gpu import device_at_hand

SHEET_FILE = "reconstructions.png"
SIDE = 256
CAPTION = 18
PAIRS_A_ROW = 4


def write_reconstructions(
    index: FaceIndex, latent_out: str, folders: dict[str, str], decoder: Decoder, n: int, say: Say | None = print
) -> str:
    """Writes a sheet of n faces, evenly spread over the index, each beside the picture of its code.

    Args:
        index: the faces.
        latent_out: the folder or URI that the sheet is written into.
        folders: the folder of each split's codes.
        decoder: the generator, from the encoder's checkpoint.
        n: the number of faces; fewer are drawn if there are fewer codes.
        say: where progress goes; see `Progress`.

    Returns:
        The path or URI of the sheet.

    Raises:
        JobError: no face of the index has a code.
    """
    device = device_at_hand()
    decoder = decoder.to(device)
    pairs, progress = [], Progress(total=n, unit="faces", label="draw", say=say)
    for row, code_nd in _chosen(index, folders, n):
        try:
            face = resize(index.read(row["source"]), SIDE)
        except Exception:  # the picture was removed or damaged since it was encoded
            progress.add(0, failed=1)
            continue
        with torch.inference_mode():
            picture = decoder(torch.from_numpy(code_nd.astype(np.float32))[None].to(device))
        pairs.append((row, face, to_pixels(picture, SIDE)))
        progress.add(1)
    progress.close()
    if not pairs:
        raise JobError("--reconstruct: no face of the data root has a code")
    path = child(latent_out, SHEET_FILE)
    filesystem, inner = locate(path)
    sheet = _draw(pairs, index.label_set.classes)
    write_whole(filesystem, inner, lambda file: sheet.save(file, format="PNG"))
    return path


def to_pixels(picture_13hw: torch.Tensor, side: int) -> np.ndarray:
    """A generated picture [1, 3, h, w], nominally in [-1, 1] -> uint8 [side, side, 3], averaged and rounded down."""
    small = F.adaptive_avg_pool2d(picture_13hw.float(), side)[0]
    pixels = ((small + 1) / 2).clamp(0, 1).mul(255).to(torch.uint8)
    return pixels.permute(1, 2, 0).cpu().numpy()


def _chosen(index: FaceIndex, folders: dict[str, str], n: int) -> Iterator[tuple[dict[str, str], np.ndarray]]:
    """Yields n rows of the index with their codes, evenly spread over the rows that have a code."""
    rows = []
    for split, folder in folders.items():
        _, columns = read_split(folder, ["image_id"])
        of_split = index.of_split(split)
        present = pc.is_in(of_split["image_id"], value_set=columns["image_id"].cast(pa.string()).combine_chunks())
        rows.append(of_split.filter(present))
    table = pa.concat_tables(rows)
    if len(table) == 0:
        return
    chosen = table.take(np.unique(np.linspace(0, len(table) - 1, n).round().astype(int)))
    for split in pc.unique(chosen["split"]).to_pylist():
        _, columns = read_split(folders[split], ["image_id", "latent"])
        of_split = chosen.filter(pc.equal(chosen["split"], split))
        at = pc.index_in(of_split["image_id"], value_set=columns["image_id"].combine_chunks())
        codes = columns["latent"].combine_chunks().to_numpy_ndarray()
        for row, i in zip(of_split.to_pylist(), at.to_pylist(), strict=True):
            yield row, codes[i]


def _draw(pairs: list[tuple[dict[str, str], np.ndarray, np.ndarray]], classes: Sequence[str]) -> Image.Image:
    columns = min(PAIRS_A_ROW, len(pairs))
    height = SIDE + CAPTION
    sheet = Image.new("RGB", (columns * (2 * SIDE + 8) - 8, -(-len(pairs) // columns) * height), "white")
    draw, font = ImageDraw.Draw(sheet), ImageFont.load_default(12)
    for i, (row, face, decoded) in enumerate(pairs):
        left, top = (i % columns) * (2 * SIDE + 8), (i // columns) * height
        sheet.paste(Image.fromarray(face), (left, top))
        sheet.paste(Image.fromarray(decoded), (left + SIDE, top))
        caption = f"{classes[int(row['label'])]}  {row['image_id'][-60:]}"
        draw.text((left + 2, top + SIDE + 2), caption, fill="black", font=font)
    return sheet
