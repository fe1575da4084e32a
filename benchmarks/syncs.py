"""What it costs that names and journals outlive a power cut: a saved file, a part of an encoding, an event of a sweep.

Each is written in turn with all syncs and without those of names (files) or of rows (the journal); the content of files
is synced in both. The floor is the disk's own sync.

    python -m benchmarks.syncs [--folder DIR] [--times 60]
"""

from __future__ import annotations

import statistics
import tempfile
import time
from collections.abc import Callable
from pathlib import Path
from unittest import mock

import numpy as np

from fervit.cli import Parser, positive_int, run
from fervit.encoders.fingerprint import EncoderFingerprint
from fervit.io import files
from fervit.latents.parts import write_part
from fervit.latents.schema import schema, table
from fervit.search.records.events import TrialStarted
from fervit.search.records.journal import JournalFile

FACES = 256


def milliseconds(write: Callable[[int], object], times: int) -> list[float]:
    found = []
    for i in range(times):
        started = time.perf_counter()
        write(i)
        found.append(1000 * (time.perf_counter() - started))
    return found


def show(name: str, with_syncs: list[float], without: list[float]) -> None:
    a, b = (f"{statistics.median(all_):.2f} ms (p90 {np.percentile(all_, 90):.2f})" for all_ in (with_syncs, without))
    print(f"{name}: {a} with all syncs, {b} without")


def main() -> None:
    parser = Parser(description=__doc__.partition("\n")[0] if __doc__ else "")
    parser.add_argument("--folder", type=Path, help="where to write; the temporary folder if not given")
    parser.add_argument("--times", type=positive_int, default=60, help="of each")
    args = parser.parse()
    encoder = EncoderFingerprint(encoder="none", checkpoint_sha256="", seq_len=18, latent_dim=512)
    codes = np.random.default_rng(0).normal(size=(FACES, 18, 512))
    part = table([str(i) for i in range(FACES)], np.zeros(FACES), ["-"] * FACES, codes, schema(encoder))
    with tempfile.TemporaryDirectory(dir=args.folder) as name:
        root = Path(name)
        journal = JournalFile(root / "trials.jsonl")

        def event(i: int) -> None:
            journal.append(TrialStarted, name=f"trial_{i}", number=i, seed=1, params={"lr": 0.1, "heads": 2})

        def file(i: int) -> None:
            with files.whole_file(root / f"saved_{i % 4}") as aside:
                aside.write_bytes(bytes(1 << 20))

        def of_part(i: int) -> None:
            write_part(part, str(root / "split"), [str(i % 4)])

        found: dict[str, tuple[list[float], list[float]]] = {}
        for _ in range(3):  # in turn, since others use the disk, too
            for label, write in (("a file of 1 MiB", file), (f"a part of {FACES} faces", of_part)):
                times = found.setdefault(label, ([], []))
                times[0].extend(milliseconds(write, args.times // 3 + 1))
                with mock.patch.object(files, "sync_folder"):
                    times[1].extend(milliseconds(write, args.times // 3 + 1))
            times = found.setdefault("an event of a journal", ([], []))
            times[0].extend(milliseconds(event, args.times // 3 + 1))
            with mock.patch.object(JournalFile, "_sync"):
                times[1].extend(milliseconds(event, args.times // 3 + 1))
        journal.close()
    for label, (with_syncs, without) in found.items():
        show(label, with_syncs, without)


if __name__ == "__main__":
    run(main)
