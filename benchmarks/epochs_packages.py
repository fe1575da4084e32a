"""Methods of other packages by these packages themselves, in the replays of `benchmarks.epochs`: NePS and SMAC.

A package is asked for configurations and told their values; the rest is as in `benchmarks.epochs`: the same truths and
luck, slots in virtual time, the best value so far as the choice. A configuration that it asks for is the recorded one
that is nearest and not yet taken, and a replay asks no more when all are taken, so that what was to be promoted after
that is not: the packages have no end of their own. Of NePS (Neural Pipeline Search) these are its
Hyperband, which is its default without priors, its ASHA and its asynchronous Hyperband; its ifBO, a freeze-thaw method,
needs a network that it downloads, so it is not among them. Of SMAC it is its multi-fidelity facade: Hyperband whose
configurations a random forest suggests.

    pip install neural-pipeline-search==0.17.0 smac==2.4.1      # in environments of their own, beside fervit
    python -m benchmarks.epochs_packages --methods neps_hyperband [--only noisy] [--replays 100]
"""

from __future__ import annotations

import abc
import heapq
import importlib
import random
import tempfile
import warnings
from collections.abc import Hashable, Iterator, Mapping
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
import torch

from benchmarks.epochs import Pool, Truth, flags, shares, table
from fervit.cli import run
from fervit.errors import UserError
from fervit.search.space.search_space import Params, Range

METHODS = ("neps_hyperband", "neps_asha", "neps_async_hb", "smac_hyperband")
FIDELITY = "fidelity"


class Job(NamedTuple):
    """What a package asks for."""

    trial: Any
    """The trial, as the package names it."""
    configuration: Hashable
    """Its configuration, as the package names it."""
    values: Mapping[str, Any]
    """Its hyperparameters, as the package has them."""
    last: int
    """The epoch that it is to reach."""


class Package(abc.ABC):
    """A method of a package, with the recorded configurations that it has been given.

    Args:
        truth: the recording.
    """

    def __init__(self, truth: Truth) -> None:
        self._space = truth.packed.space
        self._pool = Pool(truth.packed)
        self._places: dict[Hashable, int] = {}
        """A configuration of the package -> its place in the recording."""
        self._reached: dict[Hashable, int] = {}
        """The epoch that each has reached or is to reach."""

    @abc.abstractmethod
    def _job(self) -> Job:
        """Asks for what is to be trained."""

    @abc.abstractmethod
    def tell(self, trial: Any, value: float) -> None:
        """Tells the value of a trial; a higher one is better."""

    def ask(self) -> tuple[Any, int, list[int]] | None:
        """Returns a trial, the place of its configuration and the epochs to train; None if all are taken."""
        job = self._job()
        if job.configuration not in self._places:
            if self._pool.is_empty:
                return None
            self._places[job.configuration] = self._pool.take(self._params(job.values))
        first = min(self._reached.get(job.configuration, 0) + 1, job.last)  # what is asked again takes an epoch
        self._reached[job.configuration] = job.last
        return job.trial, self._places[job.configuration], list(range(first, job.last + 1))

    def _params(self, values: Mapping[str, Any]) -> Params:
        """Returns hyperparameters of the package, which knows choices by their places, as those of the space."""
        return {
            name: values[name] if isinstance(one, Range) else one.values[int(values[name])]
            for name, one in self._space.parameters.items()
        }


class Neps(Package):
    """A method of NePS."""

    def __init__(self, truth: Truth, method: str) -> None:
        super().__init__(truth)
        neps = package("neps", "neural-pipeline-search==0.17.0")
        space: dict[str, Any] = {FIDELITY: neps.HPOInteger(lower=1, upper=truth.means.shape[1], is_fidelity=True)}
        for name, one in self._space.parameters.items():
            if isinstance(one, Range):
                log = one.log or one.kind == "log_uniform"
                space[name] = neps.HPOFloat(lower=one.min, upper=one.max, log=log)
            else:
                space[name] = neps.HPOCategorical(choices=[str(i) for i in range(len(one.values))])
        self._neps = neps.AskAndTell(optimizer=getattr(neps.algorithms, method)(neps.SearchSpace(space)))

    def _job(self) -> Job:
        trial = self._neps.ask()
        name = str(trial.metadata.id)  # such as 12_rung_1
        return Job(name, name.partition("_")[0], trial.config, int(trial.config[FIDELITY]))

    def tell(self, trial: str, value: float) -> None:
        self._neps.tell(trial, -value)


class Smac(Package):
    """The multi-fidelity facade of SMAC."""

    def __init__(self, truth: Truth, seed: int) -> None:
        super().__init__(truth)
        smac, spaces = package("smac", "smac==2.4.1"), package("ConfigSpace", "smac==2.4.1")
        space = spaces.ConfigurationSpace(seed=seed)
        for name, one in self._space.parameters.items():
            if isinstance(one, Range):
                space.add(spaces.Float(name, (one.min, one.max), log=one.log or one.kind == "log_uniform"))
            else:
                space.add(spaces.Categorical(name, [str(i) for i in range(len(one.values))]))
        self._folder = tempfile.TemporaryDirectory()  # which SMAC writes into
        budgets = {"min_budget": 1, "max_budget": truth.means.shape[1]}
        scenario = smac.Scenario(
            space, n_trials=10**6, deterministic=True, output_directory=Path(self._folder.name), seed=seed, **budgets
        )
        self._value = package("smac.runhistory.dataclasses", "smac==2.4.1").TrialValue
        self._smac = smac.MultiFidelityFacade(scenario, _never_called, overwrite=True, logging_level=40)

    def _job(self) -> Job:
        info = self._smac.ask()
        return Job(info, info.config, dict(info.config), max(1, round(info.budget)))

    def tell(self, trial: Any, value: float) -> None:
        self._smac.tell(trial, self._value(cost=-value))


def _never_called(config: Any, seed: int, budget: float) -> float:
    """Stands for the training, which SMAC leaves to whoever asks it."""
    raise NotImplementedError


def package(name: str, install: str) -> Any:
    """Returns a module of a package that is no dependency of fervit.

    Raises:
        UserError: it is not installed.
    """
    try:
        return importlib.import_module(name)
    except ImportError as error:
        raise UserError(f"{name}: is not installed ({error}); pip install {install}") from None


def choices(asked: Package, truth: Truth, values: np.ndarray, slots: int) -> Iterator[int]:
    """Yields which configuration has the best value after each epoch, in the order of virtual time."""
    trainings = truth.packed.of("sweep")
    busy: list[tuple[float, int, Any, int, list[int]]] = []
    """For each busy slot: when its epoch ends, its number, its trial, the configuration, and the epochs left."""
    best, chosen, is_over = -np.inf, -1, False

    def begin(now: float, slot: int) -> None:
        nonlocal is_over
        found = None if is_over else asked.ask()
        is_over = found is None
        if found is not None:
            trial, k, epochs = found
            heapq.heappush(busy, (now + trainings[k].epochs[epochs[0] - 1].seconds, slot, trial, k, epochs))

    for slot in range(slots):
        begin(0.0, slot)
    while busy:
        now, slot, trial, k, (epoch, *left) = heapq.heappop(busy)
        if values[k, epoch - 1] > best:
            best, chosen = values[k, epoch - 1], k
        yield chosen
        if left:
            heapq.heappush(busy, (now + trainings[k].epochs[left[0] - 1].seconds, slot, trial, k, left))
        else:
            asked.tell(trial, float(values[k, :epoch].max()))
            begin(now, slot)


def replay_one(truth: Truth, method: str, slots: int, seed: int) -> tuple[float, float]:
    """Returns the share of epochs until the choice is right (1 for never), and that of all epochs of the method."""
    _, values = truth.drawn(seed)
    random.seed(seed)
    np.random.seed(seed)  # noqa: NPY002 (NePS draws from the global generators)
    torch.manual_seed(seed)
    asked = Smac(truth, seed) if method == "smac_hyperband" else Neps(truth, method.removeprefix("neps_"))
    return shares(list(choices(asked, truth, values, slots)), truth)


def main() -> None:
    """Replays the recordings and prints the table."""
    args = flags(__doc__, METHODS).parse()
    warnings.simplefilter("ignore")
    table(args, replay_one)


if __name__ == "__main__":
    run(main)
