"""Lists the pictures of class folders, <split>/<class>/*.png or those of one split, on any file system."""

from __future__ import annotations

import difflib
from dataclasses import dataclass
from pathlib import PurePosixPath

import pyarrow as pa

from fervit.errors import UserError
from fervit.images.face_index import SCHEMA, FaceIndex
from fervit.images.layouts.listing import Entry, Listing
from fervit.images.layouts.listing import readable as readable
from fervit.images.passed_over import LEFT_OUT_CLASS, NO_CLASS, NO_PICTURE, NO_SPLIT, PassedOver
from fervit.labels.emotions import EMOTIONS, SPLITS, SYNONYMS, bare_name, emotion_of, split_of, without_number
from fervit.labels.label_set import FOLDERS, SEVEN, LabelSet, canonical, label_set_of
from fervit.parsing import nearest

OTHER_NAMES = "; --labels says what class folders of other names or numbers are"
WHOSE_NUMBERS = (
    "say by --labels whose numbers these are (rafdb: 1..7, affectnet or ferplus: 0..7, fer2013: 0..6, or a file)"
)


def index_folder(listing: Listing, labels: LabelSet | None = None) -> FaceIndex:
    """Lists all pictures in the class folders, sorted by path, and what else lies there.

    Args:
        listing: what lies below the data root.
        labels: the label set; `FOLDERS` for what the folders are called. None takes the seven emotions, with contempt
            if a folder is named so, or, if no folder is named after an emotion, what the folders are called.

    Raises:
        UserError: a folder of pictures is named after neither a split nor a class.
    """
    layout = _Layout.of(listing, labels)
    rows: list[tuple[str, str, int, str]] = []
    passed_over = listing.passed_over
    for path in listing.files:
        place = layout.place(PurePosixPath(path).parts)
        if isinstance(place, str):
            passed_over.append(PassedOver(readable(path), place))
        elif not listing.is_picture(path):
            passed_over.append(PassedOver(readable(path), NO_PICTURE))
        else:
            rows.append((readable(path), *place, listing.source(path)))
    columns = {name: [row[i] for row in rows] for i, name in enumerate(SCHEMA.names)}
    return FaceIndex(
        root=listing.root,
        kind="file",
        table=pa.table(columns, schema=SCHEMA),
        filesystem=listing.filesystem,
        label_set=layout.label_set,
        one_split=layout.one_split,
        passed_over=tuple(sorted(passed_over)),
        remarks=layout.remarks(),
    )


@dataclass(frozen=True)
class _Layout:
    """Which folders are the splits and the classes of a data root."""

    one_split: bool
    splits: dict[str, str]
    """The names of folders -> the splits that they mean. For one split, "" -> its name."""
    classes: dict[str, str]
    """The names of class folders -> the classes that they mean; "" for emotions that the label set leaves out."""
    label_set: LabelSet

    @classmethod
    def of(cls, listing: Listing, labels: LabelSet | None) -> _Layout:
        """Understands the folders of a data root.

        Raises:
            UserError: a folder that holds pictures is neither a split nor a class, or two folders mean one split.
        """
        entries, root = listing.entries, listing.root
        files = [PurePosixPath(path).parts for path in listing.files]
        full = {parts[: i + 1] for parts in files for i in range(len(parts) - 1)}  # the folders that hold something
        top = [entry.path for entry in entries if entry.is_folder and "/" not in entry.path]
        splits = {name: split for name in top if (split := split_of(name)) is not None}
        one_split = not splits and _are_classes(top, full, labels, listing)
        if one_split:
            splits, depth = {"": listing.name_of_split}, 1
        else:
            depth = 2
            _check_splits(root, top, splits, full)
        folders = _class_folders(entries, depth, {} if one_split else splits)
        named = {path: name for path, name in folders.items() if PurePosixPath(path).parts in full or not files}
        label_set = _label_set(root, named, labels)
        classes = {}
        for folder, name in folders.items():
            meant = label_set.class_of(name)
            if meant is not None:
                classes[name] = meant
            elif emotion_of(name) is not None and labels is not None:
                classes[name] = ""
            elif folder in named:
                _refuse_class(root, folder, name, label_set)
        return cls(one_split, splits, classes, label_set)

    def place(self, parts: tuple[str, ...]) -> tuple[str, int] | str:
        """The split and the label of a file, or why it has none."""
        split = self.splits.get("" if self.one_split else parts[0])
        below = parts if self.one_split else parts[1:]
        if split is None:
            return NO_SPLIT
        if len(below) < 2 or below[0] not in self.classes:
            return NO_CLASS if self.one_split or len(parts) > 1 else NO_SPLIT
        meant = self.classes[below[0]]
        return (split, self.label_set.index(meant)) if meant else LEFT_OUT_CLASS

    def remarks(self) -> tuple[str, ...]:
        """Says which names were taken for which splits and classes, where they are not the same, and another set."""
        of_splits = [f"{name} as {split}" for name, split in self.splits.items() if name not in ("", split)]
        classes = {name: meant for name, meant in self.classes.items() if meant}
        of_classes = [f"{name} as {meant}" for name, meant in classes.items() if name.lower() != meant.lower()]
        names = tuple(f"names: {', '.join(found)}" for found in (of_splits + of_classes,) if found)
        return names if self.label_set == SEVEN else (*names, f"labels: {self.label_set}")


def _are_classes(top: list[str], full: set[tuple[str, ...]], labels: LabelSet | None, listing: Listing) -> bool:
    """Whether the folders at the top are classes, so that the data root is one split."""
    if labels is None or labels != FOLDERS:
        return any(emotion_of(name) is not None or (labels and labels.class_of(name)) for name in top)
    inside = {parts[1] for parts in full if len(parts) == 2}  # a class may have folders of its own, such as sessions
    other = any(split_of(name) is not None or emotion_of(name) is not None for name in inside)
    return not other and len([name for name in top if (name,) in full]) > 1


def _class_folders(entries: list[Entry], depth: int, splits: dict[str, str]) -> dict[str, str]:
    """The paths of the folders that should be classes -> their names."""
    found = {}
    for entry in entries:
        parts = PurePosixPath(entry.path).parts
        if entry.is_folder and len(parts) == depth and (not splits or parts[0] in splits):
            found[entry.path] = parts[-1]
    return found


def _label_set(root: str, named: dict[str, str], labels: LabelSet | None) -> LabelSet:
    """The label set: that of the user, or the one that folders with these names speak for.

    Raises:
        UserError: the folders are numbers, and nobody said whose.
    """
    if labels is not None and labels != FOLDERS:
        return labels
    names = list(named.values())
    known = [name for name in names if emotion_of(name) is not None]
    numbers = next((name for name in names if name.isdecimal()), None)
    if numbers is not None and not known:
        raise UserError(f"--data_root {root}: has class folders such as '{numbers}'; {WHOSE_NUMBERS}")
    if labels is None and known:
        eighth = any(emotion_of(name) not in EMOTIONS for name in known)
        return label_set_of(sorted(SYNONYMS)) if eighth else SEVEN
    if labels is None and (not names or any(_is_near(name) for name in names)):
        return SEVEN
    of_bare = {bare_name(canonical(name)): canonical(name) for name in names}
    try:
        return label_set_of(sorted(of_bare.values()))
    except ValueError as error:
        raise UserError(f"--data_root {root}: its class folders are no label set ({error})") from None


def _is_near(name: str) -> bool:
    """Whether a name may be a misspelt emotion."""
    known = [word for emotion, others in SYNONYMS.items() for word in (emotion, *others)]
    return bool(difflib.get_close_matches(bare_name(without_number(name)), known, n=1, cutoff=0.75))


def _check_splits(root: str, top: list[str], splits: dict[str, str], full: set[tuple[str, ...]]) -> None:
    """Raises UserError if a folder beside the splits holds pictures, if two mean the same, or if there are none."""
    if top and not splits:
        below = [name for name in top if (name,) in full]
        shown = below[0] if below else top[0]
        inside = f"; give --data_root {root.rstrip('/')}/{shown}, if that is where they are" if len(below) == 1 else ""
        raise UserError(
            f"--data_root {root}: has '{shown}' but no train, val or test folder and no folder named after an emotion "
            f"({', '.join(EMOTIONS)}); {nearest(shown, (*SPLITS, *EMOTIONS))}{inside}{OTHER_NAMES}"
        )
    for name in top:
        if splits and name not in splits and (name,) in full:
            raise UserError(
                f"--data_root {root}: '{name}' stands beside {next(iter(splits))} but is no split; splits are "
                f"{', '.join(SPLITS)} ({nearest(name.lower(), SPLITS)}): rename or move it"
            )
    for name, split in splits.items():
        others = [other for other, same in splits.items() if same == split and other != name and (other,) in full]
        if others and (name,) in full:
            raise UserError(f"--data_root {root}: '{name}' and '{others[0]}' both mean {split}; move one of them")


def _refuse_class(root: str, folder: str, name: str, label_set: LabelSet) -> None:
    """Raises UserError for a class folder that is not named after a class."""
    own = f"; {WHOSE_NUMBERS}" if name.isdecimal() else "; if it is a class of its own, give --labels folders or a file"
    raise UserError(
        f"{root.rstrip('/')}/{folder}: '{name}' is not one of {label_set} or a common "
        f"name of one; {nearest(name.lower(), label_set.classes)}: rename the folder, or move it out of the data root"
        f"{own}"
    )
