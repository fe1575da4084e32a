"""Writes a trained model as a folder for others, with a card that says all that is known of the model."""

from __future__ import annotations

import json
from pathlib import Path

from fervit.checkpoints.card import HEADER, card_of_run, completed, with_section
from fervit.checkpoints.checkpoint import checkpoint_in, load_checkpoint
from fervit.checkpoints.export import CARD_FILE, ONNX_FILE, check_free, export_onnx
from fervit.checkpoints.export import export as write_export
from fervit.errors import UserError
from fervit.evaluation.evaluate import RESULTS_FILE
from fervit.evaluation.groups import FILE as GROUPS_FILE
from fervit.evaluation.groups import groups_for_card
from fervit.io.files import JsonObject, write_text
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
    beside = model.parent / CARD_FILE  # the card of a sweep is more detailed
    written = beside.read_text(encoding="utf-8") if beside.is_file() else ""
    of_sweep = written.startswith("\n".join(HEADER))
    card = completed(written) if of_sweep else card_of_run(checkpoint, _changes_of(model))
    write_text(output_dir / CARD_FILE, with_section(card, GROUPS_TITLE, groups))
    return difference


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
        results, groups = _json(folder / RESULTS_FILE), _json(folder / GROUPS_FILE)
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
            record = _json(folder / name) or {}
            if found := changes_in_words(record.get("exclude"), record.get("votes")):
                return found
    return []


def _json(path: Path) -> JsonObject | None:
    """The content of a file; None if it is missing or no JSON object."""
    try:
        content = json.loads(path.read_text(encoding="utf-8"))
    except (OSError, ValueError):
        return None
    return content if isinstance(content, dict) else None
