"""Evaluates a trained LatentViT on a split of latents."""

from __future__ import annotations

from pathlib import Path

from fervit.checkpoints.places import checkpoint_in
from fervit.cli import Parser, add_exclude, add_votes, positive_int, whole_number
from fervit.commands.output import add_format, printing
from fervit.system.program import called


def parser() -> Parser:
    """Defines the flags of `launch/evaluate.py`.

    Returns:
        The parser of the flags.
    """
    flags = Parser(description=__doc__)
    flags.add_argument(
        "--checkpoint_path", type=Path, required=True, help="best_model.pt of a run, or the best/ folder of a sweep"
    )
    flags.add_argument("--latent_test_dir", required=True, help="folder with the split's Parquet files")
    flags.add_argument(
        "--output_dir",
        type=Path,
        help="folder for results and pictures; left out: eval_results, or eval_results_2 and so on where another "
        "evaluation is",
    )
    flags.add_argument("--batch_size", type=positive_int, default=32, help="codes in a forward pass")
    flags.add_argument(
        "--visualize_samples", type=whole_number, default=5, help="faces whose attention is drawn, over all classes"
    )
    flags.add_argument(
        "--latent_train_dir",
        help="latents that the model was trained on, to find copies of them in the test split; left out: train/ beside "
        "the test split",
    )
    flags.add_argument(
        "--data_root", help="the faces, to show them beside their attention; left out: where `encode` found them"
    )
    flags.add_argument(
        "--label_map",
        metavar="FILE",
        help="maps the model's classes onto those of a split with other labels, in lines `class: class of the split`; "
        "left out: by their names",
    )
    add_exclude(
        flags,
        f"lists of faces, as of {called('audit')}, without which the metrics are given, too",
    )
    add_votes(flags, "measure against the class of most votes, or against the share of each class, too")
    flags.add_argument("--no_faces", action="store_true", help="draw attention without the faces beside it")
    flags.add_argument(
        "--groups", metavar="CSV", help="image_id and columns such as age, sex, skin type or camera: metrics by group"
    )
    flags.add_argument("--device", help="of the guide's scripts; an evaluation takes a GPU at hand, else the CPU")
    flags.add_argument(
        "--heads", type=positive_int, help="attention heads of another script's model whose file does not name them"
    )
    add_format(flags, of="evaluate")
    return flags


def main() -> None:
    """Runs the command with the flags of `sys.argv`.

    Raises:
        UserError: a file is missing or wrong.
    """
    args = parser().parse()
    checkpoint_in(Path(args.checkpoint_path))

    from fervit.latents.latent_set import refuse_missing_latents

    refuse_missing_latents(args.latent_test_dir)

    from fervit.api.evaluate import evaluate
    from fervit.commands.results import Evaluated
    from fervit.evaluation.groups import read_scores

    form = vars(args).pop("format")
    with printing(form) as give:
        found = evaluate(**vars(args))
        give(
            Evaluated(
                split=found.split,
                output_dir=found.output_dir,
                metrics=found.metrics,
                groups=read_scores(found.output_dir),
                remarks=list(found.remarks),
            )
        )
