"""Encodes faces into W+ codes (Parquet) with a StyleGAN encoder, on Ray Data."""

from __future__ import annotations

from pathlib import Path
from tempfile import gettempdir

from fervit.cli import Parser, positive_int, run


def main() -> None:
    parser = Parser(description=__doc__)
    parser.add_argument(
        "--data_root", required=True, help="folder {train,val,test}/<emotion>/*.png, one split, or fer2013.csv[.gz]"
    )
    parser.add_argument("--latent_out", required=True, help="folder for the codes, one folder a split")
    parser.add_argument("--encoder_type", default="psp", help="psp, or demo (untrained, for trying fervit out)")
    parser.add_argument(
        "--encoder_model", help="the encoder's checkpoint, such as pretrained_models/psp_ffhq_encode.pt"
    )
    parser.add_argument("--batch_size", type=positive_int, default=4, help="faces that go through the network at once")
    parser.add_argument("--actors", type=positive_int, default=1, help="encoders that work side by side")
    parser.add_argument(
        "--gpus_per_actor", type=float, default=0, help="share of a GPU an encoder gets; 0 uses the CPU"
    )
    parser.add_argument(
        "--limit", type=positive_int, help="encode about this many faces, keeping the share of each class"
    )
    parser.add_argument("--allow_missing_classes", action="store_true", help="accept splits that lack an emotion")
    parser.add_argument("--address", help="address of a Ray cluster; left out, RAY_ADDRESS or a local Ray")
    args = parser.parse()

    from fervit.images.index import open_faces

    index = open_faces(args.data_root).limited(args.limit)
    if not args.allow_missing_classes:
        index.check_classes()
    for split in index.splits():
        print(f"{split}: {index.counts(split).sum()} faces")

    from fervit.latents.encode import EncoderChoice, EncodeSummary, encode_faces, plan_encoding

    if args.encoder_type == "demo":
        print("encoder: demo, UNTRAINED random weights, for trying fervit out only")
    plan = plan_encoding(index, args.latent_out, EncoderChoice(kind=args.encoder_type, checkpoint=args.encoder_model))
    if len(plan.missing) == 0:
        summary = EncodeSummary(done=0, present=plan.present, failed=0, seconds=0.0)
    else:
        from fervit.cluster import connect

        log = Path(gettempdir() if "://" in args.latent_out else args.latent_out, "_ray.log")
        with connect(args.address, log) as cluster:
            summary = encode_faces(
                plan, cluster, batch_size=args.batch_size, actors=args.actors, gpus_per_actor=args.gpus_per_actor
            )
    rate = f" ({summary.done / summary.seconds:.3g}/s)" if summary.done else ""
    print(
        f"encoded {summary.done} faces in {summary.seconds:.0f} s{rate}, {summary.present} were there before, "
        f"{summary.failed} failed; codes in {args.latent_out}"
    )


if __name__ == "__main__":
    run(main)
