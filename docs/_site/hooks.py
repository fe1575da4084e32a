"""Hooks of MkDocs: brings what pages link to outside docs/ into the site, and the Japanese pages into the navigation.

In the repository a page links to `../benchmarks/README.md` or `../cluster.yaml`, which a reader there can follow. In
the site the same link leads to a copy, so that it works without the repository.
"""

from __future__ import annotations

import json
import posixpath
import re
from pathlib import Path
from typing import Any

from mkdocs.config.defaults import MkDocsConfig
from mkdocs.structure.files import File, Files
from mkdocs.structure.nav import Navigation, Section
from mkdocs.structure.pages import Page

ROOT = Path(__file__).resolve().parents[2]
PAGES = {
    "benchmarks/README.md": "repository/benchmarks.md",
    "third_party/README.md": "repository/third_party.md",
    "CHANGELOG.md": "repository/changelog.md",
    "CONTRIBUTING.md": "repository/contributing.md",
}
"""The pages of the repository -> their place in the site."""
LINK = re.compile(r"(?<=\]\()(?P<path>[^)#\s:]+)(?P<anchor>#[^)\s]*)?(?=\))")
JAPANESE = "ja/"


def on_config(config: MkDocsConfig) -> MkDocsConfig:
    """Adds the Japanese pages that are there to the navigation, in the order of the English ones."""
    there = Path(config.docs_dir) / JAPANESE
    names = config.extra["sections_ja"]
    items: list[Any] = []
    for entry in config.nav or []:
        if isinstance(entry, str):
            items += [JAPANESE + entry] * (there / entry).is_file()
            continue
        ((title, pages),) = entry.items()
        if pages := [JAPANESE + page for page in pages if (there / page).is_file()]:
            items.append({names[title]: pages})
    if items:
        config.nav = [*(config.nav or []), {"日本語": items}]
    else:
        config.extra["alternate"] = []
    return config


def on_files(files: Files, config: MkDocsConfig) -> Files:
    """Adds the pages of the repository, what pages link to outside docs/, and the notebook as a page."""
    for source, target in PAGES.items():
        files.append(File.generated(config, target, content=(ROOT / source).read_text(encoding="utf-8")))
    notebook = Path(config.docs_dir, "quickstart.ipynb")
    if notebook.is_file():
        files.append(File.generated(config, "quickstart.md", content=_as_page(notebook)))
    wanted = set()
    for file in files.documentation_pages():
        for link in LINK.finditer(file.content_string):
            target = _in_repository(file.src_uri, link["path"])
            if target is None or target in PAGES or target.startswith("docs/"):
                continue  # a page that the site has
            if (ROOT / target).is_file():
                wanted.add(target)
    for target in sorted(wanted):
        files.append(File.generated(config, f"repository/{target}", abs_src_path=str(ROOT / target)))
    return files


def on_page_markdown(markdown: str, page: Page, config: MkDocsConfig, files: Files) -> str:
    """Leads links to files of the repository to their copies in the site."""
    here = page.file.src_uri
    if here in PAGES.values():  # a reader who searches wants the guide first
        page.meta.setdefault("search", {"boost": 0.3})

    def copied(link: re.Match[str]) -> str:
        target = _in_repository(here, link["path"])
        if target is None:
            return link[0]
        place = (
            target.removeprefix("docs/") if target.startswith("docs/") else PAGES.get(target, f"repository/{target}")
        )
        return posixpath.relpath(place, posixpath.dirname(here) or ".") + (link["anchor"] or "")

    return LINK.sub(copied, markdown)


def on_page_context(context: dict[str, Any], page: Page, config: MkDocsConfig, nav: Navigation) -> dict[str, Any]:
    """Shows a page with the navigation and the words of its own language, and the link to it in the other one."""
    japanese = page.file.src_uri.startswith(JAPANESE)
    config.theme["language"] = "ja" if japanese else "en"
    name = page.file.src_uri.removeprefix(JAPANESE)
    both = (Path(config.docs_dir) / JAPANESE / name).is_file()
    here = Path(name).with_suffix(".html").as_posix()
    for choice in config.extra["alternate"]:
        choice["link"] = here if choice["lang"] == "en" else JAPANESE + (here if both else "index.html")
    last = nav.items[-1] if nav.items else None
    if isinstance(last, Section) and last.title == "日本語":
        shown = Navigation(last.children if japanese else nav.items[:-1], nav.pages)
        shown.homepage = nav.homepage
        context["nav"] = shown
    return context


def _in_repository(page: str, link: str) -> str | None:
    """The path in the repository of what a page links to; None of a page links within docs/.

    Args:
        page: the page, as the site names it.
        link: the path in its link.
    """
    origin = {place: source for source, place in PAGES.items()}.get(page, f"docs/{page}")
    target = posixpath.normpath(posixpath.join(posixpath.dirname(origin), link))
    inside = target.startswith("docs/")
    return None if target.startswith("..") or (inside and origin.startswith("docs/")) else target


def _as_page(notebook: Path) -> str:
    """The text and the code of a notebook."""
    parts = []
    for cell in json.loads(notebook.read_text(encoding="utf-8"))["cells"]:
        text = "".join(cell["source"])
        parts.append(text if cell["cell_type"] == "markdown" else f"```python\n{text}\n```")
    return "\n\n".join(parts) + "\n"
