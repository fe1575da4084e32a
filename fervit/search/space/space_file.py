"""Reads a search space file in YAML, and checks it."""

from __future__ import annotations

import dataclasses
import re
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any, ClassVar, Literal

import yaml

from fervit.errors import UserError
from fervit.io.files import JsonObject
from fervit.parsing import build, check_keys, convert, nearest
from fervit.search.space.search_space import (
    CONFIG_TYPES,
    DEFAULTS,
    PAIR,
    Distribution,
    Params,
    Range,
    SearchSpace,
    Values,
    When,
)
from fervit.search.space.settings import (
    NOISE_SEEDS,
    Budget,
    Confirm,
    EarlyStopping,
    SearchSettings,
    TrialResources,
)
from fervit.system.program import shipped
from fervit.training.objective import Metric

MAX_PAIRS = 1_000_000
"""The largest number of pairs of embed_dim and heads, all of which are enumerated before a sweep."""
NOT_SEARCHABLE = {
    "epochs": "every trial runs up to early_stopping.max_epochs",
    "seed": "every trial uses search.seed",
}
OF_THE_DATA = dict.fromkeys(("seq_len", "latent_dim"), "it is the latents' own; put it under fixed")
SPACES = "search_spaces"
NAME = r"[\w-]{1,100}"
"""The pattern of a space's name, which is that of a folder, too."""


def space_path(given: Path) -> Path:
    """Returns the path of a space: the file that was given, or the space of fervit with this name, such as `vit`."""
    own = shipped(SPACES) / f"{given.name}.yaml"
    return own if given.parent == Path() and not given.exists() and own.is_file() else given


def read_space(path: Path, overrides: Sequence[str] = ()) -> SearchSpace:
    """Reads a space file and applies overrides.

    Args:
        path: the path of the file, or the name of a space of fervit.
        overrides: settings such as "search.trials=16", which replace those of the file.

    Raises:
        UserError: the file or an override is wrong. The message names the place and the rule in one line.
    """
    try:
        raw = yaml.load(space_path(path).read_text(encoding="utf-8"), _SpaceLoader)
    except FileNotFoundError:
        own = ", ".join(sorted(file.stem for file in shipped(SPACES).glob("*.yaml")))
        raise UserError(f"--space {path}: there is no such file; give one, or a space of fervit: {own}") from None
    except IsADirectoryError:
        raise UserError(f"--space {path}: is a folder; name a file in it") from None
    except UnicodeDecodeError:
        raise UserError(f"--space {path}: is no text in UTF-8; give a YAML file") from None
    except OSError as error:
        raise UserError(f"--space {path}: cannot be read ({error.strerror})") from None
    except yaml.YAMLError as error:
        raise UserError(f"{path}: is not valid YAML ({' '.join(str(error).split())})") from None
    if not isinstance(raw, dict):
        raise UserError(f"{path}: must be a mapping with the keys name, parameters, ...; see search_spaces/vit.yaml")
    for text in overrides:
        override(raw, text)
    return parse_space(raw, str(path))


class _SpaceLoader(yaml.SafeLoader):
    """A YAML loader that reads numbers as YAML 1.2 does, and refuses duplicate keys.

    YAML 1.1, the standard loader's, reads 1:30 as 90, 042 as 34 and 1e2 as text; of duplicate keys it keeps the last.
    """

    yaml_implicit_resolvers: ClassVar = {  # type: ignore[misc]
        first: [(tag, rule) for tag, rule in rules if not tag.endswith((":int", ":float"))]
        for first, rules in yaml.SafeLoader.yaml_implicit_resolvers.items()
    }

    def construct_mapping(self, node: yaml.MappingNode, deep: bool = False) -> dict[Any, Any]:
        keys = [key.value for key, _ in node.value]
        for key in keys:
            if keys.count(key) > 1:
                raise yaml.constructor.ConstructorError(None, None, f"the key '{key}' appears twice", node.start_mark)
        return super().construct_mapping(node, deep)

    def construct_number(self, node: yaml.ScalarNode) -> int | float:
        """Returns the number that a scalar is: an int, also of 1e2, which is whole, or a float."""
        text = node.value
        if not isinstance(text, str) or not re.fullmatch(NUMBER, text):  # someone wrote the tag
            raise yaml.constructor.ConstructorError(None, None, f"{text!r} is no number", node.start_mark)
        if text.startswith(("0o", "0x")):
            return int(text, 0)
        if re.fullmatch(r"[-+]?[0-9]+", text):
            return int(text)
        value = float(re.sub(r"\.(?=inf|nan)", "", text, flags=re.IGNORECASE))
        return int(value) if "." not in text and value.is_integer() and abs(value) < 2**53 else value


NUMBER = re.compile(
    r"[-+]?[0-9]+|0o[0-7]+|0x[0-9a-fA-F]+|[-+]?(\.[0-9]+|[0-9]+(\.[0-9]*)?)([eE][-+]?[0-9]+)?"
    r"|[-+]?\.(inf|Inf|INF)|\.(nan|NaN|NAN)"
)
"""A number in the core schema of YAML 1.2."""
_SpaceLoader.add_implicit_resolver("!number", re.compile(f"^(?:{NUMBER.pattern})$"), list("-+.0123456789"))
_SpaceLoader.add_constructor("!number", _SpaceLoader.construct_number)


def parse_space(raw: Mapping[str, Any], where: str) -> SearchSpace:
    """Makes a search space from the content of a space file.

    Args:
        raw: the content of the file.
        where: the name of the file, for error messages.

    Raises:
        UserError: the content is wrong. The message names the place and the rule in one line.
    """
    fields = {f.name for f in dataclasses.fields(SearchSpace)} - {"when"}  # a file writes conditions inside parameters
    check_keys(raw, fields, where)
    for key in ("name", "parameters"):
        if raw.get(key) in (None, {}):
            raise UserError(f"{where}: the key '{key}' is missing or empty")
    given = _with_fitting_defaults(raw)
    sections: JsonObject = {
        name: build(kind, {} if given.get(name) is None else given[name], f"{where}: {name}")
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
    if not re.fullmatch(NAME, name):
        raise UserError(
            f"{where}: name: must be 1 to 100 letters, digits, - and _ (a folder's), but got {name[:120]!r}"
        )
    parameters, when = _parameters(raw["parameters"], where)
    space = SearchSpace(
        name=name,
        parameters=parameters,
        when=when,
        fixed=_fixed({} if raw.get("fixed") is None else raw["fixed"], parameters, where),
        **sections,
    )
    return _checked(space, where)


def _with_fitting_defaults(raw: Mapping[str, Any]) -> JsonObject:
    """Adds the defaults that depend on what the file says, so that no default refuses what the user wrote.

    The grace is no longer than the trials; a loss is minimised; what costs count beside a metric stops no trial early;
    before folds, a configuration is confirmed.
    """
    given = dict(raw)

    def fit(section: str, key: str, value: object) -> None:
        if section not in given or given[section] is None:
            given[section] = {}
        if isinstance(given[section], Mapping) and key not in given[section]:
            given[section] = {**given[section], key: value}

    def said(section: str, key: str) -> Any:
        return given[section].get(key) if isinstance(given.get(section), Mapping) else None

    longest, folds = said("early_stopping", "max_epochs"), said("confirm", "folds")
    if isinstance(longest, int) and not isinstance(longest, bool) and longest >= 1:
        fit("early_stopping", "grace_epochs", min(longest, EarlyStopping.grace_epochs))
    if said("metric", "name") == "val_loss":
        fit("metric", "goal", "minimize")
    if said("metric", "against") is not None:
        fit("early_stopping", "scheduler", "none")
    if isinstance(folds, int) and folds > 0:
        fit("confirm", "top", 1)
    return given


def _parameters(raw: Any, where: str) -> tuple[dict[str, Distribution], dict[str, When]]:
    """Returns the distributions and the conditions. Each parameter comes after those that its condition names."""
    parameters: dict[str, Distribution] = {}
    when: dict[str, JsonObject] = {}
    _collect(raw, {}, f"{where}: parameters", parameters, when)
    checked: dict[str, When] = {
        name: {other: _condition(name, other, value, parameters, where) for other, value in conditions.items()}
        for name, conditions in when.items()
        if conditions
    }
    ordered: dict[str, Distribution] = {}
    while len(ordered) < len(parameters):
        ready = [n for n in parameters if n not in ordered and all(other in ordered for other in checked.get(n, {}))]
        if not ready:
            names = ", ".join(name for name in parameters if name not in ordered)
            raise UserError(f"{where}: parameters: the conditions of {names} wait for each other; remove one `when`")
        ordered |= {name: parameters[name] for name in ready}
    return ordered, checked


def _collect(
    raw: Any,
    outer: Mapping[str, Any],
    where: str,
    parameters: dict[str, Distribution],
    when: dict[str, JsonObject],
) -> None:
    """Adds the parameters of a mapping, and those of the groups `{when: ..., parameters: ...}` in it.

    Args:
        raw: the mapping.
        outer: the conditions of the groups around it.
        where: the place of the mapping, for error messages.
        parameters: gets the distribution of each parameter.
        when: gets the conditions of each parameter, not yet checked.
    """
    if not isinstance(raw, Mapping):
        raise UserError(f"{where}: must be a mapping of hyperparameters, but got {raw!r}")
    groups = {name for name, value in raw.items() if isinstance(value, Mapping) and "parameters" in value}
    check_keys([name for name in raw if name not in groups], CONFIG_TYPES, where)
    _refuse(raw, NOT_SEARCHABLE | OF_THE_DATA, where)
    for name, value in raw.items():
        place = f"{where}.{name}"
        conditions = dict(outer)
        if isinstance(value, Mapping) and "when" in value:
            if not isinstance(value["when"], Mapping) or not value["when"]:
                raise UserError(
                    f"{place}.when: must be a mapping such as {{scheduler: cosine}}, but got {value['when']!r}"
                )
            for other, wanted in value["when"].items():
                if other in conditions and conditions[other] != wanted:
                    raise UserError(f"{place}.when.{other}: is in the group around it as well; keep one of the two")
                conditions[other] = wanted
        if name in groups:
            check_keys(value, ("when", "parameters"), place)
            _collect(value["parameters"], conditions, f"{place}.parameters", parameters, when)
            continue
        if name in parameters:
            raise UserError(f"{place}: appears twice among the parameters; list the values of `when` in one place")
        bare = {key: v for key, v in value.items() if key != "when"} if isinstance(value, Mapping) else value
        parameters[name] = _distribution(name, bare, place)
        when[name] = conditions


def _condition(
    name: str, other: str, wanted: Any, parameters: Mapping[str, Distribution], where: str
) -> tuple[Any, ...]:
    place = f"{where}: parameters.{name}.when.{other}"
    if name in PAIR:
        raise UserError(f"{where}: parameters.{name}.when: embed_dim and heads are searched in every trial; remove it")
    decides = parameters.get(other)
    if not isinstance(decides, Values):
        lists = [n for n, d in parameters.items() if isinstance(d, Values) and n != name]
        raise UserError(f"{place}: must name a parameter with values: [...]; {nearest(str(other), lists)}")
    values = wanted if isinstance(wanted, list | tuple) else [wanted]
    converted = tuple(convert(value, CONFIG_TYPES[other], place) for value in values)
    for value in converted:
        if not decides.contains(value):
            raise UserError(f"{place}: {value!r} is none of parameters.{other}: {list(decides.values)}")
    return converted


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


def _fixed(raw: Any, parameters: Mapping[str, Distribution], where: str) -> Params:
    if not isinstance(raw, Mapping):
        raise UserError(f"{where}: fixed: must be a mapping of hyperparameters, but got {raw!r}")
    check_keys(raw, CONFIG_TYPES, f"{where}: fixed")
    _refuse(raw, NOT_SEARCHABLE, f"{where}: fixed")
    for name in raw:
        if name in parameters:
            raise UserError(f"{where}: fixed.{name}: is in parameters as well; keep one of the two")
    return {name: convert(value, CONFIG_TYPES[name], f"{where}: fixed.{name}") for name, value in raw.items()}


def _refuse(raw: Mapping[str, Any], reasons: Mapping[str, str], where: str) -> None:
    for name, reason in reasons.items():
        if name in raw:
            raise UserError(f"{where}.{name}: cannot be set here, {reason}; remove it")


def _checked(space: SearchSpace, where: str) -> SearchSpace:
    """Checks the rules that concern several sections, such as that some model can be built and that warm starts fit."""
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
    check_search(space, where)
    fresh = max(NOISE_SEEDS, space.confirm.seeds)
    if space.search.seed + fresh >= 2**31:
        raise UserError(
            f"{where}: search.seed: `seed + {fresh} < 2**31` must hold, since reruns take the seeds after it, but got "
            f"{space.search.seed}"
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


def check_search(space: SearchSpace, where: str) -> None:
    """Checks that the sampler and the scheduler can do what the rest of the file asks for.

    Raises:
        UserError: they cannot.
    """
    if space.metric.against is not None and space.early_stopping.scheduler != "none":
        raise UserError(
            f"{where}: early_stopping.scheduler: `scheduler: none` must hold with metric.against, but got "
            f"{space.early_stopping.scheduler}: it would stop small models for being worse than large ones"
        )
    if space.budget.until_noise and space.early_stopping.scheduler == "thaw":
        raise UserError(
            f"{where}: budget.until_noise: thaw ends the search by itself, when no trial is worth its epochs; leave "
            "until_noise out, or take another early_stopping.scheduler"
        )
    if space.metric.against is not None and space.search.sampler == "cmaes":
        raise UserError(
            f"{where}: search.sampler: cmaes has one objective, but metric.against asks for two; take tpe or gp"
        )
    endless = [name for name, distribution in space.parameters.items() if distribution.options() is None]
    if space.search.sampler == "grid" and endless:
        raise UserError(
            f"{where}: search.sampler: grid needs values: [...] for every parameter, but {', '.join(endless)} "
            f"{'have' if len(endless) > 1 else 'has'} no end of them"
        )
    if space.trial.workers > 1 and space.trial.gpus_each != int(space.trial.gpus_each):
        raise UserError(
            f"{where}: trial.gpus: with workers={space.trial.workers} each needs a whole GPU or none, but got "
            f"{space.trial.gpus_each:g}"
        )


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
            raise UserError(f"{where}.{name}: {value!r} lies outside parameters.{name}; {_way_out(where)}")
    filled = warm_start_params(space, params)
    for name in params:
        if name not in filled:
            needed = ", ".join(f"{other} {' or '.join(map(str, v))}" for other, v in space.when[name].items())
            raise UserError(f"{where}.{name}: is searched with {needed} only; leave it out, or add that")
    wanted = [filled.get(name) for name in PAIR]
    if not any(
        all(want in (None, have) for want, have in zip(wanted, p, strict=True)) for p in space.buildable_pairs()
    ):
        raise UserError(f"{where}: heads do not divide embed_dim; embed_dim must be a multiple of heads")


def _way_out(where: str) -> str:
    if "search.warm_start" in where:
        return "widen that, or leave this out (--set search.warm_start=[] leaves all out)"
    return "give a value of the space, which sweep.yaml in its folder names"


def configuration_of(space: SearchSpace, params: Mapping[str, Any], where: str) -> Params:
    """Returns a user's configuration with the defaults that lie in the space for what it leaves open.

    Raises:
        UserError: it is not one of the space; the message begins with `where`.
    """
    _check_warm_start(space, params, where)
    return warm_start_params(space, params)


def warm_start_params(space: SearchSpace, params: Mapping[str, Any]) -> Params:
    """Completes a warm start with the defaults that lie in the space. Optuna samples the remaining parameters."""
    filled = {name: DEFAULTS[name] for name, d in space.parameters.items() if d.contains(DEFAULTS[name])}
    given = {name: convert(value, CONFIG_TYPES[name], name) for name, value in params.items()}
    return space.active({**filled, **given})


def override(raw: JsonObject, setting: str) -> None:
    """Sets one key in the content of a space file.

    Args:
        raw: the content, which is changed.
        setting: a dotted key and its value in YAML, such as "search.trials=16". null takes a key of `parameters` or
            `fixed` away.

    Raises:
        UserError: the setting does not have that form, its key leads through a value that is no section, or there is
            nothing to take away.
    """
    path, equals, text = setting.partition("=")
    keys = path.strip().split(".")
    if not equals or not all(keys):
        raise UserError(f"--set {setting}: must be of the form a.b=value, such as search.trials=16")
    try:
        value = yaml.load(text, _SpaceLoader)
    except yaml.YAMLError:
        raise UserError(f"--set {setting}: the value is not valid YAML") from None
    for key in keys[:-1]:
        inner = raw.setdefault(key, {})
        if not isinstance(inner, dict):
            raise UserError(f"--set {setting}: '{key}' is not a section of the space file")
        raw = inner
    if value is None and keys[0] in ("parameters", "fixed") and len(keys) > 1:
        if keys[-1] not in raw:
            raise UserError(f"--set {setting}: there is no key '{keys[-1]}' to take away; {nearest(keys[-1], raw)}")
        del raw[keys[-1]]
        return
    raw[keys[-1]] = value
