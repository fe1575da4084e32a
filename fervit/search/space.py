"""The search space file: what a sweep tries, how it stops trials early, what a trial gets. No Ray, no Optuna."""

from __future__ import annotations

import dataclasses
import math
import re
import typing
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Literal

import yaml

from fervit.errors import UserError
from fervit.structure import build, check_keys, convert
from fervit.training.config import TrainConfig, heads_divide

CONFIG_TYPES: dict[str, Any] = typing.get_type_hints(TrainConfig)
DEFAULTS: dict[str, Any] = {f.name: f.default for f in dataclasses.fields(TrainConfig)}
MAX_PAIRS = 1_000_000
"""Pairs of embed_dim and heads that are counted before a sweep."""
NOT_SEARCHABLE = {
    "epochs": "every trial runs up to early_stopping.max_epochs",
    "seed": "every trial uses search.seed",
}
OF_THE_DATA = dict.fromkeys(("seq_len", "latent_dim"), "it is the latents' own; put it under fixed")


@dataclass(frozen=True, kw_only=True)
class Metric:
    """What is optimised, on the validation split."""

    name: Literal["f1_macro", "f1_weighted", "accuracy", "balanced_accuracy", "val_loss"] = "f1_macro"
    goal: Literal["maximize", "minimize"] = "maximize"

    def __post_init__(self) -> None:
        right = "minimize" if self.name == "val_loss" else "maximize"
        if self.goal != right:
            raise ValueError(f"`goal: {right}` must hold for {self.name}, but got goal: {self.goal}")

    def better(self, value: float, than: float | None) -> bool:
        """Strictly better; an equal value is not."""
        if than is None:
            return True
        return value > than if self.goal == "maximize" else value < than


@dataclass(frozen=True, kw_only=True)
class SearchSettings:
    """How configurations are chosen."""

    sampler: Literal["tpe", "random", "qmc"] = "tpe"
    trials: int = 64
    seed: int = 42
    warm_start: list[dict] = field(default_factory=list)  # type: ignore[type-arg]

    def __post_init__(self) -> None:
        if self.trials < 1:
            raise ValueError(f"`trials >= 1` must hold, but got trials={self.trials}")
        if not 0 <= self.seed < 2**31:
            raise ValueError(f"`0 <= seed < 2**31` must hold, but got seed={self.seed}")
        if len(self.warm_start) > self.trials:
            raise ValueError(f"{len(self.warm_start)} warm starts do not fit into trials={self.trials}")


@dataclass(frozen=True, kw_only=True)
class EarlyStopping:
    """When a trial that falls behind is stopped (ASHA: Li et al., 2020)."""

    scheduler: Literal["asha", "none"] = "asha"
    max_epochs: int = 60
    grace_epochs: int = 6
    reduction_factor: int = 3

    def __post_init__(self) -> None:
        if not 1 <= self.grace_epochs <= self.max_epochs:
            raise ValueError(
                f"`1 <= grace_epochs <= max_epochs` must hold, but got grace_epochs={self.grace_epochs}, "
                f"max_epochs={self.max_epochs}"
            )
        if self.reduction_factor < 2:
            raise ValueError(f"`reduction_factor >= 2` must hold, but got reduction_factor={self.reduction_factor}")


@dataclass(frozen=True, kw_only=True)
class TrialResources:
    """What one trial gets of the cluster."""

    workers: int = 1
    cpus: float = 1
    gpus: float = 0
    max_failures: int = 3

    def __post_init__(self) -> None:
        if self.workers != 1:
            raise ValueError(f"`workers: 1` must hold in this version of fervit, but got workers={self.workers}")
        if self.cpus <= 0 or self.gpus < 0 or self.max_failures < 0:
            raise ValueError("`cpus > 0`, `gpus >= 0` and `max_failures >= 0` must hold")


@dataclass(frozen=True, kw_only=True)
class Confirm:
    """The best trials run again with fresh seeds, since the best of many is partly luck. `top: 0` leaves it out."""

    top: int = 0
    seeds: int = 3

    def __post_init__(self) -> None:
        if self.top < 0 or self.seeds < 1:
            raise ValueError(f"`top >= 0` and `seeds >= 1` must hold, but got top={self.top}, seeds={self.seeds}")


@dataclass(frozen=True, kw_only=True)
class Budget:
    """When the search starts no more trials and stops those that run; null is no limit."""

    hours: float | None = None
    gpu_hours: float | None = None

    def __post_init__(self) -> None:
        for name, value in vars(self).items():
            if value is not None and value <= 0:
                raise ValueError(f"`{name} > 0` must hold, but got {name}={value}")


@dataclass(frozen=True, kw_only=True)
class Values:
    """One of a list."""

    values: tuple[Any, ...]

    def options(self) -> tuple[Any, ...]:
        return self.values

    def contains(self, value: Any) -> bool:
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
        in_range = isinstance(value, int | float) and self.min <= value <= self.max
        return in_range and (self.kind != "int" or (value - self.min) % self.step == 0)


Distribution = Values | Range


@dataclass(frozen=True, kw_only=True)
class SearchSpace:
    """A whole space file, checked."""

    name: str
    metric: Metric = field(default_factory=Metric)
    search: SearchSettings = field(default_factory=SearchSettings)
    early_stopping: EarlyStopping = field(default_factory=EarlyStopping)
    parameters: dict[str, Distribution]
    fixed: dict[str, Any] = field(default_factory=dict)
    trial: TrialResources = field(default_factory=TrialResources)
    confirm: Confirm = field(default_factory=Confirm)
    budget: Budget = field(default_factory=Budget)

    def config(self, params: Mapping[str, Any]) -> TrainConfig:
        """The training configuration of one choice of the parameters."""
        return TrainConfig(
            **{**self.fixed, **params, "epochs": self.early_stopping.max_epochs, "seed": self.search.seed}
        )

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

    def size(self) -> float:
        """How many configurations there are, without the pairs left out; infinite with a continuous parameter."""
        left_out, pairs = self.pairs_left_out()
        size: float = pairs - left_out
        for name, distribution in self.parameters.items():
            if name not in ("embed_dim", "heads"):
                options = distribution.options()
                size *= math.inf if options is None else len(options)
        return size

    def example(self) -> dict[str, Any]:
        """Some configuration that keeps the rules."""
        first = {
            name: d.values[0] if isinstance(d, Values) else CONFIG_TYPES[name](d.min)
            for name, d in self.parameters.items()
        }
        pair = next(self.buildable_pairs())
        return {**first, **dict(zip(("embed_dim", "heads"), pair, strict=True))}

    def to_json(self) -> dict[str, Any]:
        """The resolved space as the plain dict that a space file holds."""
        plain = dataclasses.asdict(self)
        plain["parameters"] = {name: _plain(distribution) for name, distribution in self.parameters.items()}
        return plain

    def values_of(self, name: str) -> Sequence[int]:
        """All values of a whole-number hyperparameter: of `parameters`, else the one of `fixed` or the default."""
        if name not in self.parameters:
            return ({**DEFAULTS, **self.fixed}[name],)
        return self.parameters[name].options() or ()

    def _pairs(self) -> Iterator[tuple[int, int]]:
        heads = self.values_of("heads")
        return ((embed_dim, head) for embed_dim in self.values_of("embed_dim") for head in heads)


def read_space(path: Path, overrides: Sequence[str] = ()) -> SearchSpace:
    """Reads a space file and applies `a.b=v` overrides.

    Raises:
        UserError: anything wrong with the file or an override, in one line that names the place and the rule.
    """
    try:
        raw = yaml.load(path.read_text(encoding="utf-8"), _UniqueKeyLoader)
    except FileNotFoundError:
        raise UserError(f"--space {path}: there is no such file; search_spaces/ has examples") from None
    except (OSError, UnicodeDecodeError) as error:
        raise UserError(f"--space {path}: cannot be read ({error})") from None
    except yaml.YAMLError as error:
        raise UserError(f"{path}: is not valid YAML ({' '.join(str(error).split())})") from None
    if not isinstance(raw, dict):
        raise UserError(f"{path}: must be a mapping with the keys name, parameters, ...; see search_spaces/vit.yaml")
    for override in overrides:
        _override(raw, override)
    return parse_space(raw, str(path))


class _UniqueKeyLoader(yaml.SafeLoader):
    """Refuses a key that stands twice, of which YAML would keep the last in silence."""

    def construct_mapping(self, node: yaml.MappingNode, deep: bool = False) -> dict[Any, Any]:
        keys = [key.value for key, _ in node.value]
        for key in keys:
            if keys.count(key) > 1:
                raise yaml.constructor.ConstructorError(None, None, f"the key '{key}' stands twice", node.start_mark)
        return super().construct_mapping(node, deep)


def parse_space(raw: Mapping[str, Any], where: str) -> SearchSpace:
    """A space from the plain dict of a space file; `where` names the file in errors."""
    fields = {f.name for f in dataclasses.fields(SearchSpace)}
    check_keys(raw, fields, where)
    for key in ("name", "parameters"):
        if raw.get(key) in (None, {}):
            raise UserError(f"{where}: the key '{key}' is missing or empty")
    sections: dict[str, Any] = {
        name: build(kind, {} if raw.get(name) is None else raw[name], f"{where}: {name}")
        for name, kind in (
            ("metric", Metric),
            ("search", SearchSettings),
            ("early_stopping", EarlyStopping),
            ("trial", TrialResources),
            ("confirm", Confirm),
            ("budget", Budget),
        )
    }
    name = convert(raw["name"], str, f"{where}: name")
    if not re.fullmatch(r"[\w-]{1,100}", name):
        raise UserError(
            f"{where}: name: must be 1 to 100 letters, digits, - and _ (a folder's), but got {name[:120]!r}"
        )
    parameters = _parameters(raw["parameters"], where)
    space = SearchSpace(
        name=name,
        parameters=parameters,
        fixed=_fixed({} if raw.get("fixed") is None else raw["fixed"], parameters, where),
        **sections,
    )
    return _checked(space, where)


def _parameters(raw: Any, where: str) -> dict[str, Distribution]:
    if not isinstance(raw, Mapping):
        raise UserError(f"{where}: parameters: must be a mapping of hyperparameters, but got {raw!r}")
    check_keys(raw, CONFIG_TYPES, f"{where}: parameters")
    _refuse(raw, NOT_SEARCHABLE | OF_THE_DATA, f"{where}: parameters")
    return {name: _distribution(name, value, f"{where}: parameters.{name}") for name, value in raw.items()}


def _distribution(name: str, raw: Any, where: str) -> Distribution:
    if not isinstance(raw, Mapping) or not raw:
        raise UserError(
            f"{where}: must be {{values: [...]}} or {{distribution: ..., min: ..., max: ...}}, but got {raw!r}"
        )
    if "values" in raw:
        check_keys(raw, ("values",), where)
        return Values(values=_values(name, raw["values"], where))
    check_keys(raw, ("distribution", "min", "max", "log", "step", "values"), where)
    for key in ("distribution", "min", "max"):
        if key not in raw:
            raise UserError(f"{where}: the key '{key}' is missing")
    kind = convert(raw["distribution"], Literal["uniform", "log_uniform", "int"], f"{where}.distribution")
    field_type = CONFIG_TYPES[name]
    if field_type not in (int, float) or (field_type is int) != (kind == "int"):
        fitting = {int: "int", float: "uniform or log_uniform"}.get(field_type, "values: [...]")
        raise UserError(f"{where}.distribution: does not fit {name}, which needs {fitting}, but got {kind!r}")
    if kind != "int":
        check_keys(raw, ("distribution", "min", "max"), where)
    low, high = (convert(raw[key], field_type, f"{where}.{key}") for key in ("min", "max"))
    log = convert(raw.get("log", False), bool, f"{where}.log")
    step = convert(raw.get("step", 1), int, f"{where}.step")
    if low > high:
        raise UserError(f"{where}: `min <= max` must hold, but got min={low}, max={high}")
    if (kind == "log_uniform" or log) and low <= 0:
        raise UserError(f"{where}: `min > 0` must hold on a logarithmic scale, but got min={low}")
    if step < 1 or (log and step != 1):
        raise UserError(f"{where}.step: must be 1 or more, and 1 with log: true, but got {step}")
    return Range(kind=kind, min=low, max=high - (high - low) % step if kind == "int" else high, log=log, step=step)


def _values(name: str, raw: Any, where: str) -> tuple[Any, ...]:
    if not isinstance(raw, Sequence) or isinstance(raw, str):
        raise UserError(f"{where}.values: must be a list, but got {raw!r}")
    if len(raw) == 0:
        raise UserError(f"{where}.values: must hold at least one value, but is empty")
    values = tuple(convert(value, CONFIG_TYPES[name], f"{where}.values[{i}]") for i, value in enumerate(raw))
    if len(set(values)) < len(values):
        raise UserError(f"{where}.values: must not hold a value twice, but got {list(values)}")
    return values


def _fixed(raw: Any, parameters: Mapping[str, Distribution], where: str) -> dict[str, Any]:
    if not isinstance(raw, Mapping):
        raise UserError(f"{where}: fixed: must be a mapping of hyperparameters, but got {raw!r}")
    check_keys(raw, CONFIG_TYPES, f"{where}: fixed")
    _refuse(raw, NOT_SEARCHABLE, f"{where}: fixed")
    for name in raw:
        if name in parameters:
            raise UserError(f"{where}: fixed.{name}: stands in parameters as well; keep one of the two")
    return {name: convert(value, CONFIG_TYPES[name], f"{where}: fixed.{name}") for name, value in raw.items()}


def _refuse(raw: Mapping[str, Any], reasons: Mapping[str, str], where: str) -> None:
    for name, reason in reasons.items():
        if name in raw:
            raise UserError(f"{where}.{name}: cannot be set here, {reason}; remove it")


def _checked(space: SearchSpace, where: str) -> SearchSpace:
    """Rules that span sections: some pair can be built, every value is one TrainConfig takes, warm starts fit."""
    n_pairs = 1
    for name in ("embed_dim", "heads"):
        section = f"parameters.{name}" if name in space.parameters else f"fixed.{name}"
        values = space.values_of(name)
        n_pairs *= len(values)
        lowest = values[0] if isinstance(values, range) else min(values)
        if lowest < 1:
            raise UserError(f"{where}: {section}: `{name} >= 1` must hold, but got {lowest}")
    if n_pairs > MAX_PAIRS:
        raise UserError(
            f"{where}: parameters: {n_pairs} pairs of embed_dim and heads; give both a step, or values: [...]"
        )
    left_out, pairs = space.pairs_left_out()
    if left_out == pairs:
        raise UserError(
            f"{where}: no value of heads divides one of embed_dim, so no model can be built; embed_dim must be a "
            "multiple of heads"
        )
    pair = dict(zip(("embed_dim", "heads"), next(space.buildable_pairs()), strict=True))
    _try_config(space, pair, f"{where}: fixed")
    for name, distribution in space.parameters.items():
        ends = distribution.values if isinstance(distribution, Values) else (distribution.min, distribution.max)
        for value in ends if name not in pair else ():
            _try_config(space, {**pair, name: value}, f"{where}: parameters.{name}")
    for i, params in enumerate(space.search.warm_start):
        _check_warm_start(space, params, f"{where}: search.warm_start[{i}]")
    return space


def _try_config(space: SearchSpace, params: Mapping[str, Any], where: str) -> None:
    try:
        space.config(params)
    except ValueError as error:
        raise UserError(f"{where}: {error}") from None


def _check_warm_start(space: SearchSpace, params: Mapping[str, Any], where: str) -> None:
    check_keys(params, space.parameters, where)
    for name, value in params.items():
        value = convert(value, CONFIG_TYPES[name], f"{where}.{name}")
        if not space.parameters[name].contains(value):
            raise UserError(f"{where}.{name}: {value!r} lies outside parameters.{name}; widen that or leave this out")
    if not space.allowed(warm_start_params(space, params)):
        raise UserError(f"{where}: heads do not divide embed_dim; embed_dim must be a multiple of heads")


def warm_start_params(space: SearchSpace, params: Mapping[str, Any]) -> dict[str, Any]:
    """A warm start with what it leaves out at the training default, where the space has that; the rest is sampled."""
    filled = {name: DEFAULTS[name] for name, d in space.parameters.items() if d.contains(DEFAULTS[name])}
    given = {name: convert(value, CONFIG_TYPES[name], name) for name, value in params.items()}
    return {**filled, **given}


def _override(raw: dict[str, Any], override: str) -> None:
    path, equals, text = override.partition("=")
    keys = path.strip().split(".")
    if not equals or not all(keys):
        raise UserError(f"--set {override}: must be of the form a.b=value, such as search.trials=16")
    try:
        value = yaml.safe_load(text)
    except yaml.YAMLError:
        raise UserError(f"--set {override}: the value is not valid YAML") from None
    for key in keys[:-1]:
        inner = raw.setdefault(key, {})
        if not isinstance(inner, dict):
            raise UserError(f"--set {override}: '{key}' is not a section of the space file")
        raw = inner
    raw[keys[-1]] = value


def _plain(distribution: Distribution) -> dict[str, Any]:
    if isinstance(distribution, Values):
        return {"values": list(distribution.values)}
    plain = {"distribution": distribution.kind, "min": distribution.min, "max": distribution.max}
    return {**plain, "log": distribution.log, "step": distribution.step} if distribution.kind == "int" else plain
