"""The report in Debian's chromium, headless."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
from playwright.sync_api import Browser, Page

from fervit.report.write import write_report
from tests.report.conftest import finish, write_sweep


class Opened:
    """A page from disk, with the requests that it made and the errors that it logged."""

    def __init__(self, browser: Browser, path: Path, **options: Any) -> None:
        self.requests: list[str] = []
        self.complaints: list[str] = []
        self.page: Page = browser.new_page(**options)
        self.page.on("request", lambda request: self.requests.append(request.url))
        self.page.on("console", lambda message: self.complaints.append(message.text))
        self.page.on("pageerror", lambda error: self.complaints.append(str(error)))
        self.page.goto(path.as_uri())
        self.page.wait_for_function("document.documentElement.dataset.drawn")

    def sizes(self, selector: str) -> list[tuple[float, float]]:
        boxes = [element.bounding_box() for element in self.page.locator(selector).all()]
        return [(box["width"], box["height"]) for box in boxes if box is not None]


@pytest.fixture(scope="module")
def report(sweep: Path) -> Path:
    return write_report(sweep)


@pytest.mark.parametrize("width", [1280, 390])
@pytest.mark.parametrize("scheme", ["light", "dark"])
def test_it_opens_from_disk_without_an_error_or_a_request(
    browser: Browser, report: Path, width: int, scheme: str
) -> None:
    opened = Opened(browser, report, viewport={"width": width, "height": 800}, color_scheme=scheme)
    assert opened.complaints == []
    assert opened.requests == [report.as_uri()]
    plots = opened.sizes(".plot svg.main-svg:first-of-type")
    assert len(plots) == opened.page.locator(".plot").count() > 8
    assert all(w > 150 and h > 100 for w, h in plots)
    assert opened.page.evaluate("document.documentElement.scrollWidth") <= width
    paths = opened.page.locator("#curves .scatterlayer path.js-line").count()
    assert paths >= 3
    background, text = opened.page.evaluate(
        "[getComputedStyle(document.body).backgroundColor, getComputedStyle(document.body).color]"
    )
    assert _contrast(background, text) > 7
    opened.page.close()


def test_a_figure_is_saved_by_a_button_over_it(browser: Browser, report: Path, tmp_path: Path) -> None:
    opened = Opened(browser, report)
    opened.page.locator("#curves .plot").first.hover()
    with opened.page.expect_download() as saved:
        opened.page.locator("#curves .modebar-btn").first.click()
    assert saved.value.suggested_filename == "curves-1.svg"
    saved.value.save_as(tmp_path / "curves.svg")
    assert "<svg" in (tmp_path / "curves.svg").read_text(encoding="utf-8")
    opened.page.close()


def test_on_a_phone_captions_are_whole_and_what_is_wide_scrolls(browser: Browser, report: Path) -> None:
    opened = Opened(browser, report, viewport={"width": 390, "height": 800})
    captions = opened.sizes("caption span")
    assert len(captions) > 5
    assert all(width <= 390 for width, _ in captions)
    hidden, shadow = opened.page.evaluate(
        "[...document.querySelectorAll('.wide')].map((one) => [one.scrollWidth - one.clientWidth, "
        "getComputedStyle(one).backgroundImage])[0]"
    )
    assert hidden > 100
    assert "gradient" in shadow
    cards = opened.page.locator("#answer .cards > div")
    first, second = cards.nth(0).bounding_box(), cards.nth(1).bounding_box()
    assert first is not None
    assert second is not None
    assert first["y"] == second["y"]  # side by side
    opened.page.close()


def test_tables_sort_by_number_and_by_keyboard(browser: Browser, report: Path) -> None:
    opened = Opened(browser, report)
    table = opened.page.locator("#trials table")
    losses = [heading.inner_text().strip() for heading in table.locator("thead th").all()].index("validation loss")
    button = table.locator("thead button").nth(losses)
    for key, order in ((None, False), ("Enter", True)):
        if key is None:
            button.click()
        else:
            button.focus()
            opened.page.keyboard.press(key)
        cells = [row.locator("td").nth(losses - 1).inner_text() for row in table.locator("tbody tr").all()]
        numbers = [float(cell) for cell in cells if cell]
        assert numbers == sorted(numbers, reverse=order)
        assert len(numbers) == 40
        expected = "descending" if order else "ascending"
        assert table.locator("thead th").nth(losses).get_attribute("aria-sort") == expected
    opened.page.close()


def test_hovering_shows_a_trials_values(browser: Browser, report: Path) -> None:
    opened = Opened(browser, report, viewport={"width": 1280, "height": 900})
    mark = opened.page.locator("#curves .scatterlayer path.point").first
    mark.scroll_into_view_if_needed()
    box = mark.bounding_box()
    assert box is not None
    opened.page.mouse.move(box["x"] + box["width"] / 2, box["y"] + box["height"] / 2, steps=4)
    label = opened.page.locator("#curves .hovertext", has_text="macro-F1")  # on its way the mouse may cross another
    label.first.wait_for()
    text = label.first.text_content() or ""
    assert "trial" in text
    assert "macro-F1" in text
    assert "lr" in text
    opened.page.close()


def test_it_can_be_read_without_seeing_it_and_on_paper(browser: Browser, report: Path, tmp_path: Path) -> None:
    opened = Opened(browser, report, color_scheme="dark")
    page = opened.page
    for picture in page.locator(".plot, img").all():
        said = picture.get_attribute("aria-label") or picture.get_attribute("alt") or ""
        assert len(said) > 20
    assert page.locator("html").get_attribute("lang") == "en"
    assert page.locator("h1").count() == 1
    page.keyboard.press("Tab")
    assert page.evaluate("document.activeElement.className") == "skip"
    page.emulate_media(media="print")
    page.wait_for_timeout(300)
    assert page.evaluate("getComputedStyle(document.body).backgroundColor") == "rgb(255, 255, 255)"
    page.pdf(path=tmp_path / "report.pdf")
    assert (tmp_path / "report.pdf").stat().st_size > 50_000
    page.close()


@pytest.mark.long
def test_five_hundred_trials_stay_small(browser: Browser, tmp_path: Path) -> None:
    folder = tmp_path / "sweep"
    changes = {"trials": 500, "sampler": "random", "warm_start": []}
    metric = {"name": "f1_macro", "goal": "maximize", "against": "parameters"}
    write_sweep(folder, trials=500, epochs=60, search=changes, metric=metric, early_stopping={"scheduler": "none"})
    finish(folder)
    path = write_report(folder)
    assert path.stat().st_size < 8e6
    opened = Opened(browser, path)
    assert opened.complaints == []
    assert opened.page.locator("#pareto .plot").count() == 1
    assert opened.page.locator("#trials tbody tr").count() == 500
    opened.page.close()


def _contrast(one: str, other: str) -> float:
    """Returns the contrast ratio (WCAG 2) of two colours, in the notation of browsers."""

    def luminance(color: str) -> float:
        channels = [int(part) / 255 for part in color[color.index("(") + 1 : -1].split(",")[:3]]
        red, green, blue = (c / 12.92 if c <= 0.04045 else ((c + 0.055) / 1.055) ** 2.4 for c in channels)
        return 0.2126 * red + 0.7152 * green + 0.0722 * blue

    light, dark = sorted((luminance(one), luminance(other)), reverse=True)
    return (light + 0.05) / (dark + 0.05)
