"""The space of hyperparameters that a sweep searches, and its rules. No Ray, no Optuna."""

from __future__ import annotations

import dataclasses
import itertools
import math
import typing
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, Literal

from fervit.files import JsonObject
from fervit.search.space.settings import Budget, Confirm, EarlyStopping, SearchSettings, TrialResources
from fervit.training.config import TrainConfig, heads_divide
from fervit.training.objective import Metric

Params = dict[str, Any]
"""Hyperparameters by name, as JSON has them."""
CONFIG_TYPES: Mapping[str, Any] = typing.get_type_hints(TrainConfig)
DEFAULTS: Params = {f.name: f.default for f in dataclasses.fields(TrainConfig)}
PAIR = ("embed_dim", "heads")


@dataclass(frozen=True, kw_only=True)
class Values:
    """One of a list."""

    values: tuple[Any, ...]

    def options(self) -> tuple[Any, ...]:
        """All values."""
        return self.values

    def contains(self, value: Any) -> bool:
        """Whether a value is one of the list."""
        return value in self.values


@dataclass(frozen=True, kw_only=True)
class Range:
    """A number between two, both included."""

    kind: Literal["uniform", "log_uniform", "int"]
    min: float
    max: float
    log: bool = False
    step: int = 1

    def options(self) -> range | None:
        """All values, or None where there is no end of them."""
        return range(int(self.min), int(self.max) + 1, self.step) if self.kind == "int" else None

    def contains(self, value: Any) -> bool:
        """Whether a value lies in the range and on its steps."""
        in_range = isinstance(value, int | float) and self.min <= value <= self.max
        return in_range and (self.kind != "int" or (value - self.min) % self.step == 0)


Distribution = Values | Range
When = Mapping[str, tuple[Any, ...]]


@dataclass(frozen=True, kw_only=True)
class SearchSpace:
    """A whole space file, checked."""

    name: str
    metric: Metric = field(default_factory=Metric)
    search: SearchSettings = field(default_factory=SearchSettings)
    early_stopping: EarlyStopping = field(default_factory=EarlyStopping)
    parameters: dict[str, Distribution]
    """A parameter stands after those that its condition names."""
    when: dict[str, When] = field(default_factory=dict)
    """Parameter -> the values that others must have for it to be searched; else it has its default."""
    fixed: Params = field(default_factory=dict)
    trial: TrialResources = field(default_factory=TrialResources)
    confirm: Confirm = field(default_factory=Confirm)
    budget: Budget = field(default_factory=Budget)

    def config(self, params: Mapping[str, Any], seed: int | None = None) -> TrainConfig:
        """The training configuration of one choice of the parameters; of the search's seed unless another is given."""
        seed = self.search.seed if seed is None else seed
        return TrainConfig(**{**self.fixed, **params, "epochs": self.early_stopping.max_epochs, "seed": seed})

    def is_active(self, name: str, params: Mapping[str, Any]) -> bool:
        """Whether a parameter is searched, given those that stand before it."""
        return all(other in params and params[other] in values for other, values in self.when.get(name, {}).items())

    def active(self, params: Mapping[str, Any]) -> Params:
        """`params` without those whose condition does not hold."""
        kept: Params = {}
        for name in self.parameters:
            if name in params and self.is_active(name, kept):
                kept[name] = params[name]
        return kept

    def allowed(self, params: Mapping[str, Any]) -> bool:
        """Whether heads divide embed_dim; what `params` leaves out is taken from `fixed` or the defaults."""
        whole = {**DEFAULTS, **self.fixed, **params}
        return heads_divide(whole["embed_dim"], whole["heads"])

    def pairs_left_out(self) -> tuple[int, int]:
        """(pairs of embed_dim and heads that cannot be built and are never started, all pairs)."""
        left_out = pairs = 0
        for pair in self._pairs():
            pairs += 1
            left_out += not heads_divide(*pair)
        return left_out, pairs

    def buildable_pairs(self) -> Iterator[tuple[int, int]]:
        """(embed_dim, heads) of every model that can be built."""
        return (pair for pair in self._pairs() if heads_divide(*pair))

    @property
    def finite(self) -> bool:
        """Whether every parameter has a finite number of values."""
        return all(distribution.options() is not None for distribution in self.parameters.values())

    def size(self) -> float:
        """How many configurations there are, without the pairs left out; infinite with a continuous parameter."""
        if not self.finite:
            return math.inf
        deciding = [name for name in self.parameters if any(name in when for when in self.when.values())]
        if not set(PAIR).isdisjoint(deciding):
            deciding = [name for name in self.parameters if name in (*deciding, *PAIR)]
        total, others = 0, [name for name in self.parameters if name not in (*deciding, *PAIR)]
        for chosen in self._choices(deciding):
            if set(PAIR).isdisjoint(deciding) or self.allowed(chosen):
                active = [name for name in others if self.is_active(name, chosen)]
                total += math.prod(len(self.parameters[name].options() or ()) for name in active)
        left_out, pairs = self.pairs_left_out()
        return total * (pairs - left_out if set(PAIR).isdisjoint(deciding) else 1)

    def configurations(self) -> Iterator[Params]:
        """Every configuration of a finite space, each once; none whose model cannot be built."""
        return (params for params in self._choices(list(self.parameters)) if self.allowed(params))

    def example(self) -> Params:
        """Some configuration that keeps the rules."""
        first = {
            name: d.values[0] if isinstance(d, Values) else CONFIG_TYPES[name](d.min)
            for name, d in self.parameters.items()
        }
        pair = next(self.buildable_pairs())
        return self.active(first) | dict(zip(PAIR, pair, strict=True))

    def to_json(self) -> JsonObject:
        """The resolved space as the plain dict that a space file holds."""
        plain = dataclasses.asdict(self)
        del plain["when"]
        plain["parameters"] = {name: self._plain(name) for name in self.parameters}
        return plain

    def values_of(self, name: str) -> Sequence[int]:
        """All values of a whole-number hyperparameter: of `parameters`, else the one of `fixed` or the default."""
        if name not in self.parameters:
            return ({**DEFAULTS, **self.fixed}[name],)
        return self.parameters[name].options() or ()

    def _pairs(self) -> Iterator[tuple[int, int]]:
        return itertools.product(self.values_of("embed_dim"), self.values_of("heads"))

    def _choices(self, names: Sequence[str], chosen: Params | None = None) -> Iterator[Params]:
        """All choices of some finite parameters; one whose condition does not hold is left out of a choice."""
        chosen = chosen or {}
        if not names:
            yield chosen
            return
        name, rest = names[0], names[1:]
        if not self.is_active(name, chosen):
            yield from self._choices(rest, chosen)
            return
        for value in self.parameters[name].options() or ():
            yield from self._choices(rest, {**chosen, name: value})

    def _plain(self, name: str) -> JsonObject:
        distribution = self.parameters[name]
        if isinstance(distribution, Values):
            plain: JsonObject = {"values": list(distribution.values)}
        else:
            plain = {"distribution": distribution.kind, "min": distribution.min, "max": distribution.max}
            if distribution.kind == "int":
                plain |= {"log": distribution.log, "step": distribution.step}
        if name in self.when:
            plain["when"] = {other: list(values) for other, values in self.when[name].items()}
        return plain
