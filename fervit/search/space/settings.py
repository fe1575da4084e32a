"""The sections of a search space file on how the space is searched, from the sampler to the budget."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Annotated, Literal

from annotated_types import Interval

from fervit.parsing import check_bounds

NOISE_SEEDS = 3
"""The number of fresh seeds with which the noise of the seed is measured."""


@dataclass(frozen=True, kw_only=True)
class SearchSettings:
    """The section `search`: how configurations are chosen."""

    sampler: Literal["tpe", "random", "qmc", "cmaes", "gp", "grid"] = "tpe"
    """What chooses the next configuration."""
    trials: Annotated[int, Interval(ge=1)] = 64
    """The number of configurations that are tried."""
    seed: Annotated[int, Interval(ge=0, lt=2**31)] = 42
    """The seed of the sampler and of every trial; reruns take the seeds after it."""
    warm_start: list[dict] = field(default_factory=list)  # type: ignore[type-arg]
    """Configurations to begin with. The first one is the baseline."""
    learn_from: list[str] = field(default_factory=list)
    """The folders of earlier sweeps, such as experiments/vit_20261126_120000. The search begins with the best of them,
    too, the hyperparameters are named by what mattered there, and `scheduler: thaw` learns from their curves."""
    max_concurrent_trials: Annotated[int, Interval(ge=1)] | None = None
    """The most trials that run at once; null for as many as fit. A sampler learns more from fewer at once."""

    def __post_init__(self) -> None:
        check_bounds(self)
        if len(self.warm_start) > self.trials:
            raise ValueError(f"{len(self.warm_start)} warm starts do not fit into trials={self.trials}")


@dataclass(frozen=True, kw_only=True)
class EarlyStopping:
    """The section `early_stopping`: when a trial that falls behind the others is stopped.

    asha (Li et al., 2020) compares trials at rungs. hyperband (Li et al., 2018) also has brackets whose first rung
    comes later. median (Golovin et al., 2017) stops trials that are worse than the median of the earlier ones.
    `grace_epochs`, the epochs before the first comparison, count after the warm-up of the learning rate. thaw (after
    Swersky et al., 2014) draws all configurations first; trials pause and go on as a model of all curves says, and the
    search ends when no other one is worth its epochs. It has no grace and no reduction factor.
    """

    scheduler: Literal["asha", "hyperband", "median", "thaw", "none"] = "asha"
    """What stops or pauses trials that fall behind."""
    max_epochs: Annotated[int, Interval(ge=1)] = 60
    """The epochs of a trial that is not stopped."""
    grace_epochs: Annotated[int, Interval(ge=1)] = 6
    """The epochs before the first comparison, after the warm-up of the learning rate."""
    reduction_factor: Annotated[int, Interval(ge=2)] = 3
    """One trial in this many goes on from rung to rung (asha, hyperband)."""
    max_paused: Annotated[int, Interval(ge=1)] = 24
    """The most trials that pause with a saved state (thaw). Of more, the one with the least to gain is stopped."""

    def __post_init__(self) -> None:
        if not 1 <= self.grace_epochs <= self.max_epochs:
            raise ValueError(
                f"`1 <= grace_epochs <= max_epochs` must hold, but got grace_epochs={self.grace_epochs}, "
                f"max_epochs={self.max_epochs}; set both"
            )
        check_bounds(self)


@dataclass(frozen=True, kw_only=True)
class TrialResources:
    """The section `trial`: the resources of one trial."""

    workers: Annotated[int, Interval(ge=1)] = 1
    """The number of processes that divide each batch among them (DDP). If there are several, each gets a whole GPU or
    none."""
    cpus: Annotated[float, Interval(gt=0)] = 1
    """The CPUs of each worker, which are also the number of its threads."""
    gpus: Annotated[float, Interval(ge=0)] | None = None
    """The GPUs of each worker. A fraction also limits the worker to that share of the GPU's memory. None for a GPU if
    the cluster has some; the preflight replaces it by a number."""
    mps: bool = False
    """Whether NVIDIA's MPS lets trials that share a GPU compute at the same time instead of in turns. A fault of one
    then also ends its neighbours, which go on in new processes."""
    max_failures: Annotated[int, Interval(ge=0)] = 3
    """How many times a trial continues after its process died."""

    def __post_init__(self) -> None:
        check_bounds(self)
        if self.mps and self.gpus is not None and self.gpus >= 1:
            raise ValueError(f"`mps` is for trials that share a GPU, such as gpus=0.25, but got gpus={self.gpus:g}")

    @property
    def gpus_each(self) -> float:
        """The GPUs of each worker as a number, 0 as long as it is not decided."""
        return self.gpus or 0.0


@dataclass(frozen=True, kw_only=True)
class Confirm:
    """The section `confirm`: the `top` best trials run again with `seeds` fresh seeds each; 0 for no confirmation.

    The best of many trials is partly lucky with its seed, so its value on validation is too optimistic. With
    `scheduler: thaw`, what is expected of a trial counts as much as what it has reached.
    """

    top: Annotated[int, Interval(ge=0)] = 0
    """The number of best configurations that run again; 0 for no confirmation."""
    seeds: Annotated[int, Interval(ge=1)] = 3
    """The number of fresh seeds of each."""
    keep_baseline: bool = True
    """Whether the baseline stays chosen unless another configuration is better beyond the noise of seeds and faces;
    false chooses the highest mean in any case."""
    folds: Annotated[int, Interval(ge=0)] = 0
    """The number of folds over which the chosen configuration is trained again, for small sets: the rows of training
    and validation together, of which each fold validates once. 0 for none."""
    hours: Annotated[float, Interval(gt=0)] | None = None
    """The hours after which the confirmation ends, its folds included; null for no limit. The hours of `budget` are the
    search's."""

    def __post_init__(self) -> None:
        check_bounds(self)
        if self.folds == 1:
            raise ValueError(f"`folds >= 2`, or 0 for none, must hold, but got folds={self.folds}")
        if self.folds and not self.top:
            raise ValueError(f"`top >= 1` must hold with folds, but got top=0, folds={self.folds}")


@dataclass(frozen=True, kw_only=True)
class Budget:
    """The section `budget`: when the search ends and its running trials are stopped; null for no limit."""

    hours: Annotated[float, Interval(gt=0)] | None = None
    """The hours in which trials hold places."""
    gpu_hours: Annotated[float, Interval(gt=0)] | None = None
    """The GPU-hours that trials hold."""
    until_noise: bool = False
    """Whether the search ends when the expected improvement is below the standard deviation over fresh seeds."""

    def __post_init__(self) -> None:
        check_bounds(self)
