"""Writes a trained model as a folder for others, with a card that says all that is known of the model."""

from __future__ import annotations

from pathlib import Path

from fervit.checkpoints.card import HEADER, card_of_run, completed, with_section
from fervit.checkpoints.checkpoint import Checkpoint, load_checkpoint
from fervit.checkpoints.export import CARD_FILE, ONNX_FILE, check_free, export_onnx
from fervit.checkpoints.export import export as write_export
from fervit.checkpoints.hub import Measured, with_hub_header
from fervit.checkpoints.places import checkpoint_in
from fervit.errors import UserError
from fervit.evaluation.evaluate import RESULTS_FILE, SEEN
from fervit.evaluation.groups import FILE as GROUPS_FILE
from fervit.evaluation.groups import groups_for_card
from fervit.io.files import read_object, write_text
from fervit.latents.changes import changes_in_words
from fervit.system.program import called

GROUPS_TITLE = "By group"


def export(
    checkpoint_path: Path,
    output_dir: Path,
    *,
    evaluation: Path | None = None,
    onnx: bool = False,
    heads: int | None = None,
) -> float | None:
    """Writes a model as a folder of its own: safetensors, config.json, best_model.pt, a card, on request ONNX.

    Args:
        checkpoint_path: a best_model.pt, also of an earlier LatentViT run, or a folder with one.
        output_dir: a new folder.
        evaluation: the output folder of an evaluation of the model, whose metrics by group the card gets; None for
            those in the folder of its run or sweep, if there are some.
        onnx: whether to write model.onnx, too.
        heads: the number of attention heads of another script's model whose file does not name it.

    Returns:
        The largest difference of a logit of ONNX; None without it.

    Raises:
        UserError: the checkpoint or the evaluation is wrong, or the folder holds other files.
        JobError: ONNX gives other logits.
    """
    checkpoint, model = load_checkpoint(checkpoint_path, heads=heads), checkpoint_in(checkpoint_path)
    check_free(output_dir)
    groups = _groups_section(model, checkpoint.fingerprint, evaluation)
    difference = export_onnx(checkpoint, output_dir / ONNX_FILE) if onnx else None
    write_export(checkpoint, output_dir)
    write_text(output_dir / CARD_FILE, with_section(_card_of(checkpoint, model), GROUPS_TITLE, groups))
    return difference


def export_for_hub(
    checkpoint_path: Path, hub_folder: Path, *, evaluation: Path | None = None, heads: int | None = None
) -> None:
    """Writes a model as `huggingface_hub.upload_folder` takes it: a card with metrics, safetensors, config.json.

    `fervit.load` takes the folder, as it is or downloaded. Nothing is uploaded.

    Args:
        checkpoint_path: as for `export`.
        hub_folder: a new folder.
        evaluation: the output folder of an evaluation of the model, whose metrics the card gets; None for those in the
            folder of its run or sweep, or else for those of its validation split.
        heads: as for `export`.

    Raises:
        UserError: the checkpoint or the evaluation is wrong, or the folder holds other files.
    """
    checkpoint, model = load_checkpoint(checkpoint_path, heads=heads), checkpoint_in(checkpoint_path)
    check_free(hub_folder, "--hub_folder")
    measured = _measured(checkpoint, model, evaluation)
    write_export(checkpoint, hub_folder, pickle=False)
    write_text(hub_folder / CARD_FILE, with_hub_header(_card_of(checkpoint, model), checkpoint, "LatentViT", measured))


def _card_of(checkpoint: Checkpoint, model: Path) -> str:
    """The card of a model: that of its sweep, which is more detailed, or a new one."""
    beside = model.parent / CARD_FILE
    written = beside.read_text(encoding="utf-8") if beside.is_file() else ""
    if written.startswith("\n".join(HEADER)):
        return completed(written)
    return card_of_run(checkpoint, _changes_of(model))


def _measured(checkpoint: Checkpoint, model: Path, given: Path | None) -> list[Measured]:
    """The metrics of a model in the evaluations of its run or sweep, or else on its validation split.

    Raises:
        UserError: the given folder has no evaluation of this model.
    """
    parent, found = model.absolute().parent.parent, {}
    for folder in [given] if given is not None else sorted(parent.glob("evaluation*")):
        results = read_object(folder / RESULTS_FILE)
        if results is None or results["checkpoint"]["fingerprint"] != checkpoint.fingerprint:
            if given is not None:
                raise UserError(f"--evaluation {given}: holds no evaluation of this model; evaluate this one")
            continue
        seen = f"; {SEEN.get(results['seen'], results['seen'])}" if results["seen"] is not None else ""
        found[results["split"]] = Measured(
            split=results["split"],
            data=f"{results['n']} faces{seen}{_untrained(checkpoint)}",
            sha256=results["latents"]["fingerprint"],
            metrics=results,
        )
    if found:
        return list(found.values())
    data = f"faces that chose the epoch, so optimistic{_untrained(checkpoint)}"
    metrics = checkpoint.metrics
    return [Measured(split="validation", data=data, sha256=checkpoint.data.get("val", ""), metrics=metrics)]


def _untrained(checkpoint: Checkpoint) -> str:
    untrained = checkpoint.encoder is not None and checkpoint.encoder.untrained
    return "; UNTRAINED demo encoder, not a result" if untrained else ""


def _groups_section(model: Path, fingerprint: str, given: Path | None = None) -> list[str]:
    """The lines of the section with the metrics by group; none if there are none of this model.

    Args:
        model: the file of the model. Without `given`, the evaluations in the folder of its run or sweep are looked
            through.
        fingerprint: the fingerprint of the model.
        given: the output folder of an evaluation with groups.

    Raises:
        UserError: the given folder has no evaluation with groups, or one of another model.
    """
    folders = [given] if given is not None else sorted(model.absolute().parent.parent.glob("evaluation*"), reverse=True)
    for folder in folders:
        results, groups = read_object(folder / RESULTS_FILE), read_object(folder / GROUPS_FILE)
        if results is None or groups is None:
            continue
        if results["checkpoint"]["fingerprint"] == fingerprint:
            return groups_for_card(groups["columns"], results["split"], results["n"])
        if given is not None:
            raise UserError(f"--evaluation {given}: is the evaluation of another model; evaluate this one")
    if given is not None:
        raise UserError(
            f"--evaluation {given}: holds no {RESULTS_FILE} with {GROUPS_FILE}; {called('evaluate')} --groups CSV "
            "writes both"
        )
    return []


def _changes_of(model: Path) -> list[str]:
    """What was changed of the latents of a run or a sweep before training, for its card.

    Args:
        model: the file of the model, in the folder of a run or a sweep.
    """
    for folder in list(model.absolute().parents)[1:3]:
        for name in ("config.json", "environment.json"):
            record = read_object(folder / name) or {}
            if found := changes_in_words(record.get("exclude"), record.get("votes")):
                return found
    return []
