"""Draws the demo's faces: seven emotions, nobody's picture."""

from __future__ import annotations

from pathlib import Path

from fervit.cli import Parser, positive_int
from fervit.commands.output import add_format, printing


def parser() -> Parser:
    """Defines the flags of `launch/demo_faces.py`.

    Returns:
        The parser of the flags.
    """
    flags = Parser(description=__doc__)
    flags.add_argument(
        "--output_dir", type=Path, default=Path("dataset/demo"), help="folder for train/, val/ and test/"
    )
    flags.add_argument("--train", type=positive_int, default=100, help="faces a class for training")
    flags.add_argument("--val", type=positive_int, default=20, help="faces a class for validation")
    flags.add_argument("--test", type=positive_int, default=25, help="faces a class for the test")
    flags.add_argument("--seed", type=int, default=0, help="the same seed draws the same faces")
    add_format(flags, of="demo_faces")
    return flags


def main() -> None:
    """Runs the command with the flags of `sys.argv`."""
    args = parser().parse()

    from fervit.commands.results import DrawnFaces
    from fervit.images.demo_faces import write_demo_faces

    per_class = {"train": args.train, "val": args.val, "test": args.test}
    with printing(args.format) as give:
        n = write_demo_faces(args.output_dir, per_class, args.seed, say=print)
        print(f"{n} demo faces of 7 emotions in {args.output_dir}")
        give(DrawnFaces(output_dir=args.output_dir, faces=n))
