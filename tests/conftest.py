"""The fixtures of all tests: one local Ray, generated faces and their codes, and small synthetic latents."""

from __future__ import annotations

import os
import runpy
import shutil
import signal
import socket
import subprocess
import sys
import time
import urllib.request
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import TYPE_CHECKING, Any, NamedTuple

# PyTorch's threads wait without computing, since several processes share the CPUs. It reads this when it is loaded.
os.environ.setdefault("OMP_WAIT_POLICY", "PASSIVE")

import numpy as np
import pyarrow.parquet as pq
import pytest
import torch

from fervit.checkpoints.checkpoint import Checkpoint
from fervit.cluster.connection import connect
from fervit.cluster.nodes import Cluster
from fervit.encoders.fingerprint import EncoderFingerprint
from fervit.labels.emotions import EMOTIONS
from fervit.latents import LatentSet
from fervit.latents.schema import schema, table
from fervit.training.config import TrainConfig
from fervit.training.data import DeviceLatents
from fervit.training.trainer import Trainer

if TYPE_CHECKING:
    from playwright.sync_api import Browser

pytest.register_assert_rewrite("tests.helpers")
pytest_plugins = ("tests.helpers.official",)

ROOT = Path(__file__).resolve().parent.parent
SHARED = ROOT.parent / "shared"
SEQ_LEN, LATENT_DIM = 4, 16
MEASURED = pytest.StashKey[list[str]]()
QUIET = ("--no-sandbox", "--disable-gpu", "--disable-quic", "--no-first-run", "--disable-background-networking")
"""The flags with which chromium starts headless and without using the network."""
GRAFANA = ROOT / "clusters" / "grafana" / "fervit.json"
CONFIG = TrainConfig(seq_len=4, latent_dim=16, embed_dim=16, depth=1, heads=2, mlp_dim=16, epochs=5, lr=3e-3)
"""The hyperparameters of a small model for the synthetic codes."""
ENCODER = EncoderFingerprint(encoder="synthetic", checkpoint_sha256="", seq_len=SEQ_LEN, latent_dim=LATENT_DIM)


class Ended(NamedTuple):
    """The exit status and the output of a command."""

    status: int
    out: str
    err: str


Command = Callable[..., Ended]
"""A function that runs a script of launch/, given its name and its arguments."""


def pytest_configure(config: pytest.Config) -> None:
    """Hides GPUs from all processes, unless GPU tests are selected, and gives Ray's workers normal priority.

    A shell ignores Ctrl-C for what it starts in the background, and so would the commands that the tests interrupt.
    """
    if signal.getsignal(signal.SIGINT) == signal.SIG_IGN:
        signal.signal(signal.SIGINT, signal.default_int_handler)
    if config.getoption("markexpr") != "gpu":
        os.environ["CUDA_VISIBLE_DEVICES"] = ""
    # Ray gives its workers a low priority (niceness), so that they would wait long for other busy processes.
    os.environ |= {"RAY_worker_niceness": "0"}
    # A local Ray starts in two thirds of the CPU time without its dashboard, which few tests look at.
    if config.getoption("markexpr") != "extra":
        os.environ.setdefault("FERVIT_DASHBOARD", "0")


def pytest_runtest_setup(item: pytest.Item) -> None:
    if item.get_closest_marker("gpu") and not torch.cuda.is_available():
        pytest.skip("needs a GPU")


@pytest.fixture
def measured(request: pytest.FixtureRequest) -> Callable[[str], None]:
    """Returns a function that takes a line with a measurement, which is printed at the end of the session."""
    return request.config.stash.setdefault(MEASURED, []).append


def pytest_terminal_summary(terminalreporter: Any, config: pytest.Config) -> None:
    for line in config.stash.get(MEASURED, []):
        terminalreporter.write_line(f"measured: {line}")


@pytest.fixture
def shared() -> Path:
    if not SHARED.is_dir():
        pytest.skip("../shared is not here")
    return SHARED


@pytest.fixture(scope="session")
def cluster(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Cluster]:
    """The local Ray of the whole session, which the commands that run in this process also use."""
    with connect("local", tmp_path_factory.mktemp("ray") / "ray.log") as cluster:
        yield cluster


@pytest.fixture
def command(monkeypatch: pytest.MonkeyPatch, tmp_path: Path, capfd: pytest.CaptureFixture[str]) -> Command:
    """Returns a function that runs a script of launch/ in this process, with an empty working directory."""
    monkeypatch.chdir(tmp_path)

    def run(name: str, *args: object) -> Ended:
        monkeypatch.setattr(sys, "argv", [f"launch/{name}.py", *map(str, args)])
        capfd.readouterr()
        with pytest.raises(SystemExit) as leaving:
            runpy.run_path(str(ROOT / "launch" / f"{name}.py"), run_name="__main__")
        out, err = capfd.readouterr()
        return Ended(int(leaving.value.code or 0), out, err)

    return run


@pytest.fixture(scope="session")
def demo_faces(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Class folders with generated faces: 6 faces of each class for training, 3 for validation, and 2 for the test."""
    from fervit.images.demo_faces import write_demo_faces

    folder = tmp_path_factory.mktemp("faces")
    write_demo_faces(folder, {"train": 6, "val": 3, "test": 2}, seed=0)
    return folder


@pytest.fixture(scope="session")
def browser() -> Iterator[Browser]:
    """Debian's chromium, headless."""
    from playwright.sync_api import sync_playwright

    found = shutil.which("chromium") or shutil.which("google-chrome") or shutil.which("chromium-browser")
    if found is None:
        pytest.skip("there is no chromium; apt-get install chromium")
    with sync_playwright() as playwright:
        browser = playwright.chromium.launch(executable_path=found, args=list(QUIET))
        yield browser
        browser.close()


@pytest.fixture
def moto_server(monkeypatch: pytest.MonkeyPatch) -> Iterator[str]:
    """The address of a fake of AWS on loopback, which this process and its children use."""
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port = free.getsockname()[1]
    url = f"http://127.0.0.1:{port}"
    server = subprocess.Popen(
        [sys.executable, "-c", f"from moto.server import main; main(['-H', '127.0.0.1', '-p', '{port}'])"],
        stdout=subprocess.DEVNULL,
        stderr=subprocess.DEVNULL,
    )
    settings = {
        "AWS_ACCESS_KEY_ID": "testing",
        "AWS_SECRET_ACCESS_KEY": "testing",
        "AWS_DEFAULT_REGION": "us-east-1",
        "AWS_ENDPOINT_URL": url,
    }
    for name, value in settings.items():
        monkeypatch.setenv(name, value)
    try:
        while True:  # until it answers
            assert server.poll() is None
            try:
                urllib.request.urlopen(url, timeout=300)
                break
            except OSError:
                time.sleep(0.1)
        yield url
    finally:
        server.kill()
        server.wait()


def latent_set(per_class: int, seed: int = 0, path: str = "memory", noise: float = 1.0) -> LatentSet:
    """Makes synthetic codes, which a small model can classify, but not perfectly."""
    centres = np.random.default_rng(99).normal(0, 0.7, (len(EMOTIONS), SEQ_LEN, LATENT_DIM))
    rng = np.random.default_rng(seed)
    labels = rng.permutation(np.repeat(np.arange(len(EMOTIONS)), per_class))
    codes = centres[labels] + rng.normal(0, noise, (len(labels), SEQ_LEN, LATENT_DIM))
    ids = [f"{i:05d}" for i in range(len(labels))]
    return LatentSet(
        path=path,
        codes=codes.astype(np.float16),
        labels=labels.astype(np.int64),
        image_ids=ids,
        sha256=[f"{seed}-{i}" for i in ids],
        encoder=ENCODER,
    )


def write_latents(
    folder: Path, latents: LatentSet, rows: np.ndarray | slice = slice(None), encoder: EncoderFingerprint | None = None
) -> None:
    """Writes a split as one Parquet file."""
    folder.mkdir(parents=True, exist_ok=True)
    ids, sha256 = (np.array(column)[rows].tolist() for column in (latents.image_ids, latents.sha256))
    part = table(ids, latents.labels[rows], sha256, latents.codes[rows], schema(encoder or latents.encoder))
    pq.write_table(part, folder / f"part-{len(list(folder.iterdir())):05d}.parquet", compression="none")


def trained(config: TrainConfig) -> Checkpoint:
    """Trains a model on synthetic codes, and returns its checkpoint."""
    trainer = Trainer(config, DeviceLatents(latent_set(30)), DeviceLatents(latent_set(10, seed=1)))
    while not trainer.finished:
        result = trainer.run_epoch()
    return Checkpoint(
        model_state_dict=trainer.model.state_dict(),
        config=config,
        epoch=trainer.epoch,
        metrics={"f1_macro": result.f1_macro},
        encoder=ENCODER,
        data={},
    )


def write_splits(folder: Path) -> Path:
    """Writes train/, val/ and test/ with synthetic latents."""
    for seed, (split, per_class) in enumerate({"train": 40, "val": 15, "test": 15}.items()):
        write_latents(folder / split, latent_set(per_class, seed))
    return folder


@pytest.fixture
def latents_folder(tmp_path: Path) -> Path:
    return write_splits(tmp_path / "latents")


SMALL_SPACE = """
name: small
metric: {name: f1_macro, goal: maximize}
search: {sampler: tpe, trials: 6, seed: 1}
early_stopping: {scheduler: asha, max_epochs: 6, grace_epochs: 1, reduction_factor: 2}
parameters:
  lr: {distribution: log_uniform, min: 1.0e-4, max: 1.0e-2}
  heads: {values: [2, 3, 4]}
  embed_dim: {values: [8, 12]}
fixed: {seq_len: 4, latent_dim: 16, depth: 1, mlp_dim: 16, batch_size: 32}
trial: {cpus: 1, max_failures: 2}
"""

WARMUP_WITH_COSINE = {
    "scheduler": {"values": ["cosine", "none"]},
    "warmup_epochs": {"distribution": "uniform", "min": 0.5, "max": 2.0, "when": {"scheduler": "cosine"}},
}
"""The parameters of a search space, one of which has a condition."""


@pytest.fixture
def small_space(tmp_path: Path) -> Path:
    path = tmp_path / "small.yaml"
    path.write_text(SMALL_SPACE)
    return path
