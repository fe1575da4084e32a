"""Lists of faces that are left out of encoding, training and searching, and what they left out, for the records.

`launch/audit.py` writes such lists: a line of JSON a face, with `image_id`, `split` and `reason`. A list by hand is a
text file with an image id in each line.
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from fervit.errors import UserError
from fervit.io.files import JsonObject, write_text
from fervit.io.json_lines import rows_of, text_of
from fervit.io.storage import absolute, locate, name_of, naming
from fervit.labels.emotions import SPLITS
from fervit.latents.latent_set import LatentSet
from fervit.system.program import called


@dataclass(frozen=True, kw_only=True)
class Exclusion:
    """The faces that some lists name."""

    files: tuple[str, ...]
    """The paths or URIs of the lists."""
    faces: frozenset[tuple[str, str]]
    """The image id of each face, and its split; "" for the face of that id in any split."""

    @classmethod
    def read(cls, files: Sequence[str]) -> Exclusion:
        """Reads lists.

        Args:
            files: the paths or URIs of the lists.

        Raises:
            UserError: a list is missing, damaged, or names no face.
        """
        faces: set[tuple[str, str]] = set()
        for file in files:
            of_file = _faces_in(file)
            if not of_file:
                raise UserError(
                    f"--exclude {file}: names no face; give a list that {called('audit')} wrote, or leave it"
                )
            faces |= of_file
        return cls(files=tuple(absolute(file) for file in files), faces=frozenset(faces))

    @property
    def sha256(self) -> str:
        """The hash of the faces, however they are divided into lists."""
        return hashlib.sha256("\n".join("\t".join(face) for face in sorted(self.faces)).encode()).hexdigest()

    def names(self, image_ids: Sequence[str], splits: Iterable[str]) -> np.ndarray:
        """Finds the rows that are on the lists.

        Args:
            image_ids: the image id of each row.
            splits: the split of each row. One that is not named train, val or test is taken for any of them.

        Returns:
            Whether each row is on the lists, bool [n].
        """
        of_any = {image_id for image_id, _ in self.faces}
        listed = (
            (image_id, split) in self.faces
            or (image_id, "") in self.faces
            or (split not in SPLITS and image_id in of_any)
            for image_id, split in zip(image_ids, splits, strict=True)
        )
        return np.fromiter(listed, dtype=bool, count=len(image_ids))

    def rows_of(self, latents: LatentSet) -> np.ndarray:
        """Whether each row of a split is on the lists, bool [n]."""
        split = name_of(latents.path)
        return self.names(latents.image_ids, [split] * len(latents))

    def without(self, latents: LatentSet) -> LatentSet:
        """The rows of a split that are not on the lists.

        Raises:
            UserError: the lists name all rows of the split.
        """
        listed = self.rows_of(latents)
        if listed.all():
            raise UserError(f"--exclude {', '.join(self.files)}: names all {len(latents)} faces of {latents.path}")
        return latents.take(np.flatnonzero(~listed)) if listed.any() else latents

    def write(self, path: Path) -> None:
        """Writes the faces as one list, which `read` reads."""
        lines = ({"image_id": image_id, "split": split} for image_id, split in sorted(self.faces))
        write_text(path, text_of(lines))

    def record(self, left_out: dict[str, int]) -> JsonObject:
        """What records say: the lists, the hash and number of their faces, and how many rows of each split were left
        out.
        """
        return {"files": list(self.files), "sha256": self.sha256, "faces": len(self.faces), "left_out": left_out}


def resumed(began: Path | None, given: Exclusion | None, where: Path, anew: str) -> Exclusion | None:
    """Returns the faces that a resumed run or sweep leaves out: those with which it began.

    Args:
        began: its own copy of the lists; None if it began without.
        given: the lists that the user gave now; None for none.
        where: its folder, for the message.
        anew: how to start a new one instead, for the message.

    Raises:
        UserError: the user gave other lists.
    """
    own = None if began is None else Exclusion.read([str(began)])
    if given is not None and (own is None or given.sha256 != own.sha256):
        raise UserError(
            f"--exclude: {where} began with {'other lists' if own else 'no list'} of faces to leave out; leave it out "
            f"to go on, or {anew}"
        )
    return own


def leave_out(
    exclusion: Exclusion | None, train: LatentSet, val: LatentSet
) -> tuple[tuple[LatentSet, LatentSet], JsonObject | None]:
    """Leaves faces out of the splits of a training.

    Args:
        exclusion: the faces; None leaves none out.
        train: the training split.
        val: the validation split.

    Returns:
        The two splits without the faces, and what records say of that; None without an exclusion.

    Raises:
        UserError: all rows of a split would be left out.
    """
    if exclusion is None:
        return (train, val), None
    kept = exclusion.without(train), exclusion.without(val)
    left_out = {"train": len(train) - len(kept[0]), "val": len(val) - len(kept[1])}
    return kept, exclusion.record(left_out)


def in_words(record: JsonObject) -> str:
    """A line about what an exclusion left out, given its record."""
    parts = ", ".join(f"{n} of {split}" for split, n in record["left_out"].items())
    return f"--exclude: left out {parts} by {', '.join(record['files'])} (sha256 {record['sha256'][:12]})"


def _faces_in(file: str) -> set[tuple[str, str]]:
    """The image id and the split ("" for any) of each face on a list."""
    filesystem, path = locate(file)
    with naming(f"--exclude {file}", "cannot be read"), filesystem.open_input_stream(path) as stream:
        content = stream.readall()
    if not content.endswith(b"\n"):
        content += b"\n"
    if content.lstrip()[:1] == b"{":
        rows = rows_of(content, f"--exclude {file}")
        unnamed = next((i for i, row in enumerate(rows) if not isinstance(row.get("image_id"), str)), None)
        if unnamed is not None:
            raise UserError(f"--exclude {file}: line {unnamed + 1} has no image_id ({json.dumps(rows[unnamed])[:80]})")
        return {(row["image_id"], str(row.get("split") or "")) for row in rows}
    try:
        text = content.decode("utf-8-sig")
    except UnicodeDecodeError:
        raise UserError(f"--exclude {file}: is no text in UTF-8; give an image id in each line") from None
    return {(line, "") for line in text.splitlines() if line.strip()}
