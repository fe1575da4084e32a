"""Says which emotion a trained model sees in pictures of faces."""

from __future__ import annotations

import sys
from pathlib import Path
from typing import TYPE_CHECKING

from fervit.checkpoints.places import checkpoint_in
from fervit.cli import Parser, positive_int
from fervit.commands.output import add_format, printing
from fervit.errors import UserError
from fervit.progress import Progress

if TYPE_CHECKING:
    from fervit.evaluation.predictor import Prediction


def parser() -> Parser:
    """Defines the flags of `launch/predict.py`.

    Returns:
        The parser of the flags.
    """
    flags = Parser(description=__doc__)
    flags.add_argument("pictures", nargs="+", type=Path, metavar="PICTURE", help="pictures, or folders of them")
    flags.add_argument(
        "--checkpoint_path", type=Path, required=True, help="best_model.pt of a run, or the best/ folder of a sweep"
    )
    flags.add_argument("--encoder_model", help="the encoder's checkpoint: the one that the model was trained on")
    flags.add_argument("--encoder_type", help="psp, e4e or demo; left out: the one that the model names")
    flags.add_argument(
        "--encoder_module", metavar="FILE", help="Python file or module that registers the model's encoder"
    )
    flags.add_argument(
        "--align", action="store_true", help="find the face and cut it out as FFHQ's are; needs --face_detector"
    )
    flags.add_argument("--face_detector", help="YuNet's ONNX file, face_detection_yunet_2023mar.onnx")
    add_format(flags, "table", of="predict")
    flags.add_argument("--save_pictures", type=Path, metavar="DIR", help="write the pictures with their predictions")
    flags.add_argument(
        "--heads", type=positive_int, help="attention heads of another script's model whose file does not name them"
    )
    return flags


def main() -> int:
    """Runs the command with the flags of `sys.argv`.

    Returns:
        The exit status, which is 1 if a picture has no prediction and 0 otherwise.

    Raises:
        UserError: a file is missing or wrong.
    """
    flags = parser()
    args = flags.parse()
    if args.align and args.face_detector is None:
        flags.error("--align: needs --face_detector, YuNet's ONNX file (0.2 MB, from github.com/opencv/opencv_zoo)")
    if args.face_detector is not None and not args.align:
        flags.error("--face_detector: goes with --align, which finds the face and cuts it out")
    paths = _pictures(args.pictures)
    if args.save_pictures is not None and any(p.resolve().is_relative_to(args.save_pictures.resolve()) for p in paths):
        raise UserError(f"--save_pictures {args.save_pictures}: holds pictures that are read; give another folder")
    checkpoint_in(Path(args.checkpoint_path))

    from fervit.checkpoints.checkpoint import load_checkpoint
    from fervit.evaluation.predictor import TrainedModel, open_encoder
    from fervit.images.detector import FaceDetector

    with printing(args.format) as give:
        checkpoint = load_checkpoint(args.checkpoint_path, heads=args.heads)
        detector = FaceDetector(args.face_detector) if args.align else None
        encoder = open_encoder(checkpoint, args.encoder_model, args.encoder_type, args.encoder_module)
        model = TrainedModel(checkpoint, encoder, detector)
        if not model.encoder:
            _warn(
                "checkpoint: of an earlier run, which does not name its codes' encoder: make sure that it was this one"
            )
        elif model.encoder.untrained:
            _warn("encoder: demo, UNTRAINED random weights, for trying fervit out only")
        progress = Progress(len(paths), "pictures", "predict")
        predictions = model.predict(paths, on_progress=progress.add)
        progress.close()
        if args.save_pictures is not None:
            _save(predictions, paths, args.save_pictures)
        if args.format != "json":
            _table(predictions)
        give([prediction.to_json() for prediction in predictions])
    return 1 if any(prediction.error for prediction in predictions) else 0


def _pictures(given: list[Path]) -> list[Path]:
    """The pictures that are given, and those in the folders that are given, with a word on the other files there."""
    paths: list[Path] = []
    for path in given:
        if path.is_dir():
            paths += _inside(path)
        elif path.is_file():
            paths.append(path)
        else:
            raise UserError(f"{path}: there is no such picture")
    return paths


def _inside(folder: Path) -> list[Path]:
    """The pictures in a folder, as encoding finds them."""
    import pyarrow.fs as pafs

    from fervit.images import passed_over
    from fervit.images.layouts.listing import list_folder, readable

    try:
        listing = list_folder(str(folder), pafs.LocalFileSystem(), str(folder))
    except UserError as error:
        raise UserError(str(error).removeprefix("--data_root ")) from None
    inside = [name for name in listing.files if listing.is_picture(name)]
    others = [*listing.passed_over]
    others += [passed_over.PassedOver(readable(name), passed_over.NO_PICTURE) for name in {*listing.files} - {*inside}]
    if not inside:
        raise UserError(f"{folder}: holds no picture" + (f" ({passed_over.brief(others)})" if others else ""))
    if others:
        _warn(f"{folder}: {len(inside)} pictures, {passed_over.brief(others)}")
    return [folder / name for name in inside]


def _table(predictions: list[Prediction]) -> None:
    width = min(60, max(len(prediction.name) for prediction in predictions))
    widest = max([9, *(len(prediction.label) for prediction in predictions)])
    for prediction in predictions:
        if prediction.error:
            print(f"{prediction.name:<{width}}  -          {prediction.error}")
            continue
        others = sorted(prediction.probabilities.items(), key=lambda item: -item[1])[1:3]
        line = f"{prediction.name:<{width}}  {prediction.label:<{widest}} {prediction.confidence:.2f}"
        line += "   then " + ", ".join(f"{name} {share:.2f}" for name, share in others)
        if prediction.faces is not None and prediction.faces > 1:
            line += f"   (the largest of {prediction.faces} faces)"
        print(line)


def _save(predictions: list[Prediction], paths: list[Path], folder: Path) -> None:
    from fervit.evaluation.annotate import save_annotated
    from fervit.evaluation.predictor import read_pixels

    taken: set[str] = set()
    for prediction, path in zip(predictions, paths, strict=True):
        if prediction.error:
            continue
        name, n = path.stem, 1
        while name in taken:
            n += 1
            name = f"{path.stem}_{n}"
        taken.add(name)
        save_annotated(read_pixels(path), prediction, folder / f"{name}.png")
    _warn(f"{len(taken)} annotated pictures in {folder}")


def _warn(message: str) -> None:
    """Prints a message to standard error, since standard output has only the predictions."""
    print(message, file=sys.stderr)
