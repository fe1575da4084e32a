"""Draws docs/pictures/report.png: the top of a sweep's report, its learning curves and the confusion matrix.

python docs/_site/picture.py experiments/demo_20260102_030405
"""

from __future__ import annotations

import io
import shutil
import sys
from pathlib import Path

from PIL import Image
from playwright.sync_api import sync_playwright

TARGET = Path(__file__).resolve().parents[1] / "pictures" / "report.png"
WIDTH, HEIGHT = 1280, 1000
PLOTS = ("#curves .js-plotly-plot", "#model .js-plotly-plot")


def main(sweep: Path) -> None:
    with sync_playwright() as playwright:
        browser = playwright.chromium.launch(executable_path=shutil.which("chromium"), args=["--no-sandbox"])
        page = browser.new_page(viewport={"width": WIDTH, "height": HEIGHT})
        page.goto((sweep / "report.html").absolute().as_uri())
        pictures = []
        for plot in PLOTS:  # they are drawn when they come into view
            found = page.locator(plot).first
            found.scroll_into_view_if_needed()
            page.wait_for_timeout(1500)
            pictures.append(Image.open(io.BytesIO(found.screenshot())))
        page.evaluate("scrollTo(0, 0)")
        box = page.locator("#answer table").first.bounding_box()
        assert box is not None
        clip = {"x": 70, "y": 0, "width": WIDTH - 140, "height": box["y"]}
        top = Image.open(io.BytesIO(page.screenshot(clip=clip, full_page=True)))
        browser.close()
    half = top.width // 2
    small = [picture.resize((half, round(picture.height * half / picture.width))) for picture in pictures]
    whole = Image.new("RGB", (top.width, top.height + max(picture.height for picture in small)), "white")
    whole.paste(top, (0, 0))
    for i, picture in enumerate(small):
        whole.paste(picture, (i * half, top.height))
    whole.quantize(256).save(TARGET, optimize=True)


if __name__ == "__main__":
    main(Path(sys.argv[1]))
