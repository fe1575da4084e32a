"""Lists of faces that are left out of encoding, training and searching, and what they left out, for the records.

`launch/audit.py` writes such lists: a line of JSON a face, with `image_id`, `split` and `reason`. A list by hand is a
text file with an image id in each line, a CSV file with a column `image_id`, or a JSON array.
"""

from __future__ import annotations

import csv
import hashlib
import io
import json
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from fervit.errors import UserError
from fervit.io.files import JsonObject, is_missing, write_text
from fervit.io.json_lines import rows_of, text_of
from fervit.io.storage import absolute, child, locate, name_of, naming, sibling
from fervit.labels.emotions import SPLITS, split_of
from fervit.latents.fractions import recorded_fractions
from fervit.latents.latent_set import LatentSet
from fervit.latents.parts import about_in
from fervit.system.program import called


@dataclass(frozen=True, kw_only=True)
class Exclusion:
    """The faces that some lists name."""

    files: tuple[str, ...]
    """The paths or URIs of the lists."""
    faces: frozenset[tuple[str, str]]
    """The image id of each face, and its split, train, val or test; "" for the face of that id in any split."""

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

    def names(self, image_ids: Sequence[str], splits: Iterable[str], dealt: frozenset[str] = frozenset()) -> np.ndarray:
        """Finds the rows that are on the lists.

        Args:
            image_ids: the image id of each row.
            splits: the split of each row. One that is not named train, val or test is taken for any of them.
            dealt: splits whose pictures were one when the lists were made, each of which stands for all of them.

        Returns:
            Whether each row is on the lists, bool [n].
        """
        of_any = {image_id for image_id, _ in self.faces}
        listed = (
            (image_id, split) in self.faces
            or (image_id, "") in self.faces
            or (split not in SPLITS and image_id in of_any)
            or (split in dealt and any((image_id, other) in self.faces for other in dealt))
            for image_id, split in zip(image_ids, splits, strict=True)
        )
        return np.fromiter(listed, dtype=bool, count=len(image_ids))

    def rows_of(self, latents: LatentSet) -> np.ndarray:
        """Whether each row of a split is on the lists, bool [n]."""
        split = name_of(latents.path)
        return self.names(latents.image_ids, [split] * len(latents), _dealt_with(latents.path))

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
    files = ", ".join(record["files"])
    if not any(record["left_out"].values()):
        return (
            f"WARNING: --exclude left out NOTHING: none of the {record['faces']} faces on {files} is in "
            f"{' or '.join(record['left_out'])}; an image id is a picture's path below the data root, such as "
            "train/happy/1.png, or row-00001 of a CSV"
        )
    parts = ", ".join(f"{n} of {split}" for split, n in record["left_out"].items())
    return f"--exclude: left out {parts} by {files} (sha256 {record['sha256'][:12]})"


def _dealt_with(split: str) -> frozenset[str]:
    """The splits that encoding made of one split of pictures, if the codes in a folder are of one of them.

    Lists that were made from the pictures name their split, and no two pictures of one split have the same image id.
    """
    name, root = name_of(split), sibling(split, "")
    fractions = recorded_fractions(root) if name in SPLITS else None
    if fractions is None or name not in fractions.shares:
        return frozenset()
    gone = (other for other in SPLITS if other not in fractions.shares and about_in(child(root, other)) is None)
    return frozenset((*fractions.shares, *gone))


def _faces_in(file: str) -> set[tuple[str, str]]:
    """The image id and the split ("" for any) of each face on a list."""
    filesystem, path = locate(file)
    where = f"--exclude {file}"
    if is_missing(file):
        raise UserError(f"{where}: there is no such list; {called('audit')} writes none where it found nothing")
    with naming(where, "cannot be read"), filesystem.open_input_stream(path) as stream:
        content = stream.readall()
    try:
        text = content.decode("utf-8-sig")
    except UnicodeDecodeError:
        raise UserError(f"{where}: is no text in UTF-8; give an image id in each line") from None
    lines = [line for line in text.splitlines() if line.strip()]
    if text.lstrip()[:1] == "{":
        rows = rows_of("".join(f"{line}\n" for line in text.split("\n") if line.strip()).encode(), where)
        return {_face(row, where, i) for i, row in enumerate(rows)}
    if text.lstrip()[:1] == "[" and text.rstrip()[-1:] == "]":
        try:
            entries = json.loads(text)
        except ValueError as error:
            raise UserError(f"{where}: is a damaged JSON array ({error}); give an image id in each line") from None
        return {_face(entry, where, i) for i, entry in enumerate(entries)}
    return _faces_of_csv(lines, where) or {(_unquoted(line.strip()), "") for line in lines}


def _faces_of_csv(lines: Sequence[str], where: str) -> set[tuple[str, str]]:
    """The faces on a list that is a CSV file with a heading; none if it is not."""
    for separator in ",;\t":
        heading = [name.strip().lower() for name in next(csv.reader(lines[:1], delimiter=separator), [])]
        if "image_id" not in heading:
            continue
        rows = csv.DictReader(io.StringIO("\n".join(lines[1:])), heading, delimiter=separator)
        kept = [{name: (row.get(name) or "").strip() for name in ("image_id", "split")} for row in rows]
        return {_face(row, where, i + 1) for i, row in enumerate(kept)}
    return set()


def _face(entry: object, where: str, place: int) -> tuple[str, str]:
    """The image id and the split of an entry of a list: an image id, or an object with both."""
    row = {"image_id": entry} if isinstance(entry, str) else entry
    image_id = row.get("image_id") if isinstance(row, dict) else None
    if not isinstance(row, dict) or not isinstance(image_id, str) or not image_id.strip():
        raise UserError(f"{where}: line {place + 1} has no image_id ({json.dumps(entry)[:80]})")
    return image_id, split_of(str(row.get("split") or "")) or ""


def _unquoted(line: str) -> str:
    quoted = len(line) > 2 and line[0] == line[-1] and line[0] in "\"'"
    return line[1:-1] if quoted else line
