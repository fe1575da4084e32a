"""The model card beside an exported model: what it is, what it reached, on which data, and how to use it."""

from __future__ import annotations

from typing import TYPE_CHECKING

from fervit.emotions import EMOTIONS
from fervit.training.checkpoint import Checkpoint

if TYPE_CHECKING:
    from fervit.search.pipeline import SweepResult


def model_card(result: SweepResult, checkpoint: Checkpoint) -> str:
    """Markdown with the header that model hubs read (Mitchell et al., 2019, "Model cards for model reporting")."""
    metric, chosen, test = result.space.metric, result.chosen, result.verdict.evaluation
    best = chosen.best(metric)
    assert best is not None
    confirmed = next((c for c in result.confirmed if c.record.number == chosen.number), None)
    lines = [
        "---",
        "library_name: fervit",
        "tags: [facial-expression-recognition, stylegan, w-plus]",
        "---",
        f"# LatentViT, trial {chosen.number} of sweep {result.space.name}",
        "",
        f"A Vision Transformer over W+ codes of {checkpoint.config.seq_len} x {checkpoint.config.latent_dim} "
        f"numbers; seven classes: {', '.join(EMOTIONS)}.",
        "",
        "## Results",
        "",
        "| split | macro-F1 | accuracy | |",
        "|---|---|---|---|",
        f"| validation | {best['f1_macro']:.3f} | {best['accuracy']:.3f} | epoch {best['epoch']}, seed "
        f"{chosen.seed}; the best of {len(result.records)} trials, so optimistic |",
    ]
    if confirmed is not None:
        interval = f" ± {confirmed.half_width:.3f} (95 %)" if confirmed.half_width is not None else ""
        lines.append(
            f"| validation, {len(confirmed.values)} fresh seeds | {metric.name} {confirmed.mean:.3f}{interval} | | |"
        )
    of = (
        f"n = {test.metrics['n']}; look {result.verdict.looks}"
        if test.split == "test"
        else "NOT unseen: chose the model"
    )
    lines += [
        f"| {test.split} | {test.metrics['f1_macro']:.3f} | {test.metrics['accuracy']:.3f} | {of} |",
        "",
        *([result.verdict.remark + ".", ""] if result.verdict.remark else []),
        "## Made from",
        "",
        f"- encoder: {checkpoint.encoder.get('encoder')}, checkpoint sha256 "
        f"{checkpoint.encoder.get('checkpoint_sha256') or '-'}"
        + (" (UNTRAINED random weights: not a result)" if checkpoint.encoder.get("untrained") else ""),
        *(f"- {split} latents: sha256 {digest}" for split, digest in checkpoint.data.items()),
        "- hyperparameters: " + ", ".join(f"{name} {value}" for name, value in chosen.params.items()),
        "- all of them, and versions: config.json here, environment.json of the sweep",
        "",
        "## Use",
        "",
        "    import fervit",
        '    model = fervit.load("this/folder")',
        "    logits = model(codes)  # [n, seq_len, latent_dim] -> [n, 7]",
        "",
        "Codes must come from the same encoder. Labels of FER2013-like sets are noisy and culture-bound: the model "
        "reads the expression that annotators named, not what a person feels. Not for decisions about people.",
        "",
    ]
    return "\n".join(lines)
