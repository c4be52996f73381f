"""A browser for the session, and pages to look at."""

import dataclasses
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from anomalib_zsad.calibration.decision_rule import DecisionRule
from anomalib_zsad.inspection.inspect_images import inspect_images
from anomalib_zsad.inspection.options import InspectionOptions
from anomalib_zsad.screening.options import ScreeningOptions, VolumeOptions
from anomalib_zsad.screening.screen import screen
from tests.inspection.bright_image import BrightImageScorer
from tests.screening.bright_spot import BrightSpotScorer
from tests.volumes.volume_builders import affines, write_nifti, write_series

try:
    from tests.pages.browser import Browser, programs
except ImportError:  # selenium is in the extra "dev"
    programs = None  # type: ignore[assignment]

SHAPE = (48, 40, 12)
SPOTS = {4: (10, 30, 760), 5: (10, 30, 880), 7: (24, 20, 745), 9: (38, 8, 780)}  # slice: column, row, value
BLANK = 0


@pytest.fixture(scope="session")
def browser(tmp_path_factory: pytest.TempPathFactory) -> Iterator["Browser"]:
    """Chromium."""
    if programs is None:
        pytest.skip("selenium is not installed")
    if programs() is None:
        pytest.skip("chromium and chromedriver are not installed")
    opened = Browser(tmp_path_factory.mktemp("profile"))
    yield opened
    opened.driver.quit()


def spotted_voxels() -> np.ndarray:
    """Soft noise, a few bright spots, a blank slice."""
    voxels = np.random.default_rng(0).integers(0, 200, SHAPE).astype(np.int16)
    for index, (column, row, value) in SPOTS.items():
        voxels[column - 2 : column + 3, row - 2 : row + 3, index] = value - 60
        voxels[column, row, index] = value
    voxels[:, :, BLANK] = -1000
    return voxels


class Spread(BrightSpotScorer):
    """Whose deviation is large, so that some slices are uncertain, and whose map of deviations is another one."""

    def __call__(self, images):
        answer = super().__call__(images)
        return dataclasses.replace(answer, map_std=0.3 * (1 - answer.anomaly_map))


@pytest.fixture(scope="session")
def run_folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A screened run: a series of CT, one of unknown modality with a warning, a truncated one."""
    root = tmp_path_factory.mktemp("run")
    write_series(root / "in" / "ct", spotted_voxels(), affines()["lps"])
    write_nifti(root / "in" / "v.nii.gz", spotted_voxels(), affines()["las"])
    broken = write_series(root / "in" / "broken", seed="broken") / "f002.dcm"
    broken.write_bytes(broken.read_bytes()[:-40])
    options = ScreeningOptions(
        volume=VolumeOptions(window="900/450", top_k=2), rule=DecisionRule("volumes", threshold=0.7)
    )
    screen(root / "in", root / "out", Spread(), options)
    return root / "out"


@pytest.fixture(scope="session")
def series_page(run_folder: Path) -> Path:
    """The page of the CT."""
    pages = list(run_folder.glob("*/report.html"))
    assert len(pages) == 2
    return next(page for page in pages if '"modality": "CT"' in (page.parent / "report.json").read_text())


@pytest.fixture(scope="session")
def gallery_page(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The page of an inspected folder: 30 images, one of them unreadable, some without pictures."""
    root = tmp_path_factory.mktemp("inspected")
    random = np.random.default_rng(0)
    for number in range(29):
        picture = random.integers(0, 60, (48, 64, 3)).astype(np.uint8)
        picture[10:20, 30:40] = 60 + 6 * number
        (root / "in" / f"line{number % 2}").mkdir(parents=True, exist_ok=True)
        Image.fromarray(picture).save(root / "in" / f"line{number % 2}" / f"part{number:02d}.png")
    (root / "in" / "torn.png").write_bytes(b"no picture")
    inspect_images(root / "in", root / "out", BrightImageScorer(), InspectionOptions(pictures=20))
    return root / "out" / "report.html"
