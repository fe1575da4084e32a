"""`fervit.tune` searches a space of hyperparameters for the best LatentViT, on Ray Tune with Optuna."""

from __future__ import annotations

import contextlib
import copy
import json
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from functools import partial
from pathlib import Path
from typing import Any

import yaml

from fervit.api.arguments import Files, exclusion_in, votes_in
from fervit.cluster.connection import connect
from fervit.cluster.gpu_look import look_at_gpus
from fervit.cluster.gpus import GpuLook
from fervit.cluster.nodes import Cluster
from fervit.errors import UserError
from fervit.io.files import first_line, from_home, near
from fervit.labels.dealing import Fractions
from fervit.latents.copies import copies_in_words
from fervit.latents.exclusion import Exclusion, in_words, resumed
from fervit.latents.votes import Votes, VotesAs
from fervit.latents.votes import in_words as votes_in_words
from fervit.latents.votes import resumed as votes_resumed
from fervit.progress import Say, silent
from fervit.report.live import live_report
from fervit.report.write import write_report
from fervit.runs.folder import new_folder
from fervit.search.console.after import summarise, summarise_interrupted
from fervit.search.console.live import PlainScreen, screen
from fervit.search.console.trackers import Tracking, check_trackers, open_tracker
from fervit.search.ledger import Observer
from fervit.search.outcome.again import train_again
from fervit.search.outcome.fingerprints import write_fingerprints
from fervit.search.outcome.result import SweepResult
from fervit.search.pipeline import run_sweep
from fervit.search.policy.learned import Learned, learn, with_learned
from fervit.search.preflight import describe_space
from fervit.search.records.history import History
from fervit.search.records.journal import JournalReader
from fervit.search.records.sweep_folder import SweepFolder, check_same, earlier_sweep
from fervit.search.space.search_space import SearchSpace
from fervit.search.space.settings import EarlyStopping, TrialResources
from fervit.search.space.space_file import override, parse_space, read_space
from fervit.search.splits import Splits, open_splits
from fervit.search.startup import check_cluster, expectations, what_is_left
from fervit.search.workers.prometheus import Metrics
from fervit.system.program import called
from fervit.system.side_channels import SideChannel
from fervit.training.compatibility import missing_classes

Space = str | Path | Mapping[str, Any] | SearchSpace
"""A search space: the path of its file, the content of such a file as a dict, or a SearchSpace."""
Overrides = Mapping[str, Any] | Sequence[str]
"""New values for keys of a search space, such as {"search.trials": 16} or ["search.trials=16"]."""


class SweepInterrupted(KeyboardInterrupt):
    """Ctrl-C interrupted a sweep. The message says how far the sweep has come and how to resume it.

    Args:
        space: the search space.
        folder: the folder of the sweep.
    """

    def __init__(self, space: SearchSpace, folder: Path) -> None:
        self.space, self.folder = space, folder
        super().__init__(self.summary(f'fervit.tune(..., resume="{near(folder)}")'))

    def summary(self, go_on: str) -> str:
        """Says how far the sweep has come and how to resume it.

        Args:
            go_on: the call or the command that resumes the sweep.

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
    output_dir: str | Path = "experiments",
    exclude: Files | None = None,
    votes: str | Path | None = None,
    votes_as: str = "majority",
    no_faces: bool = False,
    val_fraction: float | None = None,
    test_fraction: float | None = None,
    split_seed: int = 0,
    track: Sequence[str] = (),
    say: Say | None = print,
) -> SweepResult:
    """Runs a sweep: search, confirmation with fresh seeds, export, and one evaluation on the test split.

    Args:
        space: the search space: a file such as search_spaces/vit.yaml, its content as a dict, or a SearchSpace.
        latents: the folder or URI that holds the latents in train/, val/ and test/.
        overrides: new values for keys of the space, such as {"search.trials": 16}.
        resume: the folder of a sweep to resume, which was interrupted or gets more trials; True for the newest sweep
            of this space, or a new sweep if there is none; False for a new sweep.
        second_look: evaluates on the test split again if the choice has changed since the last time. This is recorded.
        address: the address of a Ray cluster; None for RAY_ADDRESS, a running Ray of this process or machine, or a new
            Ray.
        output_dir: the folder in which the sweep gets its folder `<name>_<time>`.
        exclude: a list of faces to train and validate without, as of `fervit.audit`, or several. The test split is
            measured whole, and without them as well. A resumed sweep keeps those that it began with.
        votes: a CSV file with the votes of taggers, such as FER+'s fer2013new.csv, which replace the labels of all
            splits. A resumed sweep keeps those that it began with.
        votes_as: "majority" for the class of most votes, or "distribution" to train on the shares of the votes.
        no_faces: whether the report and the evaluation show no pictures of faces.
        val_fraction: the share of the training codes that becomes the validation split where there is none; of every
            class, with copies of a face on one side. `resume` needs the same again.
        test_fraction: the same of a test split.
        split_seed: another seed takes others.
        track: trackers that get all trials as well: "mlflow", "mlflow=URI or folder", "wandb".
        say: gets each line of text; None for silence.

    Returns:
        The `records` of all trials, the `best` of them, the `folder` of the sweep, and the path of its `model`, for
        `fervit.load` and `fervit.evaluate`.

    Raises:
        UserError: the space or the latents are wrong, or do not fit each other.
        JobError: no trial finished.
        SweepInterrupted: the user pressed Ctrl-C. This KeyboardInterrupt says how to resume the sweep.

    Example:
        result = fervit.tune("search_spaces/vit.yaml", "latents", overrides={"search.trials": 8})
        fervit.load(result.model)
    """
    tell = say or silent
    check_trackers(track)
    fractions = _fractions(val_fraction, test_fraction, split_seed)
    opening = partial(_open, root=output_dir, exclude=exclude, votes=votes_in(votes, votes_as), fractions=fractions)
    sweep = opening(space, from_home(str(latents)), overrides, resume, tell)
    sweep = replace(sweep, splits=replace(sweep.splits, no_faces=no_faces))
    with _holding(sweep):
        try:
            trackers = _trackers(track, sweep.folder, tell)
            result, dashboard = _run(sweep, address, say, trackers, second_look=second_look)
        except KeyboardInterrupt:
            if not sweep.folder.journal.exists():
                raise
            with contextlib.suppress(KeyboardInterrupt):  # a second Ctrl-C leaves at once
                _report(sweep.folder)
            raise SweepInterrupted(sweep.space, sweep.folder.path) from None
        again = train_again(result.space, result.chosen, sweep.splits)
        result, report = replace(result, train_again=again), _report(sweep.folder)
        SideChannel(sweep.folder.fingerprints.name, tell)(write_fingerprints, sweep.folder)
        for tracking in trackers:
            SideChannel("The tracker", tell)(_finish, tracking, result)
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
    output_dir: str | Path = "experiments",
    exclude: Files | None = None,
    votes: str | Path | None = None,
    votes_as: str = "majority",
    no_faces: bool = False,
    val_fraction: float | None = None,
    test_fraction: float | None = None,
    split_seed: int = 0,
    say: Say | None = print,
) -> None:
    """Prints what `tune` would do with the same arguments and how long it would take, and starts no trial.

    Args:
        space: as for `tune`.
        latents: as for `tune`.
        overrides: as for `tune`.
        resume: as for `tune`.
        address: as for `tune`.
        output_dir: as for `tune`.
        exclude: as for `tune`.
        votes: as for `tune`.
        votes_as: as for `tune`.
        no_faces: as for `tune`; a dry run shows none.
        val_fraction: as for `tune`.
        test_fraction: as for `tune`.
        split_seed: as for `tune`.
        say: gets each line of text; None for silence.

    Raises:
        UserError: the space or the latents are wrong, or do not fit each other.
    """
    tell = say or silent
    fractions = _fractions(val_fraction, test_fraction, split_seed)
    opening = partial(
        _open, root=output_dir, exclude=exclude, votes=votes_in(votes, votes_as), fractions=fractions, dry_run=True
    )
    sweep = opening(space, from_home(str(latents)), overrides, resume, tell)
    with _holding(sweep):
        tell("starting Ray, or joining it ...")
        with connect(address, sweep.folder.ray_log) as cluster:
            cluster, resources = _prepare(sweep, cluster, tell)
            if sweep.is_new:
                tell("training each of the first configurations for some seconds ...")
                tell(expectations(sweep.space, sweep.splits, resources, cluster, measure=True))
            else:
                tell(_left(sweep, resources, cluster))
            tell("nothing was started")
        if sweep.is_new:
            sweep.folder.remove_if_new()


@dataclass(frozen=True, kw_only=True)
class _Sweep:
    """A sweep whose arguments have been checked."""

    space: SearchSpace
    splits: Splits
    latents: str
    folder: SweepFolder
    is_new: bool
    """Whether the sweep starts in a new folder; False if it is resumed."""
    gpus_asked: bool
    """Whether an override asks for GPUs, so that the CPU will not do."""


def _fractions(val_fraction: float | None, test_fraction: float | None, seed: int) -> Fractions | None:
    """How missing splits are taken out of the training codes; None if all are read."""
    found = Fractions(val=val_fraction or 0.0, test=test_fraction or 0.0, seed=seed)
    found.check()
    return found if found.val or found.test else None


def _open(
    given: Space,
    latents: str,
    overrides: Overrides,
    resume: bool | str | Path,
    tell: Say,
    *,
    root: str | Path,
    exclude: Files | None,
    votes: tuple[Votes, VotesAs] | None,
    fractions: Fractions | None = None,
    dry_run: bool = False,
) -> _Sweep:
    """Checks the arguments as far as that needs no cluster, and prints the space and the latents."""
    space = resolve_space(given, overrides)
    tell(yaml.safe_dump(space.to_json(), sort_keys=False, default_flow_style=None, width=120).rstrip())
    tell(f"space {space.name}: {describe_space(space)}")
    root, goes_on = Path(from_home(str(root))), resume is not False
    given_folder = "" if isinstance(resume, bool) else from_home(str(resume))
    prepared = bool(given_folder) and SweepFolder(Path(given_folder).absolute()).is_prepared()
    earlier = None if prepared else earlier_sweep(space, given_folder, root)
    began = earlier if goes_on else None
    splits = open_splits(latents, space, _exclusion(exclude, began), fractions, _votes(votes, began))
    learned = Learned.read(began.learned) if began is not None else learn(space, splits.train)
    space = with_learned(space, learned)
    if fractions is not None:
        tell(f"splits: {fractions} of the training codes")
    taken = splits.fractions is not None and splits.fractions.test > 0
    test = f"{splits.test_rows} test" if taken else splits.test or "NO test split"
    tell(f"latents: {len(splits.train)} train, {len(splits.val)} val, {test}")
    left_out = in_words(splits.left_out) if splits.left_out else ""
    voted = votes_in_words(splits.voted) if splits.voted else ""
    for line in (left_out, voted, missing_classes(splits.train), copies_in_words(splits.copies, rows=splits.rows)):
        if line:
            tell(line)
    for line in learned.in_words() if learned is not None else ():
        tell(line)
    if splits.test is None:
        tell(f"{latents}/test: no latents there; the best model will be evaluated on validation, marked as such")
    sweep = partial(_Sweep, splits=splits, latents=latents, gpus_asked=_names_gpus(overrides))
    if prepared:
        return sweep(space=space, folder=_begin(SweepFolder(Path(given_folder).absolute()), learned), is_new=True)
    if goes_on and earlier is not None:
        check_same(space, splits, earlier)
        tell(f"going on with {earlier.path}")
        space = _with_gpus(space, earlier.read_space().trial.gpus_each)
        return sweep(space=space, folder=earlier, is_new=False)
    if earlier is not None and not dry_run:
        tell(f"a new sweep; --resume would go on with {earlier.path}")
    return sweep(space=space, folder=_begin(SweepFolder(new_folder(space.name, root)), learned), is_new=True)


def _begin(folder: SweepFolder, learned: Learned | None) -> SweepFolder:
    """Keeps what a new sweep learns from earlier ones in its folder, and returns the folder."""
    if learned is not None:
        learned.write(folder.learned)
    return folder


def _exclusion(exclude: Files | None, earlier: SweepFolder | None) -> Exclusion | None:
    """Reads the faces to leave out: those that are given, or those of the sweep that is resumed.

    Raises:
        UserError: a list cannot be read, or the sweep began with other lists than those given.
    """
    given = exclusion_in(exclude)
    if earlier is None:
        return given
    began = earlier.excluded if earlier.excluded.is_file() else None
    return resumed(began, given, earlier.path, "start a new sweep without --resume")


def _votes(given: tuple[Votes, VotesAs] | None, earlier: SweepFolder | None) -> tuple[Votes, VotesAs] | None:
    """Returns the votes of taggers: those that are given, or those of the sweep that is resumed.

    Raises:
        UserError: the sweep began with other votes than those given, or their file has changed or is gone.
    """
    if earlier is None:
        return given
    began = json.loads(earlier.environment.read_text(encoding="utf-8")).get("votes")
    return votes_resumed(began, given, earlier.path, "start a new sweep without --resume")


def _names_gpus(overrides: Overrides) -> bool:
    """Whether an override sets the GPUs of a trial."""
    return any(text.partition("=")[0].strip() == "trial.gpus" for text in overrides)


def resolve_space(given: Space, overrides: Overrides = ()) -> SearchSpace:
    """Reads and checks a search space.

    Args:
        given: the path of a file, the content of such a file as a dict, or a SearchSpace.
        overrides: new values for keys of the space.

    Returns:
        The search space.

    Raises:
        UserError: the space or an override is wrong. The message names the place and the rule in one line.
    """
    if isinstance(overrides, Mapping):
        overrides = [f"{key}={yaml.safe_dump(value, default_flow_style=True)}" for key, value in overrides.items()]
    if isinstance(given, str | Path):
        return read_space(Path(given), overrides)
    if not isinstance(given, Mapping | SearchSpace):
        raise UserError(f"space: must be a file, a dict or a SearchSpace, but got {type(given).__name__}")
    raw = given.to_json() if isinstance(given, SearchSpace) else copy.deepcopy(dict(given))
    if isinstance(given, SearchSpace) and given.early_stopping.grace_epochs == EarlyStopping.grace_epochs:
        del raw["early_stopping"]["grace_epochs"]  # which is the default, and follows an override of max_epochs
    for text in overrides:
        override(raw, text)
    return parse_space(raw, "space")


@contextlib.contextmanager
def _holding(sweep: _Sweep) -> Iterator[None]:
    """Locks the folder of the sweep in its block, and removes a new folder after a UserError."""
    with sweep.folder.locked():
        try:
            yield
        except UserError:
            if sweep.is_new:
                sweep.folder.remove_if_new()
            raise


def _prepare(sweep: _Sweep, cluster: Cluster, tell: Say) -> tuple[Cluster, TrialResources]:
    """Looks at the GPUs and checks the cluster.

    Returns:
        The cluster, in which GPUs that cannot be used do not count, and the resources of a trial.
    """
    look = GpuLook.none(cluster) if sweep.space.trial.gpus == 0 else look_at_gpus(cluster)
    resources = check_cluster(
        sweep.space, sweep.splits, sweep.latents, sweep.folder.path, look, tell, gpus_asked=sweep.gpus_asked
    )
    return look.cluster, resources


def _with_gpus(space: SearchSpace, gpus: float) -> SearchSpace:
    """Writes the GPUs of a trial into a space that leaves them open, so that a resumed sweep keeps them."""
    return replace(space, trial=replace(space.trial, gpus=gpus)) if space.trial.gpus is None else space


def _trackers(asked: Sequence[str], folder: SweepFolder, tell: Say) -> list[Tracking]:
    """Opens the trackers that were asked for; one that cannot be opened is said and left out."""
    found = []
    for one in asked:
        tracker = SideChannel(f"--track {one}", tell)(open_tracker, one, folder.path)
        if tracker is not None:
            found.append(Tracking(f"--track {one}", tracker, folder.path, tell))
    return found


def _finish(tracking: Tracking, result: SweepResult) -> None:
    """Gives a tracker the trials that it lacks, and the sweep with its files."""
    files, evaluation = SweepFolder(result.folder), result.verdict.evaluation
    scores = (evaluation.metrics["f1_macro"], evaluation.metrics["accuracy"])
    metrics = {
        f"{evaluation.split}_{name}": value for name, value in zip(("f1_macro", "accuracy"), scores, strict=True)
    }
    records = list(History(JournalReader(files.journal)).records.values())
    kept = [files.best, evaluation.output_dir, files.leaderboard, files.space, files.path / "report.html"]
    tracking.finish(records, result.space.metric.name, metrics, kept)


def _run(
    sweep: _Sweep, address: str | None, say: Say | None, trackers: Sequence[Observer], *, second_look: bool
) -> tuple[SweepResult, str]:
    """Runs the sweep on the cluster, and returns its result and a text about the Ray dashboard."""
    space, splits, folder, tell = sweep.space, sweep.splits, sweep.folder, say or silent
    tell("starting Ray, or joining it ...")
    with connect(address, folder.ray_log) as cluster:
        cluster, resources = _prepare(sweep, cluster, tell)
        space = _with_gpus(space, resources.gpus_each)
        tell(expectations(space, splits, resources, cluster) if sweep.is_new else _left(sweep, resources, cluster))
        board, study = f"tensorboard --logdir {near(folder.logs)}", f"optuna-dashboard {near(folder.study)}"
        for watch in (*([cluster.watch] if cluster.dashboard else []), board, study):
            tell(f"watch: {watch}")
        share = resources.gpus_each * resources.workers / cluster.gpus if cluster.gpus else 0.0
        try:
            with live_report(folder.path), _screen(say) as shown:
                metrics = SideChannel("Metrics", tell)(Metrics, folder.path.name, share)
                observers = [shown, *([] if metrics is None else [metrics]), *trackers]
                result = run_sweep(
                    space, splits, resources, folder.path, cluster, tell, observers=observers, second_look=second_look
                )
        except Exception:
            tell(_report(folder))
            raise
        return result, _dashboard(cluster)


def _left(sweep: _Sweep, resources: TrialResources, cluster: Cluster) -> str:
    """Says what is left of a sweep that is resumed."""
    records = list(History(JournalReader(sweep.folder.journal)).records.values())
    return what_is_left(sweep.space, sweep.splits, resources, cluster, records)


def _screen(say: Say | None) -> contextlib.AbstractContextManager[Observer]:
    """Returns a context that shows the sweep: on the terminal if `say` is `print`, and through `say` otherwise."""
    return screen(print) if say is print else contextlib.nullcontext(PlainScreen(say or silent))


def _dashboard(cluster: Cluster) -> str:
    if not cluster.started_here or cluster.dashboard is None:
        return cluster.watch
    return cluster.watch + ", which ends with this command (`ray start --head` first keeps it up)"


def _report(folder: SweepFolder) -> str:
    """Writes report.html, and returns a line about it. An error there does not end the sweep."""
    try:
        path = write_report(folder.path, running=False)
    except Exception as error:
        return f"Report       could not be written ({first_line(error)}); {called('report')} {folder.path} tries again"
    return f"Report       {near(path)}"
