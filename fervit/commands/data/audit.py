"""Looks through a data set before training: copies, blank and dark pictures, doubtful labels, odd codes."""

from __future__ import annotations

from pathlib import Path

from fervit.cli import Parser, add_labels, refuse_missing
from fervit.commands.output import add_format, printing
from fervit.errors import NO_DATA


def parser() -> Parser:
    """Defines the flags of `launch/audit.py`.

    Returns:
        The parser of the flags.
    """
    flags = Parser(description=__doc__)
    flags.add_argument(
        "--data_root",
        help="folder {train,val,test}/<emotion>/*.png, one split, or fer2013.csv[.gz]; a path or URI (s3://, gs://)",
    )
    add_labels(flags)
    flags.add_argument("--latents", help="folder with train/, val/ and test/ latents, or one split")
    flags.add_argument("--output_dir", type=Path, default=Path("audit"), help="folder for the page, lists and sheets")
    flags.add_argument(
        "--face_detector", metavar="ONNX", help="YuNet, to find pictures without a face; left out: not looked for"
    )
    flags.add_argument(
        "--no_label_noise", dest="label_noise", action="store_false", help="leave out the search for doubtful labels"
    )
    flags.add_argument("--no_faces", action="store_true", help="write no pictures of faces: no sheets, a page of text")
    add_format(flags, of="audit")
    return flags


def main() -> None:
    """Runs the command with the flags of `sys.argv`.

    Raises:
        UserError: a flag or a file is wrong.
    """
    flags = parser()
    args = flags.parse()
    if args.data_root is None and args.latents is None:
        flags.error("give --data_root FACES, --latents LATENTS, or both")

    if args.data_root is not None:
        refuse_missing(str(args.data_root), NO_DATA, "--data_root")

    from fervit.api.audit import audit
    from fervit.commands.results import Audited

    form = vars(args).pop("format")
    with printing(form) as give:
        found = audit(**vars(args))
        give(Audited(folder=found.folder, page=found.page, lists=found.lists, results=found.results))
