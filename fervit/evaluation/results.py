"""The content of evaluation_results.json."""

from __future__ import annotations

from pathlib import PurePath
from typing import NotRequired, TypedDict

from fervit.io.files import JsonObject
from fervit.latents.votes import in_words


class Scores(TypedDict):
    """The metrics of predictions on some rows."""

    n: int
    """The number of rows."""
    accuracy: float
    f1_macro: float
    """The mean F1 of the classes that are true or predicted anywhere."""
    f1_weighted: float
    """The mean F1 of the classes, weighted by their rows."""
    balanced_accuracy: float | None
    """The mean recall of the classes that have rows; None if only one class has rows."""


class DetailedScores(Scores):
    """The metrics of predictions on some rows, for each class as well."""

    classification_report: dict[str, dict[str, float] | float]
    """scikit-learn's report: for each class, and in the mean, precision, recall, f1-score and support; the accuracy."""
    confusion_matrix: list[list[int]]
    """Counts [C][C]; rows are true classes, columns are predicted classes."""


class CalibratedError(TypedDict):
    """The calibration error (ECE) of a perfectly calibrated model with the same confidences on as many rows."""

    mean: float
    quantile_95: float
    """The value below which it stays in 95 % of the cases."""


class Copies(TypedDict):
    """The rows whose picture is in another split as well."""

    n: int
    """The number of these rows."""
    without_copies: Scores | None
    """The metrics of the other rows; None if all rows are such copies or none is."""


class Excluded(TypedDict):
    """The metrics without the rows that lists of faces name."""

    lists: JsonObject
    """The lists, the hash of their faces, and how many rows they name (`Exclusion.record`)."""
    without: Scores | None
    """The metrics of the other rows; None if the lists name all rows or none."""


class Voted(TypedDict):
    """What the votes of taggers changed, and how the predictions fit their distribution."""

    record: JsonObject
    """The file, how its votes are used, and the counts (`Votes.record`)."""
    kl_divergence: float | None
    """The mean Kullback-Leibler divergence of the predictions from the shares of the votes, in nats; None as majority.
    """
    expected_accuracy: float | None
    """The mean share of the taggers who voted for the predicted class; None as majority."""


class MeanAttention(TypedDict):
    """The attention of the model, averaged over some faces of each class."""

    flat: bool
    """Whether attention is nearly even over the styles (see `fervit.evaluation.attention.FLAT`)."""
    peak: float
    """The mean over faces of the share of the strongest style, in multiples of an even share."""
    rollout: dict[str, list[float]]
    """The mean attention rollout [seq_len] of each class."""


class Drop(TypedDict):
    """The drop of F1 without some layers, with its 95 % interval [low, high]."""

    drop: float
    interval_95: list[float]


class LayersDrop(Drop):
    """The drop of the macro-F1 without some layers, and of the F1 of each class."""

    layers: list[int]
    """The layers that were replaced, counted from 0."""
    classes: dict[str, Drop]


class LayerDrops(TypedDict):
    """What the model loses without layers of the codes."""

    n: int
    """The number of faces that it was measured on."""
    f1_macro: float
    """The macro-F1 on these with whole codes."""
    without: dict[str, LayersDrop]
    """By "coarse", "middle", "fine", and "0", "1", ... for the single layers."""


class EvaluatedCheckpoint(TypedDict):
    """The model that was evaluated."""

    fingerprint: str
    """The SHA-256 of its weights."""
    epoch: int
    validation: dict[str, float]
    """The metrics of that epoch on the validation split."""
    data: dict[str, str]
    """The fingerprints of its training and validation split."""


class EvaluatedLatents(TypedDict):
    """The rows that the model was evaluated on."""

    path: str
    fingerprint: str


class Across(TypedDict):
    """How the classes of a model were mapped onto those of a test set with another label set."""

    model_labels: list[str]
    test_labels: list[str]
    onto: dict[str, str]
    """Each class of the model that took part -> the class of the test set that it counted as."""
    model_classes_left_out: list[str]
    rows: int
    """The number of rows that took part."""
    rows_left_out: dict[str, int]
    """The number of rows of each class that the model does not know."""
    said_left_out: int
    """The number of rows for which the model's most probable class took no part."""
    accuracy_with_left_out_as_wrong: float
    """The accuracy if these rows count as wrong."""


class Provenance(TypedDict):
    """What was evaluated."""

    checkpoint: EvaluatedCheckpoint
    checkpoint_path: str | None
    """The file of the model, under the name that the guide's scripts give it; None if it had none."""
    model_config: JsonObject
    """The hyperparameters of the model, as the guide's scripts name the key."""
    test_dataset_size: int
    """The number of rows, as the guide's scripts name it."""
    latents: EvaluatedLatents
    encoder: JsonObject
    """The fingerprint of the encoder (`EncoderFingerprint.to_json`)."""


class EvaluationResults(DetailedScores, Provenance):
    """The content of evaluation_results.json."""

    split: str
    labels: NotRequired[list[str]]
    """The names of the classes in order. Earlier versions have not written them: the seven emotions."""
    across: NotRequired[Across]
    """What took part, if the model has other classes than the test set."""
    seen: str | None
    """"train" or "val" if the model was trained on these rows or chosen by them, else None."""
    ece: float
    """The expected calibration error."""
    ece_if_calibrated: NotRequired[CalibratedError]
    """Earlier versions have not written it."""
    intervals_95: dict[str, list[float]]
    """The 95 % interval [low, high] of each metric, and of the F1 of each class as `f1_<class>`."""
    copies_of_training: Copies | None
    """None if the training pictures were not at hand."""
    copies_of_validation: NotRequired[Copies | None]
    """None if the validation pictures were not at hand. Earlier versions have not written it."""
    excluded: NotRequired[Excluded | None]
    """None without such lists. Earlier versions have not written it."""
    votes: NotRequired[Voted | None]
    """None for the labels of the split. Earlier versions have not written it."""
    looks_of_others: NotRequired[int | None]
    """The number of earlier looks at the split in which other models were evaluated; None if it was not a look at a
    split that the model has not seen. Earlier versions have not written it."""
    attention: MeanAttention
    layers: NotRequired[LayerDrops | None]
    """What the model loses without layers of the codes; None if the training codes were not at hand. Earlier versions
    have not written it."""


def rows_of_report(scores: DetailedScores) -> dict[str, dict[str, float]]:
    """Returns scikit-learn's report of each class, in their order, and then of their means."""
    return {name: row for name, row in scores["classification_report"].items() if isinstance(row, dict)}


def excluded_in_words(metrics: EvaluationResults) -> list[str]:
    """The line with the metrics without the rows that lists of faces name; none without such lists."""
    excluded = metrics.get("excluded")
    if excluded is None:
        return []
    lists, without = excluded["lists"], excluded["without"]
    n, names = sum(lists["left_out"].values()), ", ".join(PurePath(file).name for file in lists["files"])
    line = f"without {n} of {metrics['n']} faces on {names}"
    if without is None:
        return [f"{line}: nothing to compare"]
    return [f"{line}: accuracy {without['accuracy']:.3f}, macro-F1 {without['f1_macro']:.3f}"]


def votes_in_words(metrics: EvaluationResults) -> list[str]:
    """The lines about what the votes of taggers changed and how the predictions fit them; none without votes."""
    votes = metrics.get("votes")
    if votes is None:
        return []
    lines = [in_words(votes["record"])]
    if votes["kl_divergence"] is None:
        return lines
    return [
        *lines,
        f"against the distribution of the votes: KL {votes['kl_divergence']:.3f} nats, expected accuracy "
        f"{votes['expected_accuracy']:.3f} (the share of the taggers who agree with the prediction)",
    ]
