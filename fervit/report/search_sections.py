"""The sections about the search: curves, hyperparameters, trials, failures, time."""

from __future__ import annotations

from fervit.progress import clock
from fervit.report.html import Section, Table
from fervit.report.plots import curves as curve_plots
from fervit.report.plots import parameters as parameter_plots
from fervit.report.plots.plot import label
from fervit.report.results import Results
from fervit.search.policy.importance import FEWEST, MOST, importances
from fervit.search.records.ranking import failures_by_kind, ranked
from fervit.search.records.record import params_text, short
from fervit.training.objective import words_of

SHOWN_TRIALS = 1000
"""The number of trials that a table shows at most."""


def curves(results: Results) -> Section | None:
    """The learning curves; None before the first epoch."""
    section = Section(id="curves", title="Learning curves")
    hint = "Hover or tap a mark for the trial's hyperparameters."
    section.add(curve_plots.curves(results), "A mark is where a trial ended.", hint=hint, name="learning_curves")
    return section if section.plots else None


def parameters(results: Results) -> Section | None:
    """The importance of the hyperparameters, and the values of the trials over them; None without a search."""
    if results.space is None:
        return None
    section = Section(id="parameters", title="What mattered")
    shares = importances(results.records, results.space)
    which = f"{MOST:,} trials, evenly over the sweep" if len(results.records) > MOST else "all trials"
    note = f"fANOVA over the best values of {which}, stopped ones included."
    section.add(parameter_plots.importance(shares), note, name="importance")
    if not shares:
        section.texts.append(f"Importance takes {FEWEST} trials with different values; there are not so many.")
    section.add(parameter_plots.parallel(results), hint="Hover a line for its trial.", name="parallel_coordinates")
    for name, one in zip(results.parameters, parameter_plots.slices(results), strict=False):
        section.add(one, name=f"slice_{name}", small=True)
    return section


def pareto(results: Results) -> Section | None:
    """The Pareto front of the metric and its cost; None if the search has no second objective."""
    section = Section(id="pareto", title="Best at its cost")
    section.add(parameter_plots.pareto(results))
    return section if section.plots else None


def trials(results: Results) -> Section | None:
    """The table of all trials, the best first; None without trials of a search."""
    if results.space is None or not results.records:
        return None
    everything = [*results.records, *results.reruns]
    ranking = ranked(everything, results.metric)
    in_ranking = {id(record) for record in ranking}
    rest = [record for record in everything if id(record) not in in_ranking]
    names = list(dict.fromkeys((results.metric.name, "f1_macro", "accuracy", "val_loss")))
    rows, pauses = [], any(record.why for record in everything)
    expects = any(record.expected is not None for record in everything)
    for rank, record in enumerate([*ranking, *rest][:SHOWN_TRIALS], start=1):
        best = record.best(results.metric)
        name = f"{label(record)} (chosen)" if record is results.chosen else label(record)
        row = [name, str(rank) if rank <= len(ranking) else "", record.state]
        row += [str(best.epoch) if best else "", *(f"{getattr(best, name):.4f}" if best else "" for name in names)]
        row += [str(len(record.epochs)), f"{record.seconds:.1f}"]
        row += [record.why if not record.finished else ""] if pauses else []
        row += [f"{record.expected:.4f}" if record.expected is not None else ""] if expects else []
        rows.append([*row, *(short(record.params.get(name, "")) for name in results.parameters)])
    why = [*(["why"] if pauses else []), *(["expected"] if expects else [])]
    words = [words_of(name) for name in names]
    table = Table(
        caption="All trials, best first",
        hint="a heading sorts",
        headings=["trial", "rank", "state", "best epoch", *words, "epochs", "seconds", *why, *results.parameters],
        rows=rows,
        sortable=True,
    )
    section = Section(id="trials", title="All trials", tables=[table])
    if len(everything) > SHOWN_TRIALS:
        section.texts.append(f"The first {SHOWN_TRIALS} of {len(everything)}; leaderboard.csv has all.")
    return section


def failures(results: Results) -> Section | None:
    """The failed trials by kind and one by one; None without a search."""
    everything = [*results.records, *results.reruns, *results.fold_runs]
    failed = [record for record in everything if record.state == "failed"]
    if results.kind != "sweep":
        return None
    section = Section(id="failures", title="Failures")
    if not failed:
        section.texts.append("No trial failed.")
        return section
    section.tables.append(
        Table(
            caption="By kind",
            headings=["kind", "trials"],
            rows=[[kind, str(n)] for kind, n in failures_by_kind(failed).most_common()],
        )
    )
    section.tables.append(
        Table(
            caption="Each",
            headings=["trial", "epochs", "what", "hyperparameters"],
            rows=[
                [
                    label(record),
                    str(len(record.epochs)),
                    str(record.failure or "")[:200],
                    params_text(record.params),
                ]
                for record in failed[:SHOWN_TRIALS]
            ],
        )
    )
    return section


def time(results: Results) -> Section | None:
    """The time that training, validation and the rest took; None before the first epoch of a search."""
    if results.kind != "sweep":
        return None
    train_rows = results.environment.get("data", {}).get("train", {}).get("rows", 0)
    records, space = [*results.records, *results.reruns, *results.fold_runs], results.space
    fractions = {run.name: space.config(run.params).data_fraction for run in records} if space is not None else {}
    times = results.timing.account(records, train_rows, fractions)
    if times is None:
        return None
    section = Section(id="time", title="Where the time went")
    whole = times.slots * times.elapsed
    parts = {
        "training steps": times.training,
        "validation": times.validation,
        "starting, saving, deciding": times.starting,
        "no trial": times.idle,
    }
    gpus = results.space.trial.gpus_each * results.space.trial.workers if results.space else 0
    hours = f", {gpus * (whole - times.idle) / 3600:.2f} GPU-hours asked for" if gpus else ""
    section.texts.append(f"{clock(times.elapsed)} in all with {times.slots} trials at once{hours}.")
    section.tables.append(
        Table(
            caption=f"Where the time of {times.slots} trials at once went, of {clock(times.elapsed)}",
            headings=["", "share", "time"],
            rows=[[name, f"{seconds / whole:.1%}", clock(seconds)] for name, seconds in parts.items()],
        )
    )
    section.add(curve_plots.timeline(times, results), name="timeline")
    return section
