"""The folder of one training run: what stands where, a new one, and one to go on with."""

from __future__ import annotations

import json
import shutil
import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from datetime import datetime
from pathlib import Path

from fervit.errors import JobError, UserError
from fervit.files import JsonObject, is_locked_file, locked, write_json
from fervit.parsing import build
from fervit.training.config import TrainConfig

ENDING_S = 10.0
"""Seconds that the process of a command that was killed is given to end."""


@dataclass(frozen=True)
class RunFolder:
    """Paths in `experiments/<name>_<time>/`; `path` is absolute, since workers stand elsewhere."""

    path: Path

    @property
    def config(self) -> Path:
        """All that the result of the run depends on (`RunRecord`)."""
        return self.path / "config.json"

    @property
    def environment(self) -> Path:
        """Versions, hardware, seed, and fingerprints of the data."""
        return self.path / "environment.json"

    @property
    def summary(self) -> Path:
        """How the run ended, and its best epoch."""
        return self.path / "experiment_summary.json"

    @property
    def history(self) -> Path:
        """A line of JSON an epoch."""
        return self.path / "history.jsonl"

    @property
    def best(self) -> Path:
        """The model of the best epoch."""
        return self.path / "checkpoints" / "best_model.pt"

    @property
    def last(self) -> Path:
        """The state from which --resume goes on."""
        return self.path / "checkpoints" / "last.pt"

    @property
    def logs(self) -> Path:
        """What TensorBoard reads."""
        return self.path / "logs"

    @property
    def ray_log(self) -> Path:
        """What Ray and the training's processes wrote."""
        return self.path / "ray.log"

    @property
    def events(self) -> Path:
        """What the workers tell the command that started them, a line of JSON each."""
        return self.path / ".events.jsonl"

    @property
    def stop(self) -> Path:
        """Asks the workers to end after this epoch."""
        return self.path / ".stop"

    @property
    def process_lock(self) -> Path:
        """Locked by the process that trains here, which may outlive the command that started it by a moment."""
        return self.path / ".process.lock"

    @property
    def finished(self) -> bool:
        """Whether the run has come to its end."""
        try:
            return bool(json.loads(self.summary.read_text(encoding="utf-8"))["state"] == "finished")
        except (OSError, ValueError, KeyError):
            return False

    @contextmanager
    def locked(self) -> Iterator[None]:
        """Keeps a second command from training in this folder.

        Raises:
            UserError: another command, or a process that one has left behind, is at it.
        """
        with locked(self.path, "run"):
            deadline = time.monotonic() + ENDING_S
            while is_locked_file(self.process_lock) and time.monotonic() < deadline:
                time.sleep(0.05)
            if is_locked_file(self.process_lock):
                raise UserError(f"--resume {self.path}: a process of an earlier command still trains here; end it")
            yield

    def remove_if_new(self) -> None:
        """Takes the folder away again if nothing has been done in it."""
        if not self.config.exists():
            shutil.rmtree(self.path)


@dataclass(frozen=True, kw_only=True)
class RunRecord:
    """What config.json says: all that a run's result depends on, and where its data lies."""

    training: TrainConfig
    train: str
    val: str
    data: dict[str, str]
    """Fingerprints of the two splits."""
    encoder: JsonObject
    recipe: str = "guide"
    workers: int = 1
    use_gpu: bool | None = None
    """None takes GPUs where there are some."""

    def write(self, folder: RunFolder) -> None:
        """Writes config.json."""
        write_json(
            folder.config,
            {
                "recipe": self.recipe,
                "training": self.training.to_json(),
                "run": {"workers": self.workers, "use_gpu": self.use_gpu},
                "latents": {"train": self.train, "val": self.val},
                "data": self.data,
                "encoder": self.encoder,
            },
        )

    @classmethod
    def read(cls, folder: RunFolder) -> RunRecord:
        """Raises UserError if there is no run there."""
        try:
            content = json.loads(folder.config.read_text(encoding="utf-8"))
            latents = content["latents"]
            return cls(
                training=build(TrainConfig, content["training"], f"{folder.config}: training"),
                train=latents["train"],
                val=latents["val"],
                data=content["data"],
                encoder=content["encoder"],
                recipe=content["recipe"],
                workers=content["run"]["workers"],
                use_gpu=content["run"]["use_gpu"],
            )
        except (FileNotFoundError, NotADirectoryError, KeyError, TypeError):
            raise UserError(
                f"--resume {folder.path}: holds no run of train.py (a config.json of one); give its folder in "
                "experiments/"
            ) from None
        except (OSError, ValueError) as error:
            raise UserError(f"{folder.config}: is damaged ({type(error).__name__}: {error}); start a new run") from None


def run_name(config: TrainConfig) -> str:
    """Such as latent_vit_d6_h8_lr0.0001_bs64_ep60."""
    return f"latent_vit_d{config.depth}_h{config.heads}_lr{config.lr:g}_bs{config.batch_size}_ep{config.epochs}"


def new_folder(name: str, root: Path = Path("experiments")) -> Path:
    """The absolute path of a folder `<name>_<time>` for what starts now."""
    root.mkdir(parents=True, exist_ok=True)
    name = f"{name}_{datetime.now():%Y%m%d_%H%M%S}"
    for suffix in ("", *(f"_{i}" for i in range(2, 100))):  # another may start within the same second
        folder = root / f"{name}{suffix}"
        try:
            folder.mkdir()
        except FileExistsError:
            continue
        return folder.absolute()
    raise JobError(f"{root / name}: a hundred runs of this name have started within a second")


def differences(given: JsonObject, config: TrainConfig) -> list[str]:
    """ "lr 0.001, was 0.0001" for each hyperparameter that is given with another value than the configuration's."""
    saved = config.to_json()
    return [f"{name} {value}, was {saved[name]}" for name, value in given.items() if value != saved[name]]
