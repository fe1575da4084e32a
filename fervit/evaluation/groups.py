"""Metrics by groups of faces, such as age, sex, skin type or camera, with a test of the difference between them."""

from __future__ import annotations

import csv
import html
import json
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import TypedDict

import numpy as np

from fervit.errors import UserError
from fervit.evaluation.intervals import intervals_of
from fervit.evaluation.statistics import confusion
from fervit.io.storage import read_csv
from fervit.latents.joining import joined, other_keys
from fervit.training.metrics import metrics_of_counts

FILE = "groups.json"
MOST_GROUPS = 50
"""A column with more values, such as a name or an age in days, does not say groups."""
DRAWS = 20_000
"""The draws of the test, which resolves p-values down to its inverse."""
Groups = Mapping[str, Mapping[str, str]]
"""The name of each column -> image id -> group."""


class GroupScores(TypedDict):
    """The metrics of the rows of one group."""

    group: str
    n: int
    accuracy: float
    f1_macro: float
    """The mean F1 of the classes that are true or predicted in the group: groups of other classes do not compare."""
    intervals_95: dict[str, list[float]]
    """The 95 % intervals of `accuracy` and `f1_macro`."""


class ColumnScores(TypedDict):
    """The metrics by the groups of one column."""

    column: str
    unknown: int
    """The number of rows without a group in this column, which are left out."""
    groups: list[GroupScores]
    p: float | None
    """The p-value of the test that all groups have the same accuracy; None for fewer than two groups."""
    p_corrected: float | None
    """The same, corrected for the number of columns (Holm, 1979)."""


def read_groups(file: str) -> Groups:
    """Reads a CSV file with the column image_id and a column for each way to group.

    Args:
        file: the path or URI.

    Raises:
        UserError: the file is missing, is no such CSV, or a column has too many values to be groups.
    """
    rows, _ = read_csv(file, "--groups", csv.DictReader)
    columns = [name for name in (rows[0] if rows else {}) if name and name != "image_id"]
    if not rows or "image_id" not in rows[0] or not columns:
        raise UserError(f"--groups {file}: needs a column image_id, one or more of groups, and a row for each face")
    found = {
        column: {row["image_id"]: value for row in rows if row["image_id"] and (value := (row[column] or "").strip())}
        for column in columns
    }
    for column, groups in found.items():
        n = len(set(groups.values()))
        if n > MOST_GROUPS:
            raise UserError(
                f"--groups {file}: column {column} has {n} values; groups need {MOST_GROUPS} or fewer: put them into "
                "ranges, or leave the column out"
            )
    return found


def check_groups(groups: Groups, image_ids: Sequence[str]) -> None:
    """Checks that some row has a group.

    Raises:
        UserError: none has.
    """
    _names_of(groups, image_ids)


def by_group(
    groups: Groups,
    image_ids: Sequence[str],
    labels: np.ndarray,
    predicted: np.ndarray,
    classes: Sequence[str],
    *,
    seed: int = 0,
) -> list[ColumnScores]:
    """Computes the metrics of each group.

    Args:
        groups: the groups.
        image_ids: the image id of each row.
        labels: the true classes, int64 [n].
        predicted: the predicted classes, int64 [n].
        classes: the names of the classes.
        seed: of the draws of the test.

    Raises:
        UserError: no row has a group.
    """
    found: list[ColumnScores] = []
    for column, of_rows in _names_of(groups, image_ids).items():
        names = np.array(of_rows)
        rows = {name: names == name for name in sorted(set(names) - {""})}
        scores = [_scores(name, labels[of], predicted[of], classes) for name, of in rows.items()]
        hits = [int((labels == predicted)[of].sum()) for of in rows.values()]
        p = _p_value(hits, [one["n"] for one in scores], seed) if len(scores) > 1 else None
        found.append(
            {"column": column, "unknown": int((names == "").sum()), "groups": scores, "p": p, "p_corrected": None}
        )
    _correct(found)
    return found


def _names_of(groups: Groups, image_ids: Sequence[str]) -> dict[str, list[str]]:
    """The group of each face in each column, "" for none.

    Raises:
        UserError: no face has a group.
    """
    found = {column: _of_each(of_faces, image_ids) for column, of_faces in groups.items()}
    if not any(name for names in found.values() for name in names):
        known = next((name for of_faces in groups.values() for name in of_faces), "none")
        raise UserError(
            f"--groups: no image_id of it, such as {known}, is in the split, whose are {', '.join(image_ids[:2])}, ..."
        )
    return found


def _of_each(of_faces: Mapping[str, str], image_ids: Sequence[str]) -> list[str]:
    """The group of each face, "" for none. Faces that preprocessing cut out have the group of their picture."""
    found = joined(image_ids, of_faces, other_keys(list(of_faces)))
    return ["" if name is None else of_faces[name] for name in found]


def read_scores(folder: Path) -> list[ColumnScores] | None:
    """Reads the metrics by groups that an evaluation wrote into its folder; None if it wrote none."""
    path = folder / FILE
    found: list[ColumnScores] | None = None
    if path.is_file():
        found = json.loads(path.read_text(encoding="utf-8"))["columns"]
    return found


def groups_in_words(found: Sequence[ColumnScores]) -> list[str]:
    """The lines about the metrics of each group, for the screen."""
    lines = []
    for one in found:
        p = one["p_corrected"]
        tested = "one group alone" if p is None else f"same accuracy: {p_in_words(p)} (corrected)"
        lines.append(f"by {one['column']}: {tested}" + (f"; {one['unknown']} without" if one["unknown"] else ""))
        for scores in one["groups"]:
            low, high = scores["intervals_95"]["accuracy"]
            lines.append(
                f"  {scores['group']:<12} {scores['n']:>6} faces  accuracy {scores['accuracy']:.3f} ({low:.3f} to "
                f"{high:.3f})  macro-F1 {scores['f1_macro']:.3f}"
            )
    return lines


def groups_for_card(found: Sequence[ColumnScores], split: str, n: int) -> list[str]:
    """The metrics of each group in Markdown, for a model card.

    Args:
        found: from `by_group`.
        split: the name of the split that they are of.
        n: the number of its faces.
    """
    lines = [f"On {n} faces of {split}, with 95 % intervals. Other shares of the classes alone change the accuracy."]
    for one in found:
        p = one["p_corrected"]
        tested = "one group" if p is None else f"the same accuracy in all: {p_in_words(p)} (permutations, corrected)"
        unknown = f"; {one['unknown']} faces without" if one["unknown"] else ""
        lines += ["", f"By {_in_markdown(one['column'])}; {tested}{unknown}.", ""]
        lines += ["| group | faces | accuracy | macro-F1 |", "|---|---|---|---|"]
        for scores in one["groups"]:
            cells = [
                "{:.3f} ({:.3f} to {:.3f})".format(value, *scores["intervals_95"][metric])
                for metric, value in (("accuracy", scores["accuracy"]), ("f1_macro", scores["f1_macro"]))
            ]
            lines.append(f"| {_in_markdown(scores['group'])} | {scores['n']} | {' | '.join(cells)} |")
    return lines


def _in_markdown(text: str) -> str:
    return html.escape(text).replace("|", "/")


def p_in_words(p: float) -> str:
    """A p-value for people, such as "p = 0.012", or "p < 0.001"."""
    return "p < 0.001" if p < 0.001 else f"p = {p:.3f}"


def _scores(name: str, labels: np.ndarray, predicted: np.ndarray, classes: Sequence[str]) -> GroupScores:
    counts = confusion(labels, predicted, len(classes))
    values, intervals = metrics_of_counts(counts), intervals_of(counts, classes)
    return {
        "group": name,
        "n": len(labels),
        "accuracy": values["accuracy"],
        "f1_macro": values["f1_macro"],
        "intervals_95": {metric: intervals[metric] for metric in ("accuracy", "f1_macro")},
    }


def _p_value(hits: Sequence[int], sizes: Sequence[int], seed: int) -> float:
    """Tests whether groups have the same accuracy, by the chi-squared statistic of permuted rows.

    If the groups do not matter, the hits fall among them as in a draw without replacement.
    """
    rows = np.array(sizes)
    expected = sum(hits) / rows.sum() * rows

    def statistic(counts: np.ndarray) -> np.ndarray:
        of_groups: np.ndarray = ((counts - expected) ** 2 / rows).sum(axis=-1)
        return of_groups

    drawn = np.random.default_rng(seed).multivariate_hypergeometric(rows, sum(hits), size=DRAWS, method="marginals")
    as_far = (statistic(drawn) >= statistic(np.array(hits)) - 1e-9).sum()
    return float((1 + as_far) / (1 + DRAWS))


def _correct(found: Sequence[ColumnScores]) -> None:
    """Corrects the p-values for the number of tests, by Holm's method."""
    tested = sorted((one for one in found if one["p"] is not None), key=lambda one: one["p"] or 0.0)
    largest = 0.0
    for i, one in enumerate(tested):
        assert one["p"] is not None
        largest = max(largest, min(1.0, one["p"] * (len(tested) - i)))
        one["p_corrected"] = largest
