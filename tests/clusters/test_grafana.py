"""The panels of clusters/grafana."""

from __future__ import annotations

import json
import re

from tests.conftest import GRAFANA, ROOT


def test_grafanas_file_shows_what_there_is() -> None:
    dashboard = json.loads(GRAFANA.read_text())
    sources = (ROOT / "fervit" / "search" / "workers" / "prometheus.py").read_text() + (
        ROOT / "fervit" / "encoding" / "job.py"
    ).read_text()
    ours = set(re.findall(r'(?:Gauge|Counter)\(\s*"(fervit_\w+)"', sources))
    text = " ".join(target["expr"] for panel in dashboard["panels"] for target in panel["targets"])
    shown = {name.removesuffix("_total") for name in re.findall(r"ray_(fervit_\w+)", text)}
    assert shown == ours
    assert len({panel["id"] for panel in dashboard["panels"]}) == len(dashboard["panels"])
