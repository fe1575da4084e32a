"""`make docs`: the site builds without a warning, asks no other host, and has every page and every public name."""

from __future__ import annotations

import json
import os
import re
import subprocess
import sys
from pathlib import Path

import pytest

import fervit
from tests.conftest import ROOT
from tests.helpers.pages import GUIDE

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


def test_a_browser_draws_it_and_finds_words(site: Path, browser: object) -> None:
    page = browser.new_page()  # type: ignore[attr-defined]
    asked: list[str] = []
    page.on("request", lambda request: asked.append(request.url))
    page.goto((site / "index.html").as_uri())
    assert page.locator("h1").first.inner_text().startswith("fervit")
    picture = page.locator("article img").first
    assert picture.evaluate("image => image.naturalWidth") > 500
    page.goto((site / "search-spaces.html").as_uri())
    assert page.locator("article table").count() > 5
    assert [url for url in asked if url.startswith("http")] == []
    page.close()
