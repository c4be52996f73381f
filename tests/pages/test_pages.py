"""Pages without a browser: what is in them, how large they are, that they are whole, and safe to open."""

import json
import re
from html.parser import HTMLParser
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from PIL import Image

from anomalib_zsad.calibration.decision_rule import DecisionRule
from anomalib_zsad.inspection.inspect_images import inspect_images
from anomalib_zsad.inspection.options import InspectionOptions
from anomalib_zsad.outputs.exit_codes import ExitCode
from anomalib_zsad.pages import slice_pictures
from anomalib_zsad.pages.document import number, plain, safe_json, score
from anomalib_zsad.pages.encoding import LADDER, Quality, jpeg, reduce_map, reduced_size, store_map
from anomalib_zsad.pages.grey_codes import GreyCodes
from anomalib_zsad.pages.slice_pictures import SlicePictures
from anomalib_zsad.pages.thumbnails import PER_SHEET
from anomalib_zsad.scoring.scores import SliceScores
from anomalib_zsad.screening.options import ScreeningOptions, VolumeOptions
from anomalib_zsad.screening.screen import screen
from anomalib_zsad.screening.screen_volume import screen_volume
from anomalib_zsad.volumes.slice_stack import SliceStack
from anomalib_zsad.volumes.volume import SliceSource, Units, Volume
from anomalib_zsad.volumes.windowing import Window
from tests.inspection.bright_image import BrightImageScorer
from tests.pages.conftest import write_large_gallery
from tests.screening.bright_spot import BrightSpotScorer
from tests.volumes.volume_builders import marked_voxels, write_series

HOSTILE = "</script><script>alert(1)</script><img src=x onerror=alert(2)>\u2028'\"&"


class Reader(HTMLParser):
    """Scripts, addresses and event handlers of a page."""

    def __init__(self, page: str) -> None:
        super().__init__()
        self.scripts: list[dict[str, str | None]] = []
        self.addresses: list[str] = []
        self.odd: list[str] = []
        self.images = 0
        self.policy = ""
        self.feed(page)

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        values = dict(attrs)
        self.odd += [f"{tag} {name}" for name in values if name.startswith("on") or name == "style"]
        self.addresses += [str(values[name]) for name in ("src", "href") if name in values]
        self.images += tag == "img"
        if tag == "script":
            self.scripts.append(values)
        if values.get("http-equiv") == "Content-Security-Policy":
            self.policy = str(values["content"])


def voxels_of(shape: tuple[int, int, int], seed: int = 0) -> np.ndarray:
    return np.random.default_rng(seed).integers(0, 900, shape).astype(np.int16)


def make_volume(shape: tuple[int, int, int]) -> Volume:
    """CT with realistic noise (8 HU) around smooth anatomy, in one piece of memory."""
    from scipy.ndimage import gaussian_filter

    random = np.random.default_rng(0)
    anatomy = gaussian_filter(random.standard_normal(shape[:2]), 6).astype(np.float32)
    noise = random.normal(0, 8, (*shape[:2], 8)).astype(np.float32)
    plane = 35 + 12 * anatomy / anatomy.std()
    across = np.hypot(*np.meshgrid(*(np.linspace(-1, 1, length) for length in shape[:2]), indexing="ij"))
    plane[across > 0.9] = -1000
    voxels = np.empty(shape, np.float32, order="F")
    for index in range(shape[2]):
        voxels[:, :, index] = plane + noise[:, :, index % 8]
    sources = tuple(SliceSource("", None, None) for _ in range(shape[2]))
    return Volume(voxels, np.diag([0.45, 0.45, 1.0, 1.0]), "CT", Units.HOUNSFIELD, 2, sources)


class SmoothScorer:
    """A smooth map that has nothing to do with the image."""

    def __call__(self, images: torch.Tensor) -> SliceScores:
        rows = torch.linspace(0, 3, images.shape[-2])[:, None]
        columns = torch.linspace(0, 4, images.shape[-1])[None]
        heat = (0.5 + 0.5 * torch.sin(rows) * torch.cos(columns)).expand(len(images), -1, -1)
        return SliceScores(heat.flatten(1).amax(1), heat, torch.zeros(len(images)), 0.1 * heat)

    def describe(self) -> dict[str, Any]:
        return {"model": "smooth"}


class HostileScorer(BrightSpotScorer):
    def describe(self) -> dict[str, Any]:
        return {**super().describe(), "class_name": HOSTILE, "arguments": {HOSTILE: [HOSTILE]}}


def assert_harmless(path: Path, printed: int = 0) -> None:
    text = path.read_text()
    assert "<script>alert" not in text
    reader = Reader(text)
    assert reader.images == text.count('<img src="data:image/jpeg;base64,') == printed
    assert reader.odd == []
    assert sum("type" not in script for script in reader.scripts) == 1
    assert all(script.get("type", "application/json") == "application/json" for script in reader.scripts)
    addresses = [address for address in reader.addresses if not address.startswith("data:image/jpeg;base64,")]
    assert not any(re.match(r"\w+:", address) for address in addresses), addresses
    assert "default-src 'none'" in reader.policy
    assert "unsafe" not in reader.policy
    assert "http" not in reader.policy


def test_hostile_text_stays_text(tmp_path: Path) -> None:
    write_series(tmp_path / "in" / "<img src=x onerror=alert(3)>")
    broken = write_series(tmp_path / "in" / "b", seed="b", prefix="<script>alert(1)<") / "<script>alert(1)<001.dcm"
    broken.write_bytes(broken.read_bytes()[:-20])
    options = ScreeningOptions(volume=VolumeOptions(window="900/450"), source_names=True)
    code, _ = screen(tmp_path / "in", tmp_path / "out", HostileScorer(), options)
    assert code is ExitCode.SOME_REFUSED
    (page,) = tmp_path.glob("out/*/report.html")
    assert_harmless(page, printed=5)
    assert "&lt;img src=x onerror=alert(2)&gt;" in page.read_text()
    index = tmp_path / "out" / "index.html"
    assert "onerror=alert(3)&gt;" in index.read_text()
    text = index.read_text()
    assert Reader(text).images == text.count('<img src="data:image/jpeg;base64,') == 1  # the picture of the series
    assert "<script>alert" not in text


def test_hostile_file_names_stay_text(tmp_path: Path) -> None:
    folder = tmp_path / "in" / "a<"
    folder.mkdir(parents=True)
    for name in ("script><script>alert(1)<.png", "<img src=x onerror=alert(2)>.png", "=SUM(A1)&\u2028'.png"):
        Image.new("RGB", (9, 7), "gray").save(folder / name)
    (folder / "script><b>.png").write_bytes(b"")
    records = inspect_images(tmp_path / "in", tmp_path / "out", BrightImageScorer()).records
    assert len(records) == 4
    assert_harmless(tmp_path / "out" / "report.html")


def test_data_survives_being_embedded() -> None:
    value = {"a": HOSTILE, "b": [1.5, None, True, "\u2029"]}
    text = str(safe_json(value))
    assert not set("<>&\u2028\u2029") & set(text)
    assert json.loads(text) == value
    with pytest.raises(ValueError, match="JSON compliant"):
        safe_json({"a": float("nan")})


def test_without_pages_there_are_none(tmp_path: Path) -> None:
    source = write_series(tmp_path / "s")
    options = ScreeningOptions(volume=VolumeOptions(pages=False))
    screen(source, tmp_path / "out", BrightSpotScorer(), options)
    assert not list(tmp_path.glob("out/**/*.html"))
    (report,) = tmp_path.glob("out/*/report.json")
    assert "report.html" not in json.loads(report.read_text())["files"]
    assert list(tmp_path.glob("out/*/regions.csv"))


def test_the_report_lists_page_and_findings(run_folder: Path) -> None:
    for folder in (path for path in run_folder.iterdir() if path.is_dir()):
        report = json.loads((folder / "report.json").read_text())
        assert {"report.html", "regions.csv"} <= set(report["files"])
        rows = (folder / "regions.csv").read_text().splitlines()[1:]
        found = report["result"]["regions"]
        assert found["count"] == found["listed"] == len(rows) == 2
        assert found["voxels"] == sum(int(row.split(",")[1]) for row in rows)
        assert sorted(path.name for path in folder.iterdir() if path.name.startswith(".")) == []


def test_a_failure_leaves_neither_page_nor_folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def fail(*_: object) -> bytes:
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(slice_pictures, "jpeg", fail)
    source = write_series(tmp_path / "s")
    code, _ = screen(source, tmp_path / "out", BrightSpotScorer())
    assert code is ExitCode.DISK
    assert {path.name for path in (tmp_path / "out").iterdir() if path.name[0] != "."} <= {
        "index.html",
        "run.json",
        "summary.json",
        "summary.csv",
    }


def test_a_broken_encoder_refuses_the_series_alone(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def fail(*_: object) -> bytes:
        raise RuntimeError("SECRET^NAME")

    monkeypatch.setattr(slice_pictures, "mask_address", fail)
    source = write_series(tmp_path / "s")
    code, entries = screen(source, tmp_path / "out", BrightSpotScorer())
    assert code is ExitCode.ALL_REFUSED
    assert "RuntimeError" in entries[0].reason
    assert "SECRET" not in (tmp_path / "out" / "index.html").read_text()
    assert not [path for path in (tmp_path / "out").iterdir() if path.is_dir()]


def test_a_resumed_run_links_what_was_there(tmp_path: Path) -> None:
    write_series(tmp_path / "in" / "one")
    screen(tmp_path / "in", tmp_path / "out", BrightSpotScorer())
    write_series(tmp_path / "in" / "two", seed="other")
    screen(tmp_path / "in", tmp_path / "out", BrightSpotScorer(), ScreeningOptions(resume=True))
    links = [
        address
        for address in Reader((tmp_path / "out" / "index.html").read_text()).addresses
        if "/report.html" in address
    ]
    assert len(set(links)) == 2
    assert all((tmp_path / "out" / link).is_file() for link in links)


def screened(tmp_path: Path, shape: tuple[int, int, int]) -> Path:
    folder = tmp_path / "out"
    folder.mkdir()
    options = VolumeOptions(window="80/40", output_types=("dicom_seg",), previews=0)
    screen_volume(make_volume(shape), SmoothScorer(), options, folder)
    return folder / "report.html"


@pytest.mark.slow
def test_two_hundred_slices_stay_below_25_megabytes(tmp_path: Path) -> None:
    page = screened(tmp_path, (512, 512, 200))
    assert page.stat().st_size < 25_000_000
    text = page.read_text()
    assert text.count('class="slice"') == 200
    assert "at full resolution" in text


def test_many_slices_get_less_each_and_the_page_says_so(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(slice_pictures, "_LARGEST", 600_000)
    page = screened(tmp_path, (512, 512, 30))
    assert page.stat().st_size < 600_000 * 1.2 + 150_000
    text = page.read_text()
    assert text.count('class="slice"') == 30
    assert "reduced from 512 x 512 to" in text


def test_pictures_wait_in_bounded_memory(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """However slow encoding is, no more than a few slices wait for it."""
    import threading

    waiting, most = [0], [0]
    gate = threading.Semaphore(0)
    volume = make_volume((32, 32, 60))
    stack = SliceStack(volume, Window(0, 80, "custom", ""))
    with SlicePictures(stack, tmp_path / "spill", 0.5) as pictures:
        store = pictures._store

        def slowly(*arguments: Any) -> None:
            gate.acquire()
            waiting[0] -= 1
            store(*arguments)

        monkeypatch.setattr(pictures, "_store", slowly)

        def offer_all() -> None:
            for index in range(60):
                pictures.offer(index)
                waiting[0] += 1
                most[0] = max(most[0], waiting[0])

        thread = threading.Thread(target=offer_all)
        thread.start()
        for _ in range(60):
            gate.release()
        thread.join(30)
        pictures.finish()
        assert most[0] <= slice_pictures._WAITING + 1
        assert pictures.account.done == 60
    assert not (tmp_path / "spill").exists()


def test_codes_span_more_than_the_window() -> None:
    codes = GreyCodes.of_range(0, 80, -1000, 1900)
    assert codes.values[0] == pytest.approx(-1000)
    assert codes.values[-1] == pytest.approx(1900)
    assert (np.diff(codes.values) > 0).all()
    inside = (codes.values >= 0) & (codes.values <= 80)
    assert 0.45 * 256 <= inside.sum() <= 0.55 * 256
    values = np.array([[-3000, -1000, 0, 40, 80, 1900, 5000, np.nan]], np.float32)
    decoded = codes.values[codes.encode(values)][0]
    np.testing.assert_allclose(decoded[1:6], values[0, 1:6], atol=0.5)
    assert decoded[[0, 7]] == pytest.approx([-1000, -1000])


@pytest.mark.parametrize(
    ("lower", "upper", "low", "high"), [(0, 1, 0, 1), (5, 6, 5, 5), (0, 10, -1, 12), (0, 1, 0, 1e9)]
)
def test_codes_of_odd_ranges(lower: float, upper: float, low: float, high: float) -> None:
    values = GreyCodes.of_range(lower, upper, low, high).values
    assert np.isfinite(values).all()
    assert (np.diff(values) > 0).all()
    assert values[0] <= lower
    assert values[-1] >= upper


def test_smooth_maps_are_reduced_and_rough_ones_are_not() -> None:
    rows, columns = np.mgrid[0:512, 0:400] / 100
    smooth = (0.5 + 0.4 * np.sin(rows) * np.cos(columns)).astype(np.float32)
    small = reduce_map(smooth)
    assert small is not None
    assert small.shape == reduced_size(smooth.shape, 128) == (128, 100)
    rough = np.random.default_rng(0).random((512, 400)).astype(np.float32)
    assert reduce_map(rough) is None
    assert store_map(rough).address.startswith("data:image/jpeg")
    assert len(store_map(rough, 12_000).address) < 13_000 < len(store_map(rough).address)
    stored = store_map(smooth)
    assert (stored.low, stored.high) == pytest.approx((float(small.min()), float(small.max())))
    tiny = store_map(np.full((4, 6), 0.25, np.float32))
    assert (tiny.low, tiny.high, tiny.middle, tiny.reduced) == (0.25, 0.25, 0.25, False)


def test_pictures_carry_no_text() -> None:
    content = jpeg(np.zeros((20, 30), np.uint8), Quality(16, 80))
    import io

    image = Image.open(io.BytesIO(content))
    assert image.size == (16, 11)
    assert "exif" not in image.info
    assert "comment" not in image.info
    assert [quality.jpeg for quality in LADDER] == sorted((quality.jpeg for quality in LADDER), reverse=True)


def test_numbers_are_readable() -> None:
    assert [number(value) for value in (None, 0, 1.5, 12345.678, 0.00123, 1e-9)] == [
        "\N{EN DASH}",
        "0",
        "1.50",
        "12,346",
        "0.00123",
        "1.00e-09",
    ]
    assert [score(value) for value in (None, 0.0, 0.5, 0.0123, 0.000456)] == [
        "\N{EN DASH}",
        "0.000",
        "0.500",
        "0.012",
        "0.00046",
    ]
    assert [plain(value) for value in (None, True, -4e-15, 5.000000000000001, "x")] == [
        "\N{EN DASH}",
        "yes",
        "0",
        "5",
        "x",
    ]


def test_a_crop_and_another_plane_have_pages_too(tmp_path: Path) -> None:
    source = write_series(tmp_path / "s", marked_voxels((40, 36, 10), (20, 18, 5)))
    for number_, options in enumerate(({"plane": "sagittal"}, {"crop": True, "channels": "neighbours"})):
        volume = VolumeOptions(window="900/450", **options)
        rule = DecisionRule("volumes", threshold=0.9)
        settings = ScreeningOptions(volume=volume, rule=rule)
        code, _ = screen(source, tmp_path / str(number_), BrightSpotScorer(), settings)
        assert code is ExitCode.DONE
        (page,) = (tmp_path / str(number_)).glob("*/report.html")
        (block,) = re.findall(r'id="data">(.*?)</script>', page.read_text())
        data = json.loads(block)
        assert len(data["regions"]) == 1
        assert data["regions"][0]["pixel"] is not None
        assert data["spacing"] is not None


def test_images_that_are_no_volume_have_no_millimetres(tmp_path: Path) -> None:
    def without_position(dataset: Any, index: int) -> None:
        del dataset.ImagePositionPatient

    source = write_series(tmp_path / "s", edit=without_position)
    from anomalib_zsad.volumes.options import ReadingOptions

    options = ScreeningOptions(reading=ReadingOptions(mode="2d"), volume=VolumeOptions(window="900/450"))
    code, _ = screen(source, tmp_path / "out", BrightSpotScorer(), options)
    assert code is ExitCode.DONE
    for page in tmp_path.glob("out/*/report.html"):
        text = page.read_text()
        (block,) = re.findall(r'id="data">(.*?)</script>', text)
        data = json.loads(block)
        assert data["frame"] is None
        assert data["pixel_volumes"] is None
        assert "warning" in text


def test_a_gallery_without_images_with_pictures(tmp_path: Path) -> None:
    (tmp_path / "in").mkdir()
    (tmp_path / "in" / "torn.png").write_bytes(b"")
    records = inspect_images(tmp_path / "in", tmp_path / "out", BrightImageScorer(), InspectionOptions()).records
    assert [record.decision for record in records] == ["unreadable"]
    assert "torn.png" in (tmp_path / "out" / "report.html").read_text()


def test_a_page_of_thousands_of_images_keeps_to_its_size(large_gallery_page: Path) -> None:
    assert large_gallery_page.stat().st_size < 25_000_000
    text = large_gallery_page.read_text()
    assert text.count('class="sheet"') == -(-5000 // PER_SHEET)
    assert text.count('class="image"') == 400


@pytest.mark.slow
def test_a_page_of_tens_of_thousands_of_images_keeps_to_its_size(tmp_path: Path) -> None:
    write_large_gallery(tmp_path / "report.html", 20_000)
    assert (tmp_path / "report.html").stat().st_size < 27_000_000
    text = (tmp_path / "report.html").read_text()
    assert text.count('class="sheet"') == -(-20_000 // PER_SHEET)
    assert "Every image has a thumbnail" in text
