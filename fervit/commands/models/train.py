"""Trains one LatentViT, in a process of this machine or with Ray Train, and goes on with a run that was cut short."""

from __future__ import annotations

from pathlib import Path

from fervit.cli import Parser, add_exclude, add_fields, add_votes, positive_int, whole_number
from fervit.commands.output import add_format, printing
from fervit.system.program import called
from fervit.training.config import TrainConfig
from fervit.training.recipes import RECIPES


def parser() -> Parser:
    """Defines the flags of `launch/train.py`.

    Returns:
        The parser of the flags.
    """
    flags = Parser(description=__doc__)
    flags.add_argument("--latent_train_dir", help="folder with the training split's Parquet files")
    flags.add_argument("--latent_val_dir", help="folder with the validation split's Parquet files")
    flags.add_argument(
        "--val_fraction", type=float, help="instead of --latent_val_dir, share of the training codes that validates"
    )
    flags.add_argument(
        "--test_fraction",
        type=float,
        help=f"share of the training codes to leave out, which {called('tune')} made its test split by this flag",
    )
    flags.add_argument("--split_seed", type=whole_number, default=0, help="seed of what these fractions take")
    flags.add_argument("--recipe", choices=list(RECIPES), help="a set of hyperparameters; flags override it")
    flags.add_argument("--resume", type=Path, metavar="RUN", help="go on with the run of this folder")
    flags.add_argument("--workers", type=positive_int, help="processes that train together, by DDP (default: 1)")
    flags.add_argument("--use_gpu", action="store_true", default=None, help="a GPU a worker; used anyway if there is")
    flags.add_argument("--no_use_gpu", action="store_false", dest="use_gpu", default=None, help="train on the CPU")
    add_exclude(
        flags,
        f"lists of faces to train and validate without, as of {called('audit')}",
    )
    add_votes(flags, "train on the class of most votes, or on the share of each class")
    flags.add_argument("--address", help="address of a Ray cluster; left out, RAY_ADDRESS or this machine")
    flags.add_argument("--output_dir", default="experiments", help="folder in which the run gets its folder")
    add_format(flags, of="train")
    guide = flags.add_argument_group("flags of the guide's scripts")
    guide.add_argument("--checkpoint_dir", metavar="DIR", help="folder in which the run gets the folder <name>/<time>")
    guide.add_argument("--experiment_name", metavar="NAME", help="name of the run; left out: its hyperparameters")
    guide.add_argument("--num_classes", type=int, help="classes of the data, checked against the latents")
    guide.add_argument("--use_augmentation", action="store_true", help="says what replaces it")
    add_fields(flags, TrainConfig, "hyperparameters")
    return flags


def main() -> None:
    """Runs the command with the flags of `sys.argv`.

    Raises:
        UserError: a flag or the latents are wrong.
        JobError: the training diverged, ran out of memory, or lost its workers too often.
        KeyboardInterrupt: the user pressed Ctrl-C. The message says how to continue.
    """
    args = parser().parse()
    if args.resume is None and args.latent_train_dir is not None:
        from fervit.latents.latent_set import refuse_missing_latents

        refuse_missing_latents(args.latent_train_dir)

    from fervit.api.train import train

    form = vars(args).pop("format")
    with printing(form) as give:
        result = train(**vars(args))
        if form == "json":
            from fervit.commands.results import Trained  # a slow import

            fields = {name: getattr(result, name) for name in ("folder", "model", "state", "epochs", "seconds", "best")}
            give(Trained(**fields))
