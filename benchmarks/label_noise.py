"""How well doubtful labels are found on the real FER2013, judged by FER+'s ten taggers (Barsoum et al., ICMI 2016).

A row counts as wrongly labelled if eight or more of its ten taggers agree on another emotion than its label. The figure
is the area under the ROC of each ranking for that: 0.5 is chance. The ranking is chosen on the Training rows, and
counts on the PublicTest rows; the classifier that judges a row has seen neither the row nor a copy, and no taggers.

    .venv/bin/python -m benchmarks.label_noise --data_root fer2013.csv.gz --votes fer2013new.csv
"""

from __future__ import annotations

import argparse
import csv
import time
from pathlib import Path

import numpy as np
from sklearn.metrics import roc_auc_score

from fervit.auditing.doubts import Ranking, doubts
from fervit.auditing.pictures import measure
from fervit.images.index import open_faces
from fervit.labels.emotions import emotion_of
from fervit.progress import clock
from fervit.system.hardware import usable_cpus

AGREE = 8
"""The taggers of ten that must agree on another emotion."""
EMOTIONS_FROM, EMOTIONS_TO = "neutral", "contempt"
"""The first and the last column of an emotion in fer2013new.csv; unknown and NF (no face) follow."""


def taggers(path: Path) -> tuple[list[str], np.ndarray]:
    """Reads the votes: the names of the emotions, and int64 [n, emotions] in the order of fer2013.csv."""
    with path.open(newline="", encoding="utf-8") as file:
        rows = list(csv.reader(file))
    first, last = rows[0].index(EMOTIONS_FROM), rows[0].index(EMOTIONS_TO)
    votes = np.array([[int(value) for value in row[first : last + 1]] for row in rows[1:]])
    return rows[0][first : last + 1], votes


def main() -> None:
    """Measures and prints the table."""
    flags = argparse.ArgumentParser(description=__doc__)
    flags.add_argument("--data_root", type=Path, default=Path("../shared/data/fer2013_train_val.csv.gz"))
    flags.add_argument("--votes", type=Path, default=Path("../shared/data/ferplus/fer2013new_train_val.csv"))
    args = flags.parse_args()
    started = time.monotonic()
    pictures = measure(open_faces(str(args.data_root)))
    looked = time.monotonic()
    found = doubts(pictures)
    assert found is not None
    judged = time.monotonic()
    names, votes = taggers(args.votes)
    assert len(votes) == len(pictures), "the votes are of another file"
    columns = [emotion_of(name) for name in names]
    others = votes[found.rows].copy()
    for label, emotion in enumerate(pictures.classes):
        others[pictures.labels[found.rows] == label, columns.index(emotion)] = 0
    wrong, splits = others.max(axis=1) >= AGREE, pictures.splits[found.rows]
    rows = {split: splits == split for split in ("train", "val")}
    agree = {
        split: float((found.probabilities.argmax(axis=1) == pictures.labels[found.rows])[of].mean())
        for split, of in rows.items()
    }
    print(
        f"{len(pictures):,} pictures, {usable_cpus()} CPUs: read in {clock(looked - started)}, labels judged in",
        end=" ",
    )
    print(f"{clock(judged - looked)}; the classifier agrees with the labels of", end=" ")
    print(f"{agree['train']:.1%} of Training, {agree['val']:.1%} of PublicTest")
    print(
        f"wrong by the taggers: {wrong[rows['train']].mean():.1%} of Training, {wrong[rows['val']].mean():.1%}", end=" "
    )
    print(f"of PublicTest ({wrong[rows['val']].sum()} of {rows['val'].sum()})")
    areas: dict[Ranking, dict[str, float]] = {
        name: {split: float(roc_auc_score(wrong[of], score[of])) for split, of in rows.items()}
        for name, score in found.scores.items()
    }
    print(f"{'ranking':<30} Training  PublicTest  wrong among the first 5 % of PublicTest")
    for name, area in areas.items():
        of = rows["val"]
        first = np.argsort(-found.scores[name][of], kind="stable")[: round(0.05 * of.sum())]
        print(f"{name:<30} {area['train']:>8.3f}  {area['val']:>10.3f}  {wrong[of][first].mean():.1%}")
    chosen = max(areas, key=lambda name: areas[name]["train"])
    print(f"chosen on Training: {chosen}, {areas[chosen]['val']:.3f} on PublicTest")


if __name__ == "__main__":
    main()
