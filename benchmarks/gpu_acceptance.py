"""Checks on one GPU all that fervit promises for GPUs, in at most half an hour, and prints a page of PASS and FAIL.

Each check runs in a process of its own with a time limit, so that one that crashes or hangs ends no other. The parts
take at most nine minutes each: `correct` (numbers and failures, without Ray), `speed` (without Ray) and `ray` (the jobs
as users start them).

    python benchmarks/gpu_acceptance.py                   # or: make gpu-acceptance
    python benchmarks/gpu_acceptance.py --part correct    # one part
    python benchmarks/gpu_acceptance.py --device cpu      # every check in a small form, to see that the script works
"""

from __future__ import annotations

import json
import os
import platform
import subprocess
import sys
import time
import traceback
from pathlib import Path
from tempfile import TemporaryDirectory

ROOT = Path(__file__).resolve().parent.parent
sys.path.insert(0, str(ROOT))

from benchmarks.acceptance.check import CHECKS, PARTS, Check, Found, load_checks  # noqa: E402
from benchmarks.acceptance.launching import kill_tree  # noqa: E402
from fervit.cli import Parser, run  # noqa: E402
from fervit.io.disk import make_folder  # noqa: E402
from fervit.io.files import first_line, write_text  # noqa: E402
from fervit.version import __version__  # noqa: E402

PART_S = 540
"""The seconds that a part may take; its further checks have failed."""
ANSWER = "ANSWER "
"""What stands before the JSON of a check's result in the output of its process."""


def main() -> int:
    parser = Parser(description=__doc__.partition("\n")[0] if __doc__ else "")
    parser.add_argument(
        "--device", choices=("cuda", "cpu"), default="cuda", help="cpu runs every check in a small form"
    )
    parser.add_argument("--part", choices=PARTS, action="append", help="run this part only; may be repeated")
    parser.add_argument("--only", metavar="CHECK", action="append", help="run this check only; may be repeated")
    parser.add_argument("--output", type=Path, metavar="FILE", help="write the page to this file, too")
    parser.add_argument(
        "--logs", type=Path, metavar="DIR", help="write what each check printed to a file of this folder"
    )
    parser.add_argument("--check", help="run one check in this process, and print its result as JSON")
    args = parser.parse()
    load_checks()
    if args.check:
        print(ANSWER + json.dumps(_here(CHECKS[args.check], args.device)._asdict()), flush=True)
        return 0
    started = time.monotonic()
    lines = [*_head(args.device), "", "| | check | result | expected | s |", "|---|---|---|---|---|"]
    print("\n".join(lines), flush=True)
    counts = dict.fromkeys(("PASS", "FAIL", "INFO"), 0)
    ends: dict[str, float] = {}
    for check in CHECKS.values():
        if (args.part and check.part not in args.part) or (args.only and check.name not in args.only):
            continue
        began = time.monotonic()
        found = _in_a_process(check, args.device, args.logs, ends.setdefault(check.part, began + PART_S) - began)
        counts[found.verdict] += 1
        lines.append(
            f"| {found.verdict} | {check.part}: {check.promise} | {found.figures} | {check.expected} | "
            f"{time.monotonic() - began:.0f} |"
        )
        print(lines[-1], flush=True)
    lines += [
        "",
        f"{counts['PASS']} passed, {counts['FAIL']} failed, {counts['INFO']} figures in "
        f"{(time.monotonic() - started) / 60:.1f} minutes.",
    ]
    print("\n".join(lines[-2:]))
    if args.output:
        write_text(args.output, "\n".join(lines) + "\n")
    return 1 if counts["FAIL"] else 0


def _head(device: str) -> list[str]:
    """Describes the machine, and says where the arithmetic runs."""
    import torch

    lines = [
        f"# GPU acceptance of fervit {__version__}",
        "",
        f"{time.strftime('%Y-%m-%d')}, torch {torch.__version__}, Python {platform.python_version()}, "
        f"{os.cpu_count()} CPUs, {platform.system()} {platform.release()}",
    ]
    if device == "cpu":
        return [*lines, "", "Run with --device cpu: shows that the script works, and says nothing about a GPU."]
    if not torch.cuda.is_available():
        return [*lines, "", "torch finds NO usable GPU; launch/doctor.py says why."]
    properties = torch.cuda.get_device_properties(0)
    name = f"{properties.name}, {properties.total_memory / 2**30:.0f} GiB, sm_{properties.major}{properties.minor}"
    return [*lines, f"{torch.cuda.device_count()} GPU(s): {name}; CUDA {torch.version.cuda}"]


def _in_a_process(check: Check, device: str, logs: Path | None, left_s: float) -> Found:
    """Runs a check in a process of its own, and ends it with all its children after its time limit.

    Args:
        check: the check.
        device: "cuda", or "cpu" for its small form.
        logs: the folder for what it prints; None for none.
        left_s: the seconds that its part may still take.
    """
    limit = min(check.limit_s, left_s)
    if limit <= 0:
        return Found("FAIL", f"not begun: the {PART_S // 60} minutes of its part are over")
    command = [sys.executable, __file__, "--check", check.name, "--device", device]
    with TemporaryDirectory() as scratch:
        folder = logs or Path(scratch)
        make_folder(folder)
        log = folder / f"{check.name}.log"
        with log.open("wb") as file:
            process = subprocess.Popen(command, cwd=ROOT, stdout=file, stderr=file, start_new_session=True)
        try:
            status: int | None = process.wait(limit)
        except subprocess.TimeoutExpired:
            status = None
        finally:  # also if this process is interrupted; a GPU that others use would spoil the checks that follow
            kill_tree(process.pid)
        output = log.read_text(errors="replace")
    if status is None:
        return Found("FAIL", f"no result within {limit:.0f} s")
    answers = [line.removeprefix(ANSWER) for line in output.splitlines() if line.startswith(ANSWER)]
    if not answers:
        last = output.strip().splitlines()[-1:] or ["no output"]
        return Found("FAIL", f"its process ended with status {status}: {last[0][:200]}")
    return Found(**json.loads(answers[-1]))


def _here(check: Check, device: str) -> Found:
    """Runs a check in this process; an exception is a failure."""
    try:
        return check.run(device)
    except Exception as error:
        traceback.print_exc()
        return Found("FAIL", first_line(error)[:200])


if __name__ == "__main__":
    run(main)
