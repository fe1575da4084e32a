"""Writes a trained model as a folder for others: safetensors, config.json, a model card, on request ONNX."""

from __future__ import annotations

from pathlib import Path

from fervit.checkpoints.places import checkpoint_in
from fervit.cli import Parser, positive_int
from fervit.commands.output import add_format, printing
from fervit.errors import UserError


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
    place = flags.add_mutually_exclusive_group(required=True)
    place.add_argument("--output_dir", type=Path, help="folder for the export")
    place.add_argument(
        "--hub_folder",
        type=Path,
        help="a folder as huggingface_hub's upload_folder takes it: a card with metrics, safetensors, config.json",
    )
    flags.add_argument(
        "--evaluation",
        type=Path,
        help="what `evaluate` wrote for this model: the card gets its metrics by group; left out, evaluation/ beside "
        "the model's folder, if it has some",
    )
    flags.add_argument(
        "--onnx", action="store_true", help="model.onnx too, checked with onnxruntime; needs pip install 'fervit[onnx]'"
    )
    flags.add_argument(
        "--heads", type=positive_int, help="attention heads of another script's model whose file does not name them"
    )
    add_format(flags, of="export")
    return flags


def main() -> None:
    """Runs the command with the flags of `sys.argv`.

    Raises:
        UserError: the checkpoint or the evaluation is wrong, or the folder holds other files.
    """
    args = parser().parse()
    checkpoint_in(Path(args.checkpoint_path))

    from fervit.api.export import export, export_for_hub
    from fervit.commands.results import Exported

    if args.hub_folder is not None and args.onnx:
        raise UserError("--onnx: goes with --output_dir; leave it out with --hub_folder")
    out, difference = args.hub_folder or args.output_dir, None
    with printing(args.format) as give:
        if args.hub_folder is not None:
            export_for_hub(args.checkpoint_path, out, evaluation=args.evaluation, heads=args.heads)
        else:
            difference = export(args.checkpoint_path, out, evaluation=args.evaluation, onnx=args.onnx, heads=args.heads)
        files = sorted(path.name for path in out.iterdir())
        print(f"written: {', '.join(files)}")
        if difference is not None:
            print(f"model.onnx: onnxruntime gives the model's logits to {difference:.0e}")
        print(f'use it: fervit.load("{out}")')
        give(Exported(folder=out, files=files, onnx_difference=difference))
