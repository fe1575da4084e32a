"""leaderboard.csv: a row a trial, best first."""

from __future__ import annotations

import csv
from collections.abc import Sequence
from pathlib import Path

from fervit.files import whole_file
from fervit.search.confirm import Confirmed
from fervit.search.selection import TrialRecord, ranked
from fervit.search.space import SearchSpace

METRICS = ("f1_macro", "accuracy", "val_loss")


def write_leaderboard(
    records: Sequence[TrialRecord],
    space: SearchSpace,
    path: Path,
    confirmed: Sequence[Confirmed] = (),
    chosen: TrialRecord | None = None,
) -> None:
    """Writes a row a trial by the rule for the best; failed trials come last, without a rank.

    The metrics of a row are of the trial's best epoch, `epoch`. `confirmed_mean` is of its reruns with fresh seeds.
    """
    ranking = ranked(records, space.metric)
    rest = [record for record in records if record not in ranking]
    metrics = list(dict.fromkeys((space.metric.name, *METRICS)))
    means = {c.record.number: c for c in confirmed}
    with whole_file(path) as aside, aside.open("w", newline="", encoding="utf-8") as file:
        writer = csv.DictWriter(
            file,
            [
                *("rank", "trial", "state", "epoch", *metrics, "epochs", "seconds", *space.parameters),
                *("confirmed_mean", "confirmed_runs", "chosen", "failure"),
            ],
            restval="",
        )
        writer.writeheader()
        for rank, record in enumerate([*ranking, *rest], start=1):
            row = {"trial": record.number, "state": record.state, **record.params}
            row |= {"epochs": len(record.epochs), "seconds": f"{record.seconds:.2f}", "failure": record.failure}
            best = record.best(space.metric)
            if best is not None:
                row |= {"epoch": best["epoch"], **{name: f"{best[name]:.6f}" for name in metrics}}
            if rank <= len(ranking):
                row["rank"] = rank
            if record.number in means:
                again = means[record.number]
                row |= {"confirmed_mean": f"{again.mean:.6f}", "confirmed_runs": len(again.values)}
            if record is (chosen if chosen is not None else ranking[0] if ranking else None):
                row["chosen"] = "yes"
            writer.writerow(row)
