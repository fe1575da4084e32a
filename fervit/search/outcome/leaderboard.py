"""Writes leaderboard.csv, with a row for each trial and each rerun, best first."""

from __future__ import annotations

import csv
import io
from collections.abc import Sequence
from pathlib import Path

from fervit.io.files import whole_file
from fervit.search.outcome.confirm import Confirmed
from fervit.search.records.ranking import ranked
from fervit.search.records.record import TrialRecord
from fervit.search.space.search_space import SearchSpace

METRICS = ("f1_macro", "accuracy", "val_loss")


def write_leaderboard(
    records: Sequence[TrialRecord],
    space: SearchSpace,
    path: Path,
    confirmed: Sequence[Confirmed] = (),
    chosen: TrialRecord | None = None,
) -> None:
    """Writes a row for each trial and each rerun, best first. Failed ones come last and have no rank.

    The metrics of a row are those of the best epoch, which the column `epoch` names. `confirmed_mean` is the mean over
    the reruns with fresh seeds. `chosen` marks the run whose model is exported. Where trials pause, `why` says what the
    model of curves last said of one that did not finish, and `expected` what it expected of its configuration at the
    end of the search: the mean over seeds of the last epoch's best value, by which the confirmation takes them.

    Args:
        records: the trials and reruns of the sweep.
        space: the search space.
        path: the path of the file.
        confirmed: the trials that were confirmed.
        chosen: the run whose model is exported; None for no mark.
    """
    text = leaderboard_text(records, space, confirmed, chosen)
    with whole_file(path) as aside, aside.open("w", newline="", encoding="utf-8") as file:
        file.write(text)


def leaderboard_text(
    records: Sequence[TrialRecord],
    space: SearchSpace,
    confirmed: Sequence[Confirmed] = (),
    chosen: TrialRecord | None = None,
) -> str:
    """Returns the content of the file; the arguments are those of `write_leaderboard`."""
    ranking = ranked(records, space.metric)
    in_ranking = {id(record) for record in ranking}
    rest = [record for record in records if id(record) not in in_ranking]
    metrics = list(dict.fromkeys((space.metric.name, *METRICS)))
    cost = [space.metric.against] if space.metric.against else []
    means = {c.record.name: c for c in confirmed}
    file = io.StringIO(newline="")
    writer = csv.DictWriter(
        file,
        [
            *("rank", "trial", "seed", "state", "epoch", *metrics, "epochs", "seconds", *cost, *space.parameters),
            *("confirmed_mean", "confirmed_runs", "chosen", "failure"),
            *(("why",) if any(record.why for record in records) else ()),  # where trials pause
            *(("expected",) if any(record.expected is not None for record in records) else ()),
        ],
        restval="",
    )
    writer.writeheader()
    for rank, record in enumerate([*ranking, *rest], start=1):
        row = {"trial": record.number, "seed": record.seed, "state": record.state, **record.params}
        row |= {"epochs": len(record.epochs), "seconds": f"{record.seconds:.2f}"}
        row["failure"] = str(record.failure) if record.failure else ""
        if record.why and not record.finished:
            row["why"] = record.why
        if record.expected is not None:
            row["expected"] = f"{record.expected:.6f}"
        best = record.best(space.metric)
        row |= {name: record.cost for name in cost if record.cost is not None}
        if best is not None:
            row |= {"epoch": best.epoch, **{name: f"{getattr(best, name):.6f}" for name in metrics}}
        if rank <= len(ranking):
            row["rank"] = rank
        if record.name in means:
            again = means[record.name]
            row |= {"confirmed_mean": f"{again.mean:.6f}", "confirmed_runs": len(again.values)}
        if record is chosen:
            row["chosen"] = "yes"
        writer.writerow(row)
    return file.getvalue()
