"""Evaluates the chosen model on the test split once. Each evaluation is recorded before it begins.

The same look evaluates every model of the chosen configuration with a fresh seed: one model says how good it is on
these faces, and only several how far another seed would have come.
"""

from __future__ import annotations

import json
import statistics
from collections.abc import Sequence
from dataclasses import asdict, dataclass, replace
from datetime import UTC, datetime
from pathlib import Path

from fervit.checkpoints.checkpoint import Checkpoint, load_checkpoint
from fervit.errors import UserError
from fervit.evaluation.evaluate import RESULTS_FILE, Evaluation, evaluate, predictions_of
from fervit.evaluation.paired.layers import mean_of
from fervit.io.files import JsonObject, write_json
from fervit.latents import LatentSet
from fervit.latents.looks import Seen, record_look
from fervit.latents.source import find_faces
from fervit.search.records.record import TrialRecord
from fervit.search.records.sweep_folder import SweepFolder
from fervit.search.splits import Splits
from fervit.training.metrics import metrics_of_counts


@dataclass(frozen=True, kw_only=True)
class SeedScore:
    """The result of a run of the chosen configuration with a fresh seed on the test split."""

    seed: int
    epoch: int
    checkpoint: str
    """The fingerprint of its model."""
    f1_macro: float
    accuracy: float


@dataclass(frozen=True, kw_only=True)
class SealedLook:
    """A look at the test split: for which run it was opened, and what it showed."""

    trial: int
    seed: int
    epoch: int
    opened: str = ""
    """When it began, in ISO 8601, UTC."""
    test: str = ""
    """The path or URI of the test split."""
    checkpoint: str = ""
    """The fingerprint of the model; "" in records of earlier versions."""
    f1_macro: float | None = None
    """None if the look was cut off."""
    accuracy: float | None = None
    n: int | None = None
    seeds: tuple[SeedScore, ...] = ()
    """The runs with fresh seeds, for each of which the same look holds; none in records of earlier versions."""
    others: int | None = None
    """The number of earlier looks at the split by others; None in records of earlier versions."""
    exclude: JsonObject | None = None
    """The lists of faces without which it was measured as well (`Exclusion.record`); None without such lists."""
    votes: JsonObject | None = None
    """The votes of taggers in place of the labels (`Votes.record`); None for the labels."""

    @classmethod
    def from_json(cls, content: JsonObject) -> SealedLook:
        """Reads a look, also one of an earlier version. Keys of later versions are ignored.

        Raises:
            KeyError: the look does not say for which run it was.
            TypeError: a value is of another kind.
        """
        known = {key: value for key, value in content.items() if key in cls.__dataclass_fields__}
        seeds = tuple(SeedScore(**score) for score in known.pop("seeds", ()))
        if missing := {"trial", "seed", "epoch"} - known.keys():
            raise KeyError(*missing)
        return cls(**known, seeds=seeds)

    def to_json(self) -> JsonObject:
        """The fields that are known, by name."""
        return {key: value for key, value in asdict(self).items() if value not in (None, "", ())}

    @property
    def complete(self) -> bool:
        """Whether the look has a result."""
        return self.f1_macro is not None

    def is_of(self, chosen: TrialRecord, epoch: int, checkpoint: str = "") -> bool:
        """Whether the look was opened for this model of this run."""
        same = (self.trial, self.seed, self.epoch) == (chosen.number, chosen.seed, epoch)
        return same and (not self.checkpoint or not checkpoint or self.checkpoint == checkpoint)

    @property
    def seeds_text(self) -> str:
        """The mean and the standard deviation over the fresh seeds, in words; "" for fewer than two."""
        if len(self.seeds) < 2:
            return ""
        parts = [f"{words} {self.over_seeds(name)}" for name, words in (("f1_macro", "macro-F1"), ("accuracy",) * 2)]
        return f"{', '.join(parts)} over {len(self.seeds)} fresh seeds (sd: standard deviation)"

    def over_seeds(self, name: str) -> str:
        """The mean of a metric and its standard deviation over the fresh seeds, such as "0.703 (sd 0.012)"."""
        values = [float(getattr(score, name)) for score in self.seeds]
        return f"{statistics.fmean(values):.3f} (sd {statistics.stdev(values):.3f})"


@dataclass(frozen=True, kw_only=True)
class Verdict:
    """The evaluation of the chosen model, on faces that had no influence on the choice if there is a test split."""

    evaluation: Evaluation
    looks: int
    """The number of evaluations on the test split in all sessions; 0 if there is no test split."""
    remark: str = ""
    """A caveat for the user, such as that the evaluation is of a model that was chosen earlier; "" for none."""
    look: SealedLook | None = None
    """The look whose result this is; None if there is no test split."""


def open_test(
    folder: SweepFolder,
    checkpoint: Checkpoint,
    chosen: TrialRecord,
    splits: Splits,
    fresh: Sequence[TrialRecord] = (),
    *,
    again: bool = False,
) -> Verdict:
    """Evaluates the chosen model on the test split, or reads the result if the split was opened for it before.

    Args:
        folder: the folder of the sweep.
        checkpoint: the chosen model.
        chosen: the run that trained the model.
        splits: the splits of the sweep, with a test split.
        fresh: the finished runs of the chosen configuration with fresh seeds. Those whose model is there are evaluated.
        again: evaluates again, which is recorded, if another run has been chosen since the last evaluation, or if there
            are fresh seeds that it does not hold.

    Raises:
        UserError: an earlier evaluation of another run was cut off, and `again` is false; or the record is damaged.
    """
    looks = read_looks(folder)
    fingerprint = checkpoint.fingerprint
    of_it = [i for i, one in enumerate(looks) if one.is_of(chosen, checkpoint.epoch, fingerprint)]
    mine = of_it[-1] if of_it else None
    if mine is not None and looks[mine].complete:
        unseen = _unseen(folder, looks[mine], fresh)
        if not unseen or not again:
            return _sealed(folder, looks, mine, unseen)
        mine = None
    elif looks and mine is None and not again:
        if not looks[-1].complete:
            raise UserError(
                f"{folder.path}: a look at the test split for trial {looks[-1].trial} was cut off, and trial "
                f"{chosen.number} has been chosen since; --second_look opens it for that and records it"
            )
        return _sealed(
            folder,
            looks,
            len(looks) - 1,
            f"the test split was opened for trial {looks[-1].trial}, seed {looks[-1].seed}, on "
            f"{looks[-1].opened[:10]}, before trial {chosen.number}, seed {chosen.seed}, was chosen, and stays closed; "
            "--second_look opens it again and records that",
        )
    if mine is None:
        mine, now = len(looks), datetime.now(UTC).isoformat(timespec="seconds")
        looks.append(
            SealedLook(
                trial=chosen.number,
                seed=chosen.seed,
                epoch=checkpoint.epoch,
                opened=now,
                test=splits.test or "",
                checkpoint=fingerprint,
            )
        )
        write_looks(folder, looks)
    return _look(folder, looks, mine, checkpoint, splits, fresh)


def _unseen(folder: SweepFolder, look: SealedLook, fresh: Sequence[TrialRecord]) -> str:
    """Names the fresh seeds of the chosen configuration that were trained after a look; "" for none."""
    seen = {score.seed for score in look.seeds}
    later = [str(run.seed) for run in fresh if run.seed not in seen and folder.trial(run.name).best_model.is_file()]
    if not later:
        return ""
    return (
        f"the result on the test split does not hold the seeds {', '.join(later)}, which were trained after "
        f"{look.opened[:10]}; --second_look opens it again, for all of them, and records that"
    )


def _look(
    folder: SweepFolder,
    looks: list[SealedLook],
    number: int,
    checkpoint: Checkpoint,
    splits: Splits,
    fresh: Sequence[TrialRecord],
) -> Verdict:
    """Evaluates the chosen model and those of its configuration with fresh seeds, and seals the results."""
    (latents, voted), output = splits.read_test(), folder.evaluation(number + 1)
    models = [(run, folder.trial(run.name).best_model) for run in fresh]
    there = [(run, load_checkpoint(path)) for run, path in models if path.is_file()]
    fingerprints = [checkpoint.fingerprint, *(model.fingerprint for _, model in there)]
    earlier = [one.checkpoint for one in looks] + [score.checkpoint for one in looks for score in one.seeds]
    listed = splits.exclusion
    lists = None if listed is None else listed.record({"test": int(listed.rows_of(latents).sum())})
    record = record_look(latents, fingerprints, output, own=earlier, exclude=lists)
    evaluation = evaluate(
        checkpoint,
        latents,
        output,
        split="test",
        training_sha256=splits.train.sha256,
        validation_sha256=splits.val.sha256,
        others=record.others,
        faces=None if splits.no_faces else find_faces(latents),
        exclusion=listed,
        votes=voted,
        training_mean=mean_of(splits.train.codes),
    )
    metrics, seeds = evaluation.metrics, tuple(_score(run, model, latents) for run, model in there)
    seen = [Seen(checkpoint=checkpoint.fingerprint, f1_macro=metrics["f1_macro"], accuracy=metrics["accuracy"])]
    seen += [Seen(checkpoint=one.checkpoint, f1_macro=one.f1_macro, accuracy=one.accuracy) for one in seeds]
    record.finish(list({one.checkpoint: one for one in seen}.values()))
    looks[number] = replace(
        looks[number],
        f1_macro=metrics["f1_macro"],
        accuracy=metrics["accuracy"],
        n=metrics["n"],
        seeds=seeds,
        others=record.others,
        exclude=lists,
        votes=voted,
    )
    write_looks(folder, looks)
    remarks = [record.remark] if record.remark else []
    if len(looks) > 1:
        remarks.append(f"look {len(looks)} at the test split: a choice that knows the earlier result")
    if len(there) < len(fresh):
        remarks.append(f"of {len(fresh)} runs with fresh seeds the models of {len(there)} are there")
    return Verdict(evaluation=evaluation, looks=len(looks), remark="; ".join(remarks), look=looks[number])


def _score(run: TrialRecord, checkpoint: Checkpoint, latents: LatentSet) -> SeedScore:
    values = metrics_of_counts(predictions_of(checkpoint, latents, "test").confusion)
    return SeedScore(
        seed=run.seed,
        epoch=checkpoint.epoch,
        checkpoint=checkpoint.fingerprint,
        f1_macro=values["f1_macro"],
        accuracy=values["accuracy"],
    )


def read_looks(folder: SweepFolder) -> list[SealedLook]:
    """Reads the record of all evaluations on the test split.

    Raises:
        UserError: the record is damaged.
    """
    path = folder.sealed_test
    if not path.is_file():
        return []
    try:
        return [SealedLook.from_json(look) for look in json.loads(path.read_text(encoding="utf-8"))["looks"]]
    except (ValueError, KeyError, TypeError, AttributeError):
        raise UserError(f"{path}: is damaged; copy it again: it says what the test split was opened for") from None


def write_looks(folder: SweepFolder, looks: Sequence[SealedLook]) -> None:
    """Writes the record of all evaluations on the test split."""
    write_json(folder.sealed_test, {"looks": [look.to_json() for look in looks]})


def results_of(folder: SweepFolder, number: int) -> Path:
    """The file with the results of a look, whose number counts from 0."""
    return folder.evaluation(number + 1) / RESULTS_FILE


def _sealed(folder: SweepFolder, looks: list[SealedLook], number: int, remark: str = "") -> Verdict:
    """Reads the result of an earlier look.

    Raises:
        UserError: its file is missing or damaged.
    """
    path = results_of(folder, number)
    try:
        metrics = json.loads(path.read_text(encoding="utf-8"))
    except (OSError, ValueError):
        raise UserError(
            f"{path}: is missing or damaged, but {folder.sealed_test.name} says that the test split was opened for it; "
            "copy it back from another copy of the sweep"
        ) from None
    evaluation = Evaluation(split="test", metrics=metrics, output_dir=path.parent)
    return Verdict(evaluation=evaluation, looks=len(looks), remark=remark, look=looks[number])
