"""The sections of a search space file on how the space is searched, from the sampler to the budget."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Literal

NOISE_SEEDS = 3
"""The number of fresh seeds with which the noise of the seed is measured."""


@dataclass(frozen=True, kw_only=True)
class SearchSettings:
    """The section `search`: how configurations are chosen."""

    sampler: Literal["tpe", "random", "qmc", "cmaes", "gp", "grid"] = "tpe"
    trials: int = 64
    seed: int = 42
    warm_start: list[dict] = field(default_factory=list)  # type: ignore[type-arg]
    max_concurrent_trials: int | None = None
    """The most trials that run at once; null for as many as fit. A sampler learns more from fewer at once."""

    def __post_init__(self) -> None:
        if self.trials < 1:
            raise ValueError(f"`trials >= 1` must hold, but got trials={self.trials}")
        if not 0 <= self.seed < 2**31:
            raise ValueError(f"`0 <= seed < 2**31` must hold, but got seed={self.seed}")
        if self.max_concurrent_trials is not None and self.max_concurrent_trials < 1:
            raise ValueError(
                f"`max_concurrent_trials >= 1` must hold, but got max_concurrent_trials={self.max_concurrent_trials}"
            )
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
    max_epochs: int = 60
    grace_epochs: int = 6
    reduction_factor: int = 3
    max_paused: int = 24
    """The most trials that pause with a saved state (thaw). Of more, the one with the least to gain is stopped."""

    def __post_init__(self) -> None:
        if not 1 <= self.grace_epochs <= self.max_epochs:
            raise ValueError(
                f"`1 <= grace_epochs <= max_epochs` must hold, but got grace_epochs={self.grace_epochs}, "
                f"max_epochs={self.max_epochs}"
            )
        if self.reduction_factor < 2:
            raise ValueError(f"`reduction_factor >= 2` must hold, but got reduction_factor={self.reduction_factor}")
        if self.max_paused < 1:
            raise ValueError(f"`max_paused >= 1` must hold, but got max_paused={self.max_paused}")


@dataclass(frozen=True, kw_only=True)
class TrialResources:
    """The section `trial`: the resources of one trial."""

    workers: int = 1
    """The number of processes that divide each batch among them (DDP). If there are several, each gets a whole GPU or
    none."""
    cpus: float = 1
    """The CPUs of each worker, which are also the number of its threads."""
    gpus: float | None = None
    """The GPUs of each worker. A fraction also limits the worker to that share of the GPU's memory. None for a GPU if
    the cluster has some; the preflight replaces it by a number."""
    mps: bool = False
    """Whether NVIDIA's MPS lets trials that share a GPU compute at the same time instead of in turns. A fault of one
    then also ends its neighbours, which go on in new processes."""
    max_failures: int = 3
    """How many times a trial continues after its process died."""

    def __post_init__(self) -> None:
        if self.workers < 1:
            raise ValueError(f"`workers >= 1` must hold, but got workers={self.workers}")
        if self.cpus <= 0 or self.gpus_each < 0 or self.max_failures < 0:
            raise ValueError("`cpus > 0`, `gpus >= 0` and `max_failures >= 0` must hold")
        if self.mps and self.gpus is not None and self.gpus >= 1:
            raise ValueError(f"`mps` is for trials that share a GPU, such as gpus=0.25, but got gpus={self.gpus:g}")

    @property
    def gpus_each(self) -> float:
        """The GPUs of each worker as a number, 0 as long as it is not decided."""
        return self.gpus or 0.0


@dataclass(frozen=True, kw_only=True)
class Confirm:
    """The section `confirm`: the `top` best trials run again with `seeds` fresh seeds each; 0 for no confirmation.

    The best of many trials is partly lucky with its seed, so its value on validation is too optimistic.
    """

    top: int = 0
    seeds: int = 3
    keep_baseline: bool = True
    """Whether the baseline stays chosen unless another configuration is better beyond the noise of seeds and faces;
    false chooses the highest mean in any case."""
    folds: int = 0
    """The number of folds over which the chosen configuration is trained again, for small sets: the rows of training
    and validation together, of which each fold validates once. 0 for none."""
    hours: float | None = None
    """The hours after which the confirmation ends, its folds included; null for no limit. The hours of `budget` are the
    search's."""

    def __post_init__(self) -> None:
        if self.top < 0 or self.seeds < 1:
            raise ValueError(f"`top >= 0` and `seeds >= 1` must hold, but got top={self.top}, seeds={self.seeds}")
        if self.folds < 0 or self.folds == 1:
            raise ValueError(f"`folds >= 2`, or 0 for none, must hold, but got folds={self.folds}")
        if self.folds and not self.top:
            raise ValueError(f"`top >= 1` must hold with folds, but got top=0, folds={self.folds}")
        if self.hours is not None and self.hours <= 0:
            raise ValueError(f"`hours > 0` must hold, but got hours={self.hours}")


@dataclass(frozen=True, kw_only=True)
class Budget:
    """The section `budget`: when the search ends and its running trials are stopped; null for no limit."""

    hours: float | None = None
    gpu_hours: float | None = None
    until_noise: bool = False
    """Whether the search ends when the expected improvement is below the standard deviation over fresh seeds."""

    def __post_init__(self) -> None:
        for name in ("hours", "gpu_hours"):
            value = getattr(self, name)
            if value is not None and value <= 0:
                raise ValueError(f"`{name} > 0` must hold, but got {name}={value}")
