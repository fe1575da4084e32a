"""Checks the cluster before the first trial of a sweep, and says what to expect of the sweep."""

from __future__ import annotations

import math
from pathlib import Path

from fervit.cluster.gpus import GpuLook
from fervit.cluster.nodes import Cluster
from fervit.progress import Say, clock
from fervit.search.policy.sampler import SpaceSampler
from fervit.search.preflight import check_budget, check_disk, epochs_a_trial, forecast, placeable, slots
from fervit.search.records.record import params_text
from fervit.search.space.search_space import SearchSpace
from fervit.search.space.settings import TrialResources
from fervit.search.splits import Splits
from fervit.search.workers.node_checks import check_nodes, measure_pace
from fervit.search.workers.worker_group import SharedLatents

SHOWN = 5
"""The number of configurations that are shown and measured before a sweep."""
SOON_DONE = 1e14
"""A sweep of fewer floating-point operations takes some minutes on one core and is not measured beforehand."""


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
    epochs = f"about {expected.epochs:.0f} epochs in all, {epochs_a_trial(space):.1f} a trial"
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
    seconds = expected.epochs * math.fsum(times) / len(times) / resources.workers
    gpu_hours = seconds * resources.gpus_each * resources.workers / 3600
    lines.append(
        f"expected, from the mean of these: {clock(seconds / at_once)} and {gpu_hours:.1f} GPU-hours with {at_once} "
        f"trials at once; {epochs}"
    )
    return "\n".join(lines)


def _at_once(space: SearchSpace, resources: TrialResources, cluster: Cluster) -> int:
    return max(1, min(slots(resources, cluster.nodes), space.search.trials))
