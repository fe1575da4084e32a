"""The faces of a data set that names the labels of its pictures in files of its own."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field

import pyarrow as pa

from fervit.errors import UserError
from fervit.images.face_index import SCHEMA, FaceIndex
from fervit.images.layouts.listing import Listing, readable
from fervit.images.passed_over import LEFT_OUT_CLASS, NO_LABEL, NO_PICTURE, PassedOver
from fervit.labels.label_set import FOLDERS, LabelSet


@dataclass(frozen=True, kw_only=True)
class Marked:
    """The pictures of a data set, with their splits and labels."""

    what: str
    """The data set and the files that name the labels, for messages."""
    label_set: LabelSet
    """The predefined label set of the data set, whose numbers the labels are."""
    faces: Mapping[str, tuple[str, str]]
    """The path of each picture -> its split and its label, a number or a name."""
    reasons: Mapping[str, str] = field(default_factory=dict)
    """The path of each picture that is not used, and why."""
    remark: str = ""
    one_split: bool = False

    def index(self, listing: Listing, labels: LabelSet | None) -> FaceIndex:
        """Makes the index of the faces.

        Args:
            listing: what lies below the data root.
            labels: the label set that the user names; None for that of the data set. Pictures of classes that it does
                not have are passed over.

        Raises:
            UserError: a label means no class.
        """
        wanted = self.label_set if labels is None or labels == FOLDERS else labels
        rows: list[tuple[str, str, int, str]] = []
        passed_over = listing.passed_over
        meant: dict[str, str | None] = {}
        for path in listing.files:
            name, face = readable(path), self.faces.get(path)
            if face is None:
                reason = NO_LABEL if listing.is_picture(path) else NO_PICTURE
                passed_over.append(PassedOver(name, self.reasons.get(path, reason)))
                continue
            split, label = face
            if label not in meant:
                meant[label] = self._class(label, wanted, listing.root)
            one = meant[label]
            if one is None:
                passed_over.append(PassedOver(name, LEFT_OUT_CLASS))
            else:
                rows.append((name, split, wanted.index(one), listing.source(path)))
        columns = {name: [row[i] for row in rows] for i, name in enumerate(SCHEMA.names)}
        return FaceIndex(
            root=listing.root,
            kind="file",
            table=pa.table(columns, schema=SCHEMA),
            filesystem=listing.filesystem,
            label_set=wanted,
            one_split=self.one_split,
            passed_over=tuple(sorted(passed_over)),
            remarks=tuple(remark for remark in (self.what, self.remark) if remark),
        )

    def _class(self, label: str, wanted: LabelSet, root: str) -> str | None:
        """The class of a label; None if the user's set leaves it out.

        The numbers of a set that the user has written count before those of the data set.
        """
        own = not wanted.predefined
        if own and (found := wanted.class_of(label)) is not None:
            return found
        named = self.label_set.class_of(label)
        if named is None or (own and wanted.numbers):
            raise UserError(
                f"--data_root {root}: {self.what} has the label {label}, which means none of {wanted}; give --labels a "
                "file with the class of each number, such as `1: happily surprised`"
            )
        return wanted.class_of(named)
