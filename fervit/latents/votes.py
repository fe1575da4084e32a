"""The votes of several taggers for each face, which replace the labels of a split: by majority or as a distribution.

Nothing is encoded again: votes are joined to the codes by their image ids.

Paper: Barsoum, Zhang, Canton Ferrer and Zhang, "Training Deep Networks for Facial Expression Recognition with
Crowd-Sourced Label Distribution" (ICMI 2016), whose FER+ has ten votes for each row of fer2013.csv.
"""

from __future__ import annotations

import csv
import hashlib
from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Literal

import numpy as np

from fervit.errors import UserError
from fervit.io.files import JsonObject
from fervit.io.storage import absolute, read_csv
from fervit.labels.emotions import emotion_of
from fervit.latents.latent_set import LatentSet

VotesAs = Literal["majority", "distribution"]
"""Whether a row gets the class of most votes as its label, or the shares of all classes as its target."""
NO_FACE = ("nf", "noface", "notaface", "not a face", "no face")
"""The names of the column, in lower case, that counts the taggers who see no face."""
OTHER_COLUMNS = ("usage", "image name")
"""The columns of FER+'s own file, whose rows are those of fer2013.csv in their order."""


@dataclass(frozen=True, kw_only=True)
class Votes:
    """The votes of taggers."""

    file: str
    """The path or URI of the file."""
    sha256: str
    """The hash of its content."""
    columns: tuple[str, ...]
    """What taggers could vote for: emotions under fervit's names, and others such as "contempt", "unknown" and "NF"."""
    votes: Mapping[str, np.ndarray]
    """The image id of each face -> its votes for each column, float32 [columns]."""

    @classmethod
    def read(cls, file: str) -> Votes:
        """Reads a CSV file with a column for each emotion, and `image_id` unless it is FER+'s own fer2013new.csv.

        Args:
            file: the path or URI.

        Raises:
            UserError: there is no such file, it names no faces or fewer than two emotions, or a vote is no number.
        """
        rows, content = read_csv(file, "--votes", csv.reader)
        if len(rows) < 2:
            raise UserError(f"--votes {file}: has no rows; it needs a heading and a row for each face")
        heading = [name.strip() for name in rows[0]]
        ids = _image_ids(file, heading, rows[1:])
        voted = [i for i, name in enumerate(heading) if name.lower() not in ("image_id", *OTHER_COLUMNS)]
        columns = tuple(emotion_of(heading[i]) or heading[i] for i in voted)
        if sum(emotion_of(heading[i]) is not None for i in voted) < 2:
            raise UserError(
                f"--votes {file}: has the columns {', '.join(heading)}; it needs one for each emotion, and image_id"
            )
        try:
            counts = np.array([[float(row[i] or 0) for i in voted] for row in rows[1:]], np.float32)
        except (ValueError, IndexError):
            raise UserError(f"--votes {file}: a vote is no number, or a row is too short") from None
        if not (np.isfinite(counts).all() and (counts >= 0).all()):
            raise UserError(f"--votes {file}: votes must be numbers of 0 or more")
        return cls(
            file=absolute(file),
            sha256=hashlib.sha256(content).hexdigest(),
            columns=columns,
            votes=dict(zip(ids, counts, strict=True)),
        )

    def relabelled(self, latents: LatentSet, votes_as: VotesAs) -> tuple[LatentSet, JsonObject]:
        """Gives the rows of a split the class of most votes, and leaves out those that are none of the classes.

        Left out are rows without votes, rows in which most taggers see no face, another emotion or none that they know,
        and rows with a tie that their label cannot decide.

        Args:
            latents: the split.
            votes_as: "distribution" for the shares of the votes as targets, beside the labels.

        Returns:
            The rows that stay, with their new labels, and the counts for the records.

        Raises:
            UserError: no row of the split has votes, or none stays.
        """
        classes = latents.label_set.classes
        known = np.array([self.columns.index(name) if name in self.columns else -1 for name in classes])
        labels, shares, why = latents.labels.copy(), np.zeros((len(latents), len(classes)), np.float32), Counter[str]()
        kept = np.zeros(len(latents), bool)
        for row, image_id in enumerate(latents.image_ids):
            found = self.votes.get(image_id)
            reason = "without votes" if found is None or not found.sum() else ""
            if found is not None and not reason:
                best = np.flatnonzero(found == found.max())
                given = known[labels[row]]
                if len(best) > 1:
                    best = best[best == given] if given in best else best
                reason = "tied" if len(best) > 1 else self._no_class(int(best[0]), known)
            if reason:
                why[reason] += 1
                continue
            assert found is not None
            kept[row], labels[row] = True, int(np.flatnonzero(known == best[0])[0])
            of_classes = np.where(known >= 0, found[known], 0)
            shares[row] = of_classes / of_classes.sum()
        if not kept.any():
            raise UserError(
                f"--votes {self.file}: gives no row of {latents.path} a class ({dict(why)}); its image ids are "
                f"{next(iter(self.votes))}, ..., those of the split {latents.image_ids[0]}, ..."
            )
        rows = np.flatnonzero(kept)
        record: JsonObject = {
            "rows": len(rows),
            "relabelled": int((labels[rows] != latents.labels[rows]).sum()),
            "left_out": dict(why),
        }
        targets = shares[rows] if votes_as == "distribution" else None
        return latents.take(rows).with_labels(labels[rows], targets), record

    def splits(
        self, votes_as: VotesAs, train: LatentSet, val: LatentSet
    ) -> tuple[tuple[LatentSet, LatentSet], JsonObject]:
        """Relabels both splits of a training; returns them and what records say of it."""
        (new_train, of_train), (new_val, of_val) = (self.relabelled(one, votes_as) for one in (train, val))
        return (new_train, new_val), self.record(votes_as, {"train": of_train, "val": of_val})

    def record(self, votes_as: VotesAs, splits: JsonObject) -> JsonObject:
        """What records say: the file, how its votes are used, and the counts of each split."""
        return {"file": self.file, "sha256": self.sha256, "as": votes_as, "splits": splits}

    def _no_class(self, column: int, known: np.ndarray) -> str:
        """Why rows with most votes for a column are left out; "" if it is a class."""
        name = self.columns[column]
        if column in known:
            return ""
        return "no face" if name.lower() in NO_FACE else name


def resumed(
    began: JsonObject | None, given: tuple[Votes, VotesAs] | None, where: Path, anew: str
) -> tuple[Votes, VotesAs] | None:
    """Returns the votes of a resumed run or sweep: those with which it began, from where they lie now.

    Args:
        began: its record of them (`Votes.record`); None if it began without.
        given: the votes if the user gave them now, since their file may have moved.
        where: its folder, for the message.
        anew: how to start a new one instead, for the message.

    Raises:
        UserError: the user gave other votes, or the file has changed or is gone.
    """
    if given is None:
        if began is None:
            return None
        given = Votes.read(began["file"]), began["as"]
    if began is None or (given[0].sha256, given[1]) != (began["sha256"], began["as"]):
        raise UserError(
            f"--votes {given[0].file}: {where} began with "
            f"{'other votes or another --votes_as' if began else 'no votes'}; give those, or {anew}"
        )
    return given


def _image_ids(file: str, heading: Sequence[str], rows: Sequence[Sequence[str]]) -> list[str]:
    names = [name.lower() for name in heading]
    if "image_id" in names:
        return [row[names.index("image_id")] if row else "" for row in rows]
    if set(OTHER_COLUMNS) <= set(names):
        return [f"row-{i:05d}" for i in range(len(rows))]
    raise UserError(
        f"--votes {file}: has no column image_id, and is not FER+'s fer2013new.csv, whose rows are those of fer2013.csv"
    )


def in_words(record: JsonObject) -> str:
    """A line about what votes have changed, given the record of it."""
    parts = []
    for split, counts in record["splits"].items():
        why = ", ".join(f"{n} {reason}" for reason, n in counts["left_out"].items()) or "none"
        parts.append(f"{split} {counts['rows']} rows, {counts['relabelled']} relabelled, left out: {why}")
    return f"--votes as {record['as']}: {'; '.join(parts)}"
