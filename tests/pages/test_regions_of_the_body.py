"""What the page and the tables say of regions: inside the body and outside it, how large, and where in words."""

import csv
import json
import re
from pathlib import Path

import numpy as np
import pytest

from anomalib_zsad.calibration.decision_rule import DecisionRule
from anomalib_zsad.screening.options import ScreeningOptions, VolumeOptions
from anomalib_zsad.screening.screen import screen
from tests.pages.browser import Browser
from tests.screening.bright_spot import BrightSpotScorer
from tests.volumes.volume_builders import affines, write_series

SHAPE = (120, 120, 12)
AIR, BODY, SPOT, LARGE = -1000, 0, 430, 400


def head(*, large: bool) -> np.ndarray:
    """A ball of water in air: a spot in it, a brighter one in the air, and a large bright part if asked."""
    grid = np.indices(SHAPE[:2]) - 60
    inside = np.hypot(*grid) < 40
    voxels = np.full(SHAPE, AIR, np.int16)
    voxels[inside] = BODY
    voxels[40:46, 70:76, 5:7] = SPOT
    voxels[4:7, 4:7, 8:10] = SPOT + 15
    if large:
        voxels[62:100, 30:90, 2:10] = np.where(inside[62:100, 30:90, None], LARGE, AIR)
    return voxels


def screened(folder: Path, *, large: bool) -> Path:
    write_series(folder / "in", head(large=large), affines()["lps"])
    options = ScreeningOptions(
        volume=VolumeOptions(window="900/0", top_k=2), rule=DecisionRule("volumes", threshold=0.8)
    )
    screen(folder / "in", folder / "out", BrightSpotScorer(), options)
    (page,) = (folder / "out").glob("*/report.html")
    return page


@pytest.fixture(scope="module")
def page_of_a_head(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return screened(tmp_path_factory.mktemp("head"), large=True)


def rows_of(page: Path) -> list[dict[str, str]]:
    with (page.parent / "regions.csv").open() as stream:
        return list(csv.DictReader(stream))


def test_the_table_lists_what_is_outside_the_body_last(page_of_a_head: Path) -> None:
    spot, large, air = rows_of(page_of_a_head)
    assert (spot["outside_body"], large["outside_body"], air["outside_body"]) == ("false", "false", "true")
    assert float(air["peak"]) > float(spot["peak"]) > float(large["peak"])
    assert spot["place"] == "right, back, middle third"
    assert air["place"] == ""
    assert float(large["share_of_body"]) > 0.2 > float(spot["share_of_body"])
    edges = np.linalg.norm(affines()["lps"][:3, :3], axis=0) * [6, 6, 2]
    assert float(spot["longest_diameter_mm"]) == pytest.approx(float(np.linalg.norm(edges)), rel=0.01)
    report = json.loads((page_of_a_head.parent / "report.json").read_text())
    assert report["result"]["regions"]["outside_body"] == 1


def test_the_page_says_so(browser: Browser, page_of_a_head: Path) -> None:
    browser.open(page_of_a_head, (1440, 900))
    first, second, last = browser.all("#regions tbody tr")
    assert "outside the body" in last.text
    assert "outside" in last.get_attribute("class")
    assert "outside" not in first.get_attribute("class")
    assert rows_of(page_of_a_head)[0]["place"] in first.text
    assert " ml" in first.text
    assert " mm" in first.text
    (caution,) = browser.all(".caution")
    share = round(100 * float(rows_of(page_of_a_head)[1]["share_of_body"]))
    assert caution.text == f"Region 2 fills {share} % of the imaged body: it says little about where something is."
    assert "1 of the 3 lies outside the body" in browser.one(".regions").text
    assert browser.run("return chosen.region") == 1
    assert second.text.startswith("2")
    assert browser.overflow() <= 0


def test_small_regions_are_not_warned_of(tmp_path: Path) -> None:
    page = screened(tmp_path, large=False)
    assert [row["outside_body"] for row in rows_of(page)] == ["false", "true"]
    assert 'class="caution"' not in page.read_text()


def test_a_page_begins_inside_the_body(tmp_path: Path) -> None:
    """With nothing but a region in the air, it begins with the highest score where there is enough of the body."""
    voxels = head(large=False)
    voxels[40:46, 70:76] = BODY
    write_series(tmp_path / "in", voxels, affines()["lps"])
    options = ScreeningOptions(
        volume=VolumeOptions(window="900/0", top_k=2), rule=DecisionRule("volumes", threshold=0.8)
    )
    screen(tmp_path / "in", tmp_path / "out", BrightSpotScorer(), options)
    (page,) = (tmp_path / "out").glob("*/report.html")
    assert [row["outside_body"] for row in rows_of(page)] == ["true"]
    (block,) = re.findall(r'id="data">(.*?)</script>', page.read_text())
    start = json.loads(block)["start"]
    assert start["region"] is None
