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
        "--onnx", action="store_true", help="model.onnx too, checked with onnxruntime; needs pip install 'fervit[onnx]'"
    )
    flags.add_argument(
        "--heads", type=positive_int, help="attention heads of another script's model whose file does not name them"
    )
    return flags


def main() -> None:
    """Runs the command with the flags of `sys.argv`.

    Raises:
        UserError: the checkpoint is wrong, or the folder holds other files.
    """
    args = parser().parse()

    from fervit.checkpoints.card import HEADER, card_of_run
    from fervit.checkpoints.checkpoint import checkpoint_in, load_checkpoint
    from fervit.checkpoints.export import CARD_FILE, ONNX_FILE, check_free, export, export_onnx
    from fervit.io.files import write_text

    checkpoint = load_checkpoint(args.checkpoint_path, heads=args.heads)
    check_free(args.output_dir)
    difference = export_onnx(checkpoint, args.output_dir / ONNX_FILE) if args.onnx else None
    export(checkpoint, args.output_dir)
    beside = checkpoint_in(args.checkpoint_path).parent / CARD_FILE  # the card of a sweep is more detailed
    written = beside.read_text(encoding="utf-8") if beside.is_file() else ""
    card = written if written.startswith("\n".join(HEADER)) else card_of_run(checkpoint)
    write_text(args.output_dir / CARD_FILE, card)
    print(f"written: {', '.join(sorted(path.name for path in args.output_dir.iterdir()))}")
    if difference is not None:
        print(f"model.onnx: onnxruntime gives the model's logits to {difference:.0e}")
    print(f'use it: fervit.load("{args.output_dir}")')
