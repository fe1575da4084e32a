"""docs/ja: each page of the guide has its Japanese one, which says the same in the same order.

What a machine can compare is compared: fenced blocks, headings, tables, links, names in code and numbers. Whoever
changes an English page learns here what to change in the Japanese one.
"""

from __future__ import annotations

import re
from collections import Counter
from pathlib import Path

import pytest

from tests.conftest import ROOT
from tests.helpers.pages import anchors, blocks, links, prose

ENGLISH_ALONE = ("architecture.md", "decisions.md")
"""Pages for those who work on fervit."""
NAMES = sorted({path.name for path in (ROOT / "docs").glob("*.md")} - set(ENGLISH_ALONE))


def spans(page: Path) -> set[str]:
    """What stands in a page as code."""
    return {" ".join(span.split()) for span in re.findall(r"`([^`]+)`", prose(page))}


def table_rows(page: Path) -> list[int]:
    """The number of cells of each row of a page's tables."""
    bare = re.sub(r"`[^`\n]*`", "", prose(page))
    return [len(line.split("|")) - 2 for line in bare.splitlines() if line.startswith("|")]


def heading_levels(page: Path) -> list[int]:
    return [len(marks) for marks in re.findall(r"^(#+) .+$", prose(page), re.MULTILINE)]


def places(page: Path) -> Counter[tuple[str, int | None]]:
    """Counts the links of a page, each as the English page or file that it leads to and the number of the heading."""
    found: Counter[tuple[str, int | None]] = Counter()
    for path, anchor in links(page):
        target = path if ":" in path else str((page.parent / path).resolve().relative_to(ROOT))
        number = anchors(ROOT / target).index(anchor) if anchor else None
        found[target.replace("docs/ja/", "docs/"), number] += 1
    return found


def numbers(page: Path) -> set[str]:
    """The numbers in a page's prose, and in its code."""
    return set(re.findall(r"(?<![A-Za-z\d])\d[\d,.:]*\d|(?<![A-Za-z\d])\d", prose(page)))


def test_every_page_of_the_guide_has_its_japanese_one() -> None:
    assert sorted(path.name for path in (ROOT / "docs" / "ja").glob("*.md")) == NAMES


@pytest.mark.parametrize("name", NAMES)
def test_it_has_the_same_commands_and_code(name: str) -> None:
    def fenced(page: str) -> list[tuple[str, str, str]]:
        return [(block.kind, block.mark, block.text) for block in blocks(page)]

    assert fenced(f"docs/ja/{name}") == fenced(f"docs/{name}")


@pytest.mark.parametrize("name", NAMES)
def test_it_says_the_same_in_the_same_order(name: str) -> None:
    english, japanese = ROOT / "docs" / name, ROOT / "docs" / "ja" / name
    assert heading_levels(japanese) == heading_levels(english)
    assert table_rows(japanese) == table_rows(english)
    assert spans(english) - spans(japanese) == set()
    whole = " ".join(english.read_text(encoding="utf-8").split())
    assert {span for span in spans(japanese) if span not in whole} == set()
    assert numbers(english) - numbers(japanese) == set()


@pytest.mark.parametrize("name", NAMES)
def test_it_leads_to_the_same_places(name: str) -> None:
    english, japanese = places(ROOT / "docs" / name), places(ROOT / "docs" / "ja" / name)
    if name == "python.md":  # what is made from docstrings stands in the English page alone
        japanese = Counter({link: n for link, n in japanese.items() if link[0] != "docs/python.md"})
    assert japanese == english


@pytest.mark.parametrize("name", NAMES)
def test_every_paragraph_and_item_is_japanese(name: str) -> None:
    for line in prose(ROOT / "docs" / "ja" / name).splitlines():
        said = re.sub(r"`[^`]*`|<!--.*?-->", "", line)
        if said.strip(" :") and not said.startswith(("#", "|", "    ")):
            assert re.search(r"[\u3040-\u30ff]", said), line
