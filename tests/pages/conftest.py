"""A browser for the session, and pages to look at."""

import dataclasses
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from PIL import Image

from anomalib_zsad.calibration import Calibration
from anomalib_zsad.calibration.decision_rule import DecisionRule
from anomalib_zsad.evaluation.evaluation_page import write_page
from anomalib_zsad.evaluation.result_tables import Cell, Row
from anomalib_zsad.evaluation.volumes.cases import Failure
from anomalib_zsad.evaluation.volumes.readers_report import write_readers
from anomalib_zsad.inspection.inspect_images import inspect_images
from anomalib_zsad.inspection.options import InspectionOptions
from anomalib_zsad.metrics import METRICS
from anomalib_zsad.pages.gallery import Encoder, write_gallery
from anomalib_zsad.pages.gallery_selection import Shown
from anomalib_zsad.pages.thumbnails import make_thumbnail
from anomalib_zsad.records.image_records import ImageRecord
from anomalib_zsad.records.inspection_report import ImageThresholds, InspectionReport
from anomalib_zsad.screening.options import ScreeningOptions, VolumeOptions
from anomalib_zsad.screening.screen import screen
from anomalib_zsad.volumes.options import ReadingOptions
from tests.evaluation.volumes.volume_samples import flat_calibration, simulated_set
from tests.inspection.bright_image import BrightImageScorer
from tests.pages.large_run import write_large_run
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
def long_run(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """What is left by a run of so many series that they are searched."""
    folder = tmp_path_factory.mktemp("long_run")
    write_large_run(folder, 40)
    return folder


@pytest.fixture(scope="session")
def series_page(run_folder: Path) -> Path:
    """The page of the CT."""
    pages = list(run_folder.glob("*/report.html"))
    assert len(pages) == 2
    return next(page for page in pages if '"modality": "CT"' in (page.parent / "report.json").read_text())


@pytest.fixture(scope="session")
def flat_page(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The page of images that have no place in space."""
    root = tmp_path_factory.mktemp("flat")

    def without_position(dataset: Any, _: int) -> None:
        del dataset.ImagePositionPatient

    write_series(root / "in", spotted_voxels(), affines()["lps"], edit=without_position)
    options = ScreeningOptions(reading=ReadingOptions(mode="2d"), volume=VolumeOptions(window="900/450"))
    screen(root / "in", root / "out", BrightSpotScorer(), options)
    return next((root / "out").glob("*/report.html"))


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


@pytest.fixture(scope="session")
def judged_gallery_page(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A page with a calibration, of images that lie in a folder of normal and one of abnormal ones."""
    root = tmp_path_factory.mktemp("judged")
    for number in range(24):
        place = root / "in" / ("scratch" if number % 3 else "good")
        place.mkdir(parents=True, exist_ok=True)
        Image.fromarray(np.full((40, 30), 10 + 9 * number, np.uint8)).save(place / f"part{number:02d}.png")
    scores = tuple((float(value),) for value in np.linspace(0.05, 0.4, 39))
    calibration = Calibration("images", {"image": scores, "mask": scores}, {"model.model": "BrightImage"})
    inspect_images(
        root / "in", root / "out", BrightImageScorer(), InspectionOptions(DecisionRule("images", calibration))
    )
    return root / "out" / "report.html"


class StoredOnce:
    """Pictures of thousands of images: a few, again and again."""

    def __init__(self, names: list[str]) -> None:
        self.places = {name: place for place, name in enumerate(names)}
        random = np.random.default_rng(0)
        self.kinds = []
        for _ in range(8):
            coarse = random.integers(0, 255, (30, 40, 3)).astype(np.uint8)
            picture = np.asarray(Image.fromarray(coarse).resize((1024, 768)))
            heat = np.asarray(Image.fromarray(random.random((6, 6)).astype(np.float32)).resize((256, 256)))
            self.kinds.append((picture, heat))
        self.thumbnails = [make_thumbnail(*kind) for kind in self.kinds]
        encoder = Encoder.for_images(len(names), 400, 0.5)
        self.large = [encoder(picture, heat, heat) for picture, heat in self.kinds]

    def pictures(self, place: int) -> dict:
        return self.large[place % 8]

    def thumbnail(self, place: int) -> dict:
        return self.thumbnails[place % 8]


MODEL = {"class_name": "part", "model": ""}


def write_large_gallery(page: Path, images: int) -> None:
    """The page of thousands of images, of which most have thumbnails only."""
    scores = np.sort(np.random.default_rng(0).random(images))[::-1]
    records = [
        ImageRecord(f"line{i % 7}/camera{i % 3}/part_{i:06d}.png", 1024, 768, float(s), 0.05, None, None,
                    "normal", 0.9, 500.5, 300.5, 0.1)
        for i, s in enumerate(scores)
    ]  # fmt: skip
    shown = Shown(400, None)
    for place, record in enumerate(records):
        shown.add(record.image, record.score or 0.0, place)
    report = InspectionReport(
        statement="Synthetic.", calibrated=False, thresholds=ImageThresholds(None, 0.5), model=MODEL,
        decisions={}, uncertainty=1.0, pages=True, pictures=400, device=None, images=images, flagged=0,
        counts=dict.fromkeys(("abnormal", "uncertain", "normal", "unreadable"), 0), turned=0, skipped={}, reading={},
        files=(),
    )  # fmt: skip
    write_gallery(page, records, shown, report, StoredOnce([record.image for record in records]), page.parent)


@pytest.fixture(scope="session")
def large_gallery_page(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The page of 5,000 images."""
    page = tmp_path_factory.mktemp("large") / "report.html"
    write_large_gallery(page, 5000)
    return page


@pytest.fixture(scope="session")
def two_series(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A run of a study of two series of one place, of which one has half as many slices."""
    root = tmp_path_factory.mktemp("study")
    voxels = np.random.default_rng(0).integers(0, 200, (40, 36, 12)).astype(np.int16)
    voxels[10:14, 10:14, 6] = 900

    def acquired(dataset: Any, _: int) -> None:
        dataset.StudyInstanceUID = "1.2.3.4"
        dataset.Modality = "MR"
        dataset.EchoTime, dataset.RepetitionTime, dataset.ScanningSequence = 90, 4000, ["SE"]
        dataset.SeriesDescription = "SECRET description"

    affine = affines()["lps"]
    half = affine.copy()
    half[:3, 2] *= 2
    write_series(root / "in" / "a", voxels, affine, edit=acquired)
    write_series(root / "in" / "b", voxels[:, :, ::2], half, seed="other", edit=acquired)
    screen(root / "in", root / "out", BrightSpotScorer(), ScreeningOptions(volume=VolumeOptions(window="900/450")))
    return root / "out"


@pytest.fixture(scope="session")
def evaluation_page(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The page of an evaluation of simulated volumes, one of which failed."""
    folder = tmp_path_factory.mktemp("evaluated")
    volumes = simulated_set(24, 0, flat_calibration(0.62))
    volumes = dataclasses.replace(volumes, failures=(Failure("series-bad", "the file is truncated"),))
    files = write_readers(folder, [volumes], {})
    row = Row("set", "brain", "deployable", dict.fromkeys(METRICS, Cell(0.9)), 10, 1, ("a note",))
    return write_page(folder, "BayesPFL", "ViT-L-14-336", [row], [volumes], {"model": "BayesPFL"}, files)
