"""`make docs`: the site builds without a warning, asks no other host, and has every page and every public name."""

from __future__ import annotations

import functools
import http.server
import json
import os
import re
import subprocess
import sys
import threading
from collections.abc import Iterator
from pathlib import Path
from typing import TYPE_CHECKING

import pytest

import fervit
from tests.conftest import ROOT
from tests.helpers.pages import GUIDE

if TYPE_CHECKING:
    from playwright.sync_api import Browser, Locator, Page, Response

pytest.importorskip("mkdocs", reason="pip install 'fervit[docs]'")


@pytest.fixture(scope="module")
def site(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("site")
    build = [sys.executable, "-m", "mkdocs", "build", "--strict", "--quiet", "--site-dir", folder]
    environment = {**os.environ, "NO_MKDOCS_2_WARNING": "1"}
    done = subprocess.run(build, cwd=ROOT, env=environment, capture_output=True, text=True, check=False)
    assert (done.returncode, done.stdout + done.stderr) == (0, "")
    return folder


def test_it_has_every_page_and_finds_it(site: Path) -> None:
    index = json.loads((site / "search" / "search_index.json").read_text(encoding="utf-8"))
    found = {row["location"].partition("#")[0] for row in index["docs"]}
    for page in GUIDE:
        if page.startswith("docs/"):
            assert str(Path(page).relative_to("docs").with_suffix(".html")) in found
    assert {"repository/benchmarks.html", "quickstart.html"} <= found


def test_every_public_name_has_its_entry(site: Path) -> None:
    page = (site / "python.html").read_text(encoding="utf-8")
    for name in fervit.__all__:
        if name not in ("__version__", "encoders", "latents"):
            assert f'id="fervit.{name}"' in page, name
    assert "encoder_module" in page


def test_it_asks_no_other_host(site: Path) -> None:
    for path in site.rglob("*.html"):
        text = path.read_text(encoding="utf-8")
        loaded = re.findall(r'<(?:script|img|link|iframe|source)[^>]+(?:src|href)="?(https?:[^" >]+)', text)
        assert loaded == [], path


def test_files_of_the_repository_travel_with_it(site: Path) -> None:
    assert (site / "repository" / "cluster.yaml").is_file()
    assert not (site / "_site").exists()
    assert "../benchmarks" not in (site / "cluster.html").read_text(encoding="utf-8")


@pytest.fixture
def address(site: Path) -> Iterator[str]:
    """The site on loopback, where its search works."""
    handler = functools.partial(Quiet, directory=str(site))
    with http.server.ThreadingHTTPServer(("127.0.0.1", 0), handler) as server:
        threading.Thread(target=server.serve_forever, daemon=True).start()
        yield f"http://127.0.0.1:{server.server_address[1]}"
        server.shutdown()


class Quiet(http.server.SimpleHTTPRequestHandler):
    def log_message(self, format: str, *args: object) -> None:
        pass


def searched(page: Page, word: str) -> Locator:
    """Searches for a word, and returns the titles of what is found."""
    field = page.locator("input.md-search__input")
    field.fill(word)
    field.press("End")  # the page reads the field when a key goes up, which a value that is only set does not do
    found = page.locator(".md-search-result__item h1")
    found.first.wait_for()
    return found


def test_a_browser_draws_it_and_finds_words(address: str, browser: Browser) -> None:
    page = browser.new_page(viewport={"width": 1280, "height": 900})
    wrong: list[str] = []

    def look(response: Response) -> None:
        # The site's script looks for a sitemap of each language, which the English one has for all.
        here = response.url.startswith(f"{address}/")
        if not here or (response.status >= 400 and "/ja/sitemap" not in response.url):
            wrong.append(f"{response.status} {response.url}")

    page.on("response", look)
    page.goto(f"{address}/index.html")
    assert page.locator("h1").first.inner_text().startswith("fervit")
    assert page.locator("article img").first.evaluate("image => image.naturalWidth") > 500
    page.goto(f"{address}/search-spaces.html")
    assert page.locator("article table").count() > 5
    found = searched(page, "hyperband")
    assert any("Search: spaces" in title for title in found.all_inner_texts())
    assert wrong == []
    page.close()


def test_japanese_words_are_found_in_the_japanese_pages(address: str, browser: Browser) -> None:
    page = browser.new_page(viewport={"width": 1280, "height": 900})
    page.goto(f"{address}/python.html")
    page.goto(page.locator("a.md-select__link[hreflang=ja]").evaluate("link => link.href"))
    assert page.url == f"{address}/ja/python.html"
    assert page.locator("html").get_attribute("lang") == "ja"
    page.goto(page.locator("a.md-select__link[hreflang=en]").evaluate("link => link.href"))
    assert page.url == f"{address}/python.html"
    for word, title in (("混同行列", "結果とその読み方"), ("潜在コード", "データ")):
        page.goto(f"{address}/ja/index.html")
        assert page.locator("nav.md-nav--primary a", has_text="結果とその読み方").count() > 0
        found = searched(page, word)
        titles = found.all_inner_texts()
        assert any(title in each for each in titles)
        assert len(titles) < 20, f"{word} is found everywhere"
    page.close()
