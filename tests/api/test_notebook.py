"""The functions of the Python API in a real Jupyter kernel: what they show, and how a cell shows their results."""

from __future__ import annotations

from pathlib import Path

import nbclient
import nbformat
import pytest
from nbformat import NotebookNode
from nbformat.v4 import new_code_cell, new_notebook

from tests.conftest import ROOT

CELLS = {
    "faces": """
from pathlib import Path

import fervit
from fervit.images.demo_faces import write_demo_faces
write_demo_faces(Path("faces"), {"train": 4, "val": 2, "test": 1}, seed=0)""",
    "encode": 'fervit.encode("faces", "latents", encoder_type="demo")  # with a Ray that it starts and stops itself',
    "train": 'run = fervit.train("latents/train", "latents/val", recipe="strong", epochs=2, batch_size=16)\nrun',
    "ray": "import ray\nray.init(num_cpus=2, log_to_driver=False, configure_logging=False);",
    "tune": """
space = {
    "name": "notebook",
    "parameters": {"lr": {"distribution": "log_uniform", "min": 1e-4, "max": 1e-2}},
    "fixed": {"embed_dim": 16, "heads": 2, "depth": 1, "mlp_dim": 16},
    "search": {"trials": 2},
    "early_stopping": {"max_epochs": 2, "grace_epochs": 1},
}
result = fervit.tune(space, "latents")  # on the Ray that is there, which stays
assert ray.is_initialized()
result""",
    "evaluate": 'fervit.evaluate(result.model, "latents/test", say=None)',
    "predict": """
model = fervit.load(result.model, encoder_type="demo")
[face.label for face in model.predict(sorted(Path("faces").rglob("*.png"))[:2])]""",
    "help": "help(fervit.tune)",
    "mistake": 'fervit.tune({**space, "search": {"trails": 2}}, "latents")',
}


def shown(cell: NotebookNode, kind: str) -> str:
    """Returns the output of a cell of one kind: "stdout", "stderr", "execute_result", or "display_data"."""
    outputs = [each for each in cell.outputs if kind in (each.output_type, each.get("name"))]
    return "".join(each.text if "text" in each else each.data["text/plain"] for each in outputs)


@pytest.mark.extra
@pytest.mark.timeout(900)
def test_the_whole_way_in_a_notebook(tmp_path: Path) -> None:
    notebook = new_notebook(cells=[new_code_cell(source.strip()) for source in CELLS.values()])
    settings = {"metadata": {"path": str(tmp_path)}}
    client = nbclient.NotebookClient(notebook, timeout=600, kernel_name="python3", resources=settings)
    with pytest.raises(nbclient.exceptions.CellExecutionError, match="UserError") as error:
        client.execute()  # the last cell shows how a mistake looks
    assert "space: search: there is no key 'trails'; did you mean 'trials'?" in str(error.value)
    cell = dict(zip(CELLS, notebook.cells, strict=True))
    assert [name for name in CELLS if shown(cell[name], "stderr")] == []
    assert "encoded 49 images" in shown(cell["encode"], "stdout")
    assert "EncodeResult(latent_out='latents', done=49" in shown(cell["encode"], "execute_result")
    assert shown(cell["train"], "stdout").count("\nepoch ") == 2
    assert "state='finished', epochs=2" in shown(cell["train"], "execute_result")
    lines, result = shown(cell["tune"], "stdout"), shown(cell["tune"], "execute_result")
    assert "\x1b" not in lines  # no live table
    assert lines.startswith("name: notebook")  # all of it is there: Ray Tune's own reporter would clear the cell
    assert "2/2" in lines
    assert "failed" not in lines
    assert "Best: trial" in lines
    assert result.startswith("SweepResult(notebook: 2 trials")
    assert result.count("\n") < 8
    assert shown(cell["evaluate"], "stdout") == ""
    assert "Evaluation(test: 7 faces, accuracy" in shown(cell["evaluate"], "execute_result")
    assert shown(cell["predict"], "execute_result").count("'") == 4
    for words in ("space: 'str | Path | Mapping", "\n        overrides: ", "SweepResult"):
        assert words in shown(cell["help"], "stdout")


@pytest.mark.long
@pytest.mark.timeout(900)
def test_the_quickstart_runs(tmp_path: Path) -> None:
    notebook = nbformat.read(ROOT / "docs" / "quickstart.ipynb", as_version=4)
    settings = {"metadata": {"path": str(tmp_path)}}
    nbclient.NotebookClient(notebook, timeout=600, kernel_name="python3", resources=settings).execute()
    cells = [cell for cell in notebook.cells if cell.cell_type == "code"]
    assert [shown(cell, "stderr") for cell in cells] == [""] * len(cells)
    assert any("SweepResult(quickstart: 3 trials" in shown(cell, "execute_result") for cell in cells)
    assert shown(cells[-1], "execute_result") == "torch.Size([56, 7])"


def test_the_quickstart_is_short_and_holds_no_outputs() -> None:
    notebook = nbformat.read(ROOT / "docs" / "quickstart.ipynb", as_version=4)
    nbformat.validate(notebook)
    assert len(notebook.cells) <= 20
    assert [cell for cell in notebook.cells if cell.get("outputs")] == []
