"""Encodes faces into W+ codes (Parquet) with a StyleGAN encoder, on Ray Data."""

from __future__ import annotations

from fervit.cli import Parser, add_exclude, add_fractions, add_labels, positive_int, refuse_missing
from fervit.commands.output import add_format, printing
from fervit.errors import NO_DATA
from fervit.system.program import called


def parser() -> Parser:
    """Defines the flags of `launch/encode.py`.

    Returns:
        The parser of the flags.
    """
    flags = Parser(description=__doc__)
    flags.add_argument(
        "--data_root",
        help="folder {train,val,test}/<class>/*.png, one split, fer2013.csv[.gz], or RAF-DB, AffectNet, "
        "CK+ or FER+ as they come; a path or URI (s3://, gs://)",
    )
    flags.add_argument("--latent_out", required=True, help="folder for the codes, one folder a split; a path or URI")
    flags.add_argument(
        "--encoder_type",
        help="psp, e4e, demo (untrained, for trying fervit out), or one that --encoder_module registers; left out: psp",
    )
    flags.add_argument("--encoder_model", help="the encoder's checkpoint, such as pretrained_models/psp_ffhq_encode.pt")
    flags.add_argument(
        "--encoder_module", metavar="FILE", help="Python file or module that registers an encoder of yours"
    )
    flags.add_argument(
        "--precision",
        choices=("float32", "bfloat16", "float16"),
        help="of the encoder; left out: what the hardware is fast at",
    )
    flags.add_argument(
        "--batch_size", type=positive_int, help="faces that go through the network at once; left out: 4, on a GPU 64"
    )
    flags.add_argument("--actors", type=positive_int, help="encoders side by side; left out: one a GPU, or one a node")
    flags.add_argument(
        "--gpus_per_actor",
        type=float,
        help="share of a GPU an encoder gets, 0 for the CPU; left out: 1 if there are any",
    )
    flags.add_argument("--retry_errors", action="store_true", help="try pictures that failed before again")
    flags.add_argument(
        "--reconstruct", type=positive_int, metavar="N", help="draw N faces beside what their codes say, as a sheet"
    )
    flags.add_argument(
        "--from_pt", metavar="DIR", help="instead of encoding, import <emotion>_<name>.pt files of earlier scripts"
    )
    flags.add_argument(
        "--label_order",
        choices=("alphabetical", "kaggle"),
        help="what numbers of classes mean in --from_pt files, and in their names, where no file says it",
    )
    flags.add_argument(
        "--limit", type=positive_int, help="encode about this many faces, keeping the share of each class"
    )
    add_exclude(
        flags,
        f"lists of faces to leave out of training and validation: those of {called('audit')}, or an image_id in each "
        "line; a test split stays whole",
    )
    add_fractions(flags, "pictures")
    flags.add_argument("--allow_missing_classes", action="store_true", help="accept splits that lack a class")
    add_labels(flags)
    flags.add_argument("--address", help="address of a Ray cluster; left out, RAY_ADDRESS or a local Ray")
    add_format(flags, of="encode")
    return flags


def main() -> None:
    """Runs the command with the flags of `sys.argv`.

    Raises:
        UserError: a flag or a file is wrong.
        JobError: no face could be encoded.
    """
    flags = parser()
    args = flags.parse()
    if (args.data_root is None) == (args.from_pt is None):
        flags.error("give either --data_root FACES, or --from_pt DIR to import codes")
    if args.from_pt is not None and (args.reconstruct or args.precision or args.encoder_module):
        flags.error("--reconstruct, --precision and --encoder_module need the pictures; they do not go with --from_pt")

    if args.data_root is not None:
        refuse_missing(str(args.data_root), NO_DATA, "--data_root")

    from fervit.api.encode import encode

    form = vars(args).pop("format")
    with printing(form) as give:
        give(encode(**vars(args)))
