"""Evaluates a model on a test set of another label set: which classes and rows take part, and what is made of the rest.

A class of the model counts as the class of the test set that it is mapped onto, by its name or by a file; several may
be mapped onto one. Rows of classes that no class of the model is mapped onto are left out. The probabilities of the
classes of the model that take no part are left out, too, and the others add up to 1: the model is asked which of the
classes in common it sees. How often it would rather have said one of the others is counted.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np
import yaml

from fervit.errors import UserError
from fervit.evaluation.results import Across
from fervit.io.files import first_line, from_home
from fervit.labels.label_set import LabelSet, label_set_of
from fervit.labels.text_yaml import read_texts
from fervit.latents import LatentSet

WAY_OUT = "map the model's classes onto those of the test set by --label_map FILE, with lines like `happy: positive`"


@dataclass(frozen=True, kw_only=True)
class Crossing:
    """How the classes of a model are mapped onto those of a test set."""

    model: LabelSet
    test: LabelSet
    onto: Mapping[str, str]
    """Each class of the model that takes part -> a class of the test set."""

    @property
    def label_set(self) -> LabelSet:
        """The classes of the test set that take part, in its order."""
        return label_set_of(name for name in self.test.classes if name in self.onto.values())

    def rows(self, latents: LatentSet) -> LatentSet:
        """The rows of the classes that take part, with labels and shares of votes in the order of `label_set`.

        Votes for the classes that take no part are left out, and the shares of the others add up to 1, as do the
        probabilities.

        Raises:
            UserError: there is none.
        """
        taking_part = np.array([name in self.label_set for name in self.test.classes])
        chosen = np.flatnonzero(taking_part[latents.labels])
        if not len(chosen):
            raise UserError(
                f"{latents.path}: has no face of {', '.join(self.label_set.classes)}, which the model knows"
            )
        new = np.cumsum(taking_part) - 1
        rows, targets = latents.take(chosen), None
        if rows.targets is not None:
            of_these = rows.targets[:, taking_part]
            targets = of_these / of_these.sum(axis=1, keepdims=True)  # the label's own share is not 0
        return replace(rows, labels=new[rows.labels], targets=targets, label_set=self.label_set)

    def probabilities(self, of_model: np.ndarray) -> np.ndarray:
        """The probabilities of the model's classes, float [n, M] -> those of the classes in common, float [n, K]."""
        projection = np.zeros((len(self.model), len(self.label_set)), of_model.dtype)
        for name, meant in self.onto.items():
            projection[self.model.index(name), self.label_set.index(meant)] = 1
        sums = of_model @ projection
        found: np.ndarray = sums / np.maximum(sums.sum(axis=1, keepdims=True), np.finfo(of_model.dtype).tiny)
        return found

    def describe(self, latents: LatentSet, of_model: np.ndarray, labels: np.ndarray) -> Across:
        """What the results record.

        Args:
            latents: all rows of the test set.
            of_model: the probabilities of the model's classes for the rows that take part, float [n, M].
            labels: the classes of these rows in the order of `label_set`, integers [n].
        """
        said = [self.model.classes[i] for i in of_model.argmax(axis=1)]
        meant = [self.onto.get(name) for name in said]
        right = [name == self.label_set.classes[label] for name, label in zip(meant, labels, strict=True)]
        counts = dict(zip(self.test.classes, latents.counts.tolist(), strict=True))
        return {
            "model_labels": list(self.model.classes),
            "test_labels": list(self.test.classes),
            "onto": dict(self.onto),
            "model_classes_left_out": [name for name in self.model.classes if name not in self.onto],
            "rows": len(labels),
            "rows_left_out": {name: n for name, n in counts.items() if n and name not in self.label_set},
            "said_left_out": sum(name is None for name in meant),
            "accuracy_with_left_out_as_wrong": float(np.mean(right)),
        }


def cross(model: LabelSet, test: LabelSet, label_map: str | Path | None = None) -> Crossing | None:
    """Maps the classes of a model onto those of a test set; None if they are the same and nothing else is wanted.

    Args:
        model: the classes of the model.
        test: the classes of the test set.
        label_map: a file (YAML or JSON) with lines `class of the model: class of the test set`, or `null` for a class
            that takes no part. Classes that it does not name are mapped by their names.

    Raises:
        UserError: fewer than two classes take part, or the file names classes that are not there.
    """
    if label_map is None and model == test:
        return None
    onto = {name: meant for name in model.classes if (meant := test.class_of(name)) is not None}
    for name, wanted in (_read_map(Path(from_home(str(label_map))), model, test) if label_map else {}).items():
        onto.pop(name, None)
        if wanted is not None:
            onto[name] = wanted
    if len(set(onto.values())) < 2:
        common = ", ".join(sorted(set(onto.values()))) or "none"
        raise UserError(
            f"the model names {model}, the test set {test}: classes in common by name are {common}, and two are "
            f"needed; {WAY_OUT}"
        )
    return Crossing(model=model, test=test, onto={name: onto[name] for name in model.classes if name in onto})


def in_words(across: Across) -> list[str]:
    """The lines that say which rows and classes take part."""
    renamed = [f"{name} as {meant}" for name, meant in across["onto"].items() if name != meant]
    lines = [
        f"across label sets: the model has {len(across['model_labels'])} classes, the test set "
        f"{len(across['test_labels'])}; {len(set(across['onto'].values()))} take part"
        + (f" ({', '.join(renamed)})" if renamed else "")
    ]
    rows = ", ".join(f"{n} of {name}" for name, n in across["rows_left_out"].items())
    if rows:
        total = across["rows"] + sum(across["rows_left_out"].values())
        lines.append(f"  rows: {across['rows']} of {total}; left out, since the model does not know them: {rows}")
    if across["model_classes_left_out"]:
        lines.append(
            f"  the model's {', '.join(across['model_classes_left_out'])} takes no part; it would have been its answer "
            f"for {across['said_left_out']} faces; if those count as wrong, accuracy is "
            f"{across['accuracy_with_left_out_as_wrong']:.3f}"
        )
    return lines


def _read_map(path: Path, model: LabelSet, test: LabelSet) -> dict[str, str | None]:
    try:
        content = read_texts(path.read_text(encoding="utf-8-sig"))
    except (OSError, ValueError, yaml.YAMLError) as error:
        raise UserError(f"--label_map {path}: cannot be read ({first_line(error)}); {WAY_OUT}") from None
    if not isinstance(content, dict):
        raise UserError(f"--label_map {path}: is no mapping of classes to classes; {WAY_OUT}")
    found: dict[str, str | None] = {}
    for key, value in content.items():
        name, meant = model.class_of(str(key)), None if value is None else test.class_of(str(value))
        if name is None:
            raise UserError(f"--label_map {path}: '{key}' is no class of the model ({', '.join(model.classes)})")
        if meant is None and value is not None:
            raise UserError(f"--label_map {path}: '{value}' is no class of the test set ({', '.join(test.classes)})")
        found[name] = meant
    return found
