"""The folder of a training run: the names of its files, its configuration, and the creation of a new folder."""

from __future__ import annotations

import json
import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import asdict, dataclass
from datetime import datetime
from pathlib import Path

from fervit.cluster.job import is_prepared
from fervit.errors import JobError, UserError
from fervit.io.disk import make_folder, make_new_folder, remove_tree
from fervit.io.files import JsonObject, is_locked_file, locked, write_json
from fervit.labels.dealing import Fractions
from fervit.labels.label_set import SEVEN, LabelSet, label_set_of
from fervit.parsing import build
from fervit.training.config import TrainConfig

ENDING_S = 10.0
"""The seconds that the process of a killed command is given to end."""


@dataclass(frozen=True)
class RunFolder:
    """The files in `experiments/<name>_<time>/`. `path` is absolute, since workers have other working directories."""

    path: Path

    @property
    def config(self) -> Path:
        """The configuration of the run, on which its result depends; see `RunRecord`."""
        return self.path / "config.json"

    @property
    def excluded(self) -> Path:
        """The faces that the run leaves out, if it was given lists of such."""
        return self.path / "excluded.jsonl"

    @property
    def environment(self) -> Path:
        """The versions, the hardware, the seed and the fingerprints of the data, as JSON."""
        return self.path / "environment.json"

    @property
    def summary(self) -> Path:
        """The state of the run and its best epoch, as JSON."""
        return self.path / "experiment_summary.json"

    @property
    def history(self) -> Path:
        """The results of all epochs, with a line of JSON for each."""
        return self.path / "history.jsonl"

    @property
    def best(self) -> Path:
        """The model of the best epoch."""
        return self.path / "checkpoints" / "best_model.pt"

    @property
    def last(self) -> Path:
        """The saved state from which `--resume` continues."""
        return self.path / "checkpoints" / "last.pt"

    @property
    def logs(self) -> Path:
        """The folder of TensorBoard's logs."""
        return self.path / "logs"

    @property
    def ray_log(self) -> Path:
        """The output of Ray and of the processes of the training."""
        return self.path / "ray.log"

    @property
    def events(self) -> Path:
        """The events that the workers send to the command that started them, with a line of JSON for each."""
        return self.path / ".events.jsonl"

    @property
    def stop(self) -> Path:
        """A file that exists while the workers are asked to stop after their current epoch."""
        return self.path / ".stop"

    @property
    def process_lock(self) -> Path:
        """The lock of the process that trains in this folder, which may outlive its command by a moment."""
        return self.path / ".process.lock"

    @property
    def finished(self) -> bool:
        """Whether the run has trained all its epochs."""
        try:
            return bool(json.loads(self.summary.read_text(encoding="utf-8"))["state"] == "finished")
        except (OSError, ValueError, KeyError):
            return False

    @contextmanager
    def locked(self) -> Iterator[None]:
        """Locks the folder, so that no second command trains in it.

        Raises:
            UserError: another command, or the process of an earlier one, still trains here.
        """
        with locked(self.path, "run"):
            deadline = time.monotonic() + ENDING_S
            while is_locked_file(self.process_lock) and time.monotonic() < deadline:
                time.sleep(0.05)
            if is_locked_file(self.process_lock):
                raise UserError(f"--resume {self.path}: a process of an earlier command still trains here; end it")
            yield

    @property
    def prepared(self) -> bool:
        """Whether the folder was made for a batch job in which no run has begun yet."""
        return is_prepared(self.path, self.config)

    def remove_if_new(self) -> None:
        """Removes the folder if no run has started in it, unless it was made for a batch job."""
        if not self.config.exists() and not self.prepared:
            remove_tree(self.path)


@dataclass(frozen=True, kw_only=True)
class RunRecord:
    """The content of config.json: everything on which the result of a run depends, and the paths of its data."""

    training: TrainConfig
    train: str
    val: str
    data: dict[str, str]
    """The fingerprints of the two splits, under "train" and "val"."""
    encoder: JsonObject
    label_set: LabelSet = SEVEN
    fractions: Fractions | None = None
    """How the validation split was taken out of the training split; None if it is one of its own."""
    recipe: str = "guide"
    """The name of a set of hyperparameters. "guide" is the training guide of the original LatentViT scripts."""
    workers: int = 1
    use_gpu: bool | None = None
    """True for a GPU for each worker, False for the CPU, None for GPUs if there are any."""
    exclude: JsonObject | None = None
    """What lists of faces left out (`Exclusion.record`); None without such lists."""
    votes: JsonObject | None = None
    """What the votes of taggers changed (`Votes.record`); None without such."""

    def write(self, folder: RunFolder) -> None:
        """Writes config.json."""
        write_json(
            folder.config,
            {
                "recipe": self.recipe,
                "training": self.training.to_json(),
                "run": {"workers": self.workers, "use_gpu": self.use_gpu},
                "latents": {"train": self.train, "val": self.val},
                **({"fractions": asdict(self.fractions)} if self.fractions else {}),
                "data": self.data,
                "encoder": self.encoder,
                "labels": list(self.label_set.classes),
                **({} if self.exclude is None else {"exclude": self.exclude}),
                **({} if self.votes is None else {"votes": self.votes}),
            },
        )

    @classmethod
    def read(cls, folder: RunFolder) -> RunRecord:
        """Reads config.json.

        Raises:
            UserError: the folder holds no run, or the file is damaged.
        """
        try:
            content = json.loads(folder.config.read_text(encoding="utf-8"))
            latents = content["latents"]
            return cls(
                training=build(TrainConfig, content["training"], f"{folder.config}: training"),
                train=latents["train"],
                val=latents["val"],
                data=content["data"],
                encoder=content["encoder"],
                label_set=label_set_of(content.get("labels", SEVEN.classes)),
                fractions=Fractions(**content["fractions"]) if "fractions" in content else None,
                recipe=content["recipe"],
                workers=content["run"]["workers"],
                use_gpu=content["run"]["use_gpu"],
                exclude=content.get("exclude"),
                votes=content.get("votes"),
            )
        except (FileNotFoundError, NotADirectoryError, KeyError, TypeError):
            way = "give its folder in experiments/"
            if (folder.path / "sweep.yaml").is_file():
                way = "it is a sweep's folder, with which `tune --resume` goes on"
            raise UserError(f"--resume {folder.path}: holds no training run (a config.json of one); {way}") from None
        except (OSError, ValueError) as error:
            raise UserError(f"{folder.config}: is damaged ({type(error).__name__}: {error}); start a new run") from None


def run_name(config: TrainConfig) -> str:
    """Returns the name of a run with these hyperparameters, such as latent_vit_d6_h8_lr0.0001_bs64_ep60."""
    return f"latent_vit_d{config.depth}_h{config.heads}_lr{config.lr:g}_bs{config.batch_size}_ep{config.epochs}"


EXPERIMENTS = Path("experiments")
"""The folder of all results, below the working directory."""


def new_folder(name: str, root: Path = EXPERIMENTS) -> Path:
    """Creates a folder `<name>_<time>`, and returns its absolute path.

    Args:
        name: the first part of the folder's name; "" for the time alone.
        root: the folder in which it is created.

    Raises:
        UserError: the root cannot be written to.
        JobError: there are too many folders of this name already.
    """
    try:
        return _new_folder(name, root)
    except OSError as error:
        raise UserError(
            f"{root.absolute()}: results cannot be written there ({error.strerror or error}); give --output_dir, or "
            "start the command in a folder that can be written to"
        ) from None


def _new_folder(name: str, root: Path) -> Path:
    make_folder(root)
    name = f"{name}_{datetime.now():%Y%m%d_%H%M%S}".lstrip("_")
    for suffix in ("", *(f"_{i}" for i in range(2, 100))):  # another run may start within the same second
        folder = root / f"{name}{suffix}"
        try:
            make_new_folder(folder)
        except FileExistsError:
            continue
        return folder.absolute()
    raise JobError(f"{root / name}: a hundred runs of this name have started within a second")


def differences(given: JsonObject, config: TrainConfig) -> list[str]:
    """Returns the hyperparameters that differ from those of a configuration, such as "lr 0.001, was 0.0001"."""
    saved = config.to_json()
    different = [name for name in saved if name in given and given[name] != saved[name]]
    return [f"{name} {given[name]}, was {saved[name]}" for name in different]
