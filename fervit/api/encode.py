"""`fervit.encode` encodes faces into W+ codes in Parquet files, on Ray Data."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace
from functools import partial
from pathlib import Path
from tempfile import gettempdir
from typing import Literal

import numpy as np
import pyarrow as pa

from fervit.api.arguments import Files, as_text, check_at_least, exclusion_in
from fervit.cluster.connection import connect
from fervit.cluster.gpu_look import look_at_gpus
from fervit.cluster.gpu_nodes import GpuNodes
from fervit.cluster.gpus import GpuLook
from fervit.cluster.nodes import Cluster
from fervit.encoders.official import NETWORKS
from fervit.encoders.registered import whole_path
from fervit.encoders.registry import KINDS, PRECISIONS, fingerprint_of, load_decoder, open_checkpoint
from fervit.encoders.stylegan2 import Decoder
from fervit.encoding.arrays import LabelOrder
from fervit.encoding.failures import FLOAT32_FILE
from fervit.encoding.fractions import settled, with_fractions
from fervit.encoding.import_pt import fingerprint_of_pt, index_pt
from fervit.encoding.job import EncodeSummary, encode_faces
from fervit.encoding.placement import Placement, place
from fervit.encoding.plan import EncodePlan, EncoderChoice, plan_encoding
from fervit.encoding.ray_data import STAYS, check_places, resumable
from fervit.encoding.reconstruct import write_reconstructions
from fervit.errors import JobError, UserError
from fervit.images import passed_over
from fervit.images.face_index import FaceIndex
from fervit.images.index import open_faces
from fervit.images.passed_over import PassedOver
from fervit.io.files import from_home, is_uri
from fervit.io.storage import absolute, name_of
from fervit.labels.dealing import Fractions
from fervit.labels.label_set import FOLDERS, SEVEN, LabelSet, read_label_set
from fervit.latents.exclusion import Exclusion, in_words
from fervit.latents.fractions import write_fractions
from fervit.latents.source import noted_root, write_source
from fervit.progress import Say, silent
from fervit.system.side_channels import SideChannel


@dataclass(frozen=True, kw_only=True)
class EncodeResult:
    """The result of one call of `fervit.encode`."""

    latent_out: str
    """The folder or URI of the codes, as the caller gave it."""
    done: int
    """The number of faces that this call encoded."""
    present: int
    """The number of faces that had a code before this call."""
    failed: int
    """The number of faces that this call could not encode. Each split's `_errors.jsonl` has the reasons."""
    in_float32: int
    """The number of faces that this call encoded in float32, since their codes were not finite in the folder's float16
    arithmetic. Each split's `_float32.jsonl` lists them."""
    failed_before: int
    """The number of faces that failed in an earlier call and were skipped; `retry_errors=True` tries them again."""
    seconds: float
    """The duration of the encoding, without the preparations."""
    hosts: dict[str, int]
    """The name of each host -> the number of faces that it encoded."""
    sheet: str | None = None
    """The path or URI of the picture that `reconstruct` asked for; None if it was not asked for."""


def encode(
    data_root: str | Path | None,
    latent_out: str | Path,
    *,
    encoder_type: str | None = None,
    encoder_model: str | Path | None = None,
    encoder_module: str | Path | None = None,
    precision: Literal["float32", "bfloat16", "float16"] | None = None,
    batch_size: int | None = None,
    actors: int | None = None,
    gpus_per_actor: float | None = None,
    limit: int | None = None,
    retry_errors: bool = False,
    allow_missing_classes: bool = False,
    labels: str | Path | None = None,
    exclude: Files | None = None,
    val_fraction: float | None = None,
    test_fraction: float | None = None,
    split_seed: int = 0,
    reconstruct: int | None = None,
    from_pt: str | Path | None = None,
    label_order: LabelOrder | None = None,
    address: str | None = None,
    say: Say | None = print,
) -> EncodeResult:
    """Encodes the faces that have no code yet. After an interruption, the same call continues.

    Args:
        data_root: the path or URI of a folder {train,val,test}/<emotion>/*.png, of one split, or of fer2013.csv[.gz].
        latent_out: the path or URI of the folder for the codes, which gets a folder for each split.
        encoder_type: "psp" (which None means), "e4e", "demo", which is untrained, or the name of a registered encoder.
        encoder_model: the encoder's checkpoint, such as pretrained_models/psp_ffhq_encode.pt.
        encoder_module: a Python file or the import path of a module that registers the encoder
            (`fervit.encoders.register_encoder`); every node imports it. None for fervit's own encoders.
        precision: of the encoder's arithmetic; None for that of the existing codes, else what the hardware is fast at.
        batch_size: the number of faces in a forward pass; None for 4, or 64 on a GPU.
        actors: the number of encoders that run in parallel; None for one on each GPU, or one on each node.
        gpus_per_actor: the share of a GPU that each encoder gets, 0 for the CPU; None for 1 if there are GPUs.
        limit: encodes about this many faces, with the same share of each class; None for all.
        retry_errors: tries again the pictures that failed before.
        allow_missing_classes: accepts splits that lack a class.
        labels: the label set: "fer2013", "ferplus", "affectnet", "rafdb", "ckplus", "folders" for what the class
            folders are called, or a file of classes; None for that of the data.
        exclude: a list of faces to leave out of training and validation, as of `fervit.audit`, or several. A test split
            is encoded whole, since evaluations measure it whole, and then without the list.
        val_fraction: the share of the training pictures that becomes a validation split, where there is none; of every
            class, with copies of a face, and persons where they are known, on one side. None for none, or what an
            earlier call in `latent_out` took.
        test_fraction: the same of a test split.
        split_seed: another seed takes others.
        reconstruct: draws this many faces beside their reconstructions from the codes; None for none.
        from_pt: instead of `data_root`, a folder of <emotion>_<name>.pt files of earlier scripts, which are imported.
        label_order: what numbers of classes mean in `from_pt` files and their names: "alphabetical" or "kaggle".
        address: of a Ray cluster; None for RAY_ADDRESS, a running Ray of this process or machine, or a new Ray.
        say: gets each line of text; None for silence.

    Returns:
        How many faces were encoded, had a code before, and failed.

    Raises:
        UserError: an argument or a file is wrong.
        JobError: no face could be encoded, or the disk is full.
        KeyboardInterrupt: the user pressed Ctrl-C. The codes that were written are kept.
    """
    check_at_least(1, {"batch_size": batch_size, "actors": actors, "limit": limit, "reconstruct": reconstruct})
    source, old, model = map(as_text, (data_root, from_pt, encoder_model))
    module = whole_path(as_text(encoder_module))
    out, tell = from_home(str(latent_out)), say or silent
    _check(source, old, reconstruct=reconstruct, precision=precision, module=module)
    label_set = read_label_set(str(labels)) if labels is not None else None
    fractions, listed = _fractions(out, val_fraction, test_fraction, split_seed, old), exclusion_in(exclude)
    index = _faces(source, old, label_order, label_set).limited(limit)
    origins = {} if fractions is None else dict.fromkeys(fractions.shares, index.splits()[0])
    index = index if fractions is None else with_fractions(index, out, fractions)
    index = index if listed is None else _without(index, listed, origins, tell)
    _tell_faces(index, fractions, tell, allow_missing_classes=allow_missing_classes)
    planning = partial(_plan, module=module) if old is None else _plan_import
    planning = partial(planning, index, out, encoder_type, model, precision, retry_errors=retry_errors)
    plan = planning(tell)
    _refuse_another_set(plan, source)
    if fractions is not None:
        write_fractions(out, fractions)
    decoder = load_decoder(encoder_type or "psp", model) if reconstruct else None
    placing = partial(place, actors=actors, gpus_per_actor=gpus_per_actor, batch_size=batch_size)
    inputs = (source, old, model, module if module and Path(module).is_file() else None)
    plan, summary = _run(plan, partial(planning, silent), placing, gpus_per_actor, out, inputs, address, say)
    _account(index, plan, summary, out, source, tell)
    return _result(summary, plan, out, _draw(index, plan, decoder, reconstruct or 0, tell))


def _draw(index: FaceIndex, plan: EncodePlan, decoder: Decoder | None, n: int, tell: Say) -> str | None:
    """Draws faces beside their reconstructions from the codes, and returns the picture's path; None if not wanted."""
    if decoder is None:
        return None
    sheet = write_reconstructions(index, plan.latent_out, plan.folders, decoder, n, tell)
    tell(f"faces beside what their codes say: {sheet}")
    return sheet


def _check(
    source: str | None, old: str | None, *, reconstruct: int | None, precision: str | None, module: str | None
) -> None:
    """Raises a UserError for arguments that contradict each other."""
    if (source is None) == (old is None):
        raise UserError("give either data_root, or from_pt=DIR to import codes")
    if old is not None and (reconstruct or precision or module):
        raise UserError("reconstruct, precision and encoder_module need the pictures; they do not go with from_pt")
    if precision not in (None, *PRECISIONS):
        raise UserError(f"precision: must be one of {', '.join(PRECISIONS)}, but got {precision!r}")


def _fractions(
    out: str, val_fraction: float | None, test_fraction: float | None, seed: int, old: str | None
) -> Fractions | None:
    """The shares of the training pictures that become splits; None for none."""
    given = val_fraction is not None or test_fraction is not None
    if given and old is not None:
        raise UserError("--val_fraction, --test_fraction: are of pictures; they do not go with --from_pt")
    wanted = Fractions(val=val_fraction or 0.0, test=test_fraction or 0.0, seed=seed) if given else None
    return settled(out, wanted) if old is None else None


def _faces(source: str | None, old: str | None, order: LabelOrder | None, label_set: LabelSet | None) -> FaceIndex:
    """Returns the index of the faces, or of the files to import."""
    if old is None:
        assert source is not None
        return open_faces(source, label_set)
    if label_set == FOLDERS:
        raise UserError("--labels folders: is of pictures; name the classes of --from_pt by a set or a file")
    return index_pt(old, order, label_set or SEVEN)


def _tell_faces(index: FaceIndex, fractions: Fractions | None, tell: Say, *, allow_missing_classes: bool) -> None:
    """Checks the classes unless some may be missing, and says how many faces there are."""
    if not allow_missing_classes:
        index.check_classes()
    for split in index.splits():
        tell(f"{split}: {len(index.of_split(split))} {'files' if index.kind == 'pt' else 'faces'}")
    if fractions is not None:
        tell(f"splits: {fractions} of the training pictures, by class, copies of a face on one side")
    for remark in index.remarks:
        tell(remark)


def _without(index: FaceIndex, listed: Exclusion, origins: Mapping[str, str], tell: Say) -> FaceIndex:
    """The index without the faces on a list, which count as passed over. A test split stays whole.

    Args:
        index: the faces, whose splits have been dealt without regard to the list.
        listed: the list.
        origins: for splits that were dealt, the split of the pictures, which lists name.
        tell: gets a line about what is left out.
    """
    ids, splits = index.table["image_id"].to_pylist(), np.array(index.table["split"].to_pylist())
    named = listed.names(ids, [origins.get(split, split) for split in splits.tolist()])
    out = named & (splits != "test")
    if out.all():
        raise UserError(f"--exclude {', '.join(listed.files)}: names all {len(ids)} faces of {index.root}")
    reason = f"excluded by {', '.join(map(name_of, listed.files))} (sha256 {listed.sha256[:12]})"
    others = tuple(PassedOver(ids[row], reason) for row in np.flatnonzero(out))
    if out.any() or not named.any():
        shown = [split for split in index.splits() if split != "test" or not named.any()]
        tell(in_words(listed.record({split: int((out & (splits == split)).sum()) for split in shown})))
    if (named & ~out).any():
        tell(
            f"--exclude: {(named & ~out).sum()} of test are encoded all the same, since a test split is measured whole "
            "first: the commands evaluate and tune take the list, too, and give both numbers"
        )
    return replace(
        index, table=index.table.filter(pa.array(~out)), passed_over=tuple(sorted((*index.passed_over, *others)))
    )


def _plan_import(
    index: FaceIndex, out: str, kind: str | None, model: str | None, _: str | None, tell: Say, *, retry_errors: bool
) -> EncodePlan:
    """Plans which codes to import. `kind` and `model` name the encoder that made the codes, if the user knows it."""
    if kind not in (None, *NETWORKS):
        raise UserError(f"--encoder_type {kind}: codes come from {' or '.join(NETWORKS)}")
    if model and kind is None:
        raise UserError("--encoder_model: needs --encoder_type, which encoder made the codes (psp or e4e)")
    if kind is None:
        tell(
            "encoder: not named. Training and evaluation do without; predictions from pictures will need "
            "--encoder_type and --encoder_model of the encoder that made these codes (here or then)"
        )
    sha256 = open_checkpoint(kind, model).sha256() if model and kind else ""
    fingerprint = fingerprint_of_pt(index, kind, sha256)
    return plan_encoding(index, out, None, fingerprint, retry_errors=retry_errors)


def _plan(
    index: FaceIndex,
    out: str,
    kind: str | None,
    model: str | None,
    precision: str | None,
    tell: Say,
    *,
    module: str | None,
    retry_errors: bool,
) -> EncodePlan:
    """Plans which faces to encode."""
    kind = kind or "psp"
    if kind == "demo":
        tell("encoder: demo, UNTRAINED random weights, for trying fervit out only")
    fingerprint = fingerprint_of(kind, model, module)
    if kind in KINDS:
        fingerprint = replace(fingerprint, precision=precision)
    else:  # what a network of others loses in half precision is not known
        precision = precision or "float32"
        fingerprint = replace(fingerprint, precision=precision)
    checkpoint = absolute(model) if model else None
    choice = EncoderChoice(kind=kind, checkpoint=checkpoint, module=module, precision=precision)
    return plan_encoding(index, out, choice, fingerprint, retry_errors=retry_errors)


def _refuse_another_set(plan: EncodePlan, source: str | None) -> None:
    """Raises a UserError if a split's folder holds codes of another data root, and none of these faces."""
    if source is None or not plan.strangers:
        return
    noted = noted_root(plan.latent_out)
    if noted not in (None, absolute(source)):
        folder, n = next(iter(plan.strangers.items()))
        raise UserError(
            f"--latent_out {plan.latent_out}: {name_of(folder)} holds {n} codes of {noted} and none of {source}; give "
            "another folder, or bring all pictures below one --data_root"
        )


def _run(
    plan: EncodePlan,
    replan: Callable[[], EncodePlan],
    placing: Callable[..., Placement],
    gpus_per_actor: float | None,
    out: str,
    inputs: Sequence[str | None],
    address: str | None,
    say: Say | None,
) -> tuple[EncodePlan, EncodeSummary]:
    """Runs the plan on a Ray cluster, and what is left of it on other nodes if the GPU of one cannot be used.

    Returns:
        The plan that has come to its end, and what it did.
    """
    if len(plan) == 0:
        return plan, encode_faces(plan, None, say)  # only removes leftovers of earlier calls, which needs no Ray
    tell = say or silent
    tell("starting Ray, or joining it ...")
    with resumable(), connect(address, Path(gettempdir() if is_uri(out) else out, "_ray.log")) as cluster:
        check_places(cluster, out, [path for path in inputs if path])
        if plan.encoder is None:
            return plan, encode_faces(plan, None, say)
        look = _look(cluster, gpus_per_actor, tell)
        cluster, gpu_nodes = look.cluster, GpuNodes(look.cluster.unusable, tell)
        while True:
            placement = placing(plan, cluster, seen=look.seen)
            tell(f"running: {placement}")
            tell("each encoder is loaded first; its first images come after that")
            try:
                return plan, encode_faces(plan, placement, say)
            except JobError as error:
                if not gpu_nodes.leave_out(str(error).removesuffix(STAYS)):
                    raise
            cluster = replace(cluster, nodes=gpu_nodes.nodes(), unusable=tuple(gpu_nodes.unusable))
            plan = replan()


def _look(cluster: Cluster, gpus_per_actor: float | None, tell: Say) -> GpuLook:
    """Looks at the GPUs of the cluster unless none is wanted, and says which cannot be used.

    Raises:
        UserError: the user asked for GPUs, and none can be used.
    """
    look = GpuLook.none(cluster) if gpus_per_actor == 0 else look_at_gpus(cluster)
    if gpus_per_actor and look.problems and not look.cluster.gpus:
        raise UserError(f"--gpus_per_actor {gpus_per_actor:g}: {look.why}; or give 0 for the CPU")
    if look.problems:
        tell(look.remark("--gpus_per_actor 0"))
    return look


def _tell_result(summary: EncodeSummary, plan: EncodePlan, out: str, verb: str, tell: Say) -> None:
    """Prints how many faces were encoded and failed."""
    rate = f" ({summary.done / summary.seconds:.3g} images/s)" if summary.done else ""
    tell(
        f"{verb} {summary.done} images in {summary.seconds:.0f} s{rate}, {plan.present} were there before, "
        f"{summary.failed} failed; codes in {out}"
    )
    if summary.in_float32:
        tell(
            f"{summary.in_float32} of them in float32, as their codes were not finite in float16 arithmetic; "
            f"{FLOAT32_FILE} of each split lists them"
        )
    if len(summary.hosts) > 1:
        tell("by machine: " + ", ".join(f"{host} {n}" for host, n in sorted(summary.hosts.items())))
    if plan.failed_before:
        tell(f"{plan.failed_before} failed in an earlier run and were left out; --retry_errors tries them again")


def _account(
    index: FaceIndex, plan: EncodePlan, summary: EncodeSummary, out: str, source: str | None, tell: Say
) -> None:
    """Says how many faces were encoded and what became of every file below the data root, and notes the root.

    The files that were passed over are listed in a file.
    """
    _tell_result(summary, plan, out, "encoded" if index.kind != "pt" else "imported", tell)
    if source is not None:
        SideChannel("the note of where the faces lie", tell)(write_source, plan.latent_out, source, index.label_set)
    SideChannel(passed_over.FILE, tell)(passed_over.write, plan.latent_out, index.passed_over)
    with_codes, failed = plan.present + summary.done, plan.failed_before + summary.failed
    unit = "rows" if index.kind == "kaggle" else "files"
    tell(passed_over.account(index.passed_over, index.left_out, with_codes, "with codes", failed, out, unit))


def _result(summary: EncodeSummary, plan: EncodePlan, out: str, sheet: str | None) -> EncodeResult:
    return EncodeResult(
        latent_out=out,
        done=summary.done,
        present=plan.present,
        failed=summary.failed,
        in_float32=summary.in_float32,
        failed_before=plan.failed_before,
        seconds=round(summary.seconds, 3),
        hosts=summary.hosts,
        sheet=sheet,
    )
