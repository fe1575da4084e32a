"""Finds the face in each picture and cuts it out as FFHQ's are, as the encoders need it."""

from __future__ import annotations

from pathlib import Path

from fervit.cli import Parser, add_labels, positive_int
from fervit.errors import JobError, UserError


def parser() -> Parser:
    """Defines the flags of `launch/preprocess.py`.

    Returns:
        The parser of the flags.
    """
    flags = Parser(description=__doc__)
    flags.add_argument(
        "--input_dir", required=True, help="folder {train,val,test}/<emotion>/*.png, one split, or fer2013.csv[.gz]"
    )
    flags.add_argument("--output_dir", type=Path, required=True, help="folder for the faces, one folder a split")
    flags.add_argument(
        "--face_detector", type=Path, required=True, help="YuNet's ONNX file, face_detection_yunet_2023mar.onnx"
    )
    flags.add_argument("--size", type=positive_int, default=256, help="side of a face in pixels")
    flags.add_argument("--limit", type=positive_int, help="about this many faces, keeping the share of each class")
    add_labels(flags)
    return flags


def main() -> None:
    """Runs the command with the flags of `sys.argv`.

    Raises:
        UserError: a file is missing or wrong.
        JobError: no face was found in any picture.
    """
    args = parser().parse()

    from fervit.images import passed_over
    from fervit.images.index import open_faces
    from fervit.images.preprocess import ERRORS_FILE, preprocess
    from fervit.io.storage import is_uri
    from fervit.labels.label_set import read_label_set

    if not is_uri(args.input_dir) and args.output_dir.resolve() == Path(args.input_dir).resolve():
        raise UserError(f"--output_dir {args.output_dir}: is where the pictures are; give another folder")
    labels = read_label_set(args.labels) if args.labels is not None else None
    try:
        index = open_faces(args.input_dir, labels).limited(args.limit)
    except UserError as error:
        raise UserError(str(error).replace("--data_root", "--input_dir")) from None
    for remark in index.remarks:
        print(remark)
    done = preprocess(index, args.output_dir, args.face_detector, args.size)
    print(f"aligned {done.done} faces, {done.present} were there before; faces in {args.output_dir}")
    passed_over.write(str(args.output_dir), index.passed_over)
    where = f"; in full in {args.output_dir / passed_over.FILE}" if index.passed_over else ""
    found, n = done.done + done.present, len(index.passed_over) + index.left_out
    limited = f", {index.left_out} left out by --limit" if index.left_out else ""
    print(
        f"all {found + done.failed + n} files: {found} with faces, {done.failed} failed, "
        f"{passed_over.brief(index.passed_over)}{limited}{where}"
    )
    if done.several:
        print(f"{done.several} pictures hold several faces: the largest was taken")
    if done.failed:
        print(f"{done.failed} pictures gave none; the reasons stand in {args.output_dir}/<split>/{ERRORS_FILE}")
    if not done.done and not done.present:
        raise JobError(f"no face was found in any of the {done.failed} pictures of {args.input_dir}")
