"""A sweep on a real Ray is steered by the command while it runs."""

from __future__ import annotations

from pathlib import Path

import pytest
import yaml

from fervit.search.records.sweep_folder import SweepFolder
from tests.conftest import SMALL_SPACE, Command
from tests.helpers.host_sweeps import epochs_of
from tests.helpers.processes import alone, launch, wait_until
from tests.helpers.sweeps import leaderboard


@pytest.mark.extra
def test_a_sweep_is_held_and_steered_while_it_runs(latents_folder: Path, tmp_path: Path, command: Command) -> None:
    raw = {**yaml.safe_load(SMALL_SPACE), "name": "steered"}
    raw["search"] |= {"trials": 2, "sampler": "random"}
    raw["early_stopping"] = {"scheduler": "none", "max_epochs": 60}
    raw["fixed"]["batch_size"] = 2
    (tmp_path / "steered.yaml").write_text(yaml.safe_dump(raw, sort_keys=False))
    words = ("--space", tmp_path / "steered.yaml", "--latents", latents_folder)
    tune = launch("tune", *words, cwd=tmp_path, env=alone())

    def sweep() -> Path | None:
        return next((tmp_path / "experiments").glob("steered_*"), None)

    def trains() -> bool:
        folder = sweep()
        return folder is not None and SweepFolder(folder).journal.is_file() and len(epochs_of(folder)) > 0

    assert wait_until(lambda: trains() or tune.returncode is not None), tune.printed
    folder = sweep()
    assert folder is not None
    for request in (("pause",), ("stop", "0"), ("add", "heads=3 embed_dim=12")):
        asked = command("control", folder, *request)
        assert asked.status == 0, asked.err
        assert "takes it up within seconds" in asked.out
    assert tune.says("you asked: add"), tune.printed
    assert command("control", folder, "go").status == 0
    assert "Traceback" not in tune.ended()
    assert tune.returncode == 0, tune.printed[-3000:]
    rows = {int(row["trial"]): row for row in leaderboard(folder)}
    assert sorted(rows) == [0, 1, 2]
    assert (rows[2]["heads"], rows[2]["embed_dim"], rows[2]["state"]) == ("3", "12", "finished")
    assert (rows[0]["state"], "by hand" in rows[0]["why"]) == ("stopped", True)
    assert "by hand" in command("control", folder, "why", "0").out
    assert "by hand" in (folder / "report.html").read_text()
    verified = command("verify", folder)
    assert verified.status == 0, verified.out


@pytest.mark.long
def test_a_sweep_that_is_held_says_so_when_it_goes_on_and_one_ctrl_c_ends_it(
    latents_folder: Path, small_space: Path, tmp_path: Path, command: Command
) -> None:
    words = ("--space", small_space, "--latents", latents_folder, "--set", "early_stopping.max_epochs=1")
    words = (*words, "--set", "confirm.top=1")
    first = launch("tune", *words, "--set", "search.trials=1", cwd=tmp_path, env=alone())
    first.ended()
    assert first.returncode == 0, first.printed
    (folder,) = (tmp_path / "experiments").iterdir()
    assert command("control", folder, "pause").status == 0
    held = launch("tune", *words, "--set", "search.trials=2", "--resume", cwd=tmp_path, env=alone())
    assert held.says("you asked: pause"), held.printed
    held.interrupt()
    held.ended()
    assert (held.returncode, "--resume" in held.printed.splitlines()[-1]) == (130, True), held.printed
    held = launch("tune", *words, "--set", "search.trials=2", "--resume", cwd=tmp_path, env=alone())
    assert held.says("no trials begin, as you asked: "), held.printed
    assert command("control", folder, "go").status == 0
    held.ended()
    assert held.returncode == 0, held.printed
