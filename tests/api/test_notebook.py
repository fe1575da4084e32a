"""The whole way in a real Jupyter kernel: functions, what they show, and what a cell's last value looks like."""

from __future__ import annotations

from pathlib import Path

import nbclient
import nbformat
import pytest
from nbformat.v4 import new_code_cell, new_notebook

CELLS = (
    "from pathlib import Path\n\nimport fervit\nfrom fervit.images.demo_faces import write_demo_faces\n"
    'write_demo_faces(Path("faces"), {"train": 4, "val": 2, "test": 1}, seed=0)',
    'import ray\nray.init(num_cpus=2, log_to_driver=False, logging_level="ERROR");',
    'fervit.encode("faces", "latents", encoder_type="demo")',
    """
space = {
    "name": "notebook",
    "parameters": {"lr": {"distribution": "log_uniform", "min": 1e-4, "max": 1e-2}},
    "fixed": {"embed_dim": 16, "heads": 2, "depth": 1, "mlp_dim": 16},
    "search": {"trials": 2},
    "early_stopping": {"max_epochs": 2, "grace_epochs": 1},
}
result = fervit.tune(space, "latents")
result""",
    'fervit.evaluate(result.model, "latents/test", say=None)',
    "assert ray.is_initialized()\nray.shutdown()",
    'fervit.encode("faces", "anew", encoder_type="demo", limit=21)  # with a Ray that it starts and stops itself',
    'model = fervit.load(result.model, encoder_type="demo")\n'
    'faces = model.predict(sorted(Path("faces").rglob("*.png"))[:2])\n[face.label for face in faces]',
    "help(fervit.tune)",
    "fervit.tune({}, 'latents')",
)


@pytest.mark.slow
def test_the_whole_way_in_a_notebook(tmp_path: Path) -> None:
    notebook = new_notebook(cells=[new_code_cell(source) for source in CELLS])
    client = nbclient.NotebookClient(
        notebook, timeout=280, kernel_name="python3", resources={"metadata": {"path": str(tmp_path)}}
    )
    with pytest.raises(nbclient.exceptions.CellExecutionError, match="UserError: space: the key 'name' is missing"):
        client.execute()  # the last cell shows how a mistake looks
    Path("/tmp/face_nb.json").write_text(nbformat.writes(notebook))
