"""Draws the demo's faces: seven emotions, nobody's picture."""

from __future__ import annotations

from pathlib import Path

from fervit.cli import Parser, positive_int, run


def main() -> None:
    parser = Parser(description=__doc__)
    parser.add_argument(
        "--output_dir", type=Path, default=Path("dataset/demo"), help="folder for train/, val/ and test/"
    )
    parser.add_argument("--train", type=positive_int, default=100, help="faces a class for training")
    parser.add_argument("--val", type=positive_int, default=20, help="faces a class for validation")
    parser.add_argument("--test", type=positive_int, default=25, help="faces a class for the test")
    parser.add_argument("--seed", type=int, default=0, help="the same seed draws the same faces")
    args = parser.parse()

    from fervit.images.demo_faces import write_demo_faces

    per_class = {"train": args.train, "val": args.val, "test": args.test}
    n = write_demo_faces(args.output_dir, per_class, args.seed)
    print(f"{n} demo faces of 7 emotions in {args.output_dir}")


if __name__ == "__main__":
    run(main)
