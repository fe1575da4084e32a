"""Shows the progress of a training: the command that started it reads the messages that its processes write."""

from __future__ import annotations

import time
from collections.abc import Callable
from dataclasses import dataclass
from itertools import pairwise
from typing import Protocol

from fervit.errors import JobError
from fervit.io.disk import append_text, touch
from fervit.progress import clock
from fervit.runs.folder import RunFolder
from fervit.runs.messages import (
    Ended,
    Entered,
    EpochDone,
    Failed,
    FirstStep,
    Leaving,
    Message,
    MessageReader,
    Ready,
    Remark,
)
from fervit.system import interrupts
from fervit.system.program import called

POLL_S = 0.1
"""The seconds between two reads of the messages."""
ENDING_S = 30.0
"""The seconds that a job is given to end after its last message."""
PATIENCE_S = 60.0
"""The seconds after which the user is told that the workers have not started yet."""
LEGEND = "(val, acc, F1: loss, accuracy and macro-F1 on validation; *: best so far, kept)"
"""What the line of an epoch has, in a line of 80 columns."""


class Job(Protocol):
    """A training that runs in other processes."""

    error: BaseException | None
    """Why the training ended, if not by its own code; None otherwise."""

    @property
    def running(self) -> bool:
        """Whether the training has not ended yet."""

    def wait(self, seconds: float) -> None:
        """Waits until the training ends, but at most this many seconds."""

    def close(self) -> None:
        """Ends the processes that would outlive this command."""


@dataclass
class Follower:
    """Prints a line for each epoch until the job ends.

    Args:
        folder: the folder of the run.
        epochs: the number of epochs that the run trains at most.
        batch_size: the size of a batch over all workers together.
        started: (name, Unix time of its end) of each stage of the start so far, beginning with the command itself.
        say: prints a line.
        engine: the name of the stage in which the workers start; "" if there is no such stage.
    """

    folder: RunFolder
    epochs: int
    batch_size: int
    started: list[tuple[str, float]]
    say: Callable[[str], None]
    engine: str = "Ray Train"
    _state: str = ""
    _message: str = ""
    _epoch: EpochDone | None = None
    _saved: int = 0
    _last: float = 0.0
    _legend: bool = False
    _waiting: bool = False
    _leaving: bool = False

    def __post_init__(self) -> None:
        self._messages = MessageReader(self.folder.events)

    def follow(self, start: Callable[[], Job]) -> str:
        """Starts the job and returns how it ended: "finished" or "stopped".

        Raises:
            JobError: the training diverged, ran out of memory, or lost its workers too often.
            KeyboardInterrupt: Ctrl-C or a notice that the machine will be taken away ended the training. The message
                says how to resume it.
        """
        try:
            job = start()
        except KeyboardInterrupt:
            raise KeyboardInterrupt(self._interrupted()) from None
        if self.engine:
            self.started.append((self.engine, time.time()))
        try:
            stopping = self._watch(job)
        finally:
            job.close()
        return self._outcome(job, stopping)

    def _watch(self, job: Job) -> bool:
        """Shows the messages until the training ends, and returns whether Ctrl-C ended it."""
        stopping = False
        while True:
            try:
                running = job.running
                for message in self._messages.new():
                    self._show(message)
                if self._state:
                    job.wait(ENDING_S)
                if self._state or not running:
                    break
                self._tell_if_waiting()
                time.sleep(POLL_S)
            except KeyboardInterrupt:
                if stopping or not self._short():
                    raise KeyboardInterrupt(self._interrupted()) from None
                stopping = True
                touch(self.folder.stop)
                self.say("stopping after this epoch; Ctrl-C again leaves at once")
        return stopping

    def _outcome(self, job: Job, stopping: bool) -> str:
        if self._message:
            kept = f"; the best model so far stays as {self.folder.best}" if self.folder.best.is_file() else ""
            raise JobError(self._message + kept)
        if self._leaving and job.error is None:
            raise KeyboardInterrupt(f"this machine is about to be taken away: {self._progress()}; {self._go_on()}")
        if not self._state:
            self._log(str(job.error))
            raise JobError(f"the training ended before its last epoch ({self._reason(job.error)}); {self._go_on()}")
        if stopping and self._state != "finished":
            raise KeyboardInterrupt(self._interrupted())
        return self._state

    def _show(self, message: Message) -> None:
        match message:
            case Entered():
                self._note_entry(message)
            case Ready():
                self._show_ready(message)
            case FirstStep():
                self._show_start(message.time)
            case EpochDone():
                self._epoch, self._last = message, time.time()
                self._saved = message.result.epoch if message.saved else self._saved
                self.say(self._line(message))
            case Leaving():
                self._saved, self._last, self._leaving = message.epoch, time.time(), True
                self.say(f"a machine of the training is about to be taken away; {self._progress()}")
            case Remark():
                self.say(message.text)
            case Ended():
                self._state = message.state
            case Failed():
                self._state, self._message = message.kind, message.message
                if message.details:
                    self._log(message.details)
                    self._message += f" (the traceback is in {self.folder.ray_log})"

    def _note_entry(self, message: Entered) -> None:
        """Notes when a process entered: the first one, or one that takes over from a process that is gone."""
        if self._leaving:
            self._leaving = False
            self.started = [("notice", self._last)]
        elif any(name == "imports" for name, _ in self.started):
            self.say("a worker was lost; the training goes on from the last saved epoch")
            self.started = [("loss of a worker", self._last)]
        self.started += [("processes", message.time), ("imports", message.imported)]

    def _show_ready(self, message: Ready) -> None:
        self._saved, self._last = message.epoch, message.time
        self.started.append(("data and model", message.time))
        if message.epoch:
            self.say(f"going on after epoch {message.epoch}")
        hardware = message.hardware
        where = f" on {', '.join(hardware.hosts)}" if len(hardware.hosts) > 1 else ""
        self.say(
            f"model: {hardware.parameters / 1e6:.1f} M parameters, {hardware.precision}, {hardware.workers} x "
            f"{hardware.device}{where}"
        )
        if hardware.workers > 1 and not hardware.device.startswith("CPU"):
            self.say("several workers replay no captured graph: one GPU alone may be no slower (--workers 1)")

    def _show_start(self, first_step: float) -> None:
        stages = [*self.started, ("first step", first_step)]
        spent = [(name, later - earlier) for (_, earlier), (name, later) in pairwise(stages)]
        parts = ", ".join(f"{name} {seconds:.1f}" for name, seconds in spent)
        self.say(f"started in {first_step - stages[0][1]:.1f} s, the first step included ({parts})")
        if not self._legend:
            self._legend = True
            self.say(LEGEND)

    def _line(self, message: EpochDone) -> str:
        row = message.result
        left = row.seconds * (self.epochs - row.epoch)
        return (
            f"epoch {row.epoch:>3}/{self.epochs}  loss {row.train_loss:.3f}  val {row.val_loss:.3f}  "
            f"acc {row.accuracy:.3f}  F1 {row.f1_macro:.3f}{'*' if message.best else ' '} "
            f"{row.samples_per_second:>6,.0f}/s  {clock(left)} left"
        )

    def _short(self) -> bool:
        """Returns whether to wait for the current epoch: it ends soon, or the epoch before it is not saved yet."""
        if self._epoch is None or self._leaving:
            return False
        last = self._epoch.result
        remaining = last.seconds - (time.time() - self._last)
        return remaining < interrupts.patience_s() or self._saved < last.epoch

    def _interrupted(self) -> str:
        return f"interrupted: {self._progress()}; {self._go_on()}"

    def _progress(self) -> str:
        return f"epoch {self._saved} of {self.epochs} is saved"

    def _go_on(self) -> str:
        return f"`{called('train')} --resume {self.folder.path}` goes on from there; see {self.folder.ray_log}"

    def _reason(self, error: BaseException | None) -> str:
        if error is None:
            return "its workers have left no word here: the run folder must lie where all nodes see it"
        lines = [line.strip() for line in str(error).splitlines() if line.strip()]
        reason = (lines[-1] if lines else type(error).__name__)[:200]
        if "memory" in str(error).lower() or "SIGKILL" in str(error):
            reason += (
                f"; if a worker was killed for want of memory, --batch_size {self.batch_size} or the model is too large"
            )
        return reason

    def _log(self, text: str) -> None:
        append_text(self.folder.ray_log, text + "\n")

    def _tell_if_waiting(self) -> None:
        """Tells the user once if the workers have not started for a while, since a busy cluster may delay them."""
        since = self._last if self._leaving else self.started[-1][1]
        starting = self.engine and (self._leaving or not self._messages.begun)
        if starting and not self._waiting and time.time() - since > PATIENCE_S:
            self._waiting = True
            self.say("waiting for the cluster to start the workers; is it busy? (`ray status` tells)")
