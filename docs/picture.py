"""Draws docs/demo.png from the last `make demo`: its faces, what its trials reached, and the confusion matrix.

python docs/picture.py experiments/demo_20260102_030405
"""

from __future__ import annotations

import sys
from pathlib import Path

import numpy as np
from matplotlib.figure import Figure
from PIL import Image
from tensorboard.backend.event_processing.event_accumulator import EventAccumulator

from fervit.images.demo_faces import contact_sheet
from fervit.labels.emotions import EMOTIONS


def main(sweep: Path) -> None:
    figure = Figure(figsize=(12, 8.4), layout="constrained")
    faces, below = figure.subfigures(2, 1, height_ratios=(1, 1.5))
    axes = faces.subplots()
    axes.imshow(np.asarray(contact_sheet(rows=2, seed=5)))
    axes.set_xticks([96 * i + 48 for i in range(7)], EMOTIONS)
    axes.xaxis.tick_top()
    axes.set_yticks([])
    axes.tick_params(length=0)
    left, right = below.subfigures(1, 2, width_ratios=(1, 1.9))
    axes = left.subplots()
    for log in sorted((sweep / "logs").glob("trial_????")):
        events = EventAccumulator(str(log)).Reload().Scalars("Validation/f1_macro")
        axes.plot([e.step for e in events], [e.value for e in events], marker="o", markersize=2.5)
    axes.set_xlabel("epoch")
    axes.set_ylabel("macro-F1 on validation")
    axes.set_title("the trials; ASHA stops those that fall behind")
    axes = right.subplots()
    axes.imshow(Image.open(sweep / "evaluation" / "confusion_matrix.png"))
    axes.axis("off")
    figure.savefig(Path(__file__).with_name("demo.png"), dpi=90)


if __name__ == "__main__":
    main(Path(sys.argv[1]))
