"""What is looked at and told before the first trial."""

from __future__ import annotations

import math
from pathlib import Path

from fervit.cluster import Cluster
from fervit.progress import clock
from fervit.search.pipeline import Say
from fervit.search.preflight import Splits, check_disk, epochs_a_trial, forecast, placeable, slots
from fervit.search.probe import check_nodes, measure_pace
from fervit.search.sampler import SpaceSampler
from fervit.search.settings import TrialResources
from fervit.search.space import SearchSpace
from fervit.search.team import SharedLatents

SHOWN = 5
"""Configurations that a dry run shows and measures."""


def look_around(space: SearchSpace, latents: str, folder: Path, cluster: Cluster, say: Say) -> TrialResources:
    """Checks that trials can be placed, nodes can write and the disk has room; returns what a trial gets.

    Raises:
        UserError: one of these does not hold.
    """
    resources, remark = placeable(space.trial, cluster.nodes)
    at_once = min(slots(resources, cluster.nodes), space.search.trials)
    if remark:
        say(remark)
    nodes = f"{len(cluster.nodes)} nodes, {cluster.cpus:g} CPUs, {cluster.gpus:g} GPUs"
    say(f"cluster: {nodes}; {at_once} trials at once")
    for remark in check_nodes(cluster.nodes, folder, latents):
        say(remark)
    say("disk: " + check_disk(forecast(space, at_once).checkpoint_bytes, folder))
    return resources


def dry_run(space: SearchSpace, splits: Splits, resources: TrialResources, cluster: Cluster) -> str:
    """The first configurations, how long each takes, and what that means for the sweep."""
    sampler = SpaceSampler(space)
    first = [sampler.ask().params for _ in range(int(min(SHOWN, space.search.trials, sampler.size)))]
    configs = [space.config(params) for params in first]
    paces = measure_pace(configs, SharedLatents.put(splits.train, splits.val), resources)
    lines = ["The first configurations, each trained for some seconds:"]
    for params, pace in zip(first, paces, strict=True):
        text = ", ".join(f"{k} {v:.3g}" if isinstance(v, float) else f"{k} {v}" for k, v in params.items())
        lines.append(f"  {pace.failure or f'{clock(pace.seconds_an_epoch)} an epoch'}  {text}")
    at_once = max(1, min(slots(resources, cluster.nodes), space.search.trials))
    expected = forecast(space, at_once)
    lines.append(f"Expected: {expected}")
    times = [pace.seconds_an_epoch for pace in paces if not pace.failure]
    if times:
        # DDP workers share each batch out; what they lose in talking is not in this.
        seconds = expected.epochs * math.fsum(times) / len(times) / resources.workers
        gpu_hours = seconds * resources.gpus * resources.workers / 3600
        lines.append(
            f"Expected: {clock(seconds / at_once)} with {at_once} trials at once, {gpu_hours:.1f} GPU-hours, from "
            "the mean of "
            f"these and {epochs_a_trial(space):.1f} epochs a trial; models that differ much in size make this rough"
        )
    lines.append("Nothing was started.")
    return "\n".join(lines)
