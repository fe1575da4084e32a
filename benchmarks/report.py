"""What report.html costs: its size, the time to write it, and the time a browser takes to draw it, for 500 trials.

The floor of the size is Plotly's own script, which the page holds; that of drawing is an empty page with that script.

    python -m benchmarks.report [--trials 500] [--epochs 60]      # needs Debian's chromium
"""

from __future__ import annotations

import shutil
import statistics
import tempfile
import time
from pathlib import Path

from playwright.sync_api import Browser, sync_playwright
from plotly.offline import get_plotlyjs

from fervit.cli import Parser, positive_int, run
from fervit.errors import UserError
from fervit.report.write import write_report
from tests.conftest import QUIET
from tests.report.conftest import finish, write_sweep

ROUNDS = 5


def main() -> None:
    parser = Parser(description=__doc__.partition("\n")[0] if __doc__ else "")
    parser.add_argument("--trials", type=positive_int, default=500, help="of the sweep that is made up")
    parser.add_argument("--epochs", type=positive_int, default=60, help="of a trial that is not stopped")
    args = parser.parse()
    chromium = shutil.which("chromium")
    if chromium is None:
        raise UserError("chromium: is not installed; apt-get install chromium")
    with tempfile.TemporaryDirectory() as name, sync_playwright() as playwright:
        folder, empty = Path(name) / "sweep", Path(name) / "empty.html"
        search = {"trials": args.trials, "sampler": "random", "warm_start": []}
        write_sweep(folder, trials=args.trials, epochs=args.epochs, search=search, early_stopping={"scheduler": "none"})
        finish(folder)
        write_report(folder)  # a first call that imports modules
        started = time.perf_counter()
        page = write_report(folder)
        wrote = time.perf_counter() - started
        done = "<script>document.documentElement.dataset.drawn = performance.now()</script>"
        empty.write_text(f"<script>{get_plotlyjs()}</script>{done}")
        size, floor = page.stat().st_size, empty.stat().st_size
        print(f"{args.trials} trials x {args.epochs} epochs: {size / 1e6:.2f} MB, of it Plotly {floor / 1e6:.2f} MB")
        print(f"written in {wrote:.2f} s")
        browser = playwright.chromium.launch(executable_path=chromium, args=list(QUIET))
        drawn: dict[Path, list[float]] = {page: [], empty: []}
        for _ in range(ROUNDS):
            for path, times in drawn.items():
                times.append(_draw(browser, path))
        browser.close()
        for path, what in ((page, "report"), (empty, "Plotly's script alone")):
            times = drawn[path]
            print(f"drawn, {what}: median {statistics.median(times):.2f} s, {min(times):.2f} to {max(times):.2f}")


def _draw(browser: Browser, path: Path) -> float:
    """Measures the seconds from the start of the page until all figures are drawn."""
    page = browser.new_page()
    page.goto(path.as_uri())
    page.wait_for_function("document.documentElement.dataset.drawn")
    seconds = float(page.evaluate("document.documentElement.dataset.drawn")) / 1000
    page.close()
    return seconds


if __name__ == "__main__":
    run(main)
