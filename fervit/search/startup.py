"""Checks the cluster before the first trial of a sweep, and says what to expect of the sweep."""

from __future__ import annotations

import math
import shlex
from collections.abc import Sequence
from pathlib import Path

from fervit.cluster.connection import free_nodes
from fervit.cluster.gpus import GpuLook
from fervit.cluster.nodes import Cluster
from fervit.progress import Say, clock
from fervit.search.forecast import Forecast, Span, forecast
from fervit.search.policy.ordinal import Ordinal
from fervit.search.policy.sampler import SpaceSampler
from fervit.search.preflight import check_budget, check_disk, placeable, slots
from fervit.search.records.record import TrialRecord, params_text
from fervit.search.space.search_space import SearchSpace, Values
from fervit.search.space.settings import TrialResources
from fervit.search.splits import Splits
from fervit.search.workers.node_checks import check_nodes, measure_pace
from fervit.search.workers.worker_group import SharedLatents

SHOWN = 5
"""The number of configurations that are shown and measured before a sweep."""
SOON_DONE = 1e14
"""A sweep of fewer floating-point operations takes some minutes on one core and is not measured beforehand."""
LONG_S = 3600.0
"""If a sweep is expected to take longer, the flags of a smaller one are named."""
OF_MPS = 2
"""The trials whose work a GPU that is shared by MPS does at the same time (benchmarks/gpu_h200.md: 1.8 to 2.1)."""
LEARN = ("tpe", "gp", "cmaes")
"""The samplers that learn from results."""
OF_NUMBERS = ("cmaes", "qmc")
"""The samplers that know neither categories nor what only some trials have."""
ROUNDS, FEW = 4, 4
"""A sampler can learn if a sweep has at least `ROUNDS` rounds of trials at once; `FEW` at once never matter."""


def check_cluster(
    space: SearchSpace, splits: Splits, latents: str, folder: Path, look: GpuLook, say: Say, *, gpus_asked: bool = False
) -> TrialResources:
    """Checks that trials fit, that nodes can write and that the disk has room; returns the resources of a trial.

    Args:
        space: the search space.
        splits: the latents of the sweep.
        latents: the path or URI of the latents.
        folder: the folder of the sweep.
        look: the connected cluster, and what a look at its GPUs has found.
        say: prints a line for the user.
        gpus_asked: whether the user asked for GPUs by name, so that the CPU will not do.

    Raises:
        UserError: one of these checks fails.
    """
    cluster = look.cluster
    if look.problems and cluster.gpus:
        say(look.remark("--set trial.gpus=0"))
    why = "" if cluster.gpus else look.why
    resources, remark = placeable(space.trial, cluster.nodes, problem=why, asked=gpus_asked)
    check_budget(space.budget, resources)
    if remark:
        say(remark)
    at_once = _at_once(space, resources, cluster)
    say(f"cluster: {cluster}; {at_once} trials at once")
    remarks = [
        _taken(slots(resources, cluster.nodes), slots(resources, free_nodes())),
        too_many_at_once(space, at_once),
        drawn_at_random(space),
    ]
    for remark in filter(None, remarks):
        say(remark)
    for remark in check_nodes(cluster.nodes, folder, latents):
        say(remark)
    say("disk: " + check_disk(forecast(space, at_once, len(splits.train)).checkpoint_bytes, folder))
    return resources


def expectations(
    space: SearchSpace, splits: Splits, resources: TrialResources, cluster: Cluster, *, measure: bool = False
) -> str:
    """Describes the first configurations, how long an epoch of each takes, and how long the sweep will take.

    Each configuration is trained for some seconds, which also shows at once if one of them cannot run. A sweep that
    takes only minutes is not measured, unless `measure` is true.
    """
    at_once = _at_once(space, resources, cluster)
    expected = forecast(space, at_once, len(splits.train))
    sampler = SpaceSampler(space)
    first = [sampler.ask().params for _ in range(int(min(SHOWN, space.search.trials, sampler.size)))]
    texts = [params_text(params) for params in first]
    epochs = _epochs_text(expected)
    if not measure and expected.flops < SOON_DONE:
        return "\n".join([f"the first configurations; {epochs}:", *(f"  {text}" for text in texts)])
    configs = [space.config(params) for params in first]
    paces = measure_pace(configs, SharedLatents.put(splits.train, splits.val), resources, cluster.unusable)
    lines = ["the first configurations, each trained for some seconds:"]
    for text, pace in zip(texts, paces, strict=True):
        lines.append(f"  {pace.failure or f'{clock(pace.seconds_an_epoch)} an epoch'}  {text}")
    times = [pace.seconds_an_epoch for pace in paces if not pace.failure]
    if not times:
        return "\n".join([*lines, f"expected: {epochs}"])
    # DDP workers divide each batch among them; this estimate leaves out the time that their communication takes.
    pace_s = math.fsum(times) / len(times) / resources.workers
    together = computing(resources, cluster, at_once)
    takes = _time_text(space, expected, pace_s, resources, at_once, together)
    lines.append(f"expected, from the mean of these: {takes}")
    if (expected.epochs * pace_s).high / together > LONG_S:
        lines.append(f"a smaller one for a first look: {_flags(smaller(space))}")
    return "\n".join(lines)


def _flags(settings: Sequence[str]) -> str:
    return shlex.join(word for text in settings for word in ("--set", text))


def smaller(space: SearchSpace) -> list[str]:
    """Returns settings of `--set` that make a sweep small enough for a first look: fewer and shorter trials, and models
    that are no wider than 128."""
    widths, heads = space.values_of("embed_dim"), space.values_of("heads")
    narrow = [width for width in (64, 128) if any(width % n == 0 for n in heads)]
    settings = [
        f"search.trials={min(8, space.search.trials)}",
        f"early_stopping.max_epochs={min(12, space.early_stopping.max_epochs)}",
        f"early_stopping.grace_epochs={min(2, space.early_stopping.grace_epochs)}",
        f"confirm.top={min(1, space.confirm.top)}",
    ]
    if not narrow or min(widths) <= max(narrow):
        return settings
    if "embed_dim" not in space.parameters:
        return [*settings, f"fixed.embed_dim={narrow[-1]}"]
    values = f"{{values: {narrow}}}"
    return [*settings, f"parameters.embed_dim={values}", *(["search.warm_start=[]"] if space.search.warm_start else [])]


def what_is_left(
    space: SearchSpace, splits: Splits, resources: TrialResources, cluster: Cluster, records: Sequence[TrialRecord]
) -> str:
    """Describes what is left of a sweep that is resumed, and how long that will take at the pace so far.

    Args:
        space: the search space.
        splits: the latents of the sweep.
        resources: the resources of a trial.
        cluster: the connected cluster.
        records: the trials and reruns so far.
    """
    at_once = _at_once(space, resources, cluster)
    expected = forecast(space, at_once, len(splits.train), records)
    searched = [record for record in records if record.purpose == "search"]
    going = sum(record.state == "running" or record.cut for record in searched)
    left = f"left: {expected.trials} of {expected.trials + len(searched)} trials to begin, {going} to go on; "
    n_epochs, seconds = (sum(of(record) for record in records) for of in (lambda r: len(r.epochs), lambda r: r.seconds))
    if not n_epochs:
        return left + _epochs_text(expected)
    return left + _time_text(space, expected, seconds / n_epochs, resources, at_once)


def _epochs_text(expected: Forecast) -> str:
    return f"{expected.epochs} epochs in all, on average {expected.epochs_a_trial} a trial that does not fail"


def _time_text(
    space: SearchSpace,
    expected: Forecast,
    seconds_an_epoch: float,
    resources: TrialResources,
    at_once: int,
    together: int | None = None,
) -> str:
    """Says how long some epochs take, and that a budget may end them before.

    Args:
        space: the search space.
        expected: the epochs.
        seconds_an_epoch: as one trial takes them while `together` trials compute.
        resources: the resources of a trial.
        at_once: the number of trials that run at once.
        together: the number of those that compute at the same time; None for all.
    """
    together = together or at_once
    by_turns = "" if resources.mps else " in turns"
    seconds = expected.epochs * seconds_an_epoch
    hours = seconds * (resources.gpus_each * resources.workers / 3600)
    gpu_hours = f"{hours.low:.1f} to {hours.high:.1f}" if hours.high > hours.low else f"{hours.high:.1f}"
    of_gpus = f" and {gpu_hours} GPU-hours" if resources.gpus_each else ""
    text = (
        f"{_clocks(seconds * (1 / together))}{of_gpus} with {at_once} trials at once"
        f"{f', which share GPUs{by_turns}' if together < at_once else ''}; "
        f"{_epochs_text(expected)}"
    )
    budget = space.budget
    for limit, name in ((budget.hours, "hours"), (budget.gpu_hours, "GPU-hours")):
        text += f"; the search ends after {limit:g} {name} at the latest" if limit is not None else ""
    return text


def _clocks(seconds: Span) -> str:
    low, high = clock(seconds.low), clock(seconds.high)
    return low if low == high else f"{low} to {high}"


def _at_once(space: SearchSpace, resources: TrialResources, cluster: Cluster) -> int:
    most = space.search.max_concurrent_trials
    return max(1, min(slots(resources, cluster.nodes), space.search.trials, most or space.search.trials))


def computing(resources: TrialResources, cluster: Cluster, at_once: int) -> int:
    """The number of trials that compute at the same time. On a GPU that they share without MPS they take turns."""
    if not 0 < resources.gpus_each < 1:
        return at_once
    return max(1, min(at_once, math.ceil(cluster.gpus) * (OF_MPS if resources.mps else 1)))


def _taken(places: int, free: int) -> str:
    """Says how many places others hold, such as another sweep; "" if none."""
    if free >= places:
        return ""
    return (
        f"{places - free} of {places} places for trials are taken by others at the moment; trials wait for them, and "
        "the hours of the budget do not run while none can start"
    )


def too_many_at_once(space: SearchSpace, at_once: int) -> str:
    """Returns a warning if so many trials run at once that the sampler learns from few results; "" if not."""
    trials, sampler = space.search.trials, space.search.sampler
    if sampler not in LEARN or at_once <= max(FEW, trials // ROUNDS):
        return ""
    most = max(FEW, trials // ROUNDS)
    return (
        f"{at_once} of {trials} trials start before any result, so {sampler} has little to learn from: set "
        f"search.max_concurrent_trials={most}, or more trials"
    )


def drawn_at_random(space: SearchSpace) -> str:
    """Names the hyperparameters that the sampler draws at random, since it knows numbers alone; "" for none."""
    if space.search.sampler not in OF_NUMBERS:
        return ""
    numbers = Ordinal.of(space)
    categories = [name for name, d in space.parameters.items() if isinstance(d, Values) and name not in numbers]
    conditional = [name for name in space.parameters if name in space.when and name not in categories]
    names = ", ".join(categories + conditional)
    if not names:
        return ""
    return f"{space.search.sampler} draws {names} at random: it knows only numbers that every trial has; tpe knows all"
