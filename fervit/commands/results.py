"""What each command prints with `--format json`, of which `fervit schema` prints the JSON Schema."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, NotRequired, TypedDict

from fervit.diagnosis.finding import Finding
from fervit.io.files import JsonObject
from fervit.training.epoch import EpochResult

if TYPE_CHECKING:  # slow imports, which only a schema needs
    from fervit.evaluation.groups import ColumnScores
    from fervit.evaluation.results import EvaluationResults


@dataclass(frozen=True, kw_only=True)
class Trained:
    """What a training reached."""

    folder: Path
    """The folder of the run."""
    model: Path
    """The checkpoint of the best epoch."""
    state: str
    """How the training ended: "finished", or "stopped"."""
    epochs: int
    """The number of epochs that all sessions of the run have trained."""
    seconds: float
    """The duration of these epochs."""
    best: EpochResult | None
    """The epoch whose model is kept; null before the first one."""


@dataclass(frozen=True, kw_only=True)
class ChosenRun:
    """The run whose model a sweep has exported."""

    trial: int
    """The number of its configuration."""
    seed: int
    params: JsonObject
    """The values of the hyperparameters that were searched."""
    value: float
    """The best value of the metric on validation."""
    epoch: int
    """The epoch that reached it."""
    epochs: int
    """The number of epochs that the run trained."""


@dataclass(frozen=True, kw_only=True)
class ConfirmedTrial:
    """A configuration that was trained again with fresh seeds."""

    trial: int
    values: list[float]
    """The best value of the metric with each fresh seed."""
    mean: float
    half_width_95: float | None
    """Half the width of the mean's 95 % interval; null of a single value."""
    missing: int
    """The number of reruns that did not finish."""
    tie: bool
    """Whether it is not significantly worse than the chosen one."""


@dataclass(frozen=True, kw_only=True)
class Swept:
    """What a sweep found."""

    name: str
    """The name of its space."""
    folder: Path
    model: Path
    """The folder of the exported model."""
    report: Path
    """The page that shows it all."""
    metric: str
    """The name of the metric that was optimised."""
    trials: dict[str, int]
    """The number of trials that finished, were stopped, or failed."""
    failures: dict[str, int]
    """The number of failed trials of each kind of failure."""
    ended_because: str
    """Why the search ended early; "" if it ran all its trials."""
    seconds: float
    """The seconds that all sessions took together."""
    chosen: ChosenRun
    confirmed: list[ConfirmedTrial]
    """The configurations that ran again with fresh seeds, best of the search first."""
    evaluated_on: str
    """The split of the evaluation: "test", or "val" without a test split, which is optimistic."""
    looks: int
    """How often the test split has been opened; 0 without one."""
    evaluation: EvaluationResults
    """The content of evaluation_results.json."""
    train_again: str
    """The command that trains the chosen run again."""


@dataclass(frozen=True, kw_only=True)
class Evaluated:
    """What an evaluation found."""

    split: str
    output_dir: Path
    """The folder of its files."""
    metrics: EvaluationResults
    """The content of evaluation_results.json."""
    groups: list[ColumnScores] | None
    """The metrics by groups of faces; null without `--groups`."""
    remarks: list[str]
    """The pictures that could not be drawn, and why."""


class PredictedPicture(TypedDict):
    """The prediction for a picture, or why there is none."""

    name: str
    """The path of the picture."""
    label: NotRequired[str]
    """The most probable class."""
    confidence: NotRequired[float]
    """Its probability."""
    probabilities: NotRequired[dict[str, float]]
    """The probability of each class."""
    box: NotRequired[list[float]]
    """The frame of the face in pixels: x, y, width, height. With `--align`."""
    faces: NotRequired[int]
    """The number of faces in the picture, of which the largest is taken. With `--align`."""
    error: NotRequired[str]
    """Why there is no prediction."""


@dataclass(frozen=True, kw_only=True)
class Exported:
    """A model that was written for others."""

    folder: Path
    files: list[str]
    """The names of all files in the folder."""
    onnx_difference: float | None
    """The largest difference of a logit of ONNX; null without `--onnx`."""


@dataclass(frozen=True, kw_only=True)
class Reported:
    """A report that was written."""

    report: Path
    bytes: int
    """Its size."""
    paper: list[str]
    """The files for a paper; none without `--paper`."""


@dataclass(frozen=True, kw_only=True)
class Replayed:
    """What one way of searching would have found on recorded curves."""

    sampler: str
    scheduler: str
    told: str
    """What the sampler hears of a stopped trial."""
    trials: float
    """The mean number of trials begun, over seeds."""
    stopped: float
    """The mean number of these that the scheduler stopped."""
    best: list[float]
    """The best value of the metric with each seed."""


@dataclass(frozen=True, kw_only=True)
class Replays:
    """What ways of searching would have found on the recorded curves of a sweep."""

    metric: str
    curves: int
    """The number of whole curves in the recording."""
    left_out: int
    """The number of trials without a whole curve."""
    epochs: int
    """The budget of each replay."""
    seeds: int
    ways: list[Replayed]


@dataclass(frozen=True, kw_only=True)
class Audited:
    """What an audit found."""

    folder: Path
    page: Path
    lists: dict[str, Path]
    """The exclusion lists, by the names of the findings, and `certain` for all that is wrong beyond doubt."""
    results: JsonObject
    """The content of audit.json."""


@dataclass(frozen=True, kw_only=True)
class Verified:
    """What verifying a sweep found."""

    sweep: Path
    numbers: int
    """How many numbers and texts were as stated, up to the first that was not."""
    difference: str
    """The first number or file that differs; "" if all are as stated."""


@dataclass(frozen=True, kw_only=True)
class Controlled:
    """What a sweep was asked for, or what was asked about it."""

    sweep: Path
    action: str
    text: str
    """The answer, in words."""


@dataclass(frozen=True, kw_only=True)
class Diagnosed:
    """What the doctor found."""

    problems: int
    """The number of findings that would fail later."""
    findings: list[Finding]


@dataclass(frozen=True, kw_only=True)
class Submitted:
    """A job that was handed to Slurm."""

    job: str
    """Its number; "" with `--print`."""
    folder: Path
    """The folder of the sweep or the run, which `slurm status` takes."""
    script: Path
    log: Path


@dataclass(frozen=True, kw_only=True)
class DrawnFaces:
    """Generated faces that were written."""

    output_dir: Path
    faces: int


@dataclass(frozen=True, kw_only=True)
class ClusterFiles:
    """The files of a cluster that were written."""

    folder: Path
    files: list[Path]
    """Relative to the folder; files that were there already are not among them."""


def result_schema(name: str) -> JsonObject:
    """Returns the JSON Schema of what a command prints with `--format json`.

    Args:
        name: the name of the command; "slurm_status" for `slurm status`.
    """
    from fervit.api.encode import EncodeResult
    from fervit.api.preprocess import PreprocessResult
    from fervit.evaluation.comparison.contenders import Compared
    from fervit.evaluation.groups import ColumnScores
    from fervit.evaluation.results import EvaluationResults
    from fervit.json_schema import DRAFT, schema_of
    from fervit.slurm.status import JobStatus

    kinds = {
        **{"demo_faces": DrawnFaces, "preprocess": PreprocessResult, "audit": Audited, "encode": EncodeResult},
        **{"train": Trained, "tune": Swept, "evaluate": Evaluated, "compare": list[Compared]},
        **{"predict": list[PredictedPicture], "export": Exported, "report": Reported, "replay": Replays},
        **{"verify": Verified, "doctor": Diagnosed, "slurm": Submitted, "slurm_status": JobStatus},
        **{"cluster": ClusterFiles, "control": Controlled, "demo": Swept},
    }
    names = {"ColumnScores": ColumnScores, "EvaluationResults": EvaluationResults}
    title = f"fervit {name.replace('_status', ' status')} --format json"
    return {"$schema": DRAFT, "title": title, **schema_of(kinds[name], names)}
