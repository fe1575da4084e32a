"""README and the pages of docs/: what they say to type is understood, what they name exists, and README is short."""

from __future__ import annotations

import argparse
import dataclasses
import re

import pytest
import yaml

import fervit
from fervit.commands.program import HOMES, home
from fervit.errors import UserError
from fervit.search.space.search_space import SearchSpace
from fervit.search.space.settings import Budget, Confirm, EarlyStopping, SearchSettings, TrialResources
from fervit.search.space.space_file import parse_space, read_space
from fervit.training.config import TrainConfig
from fervit.training.objective import Metric
from tests.conftest import ROOT
from tests.helpers.pages import GUIDE, LINK, Block, anchors, blocks, calls, lines_of

PAGES = (*GUIDE, "CONTRIBUTING.md", "CHANGELOG.md", "benchmarks/README.md", "third_party/README.md")
OF_OTHERS = {
    *("--requeue", "--no-kill", "--constraint", "--qos", "--signal", "--batch", "--nodelist", "--gres"),  # Slurm's
    *(
        "--submission-id",
        "--generate",
        "--logdir",
        "--no-deps",
        "--no-index",
        "--find-links",
    ),  # Ray's, TensorBoard's, pip's
}
"""Flags of other programs that the pages name."""


OWN_SPACES = {path.stem for path in (ROOT / "search_spaces").glob("*.yaml")}


def understood(command: str, words: list[str]) -> argparse.Namespace | None:
    """Parses a command of fervit as the program does. None stands for what needs no parser."""
    command = command.replace("-", "_")
    if command in ("completion", "__help", "__version"):
        return None
    assert command in HOMES, f"there is no command {command}"
    if command != "slurm":
        args = home(command).parser().parse(words)
        if command == "tune" and str(args.space) in OWN_SPACES:
            read_space(args.space, args.set)
        return args
    flags, rest = home(command).parser(words[0]).parse_some(words[: words.index("--")] if "--" in words else words)
    assert rest == [] or flags.what != "status"
    return home(flags.what).parser().parse(rest) if flags.what != "status" else None


@pytest.mark.parametrize("page", GUIDE)
def test_every_command_parses(page: str, capsys: pytest.CaptureFixture[str]) -> None:
    for block in blocks(page):
        if block.kind != "bash":
            continue
        for line in lines_of(block):
            for command, words in calls(line):
                try:
                    understood(command, words)
                except (SystemExit, UserError) as error:
                    pytest.fail(f"{page}:{block.line}: {line}\n{error}\n{capsys.readouterr().err}")


def test_commands_are_found_where_they_stand() -> None:
    job = "ray job submit -- python ~/fervit/launch/tune.py --space ~/x.yaml --resume"
    assert list(calls(f"ray exec c.yaml '{job}' && fervit doctor")) == [
        ("tune", ["--space", "~/x.yaml", "--resume"]),
        ("doctor", []),
    ]
    assert list(calls("git clone ... fervit && cd fervit && make demo")) == []
    block = Block("x", 1, "bash", "", "fervit train a \\\n    --lr 1e-3   # one\n# nothing\nfervit demo\n")
    assert lines_of(block) == ["fervit train a      --lr 1e-3", "fervit demo"]
    lines = [line for page in GUIDE for each in blocks(page) if each.kind == "bash" for line in lines_of(each)]
    assert sum(len(list(calls(line))) for line in lines) > 50


@pytest.mark.parametrize("page", GUIDE)
def test_every_flag_that_a_page_names_is_one(page: str) -> None:
    known = {"--version", *(flag for name in HOMES for flag in home(name).parser()._option_string_actions)}
    spans = re.findall(r"(?<!`)`([^`\n]+)`(?!`)", (ROOT / page).read_text(encoding="utf-8"))
    named = {flag for span in spans for flag in re.findall(r"(?<![\w-])--[a-z][\w-]*", span)}
    assert {flag for flag in named - OF_OTHERS if flag.replace("-", "_").replace("__", "--", 1) not in known} == set()


@pytest.mark.parametrize("page", GUIDE)
def test_python_and_spaces_are_what_they_seem(page: str) -> None:
    for block in blocks(page):
        if block.kind == "python":
            compile(block.text, f"{page}:{block.line}", "exec")
        elif block.kind == "yaml":
            raw = yaml.safe_load(block.text)
            parse_space({"name": "page", **raw}, f"{page}:{block.line}")
        assert block.kind, f"{page}:{block.line}: a block without a language"


def test_every_link_leads_somewhere() -> None:
    broken = []
    for page in PAGES:
        path = ROOT / page
        for link in LINK.finditer(re.sub(r"`[^`\n]*`", "", path.read_text(encoding="utf-8"))):
            if ":" in link["path"]:
                continue  # of another host
            target = (path.parent / link["path"]).resolve() if link["path"] else path
            there = target.exists()
            if not there or (link["anchor"] and target.suffix == ".md" and link["anchor"] not in anchors(target)):
                broken.append(f"{page}: {link[0]}#{link['anchor'] or ''}")
    assert broken == []


def test_readme_is_short() -> None:
    text = (ROOT / "README.md").read_text(encoding="utf-8")
    assert len(text.splitlines()) <= 120
    assert len(text.split()) <= 1000
    assert max(map(len, text.splitlines())) <= 120
    for picture in re.findall(r"!\[[^]]*\]\(([^)]+)\)", text):
        assert (ROOT / picture).stat().st_size < 300_000


def test_every_key_and_every_hyperparameter_is_explained() -> None:
    page = (ROOT / "docs" / "search-spaces.md").read_text(encoding="utf-8")
    sections = (SearchSpace, Metric, SearchSettings, EarlyStopping, TrialResources, Confirm, Budget)
    for section in sections:
        for field in dataclasses.fields(section):
            assert f"`{field.name}`" in page or f"{field.name}:" in page, field.name
    training = (ROOT / "docs" / "training.md").read_text(encoding="utf-8")
    for field in dataclasses.fields(TrainConfig):
        row = re.search(rf"^\| `--{field.name}`.*$", training, re.MULTILINE) or re.search(
            rf"^\|.*`--{field.name}`.*$", training, re.MULTILINE
        )
        assert row, field.name


def test_the_table_of_training_has_the_defaults_and_the_recipe() -> None:
    from fervit.training.recipes import RECIPES

    def said(value: object) -> str:
        if isinstance(value, bool):
            return "on" if value else "off"
        return f"{value:g}" if isinstance(value, int | float) else str(value)

    page = (ROOT / "docs" / "training.md").read_text(encoding="utf-8")
    rows = {cells[0]: cells[1:3] for cells in re.findall(r"^\| `--(\w+)` \| (\S+) \| (\S+) \|", page, re.MULTILINE)}
    assert len(rows) > 20
    for field in dataclasses.fields(TrainConfig):
        if field.name in rows:
            strong = RECIPES["strong"].get(field.name, field.default)
            found = [f"{float(cell):g}" if re.fullmatch(r"[\d.e-]+", cell) else cell for cell in rows[field.name]]
            assert found == [said(field.default), said(strong)], field.name


def test_every_public_name_is_documented() -> None:
    page = (ROOT / "docs" / "python.md").read_text(encoding="utf-8")
    names = [f"fervit.{name}" for name in fervit.__all__ if name not in ("encoders", "latents")]
    names += [f"fervit.{room}.{name}" for room in ("encoders", "latents") for name in getattr(fervit, room).__all__]
    for name in names:
        assert f"::: {name}\n" in page or f"`{name}`" in page, name


@pytest.mark.parametrize("page", [page for page in GUIDE if page.startswith("docs/ja/")])
def test_a_translated_page_has_the_same_commands(page: str) -> None:
    def commands(of: str) -> list[tuple[str, str, list[str]]]:
        return [(block.kind, block.mark, lines_of(block)) for block in blocks(of) if block.kind == "bash"]

    assert commands(page) == commands(page.replace("/ja/", "/"))
