"""Encodes faces into W+ codes (Parquet) with a StyleGAN encoder, on Ray Data."""

from __future__ import annotations

from argparse import Namespace
from dataclasses import replace
from pathlib import Path
from tempfile import gettempdir
from typing import TYPE_CHECKING

from fervit.cli import Parser, positive_int, run
from fervit.errors import UserError

if TYPE_CHECKING:
    from fervit.encoding.plan import EncodePlan
    from fervit.images.face_index import FaceIndex


def main() -> None:
    parser = Parser(description=__doc__)
    parser.add_argument(
        "--data_root",
        help="folder {train,val,test}/<emotion>/*.png, one split, or fer2013.csv[.gz]; a path or URI (s3://, gs://)",
    )
    parser.add_argument("--latent_out", required=True, help="folder for the codes, one folder a split; a path or URI")
    parser.add_argument("--encoder_type", help="psp, e4e, or demo (untrained, for trying fervit out); left out: psp")
    parser.add_argument(
        "--encoder_model", help="the encoder's checkpoint, such as pretrained_models/psp_ffhq_encode.pt"
    )
    parser.add_argument(
        "--precision", choices=("float32", "bfloat16"), help="of the encoder; left out: what the hardware is fast at"
    )
    parser.add_argument(
        "--batch_size", type=positive_int, help="faces that go through the network at once; left out: 4, on a GPU 64"
    )
    parser.add_argument("--actors", type=positive_int, help="encoders side by side; left out: one a GPU, or one a node")
    parser.add_argument(
        "--gpus_per_actor",
        type=float,
        help="share of a GPU an encoder gets, 0 for the CPU; left out: 1 if there are any",
    )
    parser.add_argument("--retry_errors", action="store_true", help="try pictures that failed before again")
    parser.add_argument(
        "--reconstruct", type=positive_int, metavar="N", help="draw N faces beside what their codes say, as a sheet"
    )
    parser.add_argument(
        "--from_pt", metavar="DIR", help="instead of encoding, import <emotion>_<name>.pt files of earlier scripts"
    )
    parser.add_argument(
        "--limit", type=positive_int, help="encode about this many faces, keeping the share of each class"
    )
    parser.add_argument("--allow_missing_classes", action="store_true", help="accept splits that lack an emotion")
    parser.add_argument("--address", help="address of a Ray cluster; left out, RAY_ADDRESS or a local Ray")
    args = parser.parse()
    if (args.data_root is None) == (args.from_pt is None):
        parser.error("give either --data_root FACES, or --from_pt DIR to import codes")
    if args.from_pt is not None and (args.reconstruct or args.precision):
        parser.error("--reconstruct and --precision need the pictures; they do not go with --from_pt")
    _encode(args)


def _encode(args: Namespace) -> None:
    index = _index(args)
    if not args.allow_missing_classes:
        index.check_classes()
    for split in index.splits():
        print(f"{split}: {len(index.of_split(split))} {'files' if args.from_pt else 'faces'}")

    plan = _plan(args, index)
    decoder = None
    if args.reconstruct:
        from fervit.encoders.registry import load_decoder

        decoder = load_decoder(_kind(args), args.encoder_model)

    from fervit.encoding.job import check_places, encode_faces
    from fervit.encoding.placement import place

    if len(plan) == 0:
        summary = encode_faces(plan, None)  # only tidies up, and needs no Ray
    else:
        from fervit.cluster.connection import connect
        from fervit.storage import is_uri

        log = Path(gettempdir() if is_uri(args.latent_out) else args.latent_out, "_ray.log")
        with connect(args.address, log) as cluster:
            inputs = [path for path in (args.data_root, args.from_pt, args.encoder_model) if path]
            check_places(cluster, args.latent_out, inputs)
            placement = None
            if plan.encoder is not None:
                placement = place(
                    plan,
                    cluster,
                    actors=args.actors,
                    gpus_per_actor=args.gpus_per_actor,
                    batch_size=args.batch_size,
                )
                print(f"running: {placement}")
            summary = encode_faces(plan, placement)
    rate = f" ({summary.done / summary.seconds:.3g} images/s)" if summary.done else ""
    print(
        f"{'imported' if args.from_pt else 'encoded'} {summary.done} images in {summary.seconds:.0f} s{rate}, "
        f"{plan.present} were there before, {summary.failed} failed; codes in {args.latent_out}"
    )
    if len(summary.hosts) > 1:
        print("by machine: " + ", ".join(f"{host} {n}" for host, n in sorted(summary.hosts.items())))
    if plan.failed_before:
        print(f"{plan.failed_before} failed in an earlier run and were left out; --retry_errors tries them again")
    if args.data_root:
        from fervit.latents.source import write_source

        write_source(plan.latent_out, args.data_root)
    if decoder is not None:
        from fervit.encoding.reconstruct import write_reconstructions

        sheet = write_reconstructions(index, plan.latent_out, plan.folders, decoder, args.reconstruct)
        print(f"faces beside what their codes say: {sheet}")


def _kind(args: Namespace) -> str:
    return args.encoder_type or "psp"


def _index(args: Namespace) -> FaceIndex:
    if args.from_pt is not None:
        from fervit.encoding.import_pt import index_pt

        return index_pt(args.from_pt).limited(args.limit)
    from fervit.images.index import open_faces

    return open_faces(args.data_root).limited(args.limit)


def _plan(args: Namespace, index: FaceIndex) -> EncodePlan:
    from fervit.encoders.registry import fingerprint_of, open_checkpoint
    from fervit.encoding.plan import EncoderChoice, plan_encoding
    from fervit.storage import absolute

    if args.from_pt is not None:
        from fervit.encoders.official import NETWORKS
        from fervit.encoding.import_pt import fingerprint_of_pt

        if args.encoder_type not in (None, *NETWORKS):
            raise UserError(f"--encoder_type {args.encoder_type}: codes come from {' or '.join(NETWORKS)}")

        if args.encoder_model and args.encoder_type is None:
            raise UserError("--encoder_model: needs --encoder_type, which encoder made the codes (psp or e4e)")
        sha256 = open_checkpoint(args.encoder_type, args.encoder_model).sha256() if args.encoder_model else ""
        fingerprint = fingerprint_of_pt(index, args.encoder_type, sha256)
        return plan_encoding(index, args.latent_out, None, fingerprint, retry_errors=args.retry_errors)
    kind = _kind(args)
    if kind == "demo":
        print("encoder: demo, UNTRAINED random weights, for trying fervit out only")
    checkpoint = absolute(args.encoder_model) if args.encoder_model else None
    choice = EncoderChoice(kind=kind, checkpoint=checkpoint, precision=args.precision)
    fingerprint = replace(fingerprint_of(kind, args.encoder_model), precision=args.precision)
    return plan_encoding(index, args.latent_out, choice, fingerprint, retry_errors=args.retry_errors)


if __name__ == "__main__":
    run(main)
