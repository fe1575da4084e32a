"""Shows a running sweep: a live table on a terminal, and elsewhere a line for each trial that ends."""

from __future__ import annotations

import time
from collections.abc import Iterator
from contextlib import contextmanager

from rich.console import Console, Group
from rich.live import Live
from rich.table import Table
from rich.text import Text

from fervit.io.files import first_line
from fervit.progress import Say, clock, counted
from fervit.search.ledger import Ledger, Observer
from fervit.search.records.ranking import failures_by_kind
from fervit.search.records.record import TrialRecord, params_text

MAX_ROWS = 16
NARROW = 110
"""On a terminal of fewer columns the hyperparameters take several lines, and there are half as many trials."""
STYLES = {"running": "bold", "finished": "green", "stopped": "dim", "failed": "red"}


class PlainScreen(Observer):
    """Prints a line for each trial that ends, pauses or goes on."""

    def __init__(self, say: Say) -> None:
        self._say = say

    def ended(self, ledger: Ledger, record: TrialRecord) -> None:
        """Prints a line with the result of the trial, the best trial so far, the elapsed time and the time left."""
        if record.never_begun:
            return
        metric, done, total = ledger.space.metric, ledger.n_ended, ledger.source.total
        line = f"{done:>4}/{total}  {record.name:<16} {record.state:<8} "
        best = record.best(metric)
        if best is not None:
            reached = f"{metric.words} {metric.value(best):.3f} (epoch {best.epoch})"
            line += f"{counted(len(record.epochs), 'epoch'):>10}  {reached}"
        if record.failure:
            line += f"  {str(record.failure)[:80]}"
        if record.why and record.state == "stopped":
            line += f"  {record.why}"
        self._say(f"{line}{_leading(ledger)}  {clock(ledger.elapsed_seconds())} elapsed{_left(ledger)}")

    def moved(self, ledger: Ledger, record: TrialRecord) -> None:
        """Prints why the trial pauses or goes on."""
        if record.epochs:
            self._say(f"           {record.name:<16} {record.why}")

    def lost(self, ledger: Ledger, record: TrialRecord, why: str) -> None:
        """Prints that the trial continues in another process."""
        self._say(_loss(record, why))

    def remark(self, text: str) -> None:
        """Prints the remark."""
        self._say(text)


class LiveScreen(Observer):
    """A live table of the running and the latest ended trials, above a line with the best trial and the time left."""

    def __init__(self, console: Console) -> None:
        self._ledger: Ledger | None = None
        self._last: list[TrialRecord] = []
        self.live = Live(get_renderable=self._picture, console=console, refresh_per_second=2)

    def changed(self, ledger: Ledger) -> None:
        """Stores the ledger, from which the table is drawn; a sweep that goes on begins with the trials that ended."""
        if self._ledger is None:
            ended = sorted((one for one in ledger.records if one.state != "running"), key=lambda one: one.ended)
            self._last = ended[-MAX_ROWS:]
        self._ledger = ledger

    def ended(self, ledger: Ledger, record: TrialRecord) -> None:
        """Adds the trial to the latest ended ones."""
        self.changed(ledger)
        if record not in self._last:
            self._last = [*self._last, record][-MAX_ROWS:]

    def lost(self, ledger: Ledger, record: TrialRecord, why: str) -> None:
        """Prints above the table that the trial continues in another process."""
        self.remark(_loss(record, why))

    def remark(self, text: str) -> None:
        """Prints the remark above the table."""
        self.live.console.print(text, highlight=False)

    def _picture(self) -> Group:
        """Draws the table. This runs in another thread than the ledger, so that values may be a moment old."""
        try:
            return self._drawn()
        except Exception as error:  # the sweep goes on without its table
            return Group(Text(f"the table cannot be drawn ({first_line(error)})"))

    def _drawn(self) -> Group:
        ledger = self._ledger
        if ledger is None:
            return Group(Text("starting the first trials ..."))
        running, narrow = ledger.running, self.live.console.width < NARROW
        most = MAX_ROWS // 2 if narrow else MAX_ROWS
        return Group(
            trials_table(ledger, [*self._last[-max(1, most - len(running)) :], *running][-most:], wraps=narrow),
            Text(status_line(ledger)),
        )


def trials_table(ledger: Ledger, records: list[TrialRecord], *, wraps: bool = False) -> Table:
    """Returns the table of trials: state, epoch, the last and the best value, the time since the last report, and the
    hyperparameters, as far as there is room or in as many lines as they take. The best trial has a star."""
    metric, leading = ledger.space.metric, ledger.best
    rows = [_row(record, ledger, leading) for record in records]
    table = Table(box=None, pad_edge=False)
    headings = ("trial", "state", "epoch", metric.words, "best", "age", "hyperparameters")
    for i, heading in enumerate(headings):
        width = max([len(heading), *(len(row[i]) for row in rows)]) if i < len(headings) - 1 else None
        right, whole = "right" if 2 <= i <= 5 else "left", i < len(headings) - 1 or not wraps
        table.add_column(heading, justify=right, no_wrap=whole, min_width=width)  # type: ignore[arg-type]
    for record, row in zip(records, rows, strict=True):
        table.add_row(row[0], Text(row[1], STYLES[record.state]), *row[2:])
    return table


def _row(record: TrialRecord, ledger: Ledger, leading: TrialRecord | None) -> tuple[str, ...]:
    """Returns the cells of a trial."""
    metric, rows = ledger.space.metric, record.epochs
    best, star = record.best(metric), "*" if leading is not None and record.name == leading.name else " "
    return (
        record.name,
        record.state,
        f"{rows[-1].epoch if rows else 0}/{ledger.space.early_stopping.max_epochs}",
        f"{metric.value(rows[-1]):.3f}" if rows else "",
        f"{metric.value(best):.3f}{star}" if best is not None else "",
        clock(max(0.0, time.time() - record.ended)) if record.ended else "",
        str(record.failure) if record.failure else params_text(record.params),
    )


def status_line(ledger: Ledger) -> str:
    """Returns the status line: the progress, the best trial, the spent budget and the time left."""
    failures = failures_by_kind(ledger.records)
    line = f"{ledger.n_ended}/{ledger.source.total} trials{_leading(ledger)}  {clock(ledger.elapsed_seconds())} elapsed"
    if ledger.n_paused:
        begun = sum(bool(record.epochs) for record in ledger.paused)
        line += f"  {begun} paused, {ledger.n_paused - begun} not begun"
    line += _of_budget(ledger) + _left(ledger)
    if failures:
        line += "  failed: " + ", ".join(f"{n} x {kind}" for kind, n in failures.items())
    return line


@contextmanager
def screen(say: Say) -> Iterator[Observer]:
    """Shows a sweep in its block: a live table if standard output is a terminal that can, and lines otherwise."""
    console = Console()
    if not console.is_terminal or console.is_dumb_terminal:
        yield PlainScreen(say)
        return
    live = LiveScreen(console)
    with live.live:
        yield live


def _loss(record: TrialRecord, why: str) -> str:
    where = f" after epoch {record.saved}" if record.saved else " from its start"
    return f"{record.name} goes on{where} in another process ({why[:80]})"


def _leading(ledger: Ledger) -> str:
    best = ledger.best
    value = best.best_value(ledger.space.metric) if best is not None else None
    where = " in the search" if ledger.part != "search" else ""
    return f"  best{where} {value:.3f} ({best.name})" if best is not None and value is not None else ""


def _of_budget(ledger: Ledger) -> str:
    limits, spent = [], (ledger.held_seconds(ledger.part) / 3600, ledger.gpu_seconds(ledger.part) / 3600)
    hours, gpu_hours = _hours(ledger), ledger.space.budget.gpu_hours if ledger.part == "search" else None
    for used, limit, name in ((spent[0], hours, "h"), (spent[1], gpu_hours, "GPU-h")):
        if limit:
            limits.append(f"{used:.3g} of {limit:g} {name}")
    return f" ({', '.join(limits)})" if limits else ""


def _hours(ledger: Ledger) -> float | None:
    return ledger.space.budget.hours if ledger.part == "search" else ledger.space.confirm.hours


def _left(ledger: Ledger) -> str:
    done = ledger.n_ended_here
    if not done or ledger.pauses:  # nobody knows how many trials will be worth their epochs
        return ""
    left = ledger.session_seconds() / done * (ledger.source.total - ledger.n_ended)
    hours = _hours(ledger)
    if hours is not None:
        left = min(left, max(0.0, 3600 * hours - ledger.held_seconds(ledger.part)))
    return f", {clock(left)} left"
