"""Evaluates the chosen model on the test split once. Each evaluation is recorded before it begins."""

from __future__ import annotations

import json
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import Any

from fervit.checkpoints.checkpoint import Checkpoint
from fervit.errors import UserError
from fervit.evaluation.evaluate import RESULTS_FILE, Evaluation, evaluate
from fervit.files import write_json
from fervit.latents import LatentSet
from fervit.latents.source import find_faces
from fervit.search.records.record import TrialRecord
from fervit.search.records.sweep_folder import SweepFolder


@dataclass(frozen=True, kw_only=True)
class Verdict:
    """The evaluation of the chosen model, on faces that had no influence on the choice if there is a test split."""

    evaluation: Evaluation
    looks: int
    """The number of evaluations on the test split in all sessions; 0 if there is no test split."""
    remark: str = ""
    """A caveat for the user, such as that the evaluation is of a model that was chosen earlier; "" for none."""


def open_test(
    folder: SweepFolder,
    checkpoint: Checkpoint,
    chosen: TrialRecord,
    test: str,
    train: LatentSet,
    *,
    again: bool = False,
) -> Verdict:
    """Evaluates the chosen model on the test split, or reads the result if the split was opened before.

    Args:
        folder: the folder of the sweep.
        checkpoint: the chosen model.
        chosen: the run that trained the model.
        test: the path or URI of the test split's latents.
        train: the latents that the model was trained on, to count copies of them in the test split.
        again: evaluates again, which is recorded, if another run has been chosen since the last evaluation.

    Raises:
        UserError: an earlier evaluation of another run was cut off, and `again` is false; or the record is damaged.
    """
    looks = read_looks(folder)
    whom = {"trial": chosen.number, "seed": chosen.seed, "epoch": checkpoint.epoch}
    same = bool(looks) and all(looks[-1][key] == value for key, value in whom.items())
    if looks and "f1_macro" not in looks[-1] and not same and not again:
        raise UserError(
            f"{folder.path}: a look at the test split for trial {looks[-1]['trial']} was cut off, and trial "
            f"{chosen.number} has been chosen since; --second_look opens it for that and records it"
        )
    if looks and "f1_macro" in looks[-1] and (same or not again):
        remark = ""
        if not same:
            remark = (
                f"the test split was opened for trial {looks[-1]['trial']} on {looks[-1]['opened'][:10]}, before trial "
                f"{chosen.number} was chosen, and stays closed; --second_look opens it again and records that"
            )
        return Verdict(evaluation=_sealed(folder, looks), looks=len(looks), remark=remark)
    if not same:
        looks.append({**whom, "opened": datetime.now(UTC).isoformat(timespec="seconds"), "test": test})
        write_json(folder.sealed_test, {"looks": looks})
    latents = LatentSet.read(test)
    evaluation = evaluate(
        checkpoint,
        latents,
        folder.evaluation(len(looks)),
        split="test",
        training_sha256=train.sha256,
        faces=find_faces(latents),
    )
    metrics = evaluation.metrics
    looks[-1] |= {"f1_macro": metrics["f1_macro"], "accuracy": metrics["accuracy"], "n": metrics["n"]}
    write_json(folder.sealed_test, {"looks": looks})
    remark = f"look {len(looks)} at the test split: a choice that knows the earlier result" if len(looks) > 1 else ""
    return Verdict(evaluation=evaluation, looks=len(looks), remark=remark)


def read_looks(folder: SweepFolder) -> list[dict[str, Any]]:
    """Reads the record of all evaluations on the test split: the run, the time and the result of each."""
    path = folder.sealed_test
    if not path.is_file():
        return []
    try:
        looks: list[dict[str, Any]] = json.loads(path.read_text(encoding="utf-8"))["looks"]
    except (ValueError, KeyError, TypeError):
        raise UserError(f"{path}: is damaged; copy it again: it says what the test split was opened for") from None
    return looks


def _sealed(folder: SweepFolder, looks: list[dict[str, Any]]) -> Evaluation:
    output = folder.evaluation(len(looks))
    metrics = json.loads((output / RESULTS_FILE).read_text(encoding="utf-8"))
    return Evaluation(split="test", metrics=metrics, output_dir=output)
