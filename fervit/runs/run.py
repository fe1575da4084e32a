"""Prepares a training run, checks its arguments, and summarises it at its end."""

from __future__ import annotations

import json
from dataclasses import dataclass, replace
from pathlib import Path

from fervit.cluster.nodes import Cluster
from fervit.errors import UserError
from fervit.io.files import JsonObject, write_json
from fervit.io.storage import absolute
from fervit.labels.dealing import Fractions
from fervit.latents import LatentSet
from fervit.latents.copies import copies_in_words, count_copies
from fervit.latents.exclusion import Exclusion, in_words, leave_out, resumed
from fervit.latents.fractions import take
from fervit.latents.votes import Votes, VotesAs
from fervit.latents.votes import in_words as votes_in_words
from fervit.latents.votes import resumed as votes_resumed
from fervit.parsing import build
from fervit.progress import clock
from fervit.runs.environment import environment
from fervit.runs.folder import RunFolder, RunRecord, differences
from fervit.system.program import called
from fervit.training.compatibility import check_splits, fit_to_data, missing_classes
from fervit.training.config import TrainConfig
from fervit.training.metrics import majority_f1_macro
from fervit.training.recipes import RECIPES


@dataclass(frozen=True, kw_only=True)
class Run:
    """A training run whose arguments have been checked."""

    record: RunRecord
    train: LatentSet
    val: LatentSet
    exclusion: Exclusion | None = None
    """The faces that both splits lack, as the user asked for."""

    @property
    def config(self) -> TrainConfig:
        """The hyperparameters."""
        return self.record.training

    def write(self, folder: RunFolder, cluster: Cluster) -> None:
        """Writes config.json, excluded.jsonl, and environment.json, which keeps those of earlier sessions."""
        if self.exclusion is not None:
            self.exclusion.write(folder.excluded)
        self.record.write(folder)
        earlier = []
        if folder.environment.is_file():
            before = json.loads(folder.environment.read_text(encoding="utf-8"))
            earlier = [*before.pop("earlier", []), before]
        found = environment(cluster, self.config.seed, self.train, self.val, self.record.data)
        write_json(folder.environment, {**found, "earlier": earlier})


def prepare(
    given: JsonObject,
    recipe: str,
    train: str,
    val: str,
    *,
    workers: int = 1,
    use_gpu: bool | None = None,
    exclusion: Exclusion | None = None,
    votes: tuple[Votes, VotesAs] | None = None,
    fractions: Fractions | None = None,
) -> Run:
    """Prepares a new run.

    Args:
        given: hyperparameters, which replace those of the recipe.
        recipe: the name of a set of hyperparameters, which replace the defaults.
        train: the path or URI of the training split.
        val: the path or URI of the validation split.
        workers: the number of processes that train together.
        use_gpu: True for a GPU for each worker, False for the CPU, None for GPUs if there are any.
        exclusion: the faces to train and validate without; None for none.
        votes: the votes of taggers that replace the labels, and how; None for the labels.
        fractions: takes the validation split out of the training split, whose path both have then; None to read it.

    Raises:
        UserError: a value breaks a rule, or the hyperparameters do not fit the data.
    """
    config = build(TrainConfig, {**RECIPES[recipe], **given}, "command line")
    whole = _splits(train, val, fractions)
    splits, left_out = leave_out(exclusion, *whole)
    splits, voted = (splits, None) if votes is None else votes[0].splits(votes[1], *splits)
    check_splits(*splits)
    config = fit_to_data(config, *splits)
    record = RunRecord(
        training=config,
        train=absolute(train),
        val=absolute(val),
        data={"train": splits[0].fingerprint, "val": splits[1].fingerprint},
        encoder=splits[0].encoder.to_json(),
        label_set=splits[0].label_set,
        fractions=fractions,
        recipe=recipe,
        workers=workers,
        use_gpu=use_gpu,
        exclude=left_out,
        votes=voted,
    )
    return Run(record=record, train=splits[0], val=splits[1], exclusion=exclusion)


def prepare_resume(
    folder: RunFolder,
    given: JsonObject,
    recipe: str | None,
    latents: dict[str, str | None],
    exclusion: Exclusion | None = None,
    votes: tuple[Votes, VotesAs] | None = None,
) -> Run:
    """Prepares to resume the run of a folder.

    Args:
        folder: the folder of the run.
        given: the hyperparameters that the user gave, which must be those of the run.
        recipe: the recipe that the user gave, which must be that of the run; None for none.
        latents: the folders of "train" and "val" if the user gave them, since they may have moved.
        exclusion: the faces to leave out if the user gave lists, which must be those of the run.
        votes: the votes if the user gave them, since their file may have moved; they must be those of the run.

    Raises:
        UserError: there is no run in the folder, a hyperparameter differs from that of the run, the data has changed,
            or the saved state is damaged.
    """
    record = RunRecord.read(folder)
    record = replace(
        record, train=absolute(latents["train"] or record.train), val=absolute(latents["val"] or record.val)
    )
    wanted = {name: value for name, value in given.items() if (name, value) != ("seq_len", 0)}
    if recipe and recipe != record.recipe:
        of_the_data = ("seq_len", "latent_dim")
        named = {**TrainConfig().to_json(), **RECIPES[recipe]}
        wanted = {**{name: value for name, value in named.items() if name not in of_the_data}, **wanted}
    different = differences(wanted, record.training)
    if different:
        raise UserError(
            f"--resume {folder.path}: began with other settings ({'; '.join(different)}); leave them out to go on, "
            "or leave --resume out for a new run"
        )
    began = folder.excluded if record.exclude is not None else None
    exclusion = resumed(began, exclusion, folder.path, "start a new run")
    whole = _splits(record.train, record.val, record.fractions)
    both = leave_out(exclusion, *whole)[0]
    voted = votes_resumed(record.votes, votes, folder.path, "start a new run")
    both = both if voted is None else voted[0].splits(voted[1], *both)[0]
    splits = dict(zip(("train", "val"), both, strict=True))
    for name, split in splits.items():
        if split.label_set != record.label_set:
            raise UserError(
                f"{split.path}: its labels are {split.label_set}, but {folder.path} began with {record.label_set}; "
                "bring the latents of that set back, or start a new run"
            )
        if split.fingerprint != record.data[name]:
            raise UserError(
                f"{split.path}: these are not the latents that {folder.path} began with, so it cannot go on to the "
                "same result; bring those back, or start a new run"
            )
    if folder.last.is_file():
        from fervit.runs.state import load_state

        load_state(folder.last)  # raises an error now if the state is damaged
    return Run(record=record, **splits, exclusion=exclusion)


def _splits(train: str, val: str, fractions: Fractions | None) -> tuple[LatentSet, LatentSet]:
    """Reads the two splits; the first without what fractions take out of it, which may be the second."""
    whole = LatentSet.read(train)
    if fractions is None:
        return whole, LatentSet.read(val)
    fractions.check()
    taken = take(whole, fractions)
    return taken["train"], taken.get("val") or LatentSet.read(val)


def summary_lines(folder: RunFolder, run: Run) -> list[str]:
    """Returns the summary of a finished or stopped run, in a few lines."""
    summary = json.loads(folder.summary.read_text(encoding="utf-8"))
    best = summary["best"]
    if best is None:
        return [f"Run {folder.path.name}: {summary['state']} before the first epoch's end"]
    floor = majority_f1_macro(run.val.counts)
    lines = [
        f"Run {folder.path.name}: {summary['state']} after {summary['epochs']} epochs ({clock(summary['seconds'])})",
        f"Best: epoch {best['epoch']}, validation macro-F1 {best['f1_macro']:.3f} (always the largest class: "
        f"{floor:.3f}), accuracy {best['accuracy']:.3f}",
        f"Model: {_short(folder.best)}",
        f"Curves: tensorboard --logdir {_short(folder.logs)}",
    ]
    test = f"{run.record.val.rstrip('/').rpartition('/')[0]}/test"
    if Path(test).is_dir():
        lines.insert(
            3, f"Evaluate: {called('evaluate')} --checkpoint_path {_short(folder.best)} --latent_test_dir {test}"
        )
    if run.record.encoder.get("untrained"):
        lines.append("Encoder: demo, UNTRAINED random weights, for trying fervit out only")
    return lines


def first_lines(run: Run, folder: RunFolder, cluster: Cluster) -> list[str]:
    """Returns the lines that are printed before the training starts."""
    watch = f"{cluster.watch} | " if cluster.dashboard else ""
    counts = ", ".join(f"{name} {n}" for name, n in zip(run.train.label_set.classes, run.train.counts, strict=True))
    lacking = missing_classes(run.train)
    copies = count_copies({"train": run.train.sha256, "val": run.val.sha256})
    return [
        f"run: {_short(folder.path)}",
        *([lacking] if lacking else []),
        *([f"splits: {run.record.fractions} of the training codes"] if run.record.fractions else []),
        f"latents: {len(run.train):,} train ({counts}), {len(run.val):,} val",
        *([copies_in_words(copies, rows={"val": len(run.val)})] if any(copies.values()) else []),
        *([in_words(run.record.exclude)] if run.record.exclude else []),
        *([votes_in_words(run.record.votes)] if run.record.votes else []),
        f"watch: {watch}tensorboard --logdir {_short(folder.logs)}",
    ]


def _short(path: Path) -> Path:
    """Returns a path relative to the working directory, if it is inside that directory."""
    return path.relative_to(Path.cwd()) if path.is_relative_to(Path.cwd()) else path
