"""The space of hyperparameters that a sweep searches, and its rules. Uses neither Ray nor Optuna."""

from __future__ import annotations

import dataclasses
import itertools
import math
import typing
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, Literal

from fervit.io.files import JsonObject
from fervit.search.space.settings import Budget, Confirm, EarlyStopping, SearchSettings, TrialResources
from fervit.training.config import TrainConfig, heads_divide
from fervit.training.objective import Metric

Params = dict[str, Any]
"""The name of each hyperparameter -> its value, which JSON can hold."""
CONFIG_TYPES: Mapping[str, Any] = typing.get_type_hints(TrainConfig)
DEFAULTS: Params = {f.name: f.default for f in dataclasses.fields(TrainConfig)}
PAIR = ("embed_dim", "heads")


@dataclass(frozen=True, kw_only=True)
class Values:
    """A hyperparameter that takes one of a list of values."""

    values: tuple[Any, ...]

    def options(self) -> tuple[Any, ...]:
        """Returns all values."""
        return self.values

    def contains(self, value: Any) -> bool:
        """Returns whether a value is in the list."""
        return value in self.values


@dataclass(frozen=True, kw_only=True)
class Range:
    """A hyperparameter that is a number between `min` and `max`, both included."""

    kind: Literal["uniform", "log_uniform", "int"]
    min: float
    max: float
    log: bool = False
    step: int = 1

    def options(self) -> range | None:
        """Returns all values of a whole number; None for a continuous range."""
        return range(int(self.min), int(self.max) + 1, self.step) if self.kind == "int" else None

    def contains(self, value: Any) -> bool:
        """Returns whether a value lies in the range and on one of its steps."""
        in_range = isinstance(value, int | float) and self.min <= value <= self.max
        return in_range and (self.kind != "int" or (value - self.min) % self.step == 0)


Distribution = Values | Range
When = Mapping[str, tuple[Any, ...]]


@dataclass(frozen=True, kw_only=True)
class SearchSpace:
    """A search space file that has been checked."""

    name: str
    metric: Metric = field(default_factory=Metric)
    search: SearchSettings = field(default_factory=SearchSettings)
    early_stopping: EarlyStopping = field(default_factory=EarlyStopping)
    parameters: dict[str, Distribution]
    """The distribution of each hyperparameter, sorted so that it comes after those that its condition names."""
    when: dict[str, When] = field(default_factory=dict)
    """The conditions: a hyperparameter -> the values that others must have for it to be searched. If they have other
    values, the hyperparameter keeps its default."""
    fixed: Params = field(default_factory=dict)
    trial: TrialResources = field(default_factory=TrialResources)
    confirm: Confirm = field(default_factory=Confirm)
    budget: Budget = field(default_factory=Budget)

    def config(self, params: Mapping[str, Any], seed: int | None = None) -> TrainConfig:
        """Returns the training configuration for some values of the parameters.

        Args:
            params: the values of the hyperparameters that are searched.
            seed: the seed of the training; None for the seed of the search.
        """
        seed = self.search.seed if seed is None else seed
        return TrainConfig(**{**self.fixed, **params, "epochs": self.early_stopping.max_epochs, "seed": seed})

    def is_active(self, name: str, params: Mapping[str, Any]) -> bool:
        """Returns whether the condition of a parameter holds, given the values of the parameters before it."""
        return all(other in params and params[other] in values for other, values in self.when.get(name, {}).items())

    def active(self, params: Mapping[str, Any]) -> Params:
        """Returns `params` without the parameters whose condition does not hold."""
        kept: Params = {}
        for name in self.parameters:
            if name in params and self.is_active(name, kept):
                kept[name] = params[name]
        return kept

    def allowed(self, params: Mapping[str, Any]) -> bool:
        """Returns whether heads divide embed_dim. Values that `params` lacks come from `fixed` or the defaults."""
        whole = {**DEFAULTS, **self.fixed, **params}
        return heads_divide(whole["embed_dim"], whole["heads"])

    def pairs_left_out(self) -> tuple[int, int]:
        """Returns (the number of pairs of embed_dim and heads that cannot be built, the number of all pairs)."""
        left_out = pairs = 0
        for pair in self._pairs():
            pairs += 1
            left_out += not heads_divide(*pair)
        return left_out, pairs

    def buildable_pairs(self) -> Iterator[tuple[int, int]]:
        """Returns the pairs (embed_dim, heads) for which a model can be built."""
        return (pair for pair in self._pairs() if heads_divide(*pair))

    @property
    def finite(self) -> bool:
        """Whether every parameter has a finite number of values."""
        return all(distribution.options() is not None for distribution in self.parameters.values())

    def size(self) -> float:
        """Returns the number of configurations that can be built; infinity if a parameter is continuous."""
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
        """Returns every configuration of a finite space whose model can be built, each once."""
        return (params for params in self._choices(list(self.parameters)) if self.allowed(params))

    def example(self) -> Params:
        """Returns some configuration that keeps the rules of the space."""
        first = {
            name: d.values[0] if isinstance(d, Values) else CONFIG_TYPES[name](d.min)
            for name, d in self.parameters.items()
        }
        pair = next(self.buildable_pairs())
        return self.active(first) | dict(zip(PAIR, pair, strict=True))

    def to_json(self) -> JsonObject:
        """Returns the space with all its defaults as the dict that a space file holds."""
        plain = dataclasses.asdict(self)
        del plain["when"]
        plain["parameters"] = {name: self._plain(name) for name in self.parameters}
        return plain

    def values_of(self, name: str) -> Sequence[int]:
        """Returns all values of a whole-number hyperparameter, a single one if it is not searched."""
        if name not in self.parameters:
            return ({**DEFAULTS, **self.fixed}[name],)
        return self.parameters[name].options() or ()

    def _pairs(self) -> Iterator[tuple[int, int]]:
        return itertools.product(self.values_of("embed_dim"), self.values_of("heads"))

    def _choices(self, names: Sequence[str], chosen: Params | None = None) -> Iterator[Params]:
        """Yields all combinations of values of some finite parameters, without those whose conditions do not hold."""
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
