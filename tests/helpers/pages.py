"""What the pages of the documentation hold: their fenced blocks, the commands in these, and their links."""

from __future__ import annotations

import re
import shlex
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

from tests.conftest import ROOT

GUIDE = ("README.md", *sorted(str(path.relative_to(ROOT)) for path in (ROOT / "docs").rglob("*.md")))
"""README and all pages of docs/, in all languages."""
FENCE = re.compile(r"(?:^<!-- (?P<mark>[^>]*?) -->\n)?^```(?P<kind>\w*)\n(?P<text>.*?)^```$", re.MULTILINE | re.DOTALL)
LINK = re.compile(r"(?<=\]\()(?P<path>[^)#\s]*)(?:#(?P<anchor>[^)\s]*))?(?=\))")
CALL = re.compile(r"(?:^|/)launch/(\w+)\.py$")


@dataclass(frozen=True)
class Block:
    """A fenced block of a page."""

    page: str
    line: int
    kind: str
    """Its language, such as "bash"."""
    mark: str
    """The comment above it: "run" for commands that the tests run, "file: NAME" for what they save."""
    text: str


def blocks(page: str) -> list[Block]:
    """Returns the fenced blocks of a page, which is named by its path in the repository."""
    text = (ROOT / page).read_text(encoding="utf-8")
    return [
        Block(page, text.count("\n", 0, found.start("kind")) + 1, found["kind"], found["mark"] or "", found["text"])
        for found in FENCE.finditer(text)
    ]


def lines_of(block: Block) -> list[str]:
    """Returns the commands of a block, each on one line, without comments."""
    joined = block.text.replace("\\\n", " ")
    return [line for text in joined.splitlines() if (line := re.sub(r"(^|\s+)#.*$", "", text).strip())]


def calls(line: str) -> Iterator[tuple[str, list[str]]]:
    """Yields each command of fervit in a line of a shell, also those within quotes: its name and its words."""
    lexer = shlex.shlex(line, posix=True, punctuation_chars="();&|")
    lexer.whitespace_split = True
    words = list(lexer)
    for i, word in enumerate(words):
        if " " in word:
            yield from calls(word)
        script = CALL.search(word)
        begins = i == 0 or words[i - 1] == "--" or _is_operator(words[i - 1])
        if word == "fervit" and begins and i + 1 < len(words):
            yield words[i + 1], _until_the_end(words[i + 2 :])
        elif script is not None and words[i - 1] == "python":
            yield script[1], _until_the_end(words[i + 1 :])


def _until_the_end(words: list[str]) -> list[str]:
    ends = [i for i, word in enumerate(words) if _is_operator(word)]
    return words[: ends[0]] if ends else words


def _is_operator(word: str) -> bool:
    return set(word) <= set("();&|")


def prose(page: Path) -> str:
    """Returns a page without its fenced blocks and without the entries that are made from docstrings."""
    return re.sub(r"^::: .*$", "", FENCE.sub("", page.read_text(encoding="utf-8")), flags=re.MULTILINE)


def links(page: Path) -> list[tuple[str, str]]:
    """Returns the path and the anchor of each link of a page, either of which may be empty."""
    text = re.sub(r"`[^`]*`", "", prose(page))
    return [(link["path"], link["anchor"] or "") for link in LINK.finditer(text)]


def anchors(page: Path) -> list[str]:
    """Returns the anchors of a page's headings in their order, as GitHub and the site make them."""
    found = []
    for heading in re.findall(r"^#+ (.+)$", prose(page), re.MULTILINE):
        bare = re.sub(r"\[([^]]*)\]\([^)]*\)", r"\1", heading).replace("`", "").lower()
        found.append(re.sub(r"[^\w\- ]", "", bare).strip().replace(" ", "-"))
    return found
