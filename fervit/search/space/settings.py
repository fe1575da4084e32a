"""The sections of a search space file other than the space itself: metric, search, stopping, resources, budget."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Literal


@dataclass(frozen=True, kw_only=True)
class SearchSettings:
    """How configurations are chosen."""

    sampler: Literal["tpe", "random", "qmc", "cmaes", "gp", "grid"] = "tpe"
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
    """When a trial that falls behind is stopped.

    asha (Li et al., 2020) compares at rungs; hyperband (Li et al., 2018) starts part of the trials at later rungs;
    median
    (Golovin et al., 2017) stops what is below the median of the trials so far. `grace_epochs` count after the warm-up.
    """

    scheduler: Literal["asha", "hyperband", "median", "none"] = "asha"
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
    """Processes that share each batch out (DDP); with more than one, a whole GPU each or none."""
    cpus: float = 1
    """Of each worker; its threads."""
    gpus: float = 0
    """Of each worker; a share of a GPU is a cap on its memory, too."""
    max_failures: int = 3
    """Times that a trial goes on after its process died."""

    def __post_init__(self) -> None:
        if self.workers < 1:
            raise ValueError(f"`workers >= 1` must hold, but got workers={self.workers}")
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
    until_noise: bool = False
    """End the search when the next trial can be expected to gain less than fresh seeds differ."""

    def __post_init__(self) -> None:
        for name in ("hours", "gpu_hours"):
            value = getattr(self, name)
            if value is not None and value <= 0:
                raise ValueError(f"`{name} > 0` must hold, but got {name}={value}")
