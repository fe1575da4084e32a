"""`fervit.preprocess` finds the face in each picture and cuts it out as FFHQ's are, on Ray Data."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from tempfile import gettempdir

from fervit.api.arguments import as_text, check_at_least
from fervit.cluster.connection import connect
from fervit.encoding.failures import ERRORS_FILE
from fervit.encoding.preprocessing import (
    Preprocessed,
    PreprocessPlan,
    found_by_class,
    pairs_for_preview,
    plan_preprocessing,
    preprocess_faces,
)
from fervit.encoding.ray_data import check_places, resumable
from fervit.errors import UserError
from fervit.images import passed_over
from fervit.images.detector import FaceDetector
from fervit.images.face_index import FaceIndex
from fervit.images.index import open_faces
from fervit.images.preview import draw_preview
from fervit.io.files import from_home, is_uri
from fervit.io.storage import absolute, child, locate, write_whole
from fervit.labels.label_set import read_label_set
from fervit.progress import Say, counted, silent
from fervit.system.side_channels import SideChannel

PREVIEW_FILE = "preview.png"
A_CLASS = 8
"""The pictures of each class on the preview."""


@dataclass(frozen=True, kw_only=True)
class PreprocessResult:
    """The result of one call of `fervit.preprocess`."""

    output_dir: str
    """The folder or URI of the faces, as the caller gave it."""
    done: int
    """The number of faces that this call wrote."""
    present: int
    """The number of faces that were there before this call."""
    failed: int
    """The number of pictures without a face, or that cannot be read. Each split's `_errors.jsonl` has the reasons."""
    failed_before: int
    """The number of pictures that failed in an earlier call and were skipped; `retry_errors=True` tries them again."""
    several: int
    """The number of pictures with several faces, of which the largest was taken."""
    seconds: float
    """The duration of the job, without the preparations."""


def preprocess(
    input_dir: str | Path,
    output_dir: str | Path,
    *,
    face_detector: str | Path,
    size: int = 256,
    limit: int | None = None,
    labels: str | Path | None = None,
    retry_errors: bool = False,
    address: str | None = None,
    say: Say | None = print,
) -> PreprocessResult:
    """Cuts the largest face out of each picture that has none yet. After an interruption, the same call continues.

    Args:
        input_dir: the path or URI of a folder {train,val,test}/<class>/*.png, of one split, or of fer2013.csv[.gz].
        output_dir: the path or URI of the folder for the faces, which gets a folder for each split, and preview.png
            with eight faces of each class before and after.
        face_detector: YuNet's ONNX file, face_detection_yunet_2023mar.onnx.
        size: the side of a face in pixels.
        limit: takes about this many pictures, with the same share of each class; None for all.
        labels: the label set, as of `fervit.encode`; None for that of the data.
        retry_errors: tries again the pictures that failed before.
        address: of a Ray cluster; None for RAY_ADDRESS, a running Ray of this process or machine, or a new Ray.
        say: gets each line of text; None for silence.

    Returns:
        How many faces were written, were there before, and failed.

    Raises:
        UserError: an argument or a file is wrong.
        JobError: no face was found in any picture, or the disk is full.
        KeyboardInterrupt: the user pressed Ctrl-C. The faces that were written are kept.
    """
    check_at_least(1, {"size": size, "limit": limit})
    source, out, tell = str(as_text(input_dir)), from_home(str(output_dir)), say or silent
    if not is_uri(source) and not is_uri(out) and Path(out).resolve() == Path(source).resolve():
        raise UserError(f"--output_dir {out}: is where the pictures are; give another folder")
    detector = absolute(str(as_text(face_detector)))
    FaceDetector(detector)  # tells now if it is none
    label_set = read_label_set(str(labels)) if labels is not None else None
    try:
        index = open_faces(source, label_set).limited(limit)
    except UserError as error:
        raise UserError(str(error).replace("--data_root", "--input_dir")) from None
    for remark in index.remarks:
        tell(remark)
    plan = plan_preprocessing(index, out, retry_errors=retry_errors)
    job = _run(plan, detector, size, (source, detector), address, say)
    SideChannel(passed_over.FILE, tell)(passed_over.write, plan.out, index.passed_over)
    if job.done:
        SideChannel(PREVIEW_FILE, tell)(_write_preview, index, plan.out)
    for line in _summary(index, plan, job, out):
        tell(line)
    return PreprocessResult(
        output_dir=out,
        done=job.done,
        present=plan.present,
        failed=job.failed,
        failed_before=plan.failed_before,
        several=job.several,
        seconds=round(job.seconds, 3),
    )


def _run(
    plan: PreprocessPlan, detector: str, size: int, inputs: tuple[str, ...], address: str | None, say: Say | None
) -> Preprocessed:
    """Runs the plan on a Ray cluster, unless nothing is left to do."""
    if len(plan) == 0:
        return preprocess_faces(plan, detector, size, 1, say)
    (say or silent)("starting Ray, or joining it ...")
    log = Path(gettempdir() if is_uri(plan.out) else plan.out, "_ray.log")
    with resumable(), connect(address, log) as cluster:
        check_places(cluster, plan.out, inputs, "--output_dir")
        return preprocess_faces(plan, detector, size, cluster.cpus, say)


def _write_preview(index: FaceIndex, out: str) -> None:
    """Draws pictures of each class beside their faces."""
    pairs = pairs_for_preview(index, out, A_CLASS)
    if pairs:
        filesystem, inner = locate(child(out, PREVIEW_FILE))
        sheet = draw_preview(pairs)
        write_whole(filesystem, inner, lambda file: sheet.save(file, "PNG"))


def _summary(index: FaceIndex, plan: PreprocessPlan, job: Preprocessed, out: str) -> list[str]:
    """What the user is told at the end."""
    rate = f" in {job.seconds:.0f} s ({job.done / job.seconds:.3g} images/s)" if job.done else ""
    lines = [f"aligned {job.done} faces{rate}, {plan.present} were there before; faces in {out}"]
    found, failed = job.done + plan.present, job.failed + plan.failed_before
    lines.append(passed_over.account(index.passed_over, index.left_out, found, "with faces", failed, out))
    of_class = found_by_class(index, plan.out).items()
    lines.append("found: " + ", ".join(f"{name} {n} of {whole} ({n / whole:.1%})" for name, (n, whole) in of_class))
    if job.several:
        lines.append(f"{counted(job.several, 'picture')} with several faces: the largest was taken")
    if failed:
        lines.append(f"{counted(failed, 'picture')} gave none; the reasons are in {out}/<split>/{ERRORS_FILE}")
    if plan.failed_before:
        lines.append(f"{plan.failed_before} of them failed in an earlier run; --retry_errors tries them again")
    if len(job.hosts) > 1:
        lines.append("by machine: " + ", ".join(f"{host} {n}" for host, n in sorted(job.hosts.items())))
    return [*lines, *([f"before and after: {child(out, PREVIEW_FILE)}"] if job.done else [])]
