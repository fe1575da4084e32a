"""Evaluates a trained LatentViT on a split of latents."""

from __future__ import annotations

import argparse
from pathlib import Path
from typing import TYPE_CHECKING, Literal

from fervit.cli import Parser, positive_int, run, whole_number

if TYPE_CHECKING:
    from fervit.evaluation.results import EvaluationResults
    from fervit.latents import LatentSet


def main() -> None:
    parser = Parser(description=__doc__)
    parser.add_argument(
        "--checkpoint_path", type=Path, required=True, help="best_model.pt of a run, or the best/ folder of a sweep"
    )
    parser.add_argument("--latent_test_dir", required=True, help="folder with the split's Parquet files")
    parser.add_argument("--output_dir", type=Path, default=Path("eval_results"), help="folder for results and pictures")
    parser.add_argument("--batch_size", type=positive_int, default=32, help="codes in a forward pass")
    parser.add_argument(
        "--visualize_samples", type=whole_number, default=5, help="faces whose attention is drawn, over all classes"
    )
    parser.add_argument(
        "--latent_train_dir",
        help="latents that the model was trained on, to find copies of them in the test split; left out: train/ beside "
        "the test split",
    )
    parser.add_argument(
        "--data_root", help="the faces, to show them beside their attention; left out: where encode.py found them"
    )
    args = parser.parse()

    from fervit.checkpoints.checkpoint import load_checkpoint
    from fervit.evaluation.evaluate import evaluate
    from fervit.latents import LatentSet
    from fervit.latents.source import find_faces
    from fervit.storage import name_of

    checkpoint = load_checkpoint(args.checkpoint_path)
    latents = LatentSet.read(args.latent_test_dir)
    result = evaluate(
        checkpoint,
        latents,
        args.output_dir,
        split=name_of(args.latent_test_dir),
        batch_size=args.batch_size,
        samples=args.visualize_samples,
        training_sha256=_training_sha256(args, latents),
        faces=find_faces(latents, args.data_root),
    )
    if not checkpoint.encoder:
        print("checkpoint: of an earlier run, which does not name its codes' encoder: make sure that it was this one")
    if latents.encoder.untrained:
        print("encoder: demo, UNTRAINED random weights, for trying fervit out only")
    _summarise(result.split, result.metrics)
    print(f"written: {', '.join(sorted(path.name for path in args.output_dir.iterdir() if path.is_file()))}")
    print(f"to       {args.output_dir}")


def _training_sha256(args: argparse.Namespace, latents: LatentSet) -> list[str] | None:
    from fervit.latents.latent_set import read_sha256
    from fervit.storage import sibling

    return read_sha256(args.latent_train_dir or sibling(latents.path, "train"), required=bool(args.latent_train_dir))


def _summarise(split: str, metrics: EvaluationResults) -> None:
    from fervit.evaluation.evaluate import FLAT_REMARK, SEEN

    intervals = metrics["intervals_95"]

    def with_interval(name: Literal["accuracy", "f1_macro"]) -> str:
        low, high = intervals[name]
        return f"{metrics[name]:.3f} ({low:.3f} to {high:.3f})"

    print(f"{split}: {metrics['n']} faces; values with 95 % intervals")
    if metrics["seen"] is not None:
        print(f"  {SEEN[metrics['seen']]}, so the numbers are optimistic")
    print(f"  accuracy {with_interval('accuracy')}, macro-F1 {with_interval('f1_macro')}, ECE {metrics['ece']:.3f}")
    for emotion, row in list(metrics["classification_report"].items())[:7]:
        print(f"  {emotion:<9} precision {row['precision']:.2f}  recall {row['recall']:.2f}  F1 {row['f1-score']:.2f}")
    copies = metrics["copies_of_training"]
    if copies is None:
        print("copies of training faces: not looked for; --latent_train_dir names the latents trained on")
    elif copies["without_copies"] is None:
        print(f"copies of training faces: {copies['n']} of {metrics['n']}")
    else:
        without = copies["without_copies"]
        print(
            f"copies of training faces: {copies['n']} of {metrics['n']}; without them accuracy "
            f"{without['accuracy']:.3f}, macro-F1 {without['f1_macro']:.3f}"
        )
    if metrics["attention"]["flat"]:
        print(FLAT_REMARK)


if __name__ == "__main__":
    run(main)
