"""`fervit.tune`: the search for the best LatentViT over a space of hyperparameters, on Ray Tune with Optuna."""

from __future__ import annotations

import contextlib
import copy
import shutil
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import yaml

from fervit.cluster.connection import connect
from fervit.cluster.nodes import Cluster
from fervit.errors import UserError
from fervit.files import first_line, locked, near
from fervit.progress import Say, silent
from fervit.report.live import live_report
from fervit.report.write import write_report
from fervit.runs.folder import new_folder
from fervit.search.console.after import summarise, summarise_interrupted
from fervit.search.console.live import PlainScreen, screen
from fervit.search.ledger import Screen
from fervit.search.outcome.result import SweepResult
from fervit.search.pipeline import run_sweep
from fervit.search.preflight import describe_space
from fervit.search.records.journal import FILE
from fervit.search.records.sweep_folder import check_same, earlier_sweep
from fervit.search.space.search_space import SearchSpace
from fervit.search.space.space_file import override, parse_space, read_space
from fervit.search.splits import Splits, open_splits
from fervit.search.startup import expectations, look_around
from fervit.search.workers.prometheus import MeteredScreen

Space = str | Path | Mapping[str, Any] | SearchSpace
"""A search space: the path of its file, what such a file holds as a dict, or the object."""
Overrides = Mapping[str, Any] | Sequence[str]
"""Keys of a space with other values: {"search.trials": 16}, or ["search.trials=16"]."""


class SweepInterrupted(KeyboardInterrupt):
    """Ctrl-C ended a sweep, which can go on from there. Its text says where the sweep stands and how to go on.

    Args:
        space: what is searched.
        folder: of the sweep.
    """

    def __init__(self, space: SearchSpace, folder: Path) -> None:
        self.space, self.folder = space, folder
        super().__init__(self.summary(f'fervit.tune(..., resume="{near(folder)}")'))

    def summary(self, go_on: str) -> str:
        """Where the sweep stands.

        Args:
            go_on: the call or the command that goes on with it.

        Returns:
            Some lines of text.
        """
        return summarise_interrupted(self.space, self.folder, go_on)


def tune(
    space: str | Path | Mapping[str, Any] | SearchSpace,
    latents: str | Path = "latents",
    *,
    overrides: Mapping[str, Any] | Sequence[str] = (),
    resume: bool | str | Path = False,
    second_look: bool = False,
    address: str | None = None,
    say: Say | None = print,
) -> SweepResult:
    """Searches, confirms the best with fresh seeds, exports the best model, and evaluates it once on the test split.

    Args:
        space: what to search: a file such as search_spaces/vit.yaml, its content as a dict, or a SearchSpace.
        latents: folder or URI with train/, val/ and test/ latents.
        overrides: keys of the space with other values, such as {"search.trials": 16}.
        resume: go on with a sweep that was interrupted, or add trials to one that has ended: its folder, or True for
            the newest of this space; where there is none, a new one starts.
        second_look: open the test split again where the choice has changed since it was opened; this is recorded.
        address: of a Ray cluster; None for RAY_ADDRESS, the Ray of this process or machine, or a new one.
        say: is given each line of text; None for silence.

    Returns:
        `records` of all trials, `best` among them, the `folder` of the sweep, and the `model`, a path for
        `fervit.load` and `fervit.evaluate`.

    Raises:
        UserError: the space or the latents are not what they should be, or do not go together.
        JobError: no trial finished.
        SweepInterrupted: Ctrl-C, a KeyboardInterrupt that says how to go on.

    Example:
        result = fervit.tune("search_spaces/vit.yaml", "latents", overrides={"search.trials": 8})
        fervit.load(result.model)
    """
    tell = say or silent
    sweep = _open(space, str(latents), overrides, resume, tell)
    with _holding(sweep):
        try:
            result, dashboard = _run(sweep, address, say, second_look=second_look)
        except KeyboardInterrupt:
            if not (sweep.folder / FILE).exists():
                raise
            with contextlib.suppress(KeyboardInterrupt):  # whoever presses again wants to leave
                _report(sweep.folder)
            raise SweepInterrupted(sweep.space, sweep.folder) from None
        report = _report(sweep.folder)
    for text in ("", summarise(result, dashboard), report):
        tell(text)
    return result


def dry_run(
    space: str | Path | Mapping[str, Any] | SearchSpace,
    latents: str | Path = "latents",
    *,
    overrides: Mapping[str, Any] | Sequence[str] = (),
    resume: bool | str | Path = False,
    address: str | None = None,
    say: Say | None = print,
) -> None:
    """Says what `tune` would do and take with the same arguments, and starts no trial.

    Args:
        space: as for `tune`.
        latents: as for `tune`.
        overrides: as for `tune`.
        resume: as for `tune`.
        address: as for `tune`.
        say: is given each line of text; None for silence.

    Raises:
        UserError: as `tune`.
    """
    tell = say or silent
    sweep = _open(space, str(latents), overrides, resume, tell, dry_run=True)
    with _holding(sweep):
        with connect(address, sweep.folder / "ray.log") as cluster:
            resources = look_around(sweep.space, sweep.splits, sweep.latents, sweep.folder, cluster, tell)
            tell(expectations(sweep.space, sweep.splits, resources, cluster, measure=True))
            tell("nothing was started")
        if sweep.is_new:
            shutil.rmtree(sweep.folder)


@dataclass(frozen=True, kw_only=True)
class _Sweep:
    """A sweep that can begin, or go on."""

    space: SearchSpace
    splits: Splits
    latents: str
    folder: Path
    is_new: bool
    """Nothing has been done in the folder."""


def _open(
    given: Space, latents: str, overrides: Overrides, resume: bool | str | Path, tell: Say, *, dry_run: bool = False
) -> _Sweep:
    """Checks all that needs no cluster, and says what was found."""
    space = resolve_space(given, overrides)
    tell(yaml.safe_dump(space.to_json(), sort_keys=False, default_flow_style=None, width=120).rstrip())
    tell(f"space {space.name}: {describe_space(space)}")
    splits = open_splits(latents, space)
    tell(f"latents: {len(splits.train)} train, {len(splits.val)} val, {splits.test or 'NO test split'}")
    if splits.test is None:
        tell(f"{latents}/test: no latents there; the best model will be evaluated on validation, marked as such")
    goes_on = resume is not False
    earlier = earlier_sweep(space, "" if isinstance(resume, bool) else str(resume))
    if goes_on and earlier is not None:
        check_same(space, splits, earlier)
        tell(f"going on with {earlier}")
        return _Sweep(space=space, splits=splits, latents=latents, folder=earlier, is_new=False)
    if earlier is not None and not dry_run:
        tell(f"a new sweep; --resume would go on with {earlier}")
    return _Sweep(space=space, splits=splits, latents=latents, folder=new_folder(space.name), is_new=True)


def resolve_space(given: Space, overrides: Overrides = ()) -> SearchSpace:
    """The checked space, whatever it was given as.

    Args:
        given: a path, a dict, or a SearchSpace.
        overrides: keys with other values.

    Returns:
        The space.

    Raises:
        UserError: anything wrong with the space or an override, in one line that names the place and the rule.
    """
    if isinstance(overrides, Mapping):
        overrides = [f"{key}={yaml.safe_dump(value, default_flow_style=True)}" for key, value in overrides.items()]
    if isinstance(given, str | Path):
        return read_space(Path(given), overrides)
    if not isinstance(given, Mapping | SearchSpace):
        raise UserError(f"space: must be a file, a dict or a SearchSpace, but got {type(given).__name__}")
    raw = given.to_json() if isinstance(given, SearchSpace) else copy.deepcopy(dict(given))
    for text in overrides:
        override(raw, text)
    return parse_space(raw, "space")


@contextlib.contextmanager
def _holding(sweep: _Sweep) -> Iterator[None]:
    """Keeps others out of the folder, and takes a new one away again if nothing came of it."""
    with locked(sweep.folder, "sweep"):
        try:
            yield
        except UserError:
            if sweep.is_new and not (sweep.folder / FILE).exists():
                shutil.rmtree(sweep.folder)
            raise


def _run(sweep: _Sweep, address: str | None, say: Say | None, *, second_look: bool) -> tuple[SweepResult, str]:
    """Everything that needs the cluster: the result, and what to say of the Ray dashboard."""
    space, splits, folder, tell = sweep.space, sweep.splits, sweep.folder, say or silent
    with connect(address, folder / "ray.log") as cluster:
        resources = look_around(space, splits, sweep.latents, folder, cluster, tell)
        if sweep.is_new:
            tell(expectations(space, splits, resources, cluster))
        tell(
            f"watch: {cluster.watch} | tensorboard --logdir {folder / 'logs'} | "
            f"optuna-dashboard {folder / 'study.journal'}"
        )
        share = resources.gpus * resources.workers / cluster.gpus if cluster.gpus else 0.0
        try:
            with live_report(folder), _screen(say) as shown:
                metered = MeteredScreen(shown, folder.name, share)
                result = run_sweep(
                    space, splits, resources, folder, cluster, tell, screen=metered, second_look=second_look
                )
        except Exception:
            tell(_report(folder))
            raise
        return result, _dashboard(cluster)


def _screen(say: Say | None) -> contextlib.AbstractContextManager[Screen]:
    """A live table where the lines go to a terminal; lines where the caller takes them."""
    return screen(print) if say is print else contextlib.nullcontext(PlainScreen(say or silent))


def _dashboard(cluster: Cluster) -> str:
    if not cluster.started_here:
        return cluster.watch
    return cluster.watch + " until this command ended (`ray start --head` first keeps it up)"


def _report(folder: Path) -> str:
    """Writes report.html as the sweep stands now. What goes wrong there does not undo the sweep."""
    try:
        path = write_report(folder, running=False)
    except Exception as error:
        return f"Report       could not be written ({first_line(error)}); launch/report.py {folder} tries again"
    return f"Report       {near(path)}"
