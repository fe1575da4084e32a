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
from dataclasses import dataclass, field
from pathlib import Path
from typing import Literal, TextIO

import numpy as np

from fervit.errors import UserError
from fervit.io.files import JsonObject
from fervit.io.storage import absolute, read_csv
from fervit.labels.emotions import emotion_of
from fervit.labels.label_set import LabelSet
from fervit.latents.joining import Key, joined, other_keys
from fervit.latents.latent_set import LatentSet

VotesAs = Literal["majority", "distribution"]
"""Whether a row gets the class of most votes as its label, or the shares of all classes as its target."""
NO_FACE = ("nf", "noface", "notaface", "not a face", "no face")
"""The names of the column, in lower case, that counts the taggers who see no face."""
OTHER_COLUMNS = ("usage", "image name")
"""The columns of FER+'s own file, whose rows are those of fer2013.csv in their order."""
NO_VOTES = frozenset(
    (
        *("image_id", *OTHER_COLUMNS, "", "split", "label", "labels", "emotion", "majority", "path", "file"),
        *("filename", "image", "total", "sum", "count"),
    )
)
"""The columns, in lower case, that are never votes; one without a name, or `Unnamed: 0`, is the index of pandas."""


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
    others: Mapping[Key, str] = field(default_factory=dict)
    """By what else the rows are found -> their image ids (`joining.other_keys`)."""

    @classmethod
    def read(cls, file: str) -> Votes:
        """Reads a CSV file with a column for each class, and `image_id` unless it is FER+'s own fer2013new.csv.

        Args:
            file: the path or URI.

        Raises:
            UserError: there is no such file, it names no faces or fewer than two classes, a face or a column appears
                there twice, or a vote is no number.
        """
        rows, content = read_csv(file, "--votes", _rows)
        if len(rows) < 2:
            raise UserError(f"--votes {file}: has no rows; it needs a heading and a row for each face")
        heading = [name.strip() for name in rows[0]]
        ids, others = _image_ids(file, heading, rows[1:])
        voted = [
            i for i, name in enumerate(heading) if name.lower() not in NO_VOTES and not name.startswith("Unnamed:")
        ]
        columns = tuple(emotion_of(heading[i]) or heading[i] for i in voted)
        if len(columns) < 2:
            raise UserError(
                f"--votes {file}: has the columns {', '.join(heading)}; it needs one for each class, and image_id"
            )
        for what, names in (("the face", ids), ("a column for", columns)):
            twice = next((name for name, n in Counter(names).items() if n > 1), None)
            if twice is not None:
                raise UserError(
                    f"--votes {file}: has {what} {twice} twice; give a row for each face with the numbers of votes"
                )
        counts = np.array([_counts(file, ids[i], row, heading, voted) for i, row in enumerate(rows[1:])], np.float32)
        return cls(
            file=absolute(file),
            sha256=hashlib.sha256(content).hexdigest(),
            columns=columns,
            votes=dict(zip(ids, counts, strict=True)),
            others=others,
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
            UserError: no row of the split has votes, or none stays; or fewer than two classes have a column.
        """
        classes = latents.label_set.classes
        known = self._columns_of(latents.label_set)
        ids = joined(latents.image_ids, self.votes, self.others)
        labels, shares, why = latents.labels.copy(), np.zeros((len(latents), len(classes)), np.float32), Counter[str]()
        kept = np.zeros(len(latents), bool)
        for row, image_id in enumerate(ids):
            found = None if image_id is None else self.votes[image_id]
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
        by_name = sum(ids[row] != latents.image_ids[row] for row in rows)
        if by_name:
            record["by_name"] = by_name
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

    def _columns_of(self, label_set: LabelSet) -> np.ndarray:
        """The column of each class, integers [C]; -1 for a class without one.

        Raises:
            UserError: fewer than two classes have a column, or two columns mean one class.
        """
        found = np.full(len(label_set), -1)
        for i, name in enumerate(self.columns):
            # Numbers of classes are not taken: nobody says whose they are.
            meant = label_set.class_of(name) if name in label_set or not name.isdecimal() else None
            if meant is not None and found[label_set.index(meant)] >= 0:
                other = self.columns[found[label_set.index(meant)]]
                raise UserError(f"--votes {self.file}: the columns {other} and {name} both mean {meant}; add them up")
            if meant is not None:
                found[label_set.index(meant)] = i
        if (found >= 0).sum() < 2:
            raise UserError(
                f"--votes {self.file}: has the columns {', '.join(self.columns)}; it needs one for each class of "
                f"{label_set}"
            )
        return found

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


def _rows(file: TextIO) -> list[list[str]]:
    """The rows of a CSV file without blank ones, whichever of comma, semicolon and tab is between its cells."""
    head = file.readline()
    file.seek(0)
    delimiter = max(",;\t", key=head.count)
    return [row for row in csv.reader(file, delimiter=delimiter) if any(cell.strip() for cell in row)]


def _image_ids(file: str, heading: Sequence[str], rows: Sequence[Sequence[str]]) -> tuple[list[str], Mapping[Key, str]]:
    """The image id of each row, and by what else it is found."""
    names = [name.lower() for name in heading]
    if "image_id" in names:
        place = names.index("image_id")
        ids = [row[place].strip() if len(row) > place else "" for row in rows]
        return ids, other_keys(ids)
    if set(OTHER_COLUMNS) <= set(names):
        ids = [f"row-{i:05d}" for i in range(len(rows))]
        usage, picture = map(names.index, OTHER_COLUMNS)
        last = max(usage, picture)
        pictures = [(row[usage], row[picture].strip()) if len(row) > last else ("", "") for row in rows]
        return ids, other_keys(ids, pictures)
    raise UserError(
        f"--votes {file}: has no column image_id, and is not FER+'s fer2013new.csv, whose rows are those of fer2013.csv"
    )


def _counts(file: str, image_id: str, row: Sequence[str], heading: Sequence[str], voted: Sequence[int]) -> list[float]:
    """The votes of a row; an empty cell is none.

    Raises:
        UserError: a cell is missing, or is no number of 0 or more.
    """
    found = []
    for i in voted:
        try:
            found.append(float(row[i].strip() or 0))
        except IndexError:
            raise UserError(f"--votes {file}: the row of {image_id} is too short: it has no {heading[i]}") from None
        except ValueError:
            raise UserError(
                f"--votes {file}: {row[i]!r}, the votes of {image_id} for {heading[i]}, is no number"
            ) from None
        if not 0 <= found[-1] < np.inf:
            raise UserError(f"--votes {file}: the votes of {image_id} for {heading[i]} must be a number of 0 or more")
    return found


def in_words(record: JsonObject) -> str:
    """A line about what votes have changed, given the record of it."""
    parts = []
    for split, counts in record["splits"].items():
        why = ", ".join(f"{n} {reason}" for reason, n in counts["left_out"].items()) or "none"
        found = f", {counts['by_name']} found by their names" if counts.get("by_name") else ""
        parts.append(f"{split} {counts['rows']} rows, {counts['relabelled']} relabelled{found}, left out: {why}")
    return f"--votes as {record['as']}: {'; '.join(parts)}"
