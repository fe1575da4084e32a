"""Model cards say what a model is, which scores it reached on which data, and how to use it.

Paper: Mitchell et al., "Model cards for model reporting" (FAT* 2019).
"""

from __future__ import annotations

from collections.abc import Sequence

from fervit.checkpoints.checkpoint import Checkpoint
from fervit.encoders.fingerprint import UNKNOWN, EncoderFingerprint
from fervit.encoders.official import OFFICIAL_FILES
from fervit.labels.label_set import SEVEN

HEADER = ["---", "library_name: fervit", "tags: [facial-expression-recognition, stylegan, w-plus]", "---"]
INTENDED_USE = (
    "For research on facial expressions: it names the expression that annotators would name in an aligned picture of a "
    "face, which is not what the person feels. Out are decisions about people and, as the EU's AI Act forbids in Art. "
    "5(1)(f), inferring emotions at work and in education, except for medical or safety reasons."
)
PRIVACY = (
    "This folder holds no pictures of faces. The licences of many data sets forbid publishing theirs, which reports "
    "and evaluations show unless they are made with --no_faces."
)
FIXED = {"Intended use": INTENDED_USE, "Privacy": PRIVACY}
"""The title of each section that every card has -> its text."""
MADE_FROM = "## Made from"
METRICS = ("f1_macro", "accuracy", "f1_weighted", "balanced_accuracy", "val_loss")


def card(
    checkpoint: Checkpoint,
    title: str,
    results: Sequence[str],
    params: Sequence[str] = (),
    changes: Sequence[str] = (),
) -> str:
    """Writes a model card in Markdown, with the header that model hubs read.

    Args:
        checkpoint: the model.
        title: the title of the card.
        results: the lines of the section on results, in Markdown.
        params: the hyperparameters that a search has chosen, each as "name value".
        changes: what was changed of the latents before training, such as faces that were left out, a line each.
    """
    lines = [
        *HEADER,
        f"# {title}",
        "",
        f"A Vision Transformer over W+ codes of {checkpoint.config.seq_len} x {checkpoint.config.latent_dim} "
        f"numbers; {_classes(checkpoint)}.",
        "",
        "## Results",
        "",
        *results,
        "",
        MADE_FROM,
        "",
        f"- encoder: {_encoder(checkpoint.encoder)}",
        *(f"- {split} latents: sha256 {digest}" for split, digest in checkpoint.data.items()),
        *(f"- {line}" for line in changes),
        *([f"- hyperparameters: {', '.join(params)}"] if params else []),
        "- all hyperparameters: config.json here",
        "",
        *(line for title, text in FIXED.items() for line in (f"## {title}", "", text, "")),
        *_use(checkpoint),
    ]
    return "\n".join(lines)


def card_of_run(checkpoint: Checkpoint, changes: Sequence[str] = ()) -> str:
    """Writes the card of a model of which only the checkpoint is known, and what `changes` of `card` says."""
    known = {name: checkpoint.metrics[name] for name in METRICS if name in checkpoint.metrics}
    metrics = ", ".join(f"{name} {value:.3f}" for name, value in known.items()) or "not named"
    results = [f"On its validation split, which chose epoch {checkpoint.epoch}, so optimistic: {metrics}."]
    return card(checkpoint, "LatentViT", results, changes=changes)


def completed(text: str) -> str:
    """A card with the sections that every card has; those of fervit 0.1 lacked intended use and privacy."""
    for title, words in FIXED.items():
        if f"\n## {title}\n" not in text:
            text = with_section(text, title, [words])
    return text


def with_section(text: str, title: str, lines: Sequence[str]) -> str:
    """Puts a section into a card, before what the model is made from, in place of an earlier section of that title.

    Args:
        text: the card.
        title: the title of the section.
        lines: its lines, in Markdown; none leaves the card as it is.
    """
    if not lines:
        return text
    heading = f"## {title}"
    old = text.find(f"{heading}\n")
    if old >= 0:
        after = text.find("\n## ", old)
        text = text[:old] + (text[after + 1 :] if after >= 0 else "")
    place = text.find(f"{MADE_FROM}\n")
    place = len(text) if place < 0 else place
    return text[:place] + "\n".join([heading, "", *lines, "", ""]) + text[place:]


def _classes(checkpoint: Checkpoint) -> str:
    """The classes in the words of the card."""
    number = "seven" if checkpoint.label_set == SEVEN else len(checkpoint.label_set)
    return f"{number} classes: {', '.join(checkpoint.label_set.classes)}"


def _encoder(encoder: EncoderFingerprint | None) -> str:
    """The encoder in the words of the card."""
    if encoder is None:
        return "not named by the checkpoint, checkpoint sha256 -"
    warning = " (UNTRAINED random weights: not a result)" if encoder.untrained else ""
    return f"{encoder.encoder}, checkpoint sha256 {encoder.checkpoint_sha256 or '-'}{warning}"


def _use(checkpoint: Checkpoint) -> list[str]:
    """The section that shows how to use the model."""
    kind = checkpoint.encoder.encoder if checkpoint.encoder else "psp"
    encoder = f'encoder_type="{kind}", encoder_module="my_encoder.py"'
    if kind == "demo":
        encoder = 'encoder_type="demo"'
    elif kind == UNKNOWN or kind in OFFICIAL_FILES:
        encoder = f'encoder_model="{kind}_ffhq_encode.pt"'
    return [
        "## Use",
        "",
        "    import fervit",
        '    model = fervit.load("this/folder")',
        f"    logits = model(codes)  # [n, seq_len, latent_dim] -> [n, {len(checkpoint.label_set)}]",
        "",
        f'    model = fervit.load("this/folder", {encoder})  # the encoder whose codes it was trained on',
        '    model.predict(["face.jpg"])',
        "",
        "Codes must come from the same encoder. Labels of FER2013-like sets are noisy and culture-bound.",
        "",
    ]
