"""The page in three dimensions, drawn by NiiVue in Chromium without a graphics card."""

import json
import re
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import pydicom
import pytest

from anomalib_zsad.calibration.decision_rule import DecisionRule
from anomalib_zsad.cli import main
from anomalib_zsad.outputs.exit_codes import ExitCode
from anomalib_zsad.pages import niivue_library
from anomalib_zsad.screening.options import ScreeningOptions, VolumeOptions
from anomalib_zsad.screening.screen import screen
from tests.pages.browser import DESKTOP, PHONE, Browser, programs
from tests.pages.test_accessibility import AXE, SMALL_TARGETS, VIOLATIONS
from tests.screening.bright_spot import BrightSpotScorer
from tests.volumes.volume_builders import affines, write_nifti, write_series

LIBRARY = Path(__file__).parents[2] / "tools" / "javascript" / "node_modules" / "@niivue" / "niivue"
needs_niivue = pytest.mark.skipif(
    not (LIBRARY / "dist").is_dir(), reason="NiiVue is not installed (npm install --prefix tools/javascript)"
)
SHAPE = (60, 60, 12)
SPOT = (44, 20, 7)


def voxels() -> np.ndarray:
    """A ball of water in air, with a spot in it."""
    grid = np.indices(SHAPE)
    found = np.where(np.hypot(*(grid[:2] - 30)) < 24, 0, -1000).astype(np.int16)
    found[SPOT[0] - 2 : SPOT[0] + 3, SPOT[1] - 2 : SPOT[1] + 3, 6:9] = 420
    found[SPOT] = 440
    return found


def screened(folder: Path) -> Path:
    rule = DecisionRule("volumes", threshold=0.8)
    volume = VolumeOptions(window="900/0", viewer="niivue")
    screen(folder / "in", folder / "out", BrightSpotScorer(), ScreeningOptions(volume=volume, rule=rule))
    (report,) = (folder / "out").glob("*/report.html")
    return report.parent


@pytest.fixture(scope="module")
def series_folder(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Path]:
    if not (LIBRARY / "dist").is_dir():
        pytest.skip("NiiVue is not installed (npm install --prefix tools/javascript)")
    folder = tmp_path_factory.mktemp("volume")
    write_series(folder / "in", voxels(), affines()["lps"])
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv(niivue_library.VARIABLE, str(LIBRARY))
        yield screened(folder)


@pytest.fixture(scope="module")
def webgl(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Browser]:
    if programs() is None:
        pytest.skip("chromium and chromedriver are not installed")
    opened = Browser(tmp_path_factory.mktemp("profile"), webgl=True)
    yield opened
    opened.driver.quit()


@pytest.fixture
def page(webgl: Browser, series_folder: Path) -> Browser:
    webgl.open(series_folder / "viewer.html", DESKTOP)
    webgl.until("document.body.dataset.ready")
    return webgl


def count(page: Browser, test: str) -> int:
    """Pixels of the canvas of which a test in JavaScript of r, g, b holds."""
    return page.run(
        """viewer.drawScene();
        const gl = viewer.gl, [w, h] = [gl.drawingBufferWidth, gl.drawingBufferHeight];
        const pixels = new Uint8Array(4 * w * h);
        gl.readPixels(0, 0, w, h, gl.RGBA, gl.UNSIGNED_BYTE, pixels);
        let n = 0;
        for (let i = 0; i < pixels.length; i += 4) {
          const [r, g, b] = pixels.subarray(i, i + 3);
          n += """
        + test
        + "; } return n;"
    )


GREY = "Number(r > 60 && Math.abs(r - g) < 8 && Math.abs(g - b) < 8)"
WARM = "Number(r > 120 && r > b + 60)"


def test_the_volume_and_its_map_are_drawn(page: Browser) -> None:
    assert page.messages() == []
    assert not page.one("#volume-failed").is_displayed()
    assert count(page, GREY) > 20_000
    warm = count(page, WARM)
    assert warm > 100
    page.slide("#volume-threshold", 0.99)
    assert count(page, WARM) < warm
    page.slide("#volume-threshold", 0.8)
    page.slide("#volume-opacity", 0)
    assert count(page, WARM) < warm


def test_it_begins_at_the_region_in_the_patients_coordinates(page: Browser) -> None:
    x, y, z = (affines()["lps"] @ [*SPOT, 1])[:3]
    told = page.one("#volume-place").text
    sides = ("RL", "AP", "SI")
    found = re.findall(r"([A-Z]) ([\d.]+)", told)[:3]
    for (letter, number), value, pair in zip(found, (x, y, z), sides, strict=True):
        assert float(number) == pytest.approx(abs(value), abs=1.0)
        assert letter == pair[int(value < 0)]
    map_value = float(re.search(r"map ([\d.]+)", told)[1])
    assert map_value == pytest.approx((890 / 900) ** 2, abs=0.02)


@pytest.mark.parametrize("size", [PHONE, DESKTOP, (2560, 1440)])
def test_it_fits_windows_of_any_width(webgl: Browser, series_folder: Path, size: tuple[int, int]) -> None:
    webgl.open(series_folder / "viewer.html", size)
    webgl.until("document.body.dataset.ready")
    assert webgl.overflow() <= 0
    assert count(webgl, GREY) > 4_000


@pytest.mark.skipif(not AXE.is_file(), reason=f"axe-core is not installed: there is no {AXE}")
@pytest.mark.parametrize("size", [PHONE, DESKTOP])
def test_axe_finds_nothing(webgl: Browser, series_folder: Path, size: tuple[int, int]) -> None:
    webgl.open(series_folder / "viewer.html", size)
    webgl.until("document.body.dataset.ready")
    webgl.driver.execute_script(AXE.read_text(encoding="utf-8"))
    assert webgl.driver.execute_async_script(VIOLATIONS) == []


def test_targets_of_a_phone_are_large_enough(webgl: Browser, series_folder: Path) -> None:
    webgl.open(series_folder / "viewer.html", PHONE)
    assert webgl.run(SMALL_TARGETS) == []


def test_every_kind_of_view_by_keyboard(page: Browser) -> None:
    page.run("document.querySelector('[value=axial]').focus()")
    drawn = set()
    for choice in ("all", "axial", "coronal", "sagittal", "solid"):
        page.run("arguments[0].click()", page.one(f"[name=shown][value={choice}]"))
        drawn.add((page.run("return viewer.opts.sliceType"), count(page, GREY) > 500))
    assert len(drawn) == 5
    assert all(seen for _, seen in drawn)


def test_the_cut_goes_into_the_solid(page: Browser) -> None:
    page.run("arguments[0].click()", page.one("[name=shown][value=solid]"))
    before = count(page, GREY)
    page.slide("#volume-cut", 0.6)
    assert count(page, GREY) != before


def test_the_pages_lead_to_each_other(series_folder: Path) -> None:
    assert 'href="viewer.html"' in (series_folder / "report.html").read_text()
    page = (series_folder / "viewer.html").read_text()
    assert 'href="report.html"' in page
    assert "Uncalibrated" in page
    assert "NiiVue 0.69.0 (BSD-2-Clause)" in page
    report = json.loads((series_folder / "report.json").read_text())
    assert "viewer.html" in report["files"]


def test_without_graphics_it_says_what_it_takes(browser: Browser, series_folder: Path) -> None:
    browser.open(series_folder / "viewer.html", DESKTOP)
    browser.run("HTMLCanvasElement.prototype.getContext = () => null; return start().catch(fail)")
    browser.until("!document.getElementById('volume-failed').hidden")
    assert "WebGL 2" in browser.one("#volume-failed").text


@needs_niivue
def test_where_no_volume_can_be_made_the_series_page_says_why(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv(niivue_library.VARIABLE, str(LIBRARY))

    def shift(dataset: pydicom.Dataset, index: int) -> None:
        x, y, z = dataset.ImagePositionPatient
        dataset.ImagePositionPatient = [x, y, z + 0.3 * (index % 3)]

    write_series(tmp_path / "in", voxels(), affines()["lps"], edit=shift)
    folder = screened(tmp_path)
    assert not (folder / "viewer.html").exists()
    assert "No view in three dimensions: these slices are unevenly spaced." in (folder / "report.html").read_text()


def test_without_the_library_the_command_says_how_to_get_it(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setenv("ANOMALIB_ZSAD_CACHE", str(tmp_path / "cache"))
    monkeypatch.delenv(niivue_library.VARIABLE, raising=False)
    write_nifti(tmp_path / "in" / "v.nii.gz", voxels(), affines()["las"])
    given = ["screen", "-i", str(tmp_path / "in"), "-o", str(tmp_path / "out"), "--allow-untrained"]
    assert main([*given, "--viewer", "niivue"]) == ExitCode.USAGE
    told = " ".join(capsys.readouterr().err.split())
    assert f"npm install --prefix {tmp_path / 'cache'} @niivue/niivue@0.69.0" in told
    assert not (tmp_path / "out").exists()
    assert main([*given, "--viewer", "niivue", "--no-pages"]) == ExitCode.USAGE
    assert "leave out --no-pages" in capsys.readouterr().err


def test_a_script_cannot_end_the_element_that_it_stands_in(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv(niivue_library.VARIABLE, str(tmp_path))
    (tmp_path / "dist").mkdir()
    (tmp_path / "dist" / "niivue.umd.js").write_text("const a = '</script><!--';")
    library = niivue_library.niivue_library()
    assert "</script" not in library.text
    assert "<!--" not in library.text
    assert library.name == "NiiVue of unknown version"
    (tmp_path / "package.json").write_text('{"version": "1.2.3"}')
    assert niivue_library.niivue_library().name == "NiiVue 1.2.3"
