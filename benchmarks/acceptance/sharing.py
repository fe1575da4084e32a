"""Trials that share a GPU: how much they gain, and what the fault of one of them costs the others."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import tempfile
import time
from pathlib import Path
from typing import TypeVar

from benchmarks.acceptance.check import Found, check, passed
from benchmarks.acceptance.launching import ROOT, last_of, write_latents
from fervit.search.records.events import EpochEnded, ProcessLost, TrialEnded
from fervit.search.records.journal import read_journal
from fervit.search.workers.mps import CONTROL, environment, folder_of

E = TypeVar("E", EpochEnded, ProcessLost, TrialEnded)
TRIALS = 8
FAULT = """
import ctypes, torch
numbers = torch.zeros(2**26, device="cuda")
torch.cuda.synchronize()
ctypes.CDLL("libcuda.so.1").cuMemFree_v2(ctypes.c_uint64(numbers.data_ptr()))
numbers.fill_(1)
torch.cuda.synchronize()
"""
"""A program that writes to memory that it has given back, after which its GPU context is lost."""


@check(
    "ray",
    "four trials that share a GPU by MPS train twice as many epochs as one after the other",
    expected="2-3x with MPS, 1.1-1.3x without",
    limit_s=420,
)
def sharing_a_gpu_pays(device: str) -> Found:
    ways = {"one after the other": (1.0, False), "in turns": (0.25, False), "by MPS": (0.25, True)}
    seconds: dict[str, float] = {}
    with tempfile.TemporaryDirectory() as scratch:
        latents = write_latents(Path(scratch, "latents"), 8192 if device == "cuda" else 140)
        for way, (share, mps) in ways.items() if device == "cuda" else [("on the CPU", (0.0, False))]:
            folder = Path(scratch, way.replace(" ", "_"))
            space = _space(share, epochs=40 if device == "cuda" else 1, mps=mps)
            with Sweeping(folder, space, latents) as sweeping:
                if not sweeping.wait_for(TrialEnded, TRIALS):
                    return Found("FAIL", f"{way}: {sweeping.last_line}")
                times = [event.time for event in sweeping.events(EpochEnded)]
                seconds[way] = max(times) - min(times)
                if sweeping.without_mps:
                    return Found("FAIL", f"{CONTROL} could not be started on this machine")
    if device == "cpu":
        return Found("INFO", f"{TRIALS} trials in {seconds['on the CPU']:.0f} s")
    alone = seconds["one after the other"]
    text = ", ".join(f"{way} {took:.1f} s ({alone / took:.2f}x)" for way, took in seconds.items())
    return passed(alone / seconds["by MPS"] >= 2, f"{TRIALS} trials: {text}")


@check("ray", "a fault of one process under MPS makes no trial of its neighbours fail", limit_s=240)
def a_fault_under_mps_is_no_trials_fault(device: str) -> Found:
    if device == "cpu":
        return Found("INFO", "on the CPU there is no MPS")
    with tempfile.TemporaryDirectory() as scratch:
        latents = write_latents(Path(scratch, "latents"), 8192)
        with Sweeping(Path(scratch, "sweep"), _space(0.25, epochs=24, mps=True), latents) as sweeping:
            if not sweeping.wait_for(EpochEnded, 6):
                return Found("FAIL", f"no epoch of the sweep: {sweeping.last_line}")
            within = os.environ | environment(folder_of(sweeping.folder))
            fault = subprocess.run(
                [sys.executable, "-c", FAULT], env=within, capture_output=True, text=True, check=False
            )
            sweeping.wait_for(TrialEnded, TRIALS)
            without = sweeping.without_mps
            ends = [str(event.state) for event in sweeping.events(TrialEnded)]
            lost = len(sweeping.events(ProcessLost))
        happened = f"{lost} processes lost and replaced" if lost else "the fault reached no other process"
        text = (
            f"the faulty process: {last_of(fault.stderr) if fault.returncode else 'ended WELL'}; {happened}; "
            f"{ends.count('finished')} of {TRIALS} trials finished{', WITHOUT MPS' if without else ''}"
        )
        right = ends == ["finished"] * TRIALS and lost > 0 and not without
        return passed(right and fault.returncode != 0, text)


class Sweeping:
    """A sweep that runs, and is ended when its trials have been seen to end, before its report.

    Args:
        folder: a folder for the sweep and for what it prints.
        space: the text of its space.
        latents: the folder of the latents.
    """

    def __init__(self, folder: Path, space: str, latents: Path) -> None:
        folder.mkdir()
        (folder / "space.yaml").write_text(space)
        self._log, self._experiments = folder / "output.txt", folder / "experiments"
        command = [sys.executable, ROOT / "launch" / "tune.py", "--space", "space.yaml", "--latents", latents]
        with self._log.open("wb") as log:
            self._process = subprocess.Popen([*map(str, command)], cwd=folder, stdout=log, stderr=log)

    def __enter__(self) -> Sweeping:
        return self

    def __exit__(self, *_: object) -> None:
        self._process.send_signal(signal.SIGINT)
        try:
            self._process.wait(60)
        except subprocess.TimeoutExpired:
            self._process.kill()
        print(self.output, flush=True)

    @property
    def folder(self) -> Path:
        """The folder of the sweep."""
        (folder,) = self._experiments.iterdir()
        return folder

    @property
    def output(self) -> str:
        """What the sweep has printed."""
        return self._log.read_text(errors="replace")

    @property
    def without_mps(self) -> bool:
        """Whether it has said that MPS could not be started."""
        return "no MPS on node" in self.output

    @property
    def last_line(self) -> str:
        """The last line that the sweep has printed."""
        return last_of(self.output)

    def events(self, kind: type[E]) -> list[E]:
        """The events of a kind so far."""
        journals = list(self._experiments.glob("*/trials.jsonl"))
        return [event for event in read_journal(journals[0]) if isinstance(event, kind)] if journals else []

    def wait_for(self, kind: type[E], n: int) -> bool:
        """Waits until there are so many events of a kind; False if the sweep ends before."""
        while len(self.events(kind)) < n:
            if self._process.poll() is not None:
                return len(self.events(kind)) >= n
            time.sleep(0.2)
        return True


def _space(share: float, epochs: int, *, mps: bool = False) -> str:
    return f"""
name: acceptance
metric: {{name: f1_macro, goal: maximize}}
search: {{sampler: random, trials: {TRIALS}, seed: 1}}
early_stopping: {{scheduler: none, max_epochs: {epochs}, grace_epochs: 1}}
confirm: {{top: 0}}
parameters:
  lr: {{distribution: log_uniform, min: 1.0e-4, max: 1.0e-3}}
fixed: {{embed_dim: 256, depth: 4, heads: 8, mlp_dim: 512}}
trial: {{cpus: 1, gpus: {share:g}, max_failures: 0{", mps: true" if mps else ""}}}
"""
