"""What a sweep takes from earlier ones (`search.learn_from`): where to begin, what mattered, and their learning curves.

It is read once, when the sweep begins, and kept in its folder, so that a resumed sweep decides as one that was never
interrupted, whatever has become of the earlier folders.
"""

from __future__ import annotations

import json
from collections.abc import Iterator, Sequence
from dataclasses import asdict, dataclass, replace
from pathlib import Path
from typing import Any

from fervit.encoders.fingerprint import EncoderFingerprint
from fervit.errors import UserError
from fervit.io.files import read_object, write_json
from fervit.latents import LatentSet
from fervit.search.policy.importance import importances
from fervit.search.records.history import History
from fervit.search.records.journal import JournalReader
from fervit.search.records.ranking import best_values, configuration, ranked
from fervit.search.records.record import TrialRecord
from fervit.search.records.sweep_folder import SweepFolder
from fervit.search.space.search_space import DEFAULTS, Params, SearchSpace
from fervit.search.space.settings import SearchSettings

FEWEST_OF_OWN = 0.5
"""At least this share of the trials is left to the sampler."""
MOST_STARTS = 5
"""At most so many configurations of earlier sweeps are begun with."""
ALIKE, OTHER_FACES, OTHER_CODES = 0.95, 0.8, 0.6
"""How far what a configuration adds to a curve is taken to be the same there and here, as a correlation: on the same
codes; on other faces by the same encoder, or with other fixed hyperparameters; and of another encoder or label set,
whose curves are left out: in replays those of another encoder did harm (benchmarks/README.md)."""


@dataclass(frozen=True, kw_only=True)
class Source:
    """An earlier sweep."""

    folder: str
    likeness: float
    """The correlation of what a configuration adds there and here."""
    differs: tuple[str, ...]
    """What is not as here, in words."""
    curves: int
    """The number of its trials whose configurations this space has, too."""
    left_out: int
    """The number of those that it does not have."""

    @property
    def is_alike(self) -> bool:
        """Whether its curves tell anything of this sweep."""
        return self.likeness > OTHER_CODES


@dataclass(frozen=True, kw_only=True)
class EarlierCurve:
    """The learning curve of a trial of an earlier sweep."""

    source: int
    """The place of its sweep among the sources."""
    params: Params
    """Its configuration in this space."""
    values: tuple[float, ...]
    """The best value of this sweep's metric so far after each epoch, from epoch 1."""


@dataclass(frozen=True, kw_only=True)
class Learned:
    """What earlier sweeps tell a new one."""

    sources: tuple[Source, ...]
    starts: tuple[Params, ...]
    """The configurations that were chosen there or tied with those, which this space has, too."""
    importance: dict[str, float]
    """The mean share of the variance that each hyperparameter explained there, the largest first."""
    curves: tuple[EarlierCurve, ...]

    @classmethod
    def read(cls, path: Path) -> Learned | None:
        """Reads what `write` wrote; None if there is no such file.

        Raises:
            UserError: the file is damaged.
        """
        if not path.is_file():
            return None
        try:
            content = read_object(path) or {}
            return cls(
                sources=tuple(Source(**{**one, "differs": tuple(one["differs"])}) for one in content["sources"]),
                starts=tuple(content["starts"]),
                importance=content["importance"],
                curves=tuple(EarlierCurve(**{**one, "values": tuple(one["values"])}) for one in content["curves"]),
            )
        except (ValueError, KeyError, TypeError):
            raise UserError(f"{path}: is damaged; copy the sweep's folder again, or start a new sweep") from None

    def write(self, path: Path) -> None:
        """Writes it as JSON."""
        write_json(path, asdict(self))

    def in_words(self) -> Iterator[str]:
        """Yields lines for the user."""
        for i, source in enumerate(self.sources):
            differs = f", with care: {', '.join(source.differs)}" if source.differs else ""
            left_out = f"; {source.left_out} others do not lie in this space" if source.left_out else ""
            no_curves = source.curves and all(curve.source != i for curve in self.curves)
            curves = "what was best there, and no curves" if no_curves else f"{source.curves} curves"
            yield f"learns from {source.folder}: {curves}{differs}{left_out}"
            if not source.curves:
                yield f"WARNING: nothing is learnt from {source.folder}, whose configurations this space does not have"
        if self.importance:
            shares = ", ".join(f"{name} {100 * share:.0f} %" for name, share in self.importance.items())
            yield f"what mattered there: {shares}"
        if self.starts:
            yield f"begins with {len(self.starts)} of the best there"


def learn(space: SearchSpace, train: LatentSet) -> Learned | None:
    """Reads the sweeps that `search.learn_from` names; None if it names none.

    Args:
        space: the search space of the new sweep.
        train: its training split.

    Raises:
        UserError: a folder holds no sweep, or a damaged one.
    """
    folders = [SweepFolder(Path(folder).absolute()) for folder in space.search.learn_from]
    if not folders:
        return None
    sources, curves, starts = [], [], []
    importance: dict[str, list[float]] = {}
    for i, (folder, named) in enumerate(zip(folders, space.search.learn_from, strict=True)):
        if not folder.is_sweep() or not folder.journal.is_file():
            raise UserError(
                f"search.learn_from {named}: holds no {folder.space.name}, {folder.environment.name} and "
                f"{folder.journal.name}; give the folder of a sweep"
            )
        theirs, history = folder.read_space(), History(JournalReader(folder.journal))
        searched = [one for one in history.records.values() if one.purpose == "search" and one.epochs]
        found = [(one, here(space, theirs, one.params)) for one in searched]
        fitting = [(one, params) for one, params in found if params is not None]
        differs, likeness = _differences(space, theirs, [one for one, _ in fitting], train, folder)
        sources.append(
            Source(
                folder=named,
                likeness=likeness,
                differs=differs,
                curves=len(fitting),
                left_out=len(found) - len(fitting),
            )
        )
        for one, params in fitting if sources[-1].is_alike else ():
            values = tuple(value for _, value in best_values(one, space.metric))
            curves.append(EarlierCurve(source=i, params=params, values=values[: space.early_stopping.max_epochs]))
        starts += [params for one, params in fitting if one.number in _best_of(history, space, searched)]
        for name, share in importances(searched, replace(theirs, metric=space.metric)).items():
            if name in space.parameters:
                importance.setdefault(name, []).append(share)
    means = {name: sum(shares) / len(shares) for name, shares in importance.items()}
    return Learned(
        sources=tuple(sources),
        starts=tuple(_new(starts, space)),
        importance=dict(sorted(means.items(), key=lambda item: -item[1])),
        curves=tuple(curves),
    )


def with_learned(space: SearchSpace, learned: Learned | None) -> SearchSpace:
    """Returns a space that begins with the best of earlier sweeps and names first what mattered there."""
    if learned is None:
        return space
    search: SearchSettings = replace(space.search, warm_start=[*space.search.warm_start, *learned.starts])
    ordered: dict[str, Any] = {}
    for name in [*learned.importance, *space.parameters]:
        for one in (*space.when.get(name, ()), name):  # a condition's hyperparameters come before it
            ordered.setdefault(one, space.parameters[one])
    return replace(space, search=search, parameters=ordered)


def here(space: SearchSpace, theirs: SearchSpace, params: Params) -> Params | None:
    """Returns the configuration of an earlier trial as one of this space; None if the space does not have it."""
    config = {**DEFAULTS, **theirs.fixed, **params}
    found = space.active({name: config[name] for name in space.parameters})
    inside = all(space.parameters[name].contains(value) for name, value in found.items())
    return found if inside and space.allowed(found) else None


def _best_of(history: History, space: SearchSpace, searched: Sequence[TrialRecord]) -> set[int]:
    """Returns the numbers of the trial that was chosen and those that tied with it, or else of the best one."""
    if history.choice is not None:
        return {history.choice.number, *history.choice.ties}
    return {record.number for record in ranked(searched, space.metric)[:1]}


def _new(starts: Sequence[Params], space: SearchSpace) -> Iterator[Params]:
    """Yields configurations that the sweep does not begin with anyway, each once, as many as there is room for."""
    room = min(MOST_STARTS, int(space.search.trials * FEWEST_OF_OWN) - len(space.search.warm_start))
    known = {configuration(space.active({**DEFAULTS, **space.fixed, **params})) for params in space.search.warm_start}
    for params in starts:
        if room > 0 and configuration(params) not in known:
            known.add(configuration(params))
            room -= 1
            yield params


def _differences(
    space: SearchSpace, theirs: SearchSpace, records: Sequence[TrialRecord], train: LatentSet, folder: SweepFolder
) -> tuple[tuple[str, ...], float]:
    """Returns what is not as in this sweep, in words, and how alike configurations are taken to be."""
    try:
        environment = json.loads(folder.environment.read_text(encoding="utf-8"))
        faces, encoder = environment["data"]["train"]["sha256"], EncoderFingerprint.from_json(environment["encoder"])
    except (ValueError, KeyError, TypeError):
        raise UserError(f"{folder.environment}: is damaged; copy the sweep's folder again") from None
    differs, likeness = [], ALIKE
    if faces != train.fingerprint:
        differs.append("other faces")
        likeness = OTHER_FACES
    here = {**DEFAULTS, **space.fixed}
    for name in here:
        values = {record.params.get(name, {**DEFAULTS, **theirs.fixed}[name]) for record in records}
        if name in ("seed", "epochs", *space.parameters) or values <= {here[name]}:
            continue
        differs.append(name)
        likeness = min(likeness, OTHER_FACES)
    if theirs.early_stopping.max_epochs != space.early_stopping.max_epochs:
        differs.append(f"{theirs.early_stopping.max_epochs} epochs")
    if not encoder.same_codes(train.encoder):
        differs.append("another encoder")
        likeness = OTHER_CODES
    if environment.get("classes", list(train.label_set.classes)) != list(train.label_set.classes):
        differs.append("another label set")
        likeness = OTHER_CODES
    return tuple(differs), likeness
