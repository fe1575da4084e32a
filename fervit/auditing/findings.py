"""What an audit finds: for each kind of fault its rows, why they count as such, and which of them are shown."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field

import numpy as np

from fervit.auditing.codes import Codes
from fervit.auditing.copies import (
    CORRELATION,
    DISTANCE,
    conflicting,
    crossing,
    exact_copies,
    near_copies,
    surplus,
)
from fervit.auditing.pictures import Pictures, Rows
from fervit.system.program import called

BLANK = 1.0
"""The contrast, in grey values, below which a picture counts as blank."""
DARK = 40.0
"""The mean grey value below which a picture counts as dark."""
BLURRED = 3.5
"""A picture is blurred if the logarithm of its sharpness is this many robust standard deviations (1.4826 times the
median absolute deviation) below the median of the set."""


@dataclass(frozen=True, kw_only=True)
class Finding:
    """The rows with one kind of fault."""

    key: str
    """Its name in files: `exclude/<key>.jsonl`, `sheets/<key>.png`."""
    title: str
    text: str
    """What counts as this fault, and what leaving its rows out does."""
    reasons: Mapping[int, str]
    """Each row on the exclusion list -> the reason, as the list has it."""
    shown: Sequence[int] = ()
    """The rows to look at, the clearest first; rows of one group follow each other."""
    captions: Mapping[int, str] = field(default_factory=dict)
    """What is below the picture of a row, if it is not the reason."""
    certain: bool = False
    """Whether the rows are wrong beyond doubt, rather than to be looked at."""
    facts: Mapping[str, object] = field(default_factory=dict)
    """Further numbers for audit.json."""

    def by_split(self, rows: Rows) -> dict[str, int]:
        """Counts the rows on the list for each split."""
        splits = rows.splits[list(self.reasons)].tolist()
        return {split: splits.count(split) for split in dict.fromkeys(rows.splits.tolist()) if split in splits}


def of_rows(rows: Rows) -> list[Finding]:
    """Finds exact copies and those whose labels conflict."""
    groups = exact_copies(rows)
    conflicts = conflicting(groups, rows.labels)
    extra = surplus(groups, rows.splits)
    copies = Finding(
        key="copies",
        title="Exact copies",
        text=f"{len(groups)} pictures are in the data set more than once, with {sum(map(len, groups)) - len(groups)} "
        f"extra copies{_crossing(groups, rows.splits)}. Copies across splits reward a model that remembers. The list "
        "leaves each picture once: in test rather than val rather than train.",
        reasons={row: f"copy of {rows.image_ids[kept]}" for row, kept in extra.items()},
        shown=[row for group in sorted(groups, key=lambda group: -len(group)) for row in group],
        certain=True,
        facts={
            "groups": len(groups),
            "extra_copies": sum(map(len, groups)) - len(groups),
            "across_splits": crossing(groups, rows.splits),
        },
    )
    conflict = Finding(
        key="conflicts",
        title="Copies with conflicting labels",
        text=f"{len(conflicts)} of these pictures have two labels or more, one of which is wrong. The "
        "list has all their rows.",
        reasons={row: f"the same picture as {_others(rows, group, row)}" for group in conflicts for row in group},
        shown=[row for group in conflicts for row in group],
        certain=True,
        facts={"groups": len(conflicts)},
    )
    return [copies, conflict]


def of_pictures(pictures: Pictures) -> list[Finding]:
    """Finds unreadable, blank, dark and blurred pictures, those without a face, and near copies."""
    readable = np.array([row not in pictures.unreadable for row in range(len(pictures))], bool)
    blank = readable & (pictures.contrast < BLANK)
    rest = readable & ~blank
    dark = rest & (pictures.brightness < DARK)
    blurred, limit = _blurred(pictures, rest)
    faceless = rest & (pictures.faces == 0)
    findings = [
        Finding(
            key="unreadable",
            title="Unreadable pictures",
            text=f"Pictures that cannot be read; {called('encode')} would list them in _errors.jsonl.",
            reasons=dict(pictures.unreadable),
            certain=True,
        ),
        _ranked(
            *("blank", "Blank pictures", blank, pictures.contrast),
            f"Pictures that show nothing: their grey values have a standard deviation below {BLANK:g} of 255. "
            f"{int((blank & (pictures.contrast == 0)).sum())} of them are of one colour.",
            certain=True,
        ),
        _ranked(
            *("dark", "Dark pictures", dark, pictures.brightness),
            f"Pictures whose mean grey value is below {DARK:g} of 255, the darkest first.",
        ),
        _ranked(
            *("blurred", "Blurred pictures", blurred, pictures.sharpness),
            f"Pictures whose edges are far weaker than in the set (the standard deviation of the Laplacian is below "
            f"{limit:.2f} of that of the grey values; the median is {_median(pictures.sharpness[rest]):.2f}), the most "
            "blurred first.",
        ),
        _near(pictures),
    ]
    if (pictures.faces >= 0).any():
        findings.insert(
            2,
            _ranked(
                *("no_face", "No face", faceless, pictures.contrast),
                "Pictures in which YuNet finds no face. It misses faces that are turned away, covered or drawn, so "
                "look before leaving them out.",
            ),
        )
    return findings


def of_codes(codes: Codes) -> list[Finding]:
    """Finds codes that are not finite, constant, or far outside."""
    far = np.flatnonzero(codes.far)
    far = far[np.argsort(-codes.distance[far], kind="stable")]
    return [
        Finding(
            key="codes_not_finite",
            title="Codes that are not finite",
            text="Codes with NaN or infinity, on which no training starts: encode these faces again in float32.",
            reasons={int(row): "its code is not finite" for row in np.flatnonzero(codes.not_finite)},
            shown=np.flatnonzero(codes.not_finite).tolist(),
            certain=True,
        ),
        Finding(
            key="codes_constant",
            title="Constant codes",
            text="Codes whose styles are all the same, or with a style of one number: no encoder makes such codes of a "
            "face.",
            reasons={int(row): "its code is constant" for row in np.flatnonzero(codes.constant)},
            shown=np.flatnonzero(codes.constant).tolist(),
            certain=True,
        ),
        Finding(
            key="codes_far",
            title="Codes far outside",
            text="Codes whose distance to the mean code is far larger than that of the others, the farthest first. "
            f"The median distance is {_median(codes.distance):.2f} standard deviations.",
            reasons={int(row): f"its code is {codes.distance[row]:.1f} standard deviations away" for row in far},
            shown=far.tolist(),
        ),
    ]


def counts(rows: Rows) -> dict[str, dict[str, int]]:
    """Counts the rows of each class in each split: split -> class -> rows."""
    found = {}
    for split in dict.fromkeys(rows.splits.tolist()):
        labels = rows.labels[(rows.splits == split) & (rows.labels >= 0)]
        of_classes = np.bincount(labels, minlength=len(rows.classes)).tolist()
        found[split] = dict(zip(rows.classes, of_classes, strict=True))
    return found


def imbalance(of_classes: Mapping[str, int]) -> float | None:
    """How many times as many rows the largest class has as the smallest that has any; None for no rows."""
    present = [n for n in of_classes.values() if n]
    return max(present) / min(present) if present else None


def _near(pictures: Pictures) -> Finding:
    groups = near_copies(pictures)
    extra, conflicts = surplus(groups, pictures.splits), conflicting(groups, pictures.labels)
    between = f"; {len(conflicts)} of the groups have conflicting labels" if conflicts else ""
    return Finding(
        key="near_copies",
        title="Near copies",
        text=f"{len(groups)} groups of pictures that differ little{_crossing(groups, pictures.splits)}{between}: their "
        f"perceptual hashes differ in at most {DISTANCE} of 64 bits, and their thumbnails correlate by {CORRELATION} "
        "or more. Frames of one film are near copies, too. The list leaves one of each group.",
        reasons={row: f"near copy of {pictures.image_ids[kept]}" for row, kept in extra.items()},
        shown=[row for group in sorted(groups, key=lambda group: -len(group)) for row in group],
        facts={
            "groups": len(groups),
            "conflicting_groups": len(conflicts),
            "across_splits": crossing(groups, pictures.splits),
        },
    )


def _ranked(key: str, title: str, found: np.ndarray, value: np.ndarray, text: str, *, certain: bool = False) -> Finding:
    """A finding whose rows are shown by a value, the smallest first."""
    rows = np.flatnonzero(found)
    rows = rows[np.argsort(value[rows], kind="stable")]
    reasons = {int(row): f"{title.lower().removesuffix(' pictures')} ({value[row]:.2f})" for row in rows}
    return Finding(key=key, title=title, text=text, reasons=reasons, shown=rows.tolist(), certain=certain)


def _blurred(pictures: Pictures, rest: np.ndarray) -> tuple[np.ndarray, float]:
    """Whether each picture is blurred, bool [n], and the sharpness below which it is."""
    if not rest.any():
        return np.zeros(len(pictures), bool), 0.0
    logs = np.log(np.maximum(pictures.sharpness[rest], 1e-6))
    middle = np.median(logs)
    spread = 1.4826 * float(np.median(np.abs(logs - middle)))
    limit = float(np.exp(middle - BLURRED * max(spread, 0.05)))
    return rest & (pictures.sharpness < limit), limit


def _crossing(groups: Sequence[Sequence[int]], splits: np.ndarray) -> str:
    across = crossing(groups, splits)
    parts = [f"{n} {pair.replace(' in ', ' rows are also in ')}" for pair, n in across.items()]
    return f" ({', '.join(parts)})" if parts else ""


def _others(rows: Rows, group: Sequence[int], row: int) -> str:
    parts = [f"{rows.image_ids[other]} ({name_of_class(rows, other)})" for other in group if other != row]
    return ", ".join(parts[:3]) + (" and more" if len(parts) > 3 else "")


def name_of_class(rows: Rows, row: int) -> str:
    """The name of a row's class; "unknown" for label -1."""
    label = int(rows.labels[row])
    return rows.classes[label] if label >= 0 else "unknown"


def _median(values: np.ndarray) -> float:
    return float(np.median(values)) if len(values) else 0.0
