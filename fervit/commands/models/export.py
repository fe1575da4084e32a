"""Writes a trained model as a folder for others: safetensors, config.json, a model card, on request ONNX."""

from __future__ import annotations

from pathlib import Path

from fervit.cli import Parser, positive_int


def parser() -> Parser:
    """Defines the flags of `launch/export.py`.

    Returns:
        The parser of the flags.
    """
    flags = Parser(description=__doc__)
    flags.add_argument(
        "--checkpoint_path",
        type=Path,
        required=True,
        help="best_model.pt, also of an earlier LatentViT run, or a folder",
    )
    flags.add_argument("--output_dir", type=Path, required=True, help="folder for the export")
    flags.add_argument(
        "--evaluation",
        type=Path,
        help="what evaluate.py wrote for this model: the card gets its metrics by group; left out, evaluation/ beside "
        "the model's folder, if it has some",
    )
    flags.add_argument(
        "--onnx", action="store_true", help="model.onnx too, checked with onnxruntime; needs pip install 'fervit[onnx]'"
    )
    flags.add_argument(
        "--heads", type=positive_int, help="attention heads of another script's model whose file does not name them"
    )
    return flags


def main() -> None:
    """Runs the command with the flags of `sys.argv`.

    Raises:
        UserError: the checkpoint or the evaluation is wrong, or the folder holds other files.
    """
    args = parser().parse()

    from fervit.api.export import export

    difference = export(
        args.checkpoint_path, args.output_dir, evaluation=args.evaluation, onnx=args.onnx, heads=args.heads
    )
    print(f"written: {', '.join(sorted(path.name for path in args.output_dir.iterdir()))}")
    if difference is not None:
        print(f"model.onnx: onnxruntime gives the model's logits to {difference:.0e}")
    print(f'use it: fervit.load("{args.output_dir}")')
