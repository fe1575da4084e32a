"""Finds the face in each picture and cuts it out as FFHQ's are, as the encoders need it, on Ray Data."""

from __future__ import annotations

from fervit.cli import Parser, add_labels, positive_int
from fervit.commands.output import add_format, printing


def parser() -> Parser:
    """Defines the flags of `launch/preprocess.py`.

    Returns:
        The parser of the flags.
    """
    flags = Parser(description=__doc__)
    flags.add_argument(
        "--input_dir", required=True, help="folder {train,val,test}/<emotion>/*.png, one split, or fer2013.csv[.gz]"
    )
    flags.add_argument("--output_dir", required=True, help="folder for the faces, one folder a split; a path or URI")
    flags.add_argument("--face_detector", required=True, help="YuNet's ONNX file, face_detection_yunet_2023mar.onnx")
    flags.add_argument("--size", type=positive_int, default=256, help="side of a face in pixels")
    flags.add_argument("--limit", type=positive_int, help="about this many faces, keeping the share of each class")
    flags.add_argument("--retry_errors", action="store_true", help="try pictures that failed before again")
    add_labels(flags)
    flags.add_argument("--address", help="address of a Ray cluster; left out, RAY_ADDRESS or a local Ray")
    add_format(flags, of="preprocess")
    return flags


def main() -> None:
    """Runs the command with the flags of `sys.argv`.

    Raises:
        UserError: a file is missing or wrong.
        JobError: no face was found in any picture.
    """
    args = parser().parse()

    from fervit.api.preprocess import preprocess

    form = vars(args).pop("format")
    with printing(form) as give:
        give(preprocess(**vars(args)))
