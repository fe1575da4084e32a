"""The test split, opened once, after the choice: each look at it is written down before it is taken."""

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
    """What is said of the chosen model on faces that had no part in choosing it."""

    evaluation: Evaluation
    looks: int
    """At the test split, in the whole life of the sweep; 0 where there is none."""
    remark: str = ""
    """What a reader must know, such as that the result is of a model chosen before; "" for nothing."""


def open_test(
    folder: SweepFolder,
    checkpoint: Checkpoint,
    chosen: TrialRecord,
    test: str,
    train: LatentSet,
    *,
    again: bool = False,
) -> Verdict:
    """The result on the test split. Opened before, it stays closed, and the sealed result is read, unless `again`.

    Args:
        folder: of the sweep.
        checkpoint: the chosen model.
        chosen: the run that it comes from.
        test: where the latents of the test split are.
        train: the latents that the model was trained on, of which the test split may hold copies.
        again: take another look, which is recorded, if the choice has changed since the last.
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
    """All looks at the test split so far: what was looked at, when, and what it gave."""
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
