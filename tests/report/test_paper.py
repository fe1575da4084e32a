"""What `fervit report --paper` writes."""

from __future__ import annotations

import csv
import io
import os
import re
import shutil
import subprocess
from pathlib import Path
from typing import Any

import pytest
from defusedxml.ElementTree import parse
from matplotlib.text import Text

from fervit.plotting import COLUMN, PAGE, SMALL, draw, ink, painted
from fervit.report.html import Table
from fervit.report.paper.figures import figures_of
from fervit.report.paper.tables import LONGEST, NOT_IN_PAPERS, escaped, latex, write_table
from fervit.report.paper.write import captions, write_paper
from fervit.report.results import read_results
from fervit.report.sections import sections_of

WIDTHS = {"column": COLUMN, "page": PAGE}
EXPECTED = {"learning_curves", "importance", "parallel_coordinates", "slice_lr", "slice_scheduler", "timeline"}
EXPECTED |= {"confusion_matrix", "class_metrics", "attention_mean", "prediction_confidence"}


@pytest.fixture(scope="module")
def paper(sweep: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("manuscript") / "results"
    files = write_paper(sweep, folder)
    assert files == sorted(str(path.relative_to(folder)) for path in folder.rglob("*") if path.is_file())
    return folder


def test_every_figure_has_both_widths_in_both_formats(paper: Path) -> None:
    names = {path.name.rpartition("-")[0] for path in (paper / "figures").iterdir()}
    assert names >= EXPECTED
    for name in names:
        for width, inches in WIDTHS.items():
            pdf = (paper / "figures" / f"{name}-{width}.pdf").read_bytes()
            box = re.search(rb"/MediaBox \[ ?([\d.]+) ([\d.]+) ([\d.]+) ([\d.]+) ?\]", pdf)
            assert box is not None
            assert float(box[3]) - float(box[1]) == pytest.approx(72 * inches, abs=0.01), name
            assert b"/Type3" not in pdf  # journals refuse fonts of type 3
            svg = parse(paper / "figures" / f"{name}-{width}.svg").getroot()
            assert svg.get("width") == f"{72 * inches:g}pt"


@pytest.mark.parametrize("width", WIDTHS.values())
def test_type_can_be_read_and_lies_within_the_figure(
    sweep: Path, width: float, monkeypatch: pytest.MonkeyPatch
) -> None:
    shown: list[Text] = []
    original = Text.draw

    def recorded(text: Text, renderer: Any, *args: Any, **kwargs: Any) -> None:
        shown.append(text)
        original(text, renderer, *args, **kwargs)

    results = read_results(sweep)
    monkeypatch.setattr(Text, "draw", recorded)
    for figure in figures_of(results, sections_of(results)):
        drawn = painted(figure.painter, width)
        shown.clear()
        drawn.savefig(io.BytesIO(), format="pdf")
        assert drawn.get_figwidth() == pytest.approx(width)
        texts = [text for text in shown if text.get_visible() and text.get_text().strip()]
        assert len(texts) > 5, figure.name
        titles = [drawn.get_suptitle(), *(axes.get_title() for axes in drawn.axes)]
        assert not any(titles), figure.name
        drawn.draw_without_rendering()
        for text in texts:
            box, page, where = text.get_window_extent(), drawn.bbox, f"{figure.name} at {width}: {text.get_text()!r}"
            assert text.get_fontsize() >= SMALL, where
            assert box.x0 >= page.x0 - 1, where
            assert box.x1 <= page.x1 + 1, where
            assert box.y0 >= page.y0 - 1, where
            assert box.y1 <= page.y1 + 1, where


def test_the_captions_say_what_the_figures_show_and_what_must_be_known(sweep: Path, paper: Path) -> None:
    text = (paper / "captions.md").read_text()
    assert {line[3:] for line in text.splitlines() if line.startswith("## ")} >= EXPECTED
    assert "The best, trial " in text
    assert "Hover" not in text  # which only a screen can do
    results = read_results(sweep)
    results.environment["encoder"] = {**results.encoder, "untrained": True}
    figures = figures_of(results, sections_of(results))
    assert captions(results, figures).count("UNTRAINED") == len(figures)
    included = re.findall(
        r"\\includegraphics\[width=\\columnwidth[^]]*\]\{(.*?)\}", (paper / "figures.tex").read_text()
    )
    assert len(included) >= len(EXPECTED)
    assert all((paper / path).is_file() for path in included)


def test_tables_hold_the_same_in_all_forms(paper: Path) -> None:
    tables = {path.stem for path in (paper / "tables").glob("*.tex")}
    assert tables >= {"results", "baselines", "classes", "trials"}
    for name in tables:
        with (paper / "tables" / f"{name}.csv").open(newline="") as file:
            headings, *rows = csv.reader(file)
        text = (paper / "tables" / f"{name}.tex").read_text()
        kept = [i for i, heading in enumerate(headings) if name != "trials" or heading not in NOT_IN_PAPERS]
        assert all(escaped(row[i]) in text for row in rows[:LONGEST] for i in kept), name
        assert f"The first {LONGEST} of" in text or len(rows) <= LONGEST
        assert all(text.count(f"\\begin{{{kind}}}") == text.count(f"\\end{{{kind}}}") for kind in ("table", "tabular"))
        assert len(re.findall(r"(?<!\\)[{]", text)) == len(re.findall(r"(?<!\\)[}]", text))
        body = [line for line in text.splitlines() if line.endswith(r" \\")]
        assert {len(re.findall(r"(?<!\\)&", line)) + 1 for line in body} == {len(kept)}
        shown = (paper / "tables" / f"{name}.md").read_text().strip().splitlines()
        assert len(shown) == 2 + 2 + len(rows)


def test_latex_takes_any_name() -> None:
    table = Table(name="odd", caption="50 % of $x_1$ & more", headings=["a_b", "n"], rows=[["C:\\{x}~^<y>", "1e-3"]])
    text = latex(table)
    assert r"\caption{50 \% of \$x\_1\$ \& more}" in text
    assert r"C:\textbackslash{}\{x\}\textasciitilde{}\textasciicircum{}\textless{}y\textgreater{} & 1e-3 \\" in text
    assert r"\begin{tabular}{lr}" in text
    bracket = latex(Table(name="odd", caption="", headings=["a"], rows=[["[0, 1]"], ["*x"], ['--set "a|b" \u2265']]))
    assert "\n{}[0, 1] \\\\\n{}*x \\\\\n-{}-set ''a\\textbar{}b'' \\ensuremath{\\geq} \\\\" in bracket


@pytest.mark.skipif(shutil.which("pdflatex") is None, reason="there is no TeX on this machine")
@pytest.mark.parametrize("options", ["", "[twocolumn]"])
def test_latex_compiles_and_no_table_is_wider_than_the_text(options: str, paper: Path, tmp_path: Path) -> None:
    odd = [
        "[0, 1]",
        "*x",
        "--set 'a|b' \"c\" `d`",
        "C:\\{x}~^<y>&%$#_",
        "\u00b1\u00d7\u2265\u2264\u2192\u2212\u00b5\u2013\u2026\u00e9",
    ]
    write_table(Table(name="odd", caption=odd[3], headings=odd[:2], rows=[[one, one] for one in odd]), tmp_path)
    lines = [["a group with a long name", "0.123", "4", "what became of it, in many words of a whole sentence"]] * 95
    write_table(Table(name="long", caption="L", headings=["group", "mean of seeds", "n", "why"], rows=lines), tmp_path)
    head = f"\\documentclass{options}{{article}}\\usepackage{{booktabs,tabularx,graphicx}}\\begin{{document}}\n"
    own = "\\input{odd.tex}\\input{long.tex}\n"
    whole = f"\\input{{{paper / 'tables.tex'}}}\\clearpage\\input{{{paper / 'figures.tex'}}}\n"
    text = f"{head}{own}{whole}\\end{{document}}\n"
    (tmp_path / "paper.tex").write_text(text)
    command = ["pdflatex", "-interaction=nonstopmode", "-halt-on-error", f"-output-directory={tmp_path}", "paper.tex"]
    environment = {**os.environ, "TEXINPUTS": f".:{paper}:"}
    done = subprocess.run(command, cwd=tmp_path, capture_output=True, text=True, env=environment, timeout=120)
    assert done.returncode == 0, done.stdout[-2000:]
    log = (tmp_path / "paper.log").read_text(errors="replace")
    assert [line for line in log.splitlines() if "Overfull" in line or "too large" in line] == []


def test_text_on_a_colour_has_the_higher_contrast() -> None:
    assert (ink((1, 1, 1)), ink((0, 0, 0)), ink((0.8, 0.87, 0.94)), ink((0.03, 0.19, 0.42))) == (
        "black",
        "white",
        "black",
        "white",
    )


def test_the_same_results_give_the_same_files(sweep: Path, paper: Path, tmp_path: Path) -> None:
    results = read_results(sweep)
    figure = next(one for one in figures_of(results, sections_of(results)) if one.name == "class_metrics")
    for kind in ("pdf", "svg"):
        draw(figure.painter, tmp_path / f"again.{kind}", width=COLUMN)
        assert (tmp_path / f"again.{kind}").read_bytes() == (
            paper / "figures" / f"class_metrics-column.{kind}"
        ).read_bytes()
