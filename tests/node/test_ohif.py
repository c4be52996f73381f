"""OHIF, a viewer, from npm as documented: over a real Orthanc, in a real browser, it shows what screening sent."""

import base64
import io
import os
import re
import shutil
import subprocess
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from urllib.error import URLError
from urllib.request import urlopen

import numpy as np
import pydicom
import pytest
from PIL import Image

from anomalib_zsad.cli import main
from anomalib_zsad.network.targets import parse_target
from tests.network.orthanc import Orthanc, free_port, running_orthanc

webdriver = pytest.importorskip("selenium.webdriver", reason="selenium is not installed")
from selenium.common.exceptions import WebDriverException  # noqa: E402
from selenium.webdriver.chrome.options import Options  # noqa: E402
from selenium.webdriver.chrome.service import Service  # noqa: E402
from selenium.webdriver.common.actions.wheel_input import ScrollOrigin  # noqa: E402
from selenium.webdriver.support.wait import WebDriverWait  # noqa: E402

from tests.pages.browser import FLAGS, WEBGL, programs  # noqa: E402

pytestmark = pytest.mark.slow

ROOT = Path(__file__).resolve().parents[2]
SAMPLE = ROOT / "sample_data" / "medical" / "head_ct" / "images" / "bleed"
DOWNLOAD_SECONDS, SECONDS = 300, 60
OBJECTS = ("dicom_seg", "parametric_map", "structured_report", "secondary_capture", "pdf")
VIEWPORT = "cornerstone.getRenderingEngines()[0].getViewports()[0]"


@pytest.fixture(scope="module")
def screened(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The results of the sample head CT; scores of an untrained model mean nothing, and mark about a third of it."""
    output = tmp_path_factory.mktemp("screened") / "out"
    words = ["screen", "-i", SAMPLE, "-o", output, "--allow-untrained", "--model.backbone", "demo"]
    words += ["--class-name", "brain", "--threshold", "0.5", "--output-type", *OBJECTS, "--no-progress"]
    assert main([str(word) for word in words]) == 0
    return output


def documented() -> tuple[list[str], str]:
    """Commands of the documentation that fetch the viewer, and the one that serves it."""
    text = (ROOT / "docs" / "deployment.md").read_text()
    block = re.search(r"### OHIF.*?```\n(.*?)```", text, re.DOTALL)[1]
    *fetch, serve = block.strip().splitlines()
    assert "npm pack" in block
    assert serve.startswith("nginx ")
    return fetch, serve


@contextmanager
def serving(folder: Path, orthanc: Orthanc) -> Iterator[str]:
    """The viewer by the documented commands, on a free port; yields its address."""
    for program in ("npm", "nginx"):
        if shutil.which(program) is None:
            pytest.skip(f"{program} is not installed")
    fetch, serve = documented()
    folder.mkdir()
    shutil.copytree(ROOT / "configs", folder / "configs")
    port = free_port()
    for command in fetch:
        done = subprocess.run(
            ["bash", "-c", command], cwd=folder, capture_output=True, text=True, timeout=DOWNLOAD_SECONDS, check=False
        )
        if done.returncode and command.startswith("npm "):
            pytest.skip(f"npm cannot fetch the viewer: {done.stderr.strip()[-200:]}")
        assert done.returncode == 0, done.stderr
    settings = folder / "nginx.conf"
    text = settings.read_text()
    assert "127.0.0.1:3000;" in text
    assert "127.0.0.1:8042;" in text
    text = text.replace("127.0.0.1:3000;", f"127.0.0.1:{port};").replace(":8042;", f":{orthanc.http_port};")
    if os.geteuid() == 0:  # its workers would become somebody who cannot read a test's folder
        text = f"user root;\n{text}"
    settings.write_text(text)
    with (folder / "log.txt").open("wb") as log:
        process = subprocess.Popen(["bash", "-c", f"exec {serve}"], cwd=folder, stdout=log, stderr=log)
        try:
            end = time.monotonic() + SECONDS
            while not answers(f"http://127.0.0.1:{port}/viewer"):
                assert process.poll() is None, (folder / "log.txt").read_text()
                assert time.monotonic() < end, (folder / "log.txt").read_text()
                time.sleep(0.1)
            yield f"http://127.0.0.1:{port}"
        finally:
            process.terminate()
            process.wait(SECONDS)


def answers(address: str) -> bool:
    try:
        with urlopen(address, timeout=5) as answer:  # noqa: S310
            return answer.status == 200
    except (URLError, OSError):
        return False


class Viewer:
    """OHIF in Chromium, used as a reader would."""

    def __init__(self, profile: Path) -> None:
        found = programs()
        if found is None:
            pytest.skip("chromium and chromedriver are not installed")
        options = Options()
        options.binary_location = found[0]
        for flag in (*FLAGS, *WEBGL, "--window-size=1280,860", f"--user-data-dir={profile}"):
            options.add_argument(flag)
        self.driver = webdriver.Chrome(options=options, service=Service(found[1]))
        self.driver.set_page_load_timeout(SECONDS)
        self.driver.set_script_timeout(SECONDS)

    def open(self, address: str, study: str) -> None:
        """Open a study."""
        self.driver.get(f"{address}/viewer?StudyInstanceUIDs={study}")
        self.until(lambda: self.labelled("SEG") and self.drawn() is not None)

    def dismiss(self) -> None:
        """Put away what greets a new user."""
        for text in ("Skip all", "Confirm and hide"):
            self.until(lambda text=text: self.press(text))

    def until(self, reached):
        return WebDriverWait(self.driver, SECONDS, 0.2, ignored_exceptions=[WebDriverException]).until(
            lambda _: reached()
        )

    def labelled(self, text: str):
        found = self.driver.find_elements("xpath", f"//*[normalize-space(text())='{text}']")
        return next((one for one in found if one.is_displayed()), None)

    def press(self, text: str) -> bool:
        """Press a button, if it is there."""
        found = self.driver.find_elements("xpath", f"//button[normalize-space()='{text}']")
        for one in found:
            one.click()
        return bool(found)

    def choose(self, label: str) -> None:
        """Double-click a series in the list."""
        webdriver.ActionChains(self.driver).double_click(self.until(lambda: self.labelled(label))).perform()

    def scroll(self, slices: int) -> None:
        """Turn the wheel over the picture."""
        for _ in range(slices):
            shown = self.driver.find_element("css selector", "canvas.cornerstone-canvas")
            before = self.run(f"{VIEWPORT}.getCurrentImageIdIndex()")
            wheel = ScrollOrigin.from_element(shown)
            webdriver.ActionChains(self.driver).scroll_from_origin(wheel, 0, 100).perform()
            self.until(lambda before=before: self.run(f"{VIEWPORT}.getCurrentImageIdIndex()") != before)

    def run(self, expression: str, *arguments: object):
        return self.driver.execute_script(f"return {expression}", *arguments)

    def drawn(self) -> np.ndarray | None:
        """The picture, RGB, once it has come to rest; none while there is none."""
        previous = None
        for _ in range(100):
            now = self.run("document.querySelector('canvas.cornerstone-canvas')?.toDataURL()")
            if now is not None and now == previous:
                picture = Image.open(io.BytesIO(base64.b64decode(now.partition(",")[2])))
                return np.asarray(picture.convert("RGB")).astype(int)
            previous = now
            time.sleep(0.3)
        return None

    def coloured(self) -> np.ndarray:
        """Where the picture is not grey."""
        picture = self.drawn()
        assert picture is not None
        return picture.max(2) - picture.min(2) > 20

    def expected(self, segmentation: pydicom.Dataset) -> np.ndarray:
        """Where the segmentation of the slice that is shown belongs on the picture, by positions in the patient."""
        shown = self.run(f"{VIEWPORT}.getCurrentImageId()")
        groups = segmentation.PerFrameFunctionalGroupsSequence
        (number,) = [
            number
            for number, group in enumerate(groups)
            if group.DerivationImageSequence[0].SourceImageSequence[0].ReferencedSOPInstanceUID in shown
        ]
        shared = segmentation.SharedFunctionalGroupsSequence[0]
        cosines = np.array(shared.PlaneOrientationSequence[0].ImageOrientationPatient, float)
        spacing = np.array(shared.PixelMeasuresSequence[0].PixelSpacing, float)
        origin = np.array(groups[number].PlanePositionSequence[0].ImagePositionPatient, float)
        steps = (np.zeros(3), cosines[:3] * spacing[1], cosines[3:] * spacing[0])
        zero, column, row = (
            np.array(self.run(f"Array.from({VIEWPORT}.worldToCanvas(arguments[0]))", (origin + step).tolist()))
            for step in steps
        )
        width, height = self.run("[arguments[0].width, arguments[0].height]", self.canvas())
        points = np.stack(np.meshgrid(np.arange(width), np.arange(height)), -1) - zero
        indices = np.rint(points @ np.linalg.inv(np.stack([column - zero, row - zero]))).astype(int)
        frame = segmentation.pixel_array[number].astype(bool)
        inside = ((indices >= 0) & (indices < (frame.shape[1], frame.shape[0]))).all(-1)
        indices[~inside] = 0
        return inside & frame[indices[..., 1], indices[..., 0]]

    def canvas(self):
        return self.driver.find_element("css selector", "canvas.cornerstone-canvas")


@pytest.fixture(scope="module")
def viewer(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Viewer]:
    opened = Viewer(tmp_path_factory.mktemp("profile"))
    yield opened
    opened.driver.quit()


def overlap(one: np.ndarray, other: np.ndarray) -> float:
    return (one & other).sum() / (one | other).sum()


def test_ohif_shows_the_segmentation_and_the_map_over_the_series_and_captures_and_pdf(
    tmp_path: Path, viewer: Viewer, screened: Path
) -> None:
    (path,) = screened.glob("*/lesions_seg.dcm")
    segmentation = pydicom.dcmread(path)
    study = segmentation.StudyInstanceUID
    with running_orthanc(tmp_path / "orthanc") as orthanc, serving(tmp_path / "viewer", orthanc) as address:
        archive = parse_target(orthanc.web)
        archive.send(sorted(SAMPLE.glob("*.dcm")))
        archive.send(sorted(screened.rglob("*.dcm")))

        viewer.open(address, study)
        viewer.dismiss()
        assert not viewer.coloured().any()
        viewer.choose("SEG")
        viewer.until(lambda: viewer.press("Yes"))
        viewer.until(lambda: viewer.coloured().any())
        for _ in range(3):
            drawn, expected = viewer.coloured(), viewer.expected(segmentation)
            assert expected.sum() > 1000
            assert overlap(drawn, expected) > 0.9
            assert overlap(drawn, np.fliplr(expected)) < 0.9  # a mirrored one would be noticed
            viewer.scroll(4)

        viewer.open(address, study)
        viewer.choose("PMAP")
        viewer.until(lambda: viewer.run(f"{VIEWPORT}.getActors().length") == 2)
        viewer.until(lambda: viewer.scroll(1) or viewer.coloured().mean() > 0.3)  # drawn when the slice changes

        viewer.open(address, study)
        viewer.choose("OT")
        viewer.until(lambda: viewer.coloured().any())

        viewer.choose("DOC")
        viewer.until(lambda: viewer.driver.find_elements("css selector", "object[type='application/pdf']"))
