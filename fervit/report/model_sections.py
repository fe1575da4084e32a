"""The sections about the chosen model on its evaluation split, and about the origin of all results."""

from __future__ import annotations

import shlex
from collections.abc import Mapping, Sequence
from typing import Any, cast

import yaml

from fervit.evaluation.crossing import in_words
from fervit.evaluation.groups import GroupScores, p_in_words, read_scores
from fervit.evaluation.paired.layers import drop_text, strongest
from fervit.evaluation.paired.simple_models import ahead_text, read_simple_models
from fervit.evaluation.results import EvaluationResults, LayerDrops, excluded_in_words, votes_in_words
from fervit.latents.changes import changes_in_words
from fervit.report.faces import wrong_faces
from fervit.report.html import Section, Table
from fervit.report.plots import model as model_plots
from fervit.report.results import Results
from fervit.search.policy.learned import Learned
from fervit.search.records.sweep_folder import SweepFolder
from fervit.system.program import in_words as command_in_words

CONFUSION, CLASSES, ATTENTION = "confusion_matrix", "class_metrics", "attention_mean"
"""The names of the figures of an evaluation, which are those of its pictures."""
EARLIER_CONFUSION = "confusion_matrix_earlier"


def model(results: Results) -> Section | None:
    """The confusion matrix and the metrics of each class; None without an evaluation."""
    evaluation = results.evaluation
    if evaluation is None:
        return None
    whose = results.evaluated or "The best model"
    section = Section(id="model", title=f"{whose[0].upper()}{whose[1:]} on {evaluation['split']}")
    if results.kind == "evaluation":
        section.title = f"The model on {evaluation['split']}"
    if "across" in evaluation:
        section.texts += in_words(evaluation["across"])
    metrics = cast(EvaluationResults, evaluation)
    section.texts += [*votes_in_words(metrics), *excluded_in_words(metrics)]
    confusion = model_plots.confusion(evaluation["confusion_matrix"], results.classes, evaluation["split"])
    section.add(confusion, name=CONFUSION)
    section.add(
        model_plots.class_metrics(evaluation["classification_report"], evaluation["intervals_95"], results.classes),
        "Lines: 95 % intervals of F1.",
        name=CLASSES,
    )
    report, intervals = evaluation["classification_report"], evaluation["intervals_95"]
    section.tables.append(
        Table(
            name="classes",
            caption="Each class",
            headings=["class", "faces", "precision", "recall", "F1", "95 % interval of F1"],
            rows=[
                [
                    emotion,
                    f"{report[emotion]['support']:g}",
                    *(f"{report[emotion][name]:.3f}" for name in ("precision", "recall", "f1-score")),
                    "{:.3f} to {:.3f}".format(*intervals[f"f1_{emotion}"]),
                ]
                for emotion in results.classes
            ],
            sortable=True,
        )
    )
    return section


def earlier_model(results: Results) -> Section | None:
    """What an earlier script's evaluation says of each class; None if there is no such, or it does not say."""
    earlier = results.earlier
    if earlier is None or not earlier.classes:
        return None
    section = Section(id="earlier", title=f"The model on {earlier.split}, by an earlier script")
    if earlier.confusion is not None:
        plot = model_plots.confusion(earlier.confusion, list(earlier.classes), earlier.split)
        section.add(plot, name=EARLIER_CONFUSION)
    rows = [
        [name, f"{of['support']:g}", *(f"{of[key]:.3f}" for key in ("precision", "recall", "f1-score"))]
        for name, of in earlier.classes.items()
    ]
    headings = ["class", "faces", "precision", "recall", "F1"]
    section.tables.append(Table(caption="Each class", headings=headings, rows=rows, sortable=True))
    return section


def attention(results: Results) -> Section | None:
    """The attention of the model to the styles of the codes; None without an evaluation."""
    if results.evaluation is None:
        return None
    attention = results.evaluation["attention"]
    section = Section(id="attention", title="Attention")
    if attention["flat"]:
        section.texts.append(
            "Attention is flat: nearly even over the layers, as in a model that has hardly been trained."
        )
    section.add(
        model_plots.attention(attention["rollout"]),
        "Attention rollout from what the head reads to each style, mean of up to 100 faces a class.",
        name=ATTENTION,
    )
    return section


def layers(results: Results) -> Section | None:
    """What the model loses without layers of the codes; None if the evaluation does not say."""
    drops: LayerDrops | None = (results.evaluation or {}).get("layers")
    if drops is None:
        return None
    section = Section(id="layers", title="Which layers it needs")
    of = "coarse: layers 0 to 3 (up to 8 pixels), middle: 4 to 7 (16 and 32 pixels), fine: 8 and above"
    section.texts.append(
        f"The drop of F1 on {drops['n']} faces when W+ layers are replaced by the mean of the training codes ({of}). "
        "What several layers say alike drops little when only one of them is replaced."
    )
    section.tables.append(
        Table(
            name="layers",
            caption="Drop of macro-F1",
            headings=["replaced", "drop of macro-F1 (95 %, for the choice of faces)"],
            rows=[[name, drop_text(one)] for name, one in drops["without"].items()],
        )
    )
    section.tables.append(
        Table(
            name="layers_of_classes",
            caption="The group that carries each class most",
            headings=["class", "group, and drop of the class's F1 (95 %)"],
            rows=[[emotion, text] for emotion, text in strongest(drops).items()],
        )
    )
    return section


def simple(results: Results) -> Section | None:
    """What simple models reach on the same codes; None if they were not measured."""
    scores = read_simple_models(results.evaluation_dir) if results.evaluation_dir is not None else []
    if not scores or results.evaluation is None:
        return None
    section = Section(id="simple", title="What the Vision Transformer buys")
    rows = [
        [
            one["name"],
            one["what"],
            "{:.3f} ({:.3f} to {:.3f})".format(one["f1_macro"], *one["intervals_95"]["f1_macro"]),
            ahead_text(one),
        ]
        for one in scores
    ]
    headings = ["model", "what", "macro-F1 (95 %)", "lead of the chosen model (95 %, paired)"]
    section.tables.append(
        Table(
            name="simple_models",
            caption=f"On the same codes, {results.evaluation['split']}",
            headings=headings,
            rows=rows,
        )
    )
    section.notes.append(
        "Trained on the same training codes, regularised by validation. The intervals cover the choice of the faces, "
        "not other seeds of the training."
    )
    return section


def by_group(results: Results) -> Section | None:
    """The metrics by groups of faces; None if the evaluation was given no groups."""
    columns = read_scores(results.evaluation_dir) if results.evaluation_dir is not None else None
    if columns is None:
        return None
    section = Section(id="groups", title="By group")
    for column in columns:
        p = column["p_corrected"]
        tested = "" if p is None else f": the same accuracy in all groups, {p_in_words(p)} (permutations, corrected)"
        section.tables.append(
            Table(
                name=f"groups_{column['column']}",
                caption=f"By {column['column']}{tested}",
                headings=["group", "faces", "accuracy", "95 % interval", "macro-F1", "95 % interval of macro-F1"],
                rows=[_group_row(scores) for scores in column["groups"]],
            )
        )
    section.notes.append("Groups with other shares of the classes differ in accuracy for that alone.")
    return section


def _group_row(scores: GroupScores) -> list[str]:
    cells = [scores["group"], f"{scores['n']:,}"]
    for metric, value in (("accuracy", scores["accuracy"]), ("f1_macro", scores["f1_macro"])):
        low, high = scores["intervals_95"][metric]
        cells += [f"{value:.3f}", f"{low:.3f} to {high:.3f}"]
    return cells


def wrong(results: Results, data_root: str | None, *, no_faces: bool = False) -> Section | None:
    """The mistakes with the highest confidence; None if there are no mistakes or no predictions."""
    if results.evaluation is None or results.evaluation_dir is None:
        return None
    faces, total = wrong_faces(results.evaluation["latents"]["path"], results.evaluation_dir, data_root)
    if not total:
        return None
    section = Section(id="wrong", title="What it gets wrong")
    section.texts.append(f"{total} faces are wrong; these are those that the model was surest of.")
    hidden = no_faces or results.no_faces
    if any(face.src for face in faces) and not hidden:
        section.faces = [face for face in faces if face.src]
        section.texts.append("The page holds these pictures: mind their licence before you publish it.")
    else:
        latents = results.evaluation["latents"]["path"]
        where = f"None of the pictures was found in {data_root} by the hashes in {latents}."
        where = where if data_root else "The pictures are not at hand (--data_root FACES shows them)."
        section.texts.append("Pictures of faces are not shown, as asked for (--no_faces)." if hidden else where)
        rows = [[face.image_id, face.truth, face.predicted, f"{face.confidence:.2f}"] for face in faces]
        headings = ["face", "truth", "predicted", "confidence"]
        section.tables.append(Table(caption="Surest mistakes", headings=headings, rows=rows, sortable=True))
    return section


def provenance(results: Results) -> Section:
    """The data, the encoder, the versions, the hardware and the command that the results come from."""
    section = Section(id="provenance", title="Made from")
    rows = [*_data(results), *_learned(results), *_machine(results)]
    for i, look in enumerate(results.looks, start=1):
        rows.append([f"look {i} at the test split", f"{look.opened}, trial {look.trial}, epoch {look.epoch}"])
    section.tables.append(Table(caption="Versions, data, hardware", headings=["", ""], rows=rows))
    if commands := _commands(results.sessions):
        caption = "The command that made it" if len(commands) == 1 else "The commands that made it, in their order"
        section.blocks.append((caption, "\n".join(commands)))
    if results.space is not None:
        written = yaml.safe_dump(results.space.to_json(), sort_keys=False, default_flow_style=None, width=110)
        section.blocks.append(("The space file, as it was resolved", written))
    return section


def _learned(results: Results) -> list[list[str]]:
    """The rows about what a sweep took from earlier ones."""
    learned = Learned.read(SweepFolder(results.folder).learned) if results.kind == "sweep" else None
    return [["earlier sweeps", line] for line in (learned.in_words() if learned is not None else ())]


def _commands(sessions: Sequence[Mapping[str, Any]]) -> list[str]:
    """The command of each session, with its folder; of equal ones that follow each other, one."""
    commands: list[str] = []
    for session in sessions:
        if session.get("command"):
            command = command_in_words(session["command"])
            where = f"cd {shlex.quote(session['directory'])}\n" if "directory" in session else ""
            commands += [where + command] if commands[-1:] != [where + command] else []
    return commands


def _data(results: Results) -> list[list[str]]:
    """The rows about the latents, the model and the encoder."""
    splits = results.environment.get("data", {})
    rows = [
        [f"{name} latents", f"{split.get('rows')} faces, sha256 {split.get('sha256')}, {split.get('path')}"]
        for name, split in splits.items()
    ]
    if results.evaluation is not None:
        evaluated = results.evaluation["latents"]
        if evaluated["fingerprint"] not in [split.get("sha256") for split in splits.values()]:
            rows.append(
                [f"{results.evaluation['split']} latents", f"{results.evaluation['n']} faces, {evaluated['path']}"]
            )
        rows.append(["model, sha256 of the weights", str(results.evaluation["checkpoint"]["fingerprint"])])
    known = ", ".join(f"{key} {value}" for key, value in results.encoder.items() if value not in ("", False))
    changes = (results.environment.get(name) for name in ("exclude", "votes"))
    rows += [["what was changed of them", line] for line in changes_in_words(*changes)]
    return [*rows, ["encoder", known]] if results.encoder else rows


def _machine(results: Results) -> list[list[str]]:
    """The rows about versions and hardware."""
    environment = results.environment
    rows = [[name, str(version)] for name, version in environment.get("packages", {}).items()]
    keys = ("python", "platform", "processor", "cpus", "seed")
    rows += [[key, str(environment[key])] for key in keys if key in environment]
    git, cluster = environment.get("git"), environment.get("cluster")
    if git:
        rows.append(["fervit's commit", git["commit"] + (" with changes" if git["changed"] else "")])
    if cluster:
        rows.append(["cluster", f"{cluster['nodes']} nodes, {cluster['cpus']:g} CPUs, {cluster['gpus']:g} GPUs"])
    return rows
