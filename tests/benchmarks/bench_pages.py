"""How long pages take to open in Chromium: a series of 600 slices of 512 x 512 pixels, a gallery and an index of 5,000.

python tests/benchmarks/bench_pages.py [--repeats 5]

Times go from the start of the navigation to the first paint with content, and to the first picture of the series or the
end of loading. Chromium has no graphics card here.
"""

import argparse
import statistics
import sys
import tempfile
from pathlib import Path

import torch
from bench_volume import write_volume
from measuring import row
from torch.nn import functional

sys.path.insert(0, str(Path(__file__).resolve().parents[2]))

from anomalib_zsad.scoring.scores import SliceScores
from anomalib_zsad.screening.options import ScreeningOptions, VolumeOptions
from anomalib_zsad.screening.screen import screen
from tests.pages.browser import Browser
from tests.pages.conftest import write_large_gallery
from tests.pages.large_run import write_large_run
from tests.screening.bright_spot import BrightSpotScorer

SLICES, SIDE, MANY = 600, 512, 5000
_TIMES = """
const paint = performance.getEntriesByType("paint").find((one) => one.name === "first-contentful-paint");
const [load] = performance.getEntriesByType("navigation");
return [paint ? paint.startTime : 0, load.domContentLoadedEventEnd, load.loadEventEnd].map((ms) => ms / 1000);
"""
_DRAWN = "(performance.getEntriesByName('first slice')[0]?.startTime ?? 0) / 1000"


class Smooth(BrightSpotScorer):
    """Whose maps are as smooth as those of the methods."""

    def __call__(self, images: torch.Tensor) -> SliceScores:
        """Score."""
        answer = super().__call__(images)
        coarse = functional.avg_pool2d(answer.anomaly_map[:, None], 32)
        heat = functional.interpolate(coarse, images.shape[-2:], mode="bicubic", align_corners=False)[:, 0].clamp(0, 1)
        return SliceScores(heat.flatten(1).amax(1), heat, 0.1 * answer.score, 0.1 * heat)


def series_page(folder: Path) -> Path:
    """The page of a long series."""
    write_volume(folder / "in" / "volume.nii.gz", SIDE, SLICES)
    options = ScreeningOptions(volume=VolumeOptions(window="brain", output_types=("nifti",)), progress=False)
    screen(folder / "in", folder / "out", Smooth(), options)
    return next((folder / "out").glob("*/report.html"))


def opened(browser: Browser, page: Path, *, series: bool) -> list[float]:
    """Seconds to the first paint, to the end of parsing, and to the end of loading or the first picture."""
    browser.open(page)
    browser.until("document.readyState === 'complete' && performance.getEntriesByType('paint').length")
    end = browser.until(_DRAWN) if series else None
    paint, parsed, loaded = browser.run(_TIMES)
    return [paint, parsed, end or loaded]


def main() -> None:
    """Print a row for each page."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--repeats", type=int, default=5)
    repeats = parser.parse_args().repeats
    with tempfile.TemporaryDirectory() as temporary:
        root = Path(temporary)
        (root / "series" / "in").mkdir(parents=True)
        (root / "profile").mkdir()
        (root / "index").mkdir()
        write_large_gallery(root / "gallery.html", MANY)
        write_large_run(root / "index", MANY)
        pages = {
            f"series of {SLICES} slices of {SIDE} px": series_page(root / "series"),
            f"gallery of {MANY:,} images": root / "gallery.html",
            f"index of {MANY:,} series": root / "index" / "index.html",
        }
        browser = Browser(root / "profile")
        try:
            for name, page in pages.items():
                found = [opened(browser, page, series=name.startswith("series")) for _ in range(repeats + 1)][1:]
                paint, parsed, end = (statistics.median(times) for times in zip(*found, strict=True))
                size = page.stat().st_size / 2**20
                row(f"opening the {name}", end, "s", "1.0", first_paint=paint, parsed=parsed, size_mib=size)
        finally:
            browser.driver.quit()


if __name__ == "__main__":
    main()
