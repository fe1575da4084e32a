"""Evaluates a trained LatentViT on a split of latents."""

from __future__ import annotations

from pathlib import Path

from fervit.cli import Parser, positive_int, run


def main() -> None:
    parser = Parser(description=__doc__)
    parser.add_argument("--checkpoint_path", type=Path, required=True, help="best_model.pt of a run or a sweep")
    parser.add_argument("--latent_test_dir", required=True, help="folder with the split's Parquet files")
    parser.add_argument("--output_dir", type=Path, default=Path("eval_results"), help="folder for results and pictures")
    parser.add_argument("--batch_size", type=positive_int, default=32, help="codes in a forward pass")
    args = parser.parse()

    from fervit.evaluation.evaluate import CONFUSION_FILE, RESULTS_FILE, evaluate
    from fervit.latents import LatentSet
    from fervit.training.checkpoint import load_checkpoint

    checkpoint = load_checkpoint(args.checkpoint_path)
    latents = LatentSet.read(args.latent_test_dir)
    split = Path(args.latent_test_dir).name
    metrics = evaluate(checkpoint, latents, args.output_dir, split=split, batch_size=args.batch_size).metrics
    if not checkpoint.encoder:
        print("checkpoint: of an earlier run, which does not name its codes' encoder: make sure that it was this one")
    if latents.encoder.get("untrained"):
        print("encoder: demo, UNTRAINED random weights, for trying fervit out only")
    print(f"{split}: {metrics['n']} faces, accuracy {metrics['accuracy']:.3f}, macro-F1 {metrics['f1_macro']:.3f}")
    for emotion, row in list(metrics["classification_report"].items())[:7]:
        print(f"  {emotion:<9} precision {row['precision']:.2f}  recall {row['recall']:.2f}  F1 {row['f1-score']:.2f}")
    print(f"written: {args.output_dir / RESULTS_FILE}, {args.output_dir / CONFUSION_FILE}")


if __name__ == "__main__":
    run(main)
