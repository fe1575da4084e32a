"""Records the sweeps that replays, `benchmarks.honesty` and the study of epochs search again without training.

Nobody can afford thousands of sweeps to learn how often a method errs. So each of five searches is trained once, whole:
150 configurations x 30 epochs; 10 of them with 20 fresh seeds more (residuals: what the seed does to a configuration);
and another one with 30 (a check on what the residuals say). After each better epoch, the model is also measured on
fresh faces, which choose nothing.

The data: W+ codes of `../shared/tools/make_w_plus.py` (without and with wrong labels) and the real FER2013 by the demo
encoder. Two of the spaces are so narrow that configurations differ no more than their seeds do.

The same as in a sweep: the space files' reader, the sampler and its plan, the seed (`search.seed` for the search,
`search.seed` + 1, 2, ... for reruns), `Session` and `Trainer`, one thread a training, no early stopping. Not the same:
no Ray, no journal and no models, so that a core trains all of the time; float32 on every machine.

    nice -n 10 python -m benchmarks.recordings --out /tmp/recordings [--processes 2] [--only clean] [--tiny]
    python -m benchmarks.recordings --out /tmp/recordings --pack      # into benchmarks/recordings/*.json.xz

Three more, `DEVELOPMENT`, serve the choice of methods (`--only clean_2 --packed benchmarks/recordings/development`).

Each training is written as it ends; the same command goes on after a kill. About 90 minutes of one core.
"""

from __future__ import annotations

import importlib.util
import json
import multiprocessing
import tempfile
import time
from collections.abc import Callable, Iterator
from concurrent.futures import ProcessPoolExecutor
from contextlib import contextmanager
from dataclasses import dataclass, replace
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
import torch

from fervit.cli import Parser, positive_int, run
from fervit.encoders.registry import load_encoder
from fervit.encoders.runner import EncoderRunner
from fervit.encoding.stages import decode_block
from fervit.images.index import open_faces
from fervit.io.files import write_json
from fervit.io.json_lines import JsonLines, read_rows
from fervit.latents import LatentSet
from fervit.latents.parts import write_part
from fervit.latents.schema import schema, table
from fervit.progress import clock
from fervit.runs.session import TRIAL, Session, SessionFiles, prepare_process
from fervit.search.packed import FRESH, SUFFIX, Group, Packed, Training, numbered, write_packed
from fervit.search.policy.interfaces import Planned
from fervit.search.policy.sampler import SpaceSampler
from fervit.search.policy.sources import SearchSource, rerun
from fervit.search.records.ranking import distinct, ranked
from fervit.search.space.search_space import SearchSpace
from fervit.search.space.space_file import parse_space
from fervit.training.data import DeviceLatents
from fervit.training.failure import DivergedError
from fervit.training.metrics import metrics_of_counts
from fervit.training.trainer import VALIDATION_BATCH, Trainer

HERE = Path(__file__).parent
SHARED = HERE.parent.parent / "shared"
EPOCHS, CONFIGURATIONS, SEEDS, CHECK_SEEDS = 30, 150, 20, 30
RANKS = (0, 1, 2, 4, 8, 16, 32, 64, 96, 128)
"""The places in the ranking of the search whose configurations get residuals: the good ones matter most."""
CHECK_RANKS = (6, 3, 12, 24, 48)
"""The places of the configurations of the check, of which `--checks` says how many are trained."""
WIDE = {
    "lr": {"distribution": "log_uniform", "min": 1e-4, "max": 2e-2},
    "embed_dim": {"values": [16, 24, 32]},
    "heads": {"values": [2, 4]},
    "dropout": {"distribution": "uniform", "min": 0.0, "max": 0.4},
    "weight_decay": {"distribution": "log_uniform", "min": 1e-4, "max": 0.3},
    "scheduler": {"values": ["plateau", "cosine", "none"]},
    "standardise": {"values": [False, True]},
}
NARROW = {
    "lr": {"distribution": "log_uniform", "min": 1.8e-3, "max": 2.2e-3},
    "dropout": {"distribution": "uniform", "min": 0.1, "max": 0.12},
    "weight_decay": {"distribution": "log_uniform", "min": 5e-3, "max": 2e-2},
}
FIXED: dict[str, Any] = {"depth": 1, "mlp_dim": 64, "batch_size": 64, "pre_norm": True, "use_class_weights": True}
FIXED |= {"precision": "float32"}


@dataclass(frozen=True, kw_only=True)
class Plan:
    """A sweep that is recorded."""

    name: str
    about: str
    headroom: bool
    data: Callable[[Path, dict[str, int]], None]
    """Writes the splits into a folder, with about as many rows as given."""
    train_rows: int
    parameters: dict[str, Any]
    fixed: dict[str, Any]

    def space(self, *, tiny: bool = False) -> SearchSpace:
        """Returns the search space."""
        raw = {
            "name": self.name,
            "search": {"sampler": "random", "trials": 8 if tiny else CONFIGURATIONS, "seed": 42},
            "early_stopping": {"scheduler": "none", "max_epochs": 3 if tiny else EPOCHS, "grace_epochs": 1},
            "parameters": self.parameters,
            "fixed": FIXED | self.fixed,
            "confirm": {"top": 3, "seeds": 3},
        }
        return parse_space(raw, self.name)

    def rows(self, *, tiny: bool = False) -> dict[str, int]:
        """Returns about how many rows each split has."""
        return {"train": 64, "val": 32, "test": 32} if tiny else {"train": self.train_rows, "val": 400, "test": 1000}


def w_plus(folder: Path, rows: dict[str, int], *, seed: int, wrong_labels: float) -> None:
    """Writes codes of `make_w_plus.py`, of which a share of the labels is wrong (0.25 in the tool itself)."""
    spec = importlib.util.spec_from_file_location("make_w_plus", SHARED / "tools" / "make_w_plus.py")
    assert spec is not None
    assert spec.loader is not None
    tool = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(tool)
    setattr(tool, "WRONG_LABELS", wrong_labels)  # noqa: B010 (no flag of the tool)
    for split, n in rows.items():
        tool.write(split, n / sum(tool.COUNTS[split]), seed, folder)


def fer2013(folder: Path, rows: dict[str, int], *, part: int = 0) -> None:
    """Writes codes of the real FER2013 by the demo encoder; validation and fresh faces come from its PublicTest.

    Each part has faces that no other part has.
    """
    index = open_faces(str(SHARED / "data" / "fer2013_train_val.csv.gz"))
    encoder = load_encoder("demo")
    encode, size = EncoderRunner(encoder, batch_size=32), encoder.fingerprint.input_size
    shuffled = {split: index.of_split(split) for split in ("train", "val")}
    rng = np.random.default_rng(0)
    shuffled = {split: faces.take(rng.permutation(len(faces))) for split, faces in shuffled.items()}
    n, m, k = rows["train"], rows["val"], rows["test"]
    a, b = part * n, part * (m + k)
    parts = {"train": shuffled["train"][a : a + n], "val": shuffled["val"][b : b + m]}
    parts["test"] = shuffled["val"][b + m : b + m + k]
    for split, faces in parts.items():
        block = decode_block(faces, index.kind, index.filesystem, size)
        codes = encode(block["pixels"]).numpy().astype(np.float16)
        ids, sha256 = block["image_id"].tolist(), block["sha256"].tolist()
        part = table(ids, block["label"], sha256, codes, schema(encoder.fingerprint, index.label_set))
        write_part(part, str(folder / split), ids)


def wide(name: str, about: str, data: Callable[[Path, dict[str, int]], None], train_rows: int) -> Plan:
    """Returns the plan of a sweep whose configurations differ much."""
    about = f"{about}; a wide space"
    return Plan(name=name, about=about, headroom=True, data=data, train_rows=train_rows, parameters=WIDE, fixed={})


PLANS = (
    wide("clean", "make_w_plus.py, seed 0, no wrong labels", partial(w_plus, seed=0, wrong_labels=0.0), 500),
    wide("noisy", "make_w_plus.py, seed 1, 25 % wrong labels", partial(w_plus, seed=1, wrong_labels=0.25), 500),
    wide("fer2013", "the real FER2013 by the demo encoder (random weights)", fer2013, 600),
    Plan(
        name="flat_noisy",
        about="make_w_plus.py, seed 2, 25 % wrong labels; a space whose configurations hardly differ",
        headroom=False,
        data=partial(w_plus, seed=2, wrong_labels=0.25),
        train_rows=400,
        parameters=NARROW,
        fixed={"embed_dim": 16, "heads": 2, "standardise": True, "scheduler": "cosine"},
    ),
    Plan(
        name="flat_fer2013",
        about="the real FER2013 by the demo encoder (random weights); a space whose configurations hardly differ",
        headroom=False,
        data=fer2013,
        train_rows=400,
        parameters=NARROW,
        fixed={"embed_dim": 16, "heads": 2, "standardise": True, "scheduler": "none"},
    ),
)


DEVELOPMENT = (
    wide("clean_2", "make_w_plus.py, seed 4, no wrong labels", partial(w_plus, seed=4, wrong_labels=0.0), 500),
    wide("noisy_2", "make_w_plus.py, seed 3, 25 % wrong labels", partial(w_plus, seed=3, wrong_labels=0.25), 500),
    wide(
        "fer2013_2",
        "other faces of the real FER2013 by the demo encoder (random weights)",
        partial(fer2013, part=1),
        600,
    ),
)
"""Further sweeps on which methods are chosen, so that the others can be held out. Only `--only` records them."""


@dataclass(frozen=True, kw_only=True)
class Splits:
    """The splits of a sweep in the memory of a process that trains."""

    train: DeviceLatents
    val: DeviceLatents
    fresh: DeviceLatents

    @classmethod
    def read(cls, latents: Path) -> Splits:
        """Reads the splits, for trainings on one thread."""
        sets = {split: LatentSet.read(str(latents / split)) for split in ("train", "val", "test")}
        train, val = prepare_process(sets["train"], sets["val"], device="cpu", threads=1)
        return cls(train=train, val=val, fresh=DeviceLatents(sets["test"]))


def train(planned: Planned, group: Group, splits: Splits, space: SearchSpace) -> Training:
    """Trains as a trial of a sweep would, and measures each better model on the fresh faces."""
    trainer = Trainer(planned.config, splits.train, splits.val, metric=space.metric)
    made = Training(
        group=group,
        number=planned.number,
        seed=planned.config.seed,
        params=planned.params,
        epochs=[],
        fresh={name: [] for name in FRESH},
    )
    with tempfile.TemporaryDirectory() as folder:
        files = SessionFiles(**{name: Path(folder) / name for name in ("best", "last", "stop")})
        session = Session(trainer, files, replace(TRIAL, share=1e-9, best_share=0.0), decided_after=())
        while not trainer.finished:
            try:
                result = session.run_epoch()
            except DivergedError as error:
                return replace(made, failure=str(error))
            assert result is not None
            made.epochs.append(result)
            measured = fresh_metrics(trainer, splits.fresh) if trainer.improved else None
            for name, values in made.fresh.items():
                values.append(measured[name] if measured else values[-1])
    return made


@torch.inference_mode()
def fresh_metrics(trainer: Trainer, fresh: DeviceLatents) -> dict[str, float]:
    """Measures the current model on the fresh faces, as the trainer measures it on validation."""
    model, n = trainer.evaluated.eval(), len(trainer.label_set)
    counts = torch.zeros(n**2, dtype=torch.int64)
    for part in torch.arange(len(fresh)).split(VALIDATION_BATCH):
        codes, labels = fresh.batch(part)
        counts += torch.bincount(labels * n + model(codes).argmax(dim=1), minlength=n**2)
    return metrics_of_counts(counts.numpy().reshape(n, n))


def planned_search(space: SearchSpace) -> list[Planned]:
    """Returns the trials of the search, as the sampler of a sweep plans them."""
    source = SearchSource(space, SpaceSampler(space))
    return [planned for planned in iter(source.ask, None) if planned is not None]


def planned_reruns(space: SearchSpace, done: list[Training], checks: int, *, tiny: bool) -> dict[Group, list[Planned]]:
    """Returns the reruns with fresh seeds, of configurations at fixed places in the ranking of the search."""
    ranking = distinct(ranked([one.record() for one in done if one.group == "sweep"], space.metric))
    ranks: dict[Group, tuple[int, ...]] = {"residuals": RANKS, "check": CHECK_RANKS[:checks]}
    seeds: dict[Group, int] = {"residuals": 2 if tiny else SEEDS, "check": 3 if tiny else CHECK_SEEDS}
    if tiny:
        ranks = {"residuals": (0, 1), "check": (2,)}
    return {
        group: [rerun(space, ranking[rank], i, "confirm") for rank in ranks[group] for i in range(seeds[group])]
        for group in ranks
        if max(ranks[group], default=0) < len(ranking)
    }


class Recorder:
    """Trains what a plan still lacks, and writes each training as it ends.

    Args:
        plan: the sweep.
        out: the folder of all recordings.
        processes: how many trainings run at once.
        tiny: whether only the way is tried.
    """

    def __init__(self, plan: Plan, out: Path, *, processes: int = 1, tiny: bool = False) -> None:
        self.plan, self.folder, self.processes, self.tiny = plan, out / plan.name, processes, tiny
        self.space = plan.space(tiny=tiny)
        self.latents, self.file = self.folder / "latents", self.folder / "trainings.jsonl"

    def prepare(self) -> None:
        """Writes the latents, unless they are there."""
        complete = self.folder / "latents.json"
        if complete.is_file():
            return
        self.folder.mkdir(parents=True, exist_ok=True)
        self.plan.data(self.latents, self.plan.rows(tiny=self.tiny))
        sets = {split: LatentSet.read(str(self.latents / split)) for split in ("train", "val", "test")}
        write_json(complete, {name: {"rows": len(one), "sha256": one.fingerprint} for name, one in sets.items()})

    def done(self) -> list[Training]:
        """Returns the trainings that have ended."""
        return [Training.from_json(row) for row in read_rows(self.file, "skip")] if self.file.is_file() else []

    def record(self, group: Group, checks: int) -> None:
        """Trains what is missing of a group."""
        done = self.done()
        plan = planned_search(self.space) if group == "sweep" else []
        if group != "sweep":
            plan = planned_reruns(self.space, done, checks, tiny=self.tiny).get(group, [])
        known = numbered(done)
        missing = [one for one in plan if (group, one.number, one.config.seed) not in known]
        if not missing:
            return
        started, lines = time.monotonic(), JsonLines(self.file)
        print(f"{self.plan.name}, {group}: {len(missing)} of {len(plan)} trainings to go", flush=True)
        with trainings(missing, group, self.latents, self.space, self.processes) as made:
            for i, training in enumerate(made, start=1):
                lines.append(training.to_json())
                if i % 25 == 0 or i == len(missing):
                    print(f"    {i} of {len(missing)} in {clock(time.monotonic() - started)}", flush=True)
        lines.close()

    def pack(self, path: Path) -> None:
        """Writes the recording as one file."""
        data = json.loads((self.folder / "latents.json").read_text())
        order: dict[Group, int] = {"sweep": 0, "residuals": 1, "check": 2}
        done = sorted(self.done(), key=lambda one: (order[one.group], one.number, one.seed))
        plan = self.plan
        packed = Packed(
            name=plan.name, about=plan.about, headroom=plan.headroom, space=self.space, data=data, trainings=done
        )
        write_packed(packed, path)
        counts = ", ".join(f"{len(packed.of(group))} {group}" for group in order)
        print(f"{path}: {counts}; {path.stat().st_size / 1e6:.2f} MB")


_splits: list[Splits] = []
"""The splits of a process of the pool."""


@contextmanager
def trainings(
    plan: list[Planned], group: Group, latents: Path, space: SearchSpace, processes: int
) -> Iterator[Iterator[Training]]:
    """Gives the trainings of a plan as they end, here or in several processes."""
    if processes == 1:
        splits = Splits.read(latents)
        yield (train(one, group, splits, space) for one in plan)
        return
    spawn = multiprocessing.get_context("spawn")
    with ProcessPoolExecutor(processes, spawn, initializer=_begin, initargs=(latents,)) as pool:
        yield pool.map(_train, plan, [group] * len(plan), [space] * len(plan))


def _begin(latents: Path) -> None:
    _splits.append(Splits.read(latents))


def _train(planned: Planned, group: Group, space: SearchSpace) -> Training:
    return train(planned, group, _splits[0], space)


def main() -> None:
    """Records what is missing, or packs what is there."""
    parser = Parser(description=__doc__.partition("\n")[0] if __doc__ else "")
    parser.add_argument("--out", type=Path, default=Path("/tmp/recordings"), help="where trainings are written")
    names = [plan.name for plan in (*PLANS, *DEVELOPMENT)]
    parser.add_argument("--only", nargs="+", choices=names, help="some of the sweeps")
    parser.add_argument("--processes", type=positive_int, default=1, help="trainings at once, of a thread each")
    parser.add_argument("--checks", type=positive_int, default=1, help="configurations of each sweep in the check")
    parser.add_argument("--tiny", action="store_true", help="a few small trainings, to try the way")
    parser.add_argument("--pack", action="store_true", help="write what is there into --packed, and train nothing")
    parser.add_argument("--packed", type=Path, default=HERE / "recordings", help="the folder of the packed files")
    args = parser.parse()
    plans = PLANS if args.only is None else [plan for plan in (*PLANS, *DEVELOPMENT) if plan.name in args.only]
    recorders = [Recorder(plan, args.out, processes=args.processes, tiny=args.tiny) for plan in plans]
    if args.pack:
        args.packed.mkdir(parents=True, exist_ok=True)
        for recorder in recorders:
            if recorder.file.is_file():
                recorder.pack(args.packed / f"{recorder.plan.name}{SUFFIX}")
        return
    started = time.monotonic()
    groups: tuple[Group, ...] = ("sweep", "residuals", "check")
    for group in groups:
        for recorder in recorders:
            recorder.prepare()
            recorder.record(group, args.checks)
    print(f"all recorded after {clock(time.monotonic() - started)}; --pack packs them", flush=True)


if __name__ == "__main__":
    run(main)
