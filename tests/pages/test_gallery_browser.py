"""The page of an inspected folder in a real browser."""

import csv
import io
import json
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

pytest.importorskip("selenium", reason="selenium is not installed")

from selenium.webdriver.common.keys import Keys

from anomalib_zsad.calibration.decision_rule import DecisionRule
from anomalib_zsad.inspection.inspect_images import inspect_images
from anomalib_zsad.inspection.options import InspectionOptions
from tests.inspection.bright_image import BrightImageScorer
from tests.pages.browser import DESKTOP, PHONE, Browser

SIZES = pytest.mark.parametrize("size", [PHONE, DESKTOP], ids=["phone", "desktop"])


def listed(browser: Browser) -> list[str]:
    """Names of all images of the list, whether their tiles exist or not."""
    return browser.run("return gallery.list.images.map((image) => image.name)")


def open_first(browser: Browser) -> None:
    browser.run("document.querySelector('.open').click()")
    browser.shown()


def choose(browser: Browser, name: str, value: object) -> None:
    browser.run(
        "const e = document.getElementById(arguments[0]); e.value = arguments[1];"
        "for (const kind of ['input', 'change']) e.dispatchEvent(new Event(kind, {bubbles: true}))",
        name,
        value,
    )


def files_offered(browser: Browser, button: str) -> str:
    """The text of the file that a button offers."""
    browser.run(
        "window.offered = []; const make = URL.createObjectURL; URL.createObjectURL = (blob) => {"
        " blob.text().then((text) => window.offered.push(text)); return make(blob); };"
        "document.getElementById(arguments[0]).click(); URL.createObjectURL = make;",
        button,
    )
    return browser.until("window.offered[0]")


@pytest.fixture
def page(browser: Browser, gallery_page: Path) -> Browser:
    browser.open(gallery_page)
    browser.run("localStorage.clear()")
    browser.open(gallery_page)
    return browser


@SIZES
def test_images_come_sorted_and_nothing_is_asked_for(browser: Browser, gallery_page: Path, size: tuple) -> None:
    browser.open(gallery_page, size)
    browser.run("document.getElementById('grid').scrollIntoView()")
    browser.until("document.querySelector('canvas.thumbnail').dataset.drawn === 'true'")
    shown = listed(browser)
    assert len(shown) == 30
    assert shown[0] == "line0/part28.png"
    assert shown[-1] == "torn.png"
    open_first(browser)
    assert browser.overflow() <= 0
    assert browser.messages() == []
    assert browser.requests() == {gallery_page.as_uri()}


@SIZES
def test_image_map_and_mask_side_by_side_with_keys(browser: Browser, gallery_page: Path, size: tuple) -> None:
    browser.open(gallery_page, size)
    open_first(browser)
    assert browser.one("#large-name").text == "line0/part28.png"
    assert browser.mean("map", 3) > 0
    assert 0 < browser.mean("mask") < 255
    with_map, picture = browser.pixels("overlay"), browser.pixels("picture")
    browser.run("document.querySelector('input[value=deviation]').click()")
    assert browser.shown().split("/")[1] == "deviation"
    assert browser.pixels("overlay") != with_map
    browser.run("document.querySelector('input[value=map]').click()")
    browser.slide("#opacity", 100)
    assert browser.shown().endswith("/100")
    assert browser.mean("marks", 3) > 0
    browser.press("o", "#stage")
    browser.pause()
    assert browser.mean("marks", 3) == 0
    browser.press(Keys.ARROW_RIGHT, "#stage")
    browser.until("document.getElementById('large-name').textContent === 'line1/part27.png'")
    assert browser.pixels("picture") != picture
    browser.run("document.getElementById('previous').click()")
    assert browser.shown().startswith("0/")
    assert browser.one("#original").get_attribute("href").startswith("file://")
    assert browser.one("#original").get_attribute("href").endswith("/in/line0/part28.png")
    browser.press(Keys.END, "#stage")
    assert "torn.png" in browser.one("#large-name").text
    assert "cannot be read" in browser.one("#image-facts").text
    assert browser.one("#absent").is_displayed()
    browser.press(Keys.ESCAPE, "#stage")
    assert not browser.one("#large").is_displayed()


def test_every_image_has_a_thumbnail_and_a_map_and_some_have_large_pictures(page: Browser) -> None:
    shown = page.run("return gallery.images.map((image) => image.shown)")
    assert sum(shown) == 20
    assert shown[:10] == [True] * 10
    assert not all(shown[10:20])  # a random sample of the rest, not the next ones
    unshown = shown.index(False)
    page.run(f"gallery.large.open({unshown})")
    assert page.shown().startswith(f"{unshown}/")
    assert page.one("#small").is_displayed()
    assert page.mean("picture") > 0
    assert page.mean("map", 3) > 0
    page.press(Keys.ESCAPE, "#stage")
    assert "large pictures of 20 of the 30 images" in page.one(".notes").text
    assert "10 highest scores, 10 random" in page.one(".notes").text


def test_without_a_calibration_nothing_is_decided(page: Browser, gallery_page: Path) -> None:
    text = page.run("return document.body.innerText").lower()
    for word in ("abnormal", "flagged", "above threshold"):
        assert word not in text
    assert "without a calibration nothing is decided" in text
    assert "rank 1" in text
    assert page.all(".tile.strong") == page.all(".tile.strong:last-child")  # the unreadable one alone
    colours = page.run(
        "return [...document.querySelectorAll('.tile-item')].map((t) => getComputedStyle(t).borderColor)"
    )
    assert len(set(colours)) == 1
    open_first(page)
    assert "Decision" not in page.one("#image-facts").text
    assert "arbitrary" in page.one("#large").text


def test_the_slider_counts_and_filters_live(page: Browser) -> None:
    scores = page.run("return gallery.images.map((image) => image.score).filter((score) => score !== null)")
    for threshold in (sorted(scores)[7], sorted(scores)[20] + 1e-4):
        choose(page, "threshold", threshold)
        at = float(page.one("#threshold").get_attribute("value"))
        above = sum(score >= at for score in scores)
        assert page.one(".counts [data-count=above]").text == str(above)
        assert page.one(".counts [data-count=below]").text == str(29 - above)
        page.run("document.querySelector('input[value=above]').click()")
        assert len(listed(page)) == above
        page.run("document.querySelector('input[value=all]').click()")
    assert page.all("#histogram rect")
    page.run("document.querySelector('input[value=unreadable]').click()")
    assert listed(page) == ["torn.png"]
    page.one("#threshold-reset").click()
    assert page.one("#threshold-value").text == "0.500"


def test_facets_search_and_sort(page: Browser) -> None:
    options = [option.text for option in page.all("#folder option")]
    assert options == ["all", "line0 (15)", "line1 (14)"]
    choose(page, "folder", "line1")
    page.one("#search").send_keys("PART0")
    assert listed(page) == [f"line1/part0{number}.png" for number in (9, 7, 5, 3, 1)]
    choose(page, "sort", "low")
    assert listed(page)[0] == "line1/part01.png"
    assert page.one("#count").text == "5 images"
    page.one("#search").send_keys("nothing like it")
    assert page.one("#none").is_displayed()


def test_marks_stay_and_leave_as_files(page: Browser, gallery_page: Path) -> None:
    page.run("document.querySelector('.tick input').click()")
    choose(page, "search", "part0")
    page.one("#select-all").click()
    assert page.one("#selected-count").text == "11 selected"
    choose(page, "search", "")
    page.one("#new-tag").send_keys("check, later")
    page.one("#add-tag").click()
    open_first(page)
    page.run("const n = document.getElementById('note'); n.value = '=a \"scratch\", see';"
             "n.dispatchEvent(new Event('input'))")  # fmt: skip
    page.press(Keys.ESCAPE, "#stage")
    rows = list(csv.DictReader(io.StringIO(files_offered(page, "export-table"))))
    assert len(rows) == 11
    assert rows[0]["image"] == "line0/part28.png"
    assert rows[0]["note"] == '\'=a "scratch", see'
    assert rows[0]["tags"] == "check later"
    assert rows[0]["decision"] == ""
    assert rows[0]["reaches_it"] == "true"
    assert rows[0]["path"].endswith("/in/line0/part28.png")
    paths = files_offered(page, "export-paths").splitlines()
    assert len(paths) == 11
    assert all(Path(path).is_file() for path in paths)
    page.open(gallery_page)
    assert page.one("#selected-count").text == "11 selected"
    choose(page, "tag", "later")
    assert len(listed(page)) == 11
    page.one("#clear").click()
    assert page.one("#selected-count").text == "0 selected"


def test_all_by_keyboard(page: Browser) -> None:
    page.run("gallery.list.focus(0)")
    for key, expected in ((Keys.ARROW_RIGHT, 1), (Keys.END, 29), (Keys.HOME, 0), (Keys.ARROW_DOWN, None)):
        page.press(key)
        place = page.run("return Number(document.activeElement.closest('[data-place]').dataset.place)")
        assert place == (page.run("return gallery.list.columns") if expected is None else expected)
    page.press(Keys.ENTER)
    page.until("document.getElementById('large').open")
    page.shown()
    page.press("s", "#stage")
    assert page.one("#selected-count").text == "1 selected"
    page.press(Keys.ESCAPE, "#stage")
    page.until("document.activeElement.classList.contains('open')")
    assert page.run("return Number(document.activeElement.closest('[data-place]').dataset.place)") == place


def test_thumbnails_without_their_map(page: Browser) -> None:
    page.until("document.querySelector('canvas.thumbnail').dataset.drawn === 'true'")
    before = page.run("return document.querySelector('canvas.thumbnail').toDataURL()")
    page.one("#thumbnails").click()
    page.until("document.querySelector('canvas.thumbnail').dataset.drawn === 'false'")
    assert page.run("return document.querySelector('canvas.thumbnail').toDataURL()") != before


def test_ground_truth_shows_what_was_missed(browser: Browser, judged_gallery_page: Path) -> None:
    browser.open(judged_gallery_page)
    report = json.loads((judged_gallery_page.parent / "report.json").read_text())
    rows = list(csv.DictReader((judged_gallery_page.parent / "images.csv").open()))
    assert {row["image"].split("/")[0]: row["truth"] for row in rows} == {"good": "normal", "scratch": "abnormal"}
    outcomes = {
        "found": [row for row in rows if row["truth"] == "abnormal" and row["flagged"] == "true"],
        "missed": [row for row in rows if row["truth"] == "abnormal" and row["flagged"] == "false"],
        "alarm": [row for row in rows if row["truth"] == "normal" and row["flagged"] == "true"],
        "passed": [row for row in rows if row["truth"] == "normal" and row["flagged"] == "false"],
    }
    assert len(outcomes["missed"]) > 0
    for name, expected in outcomes.items():
        assert browser.one(f"[data-outcome={name}] b").text == str(len(expected))
        browser.one(f"[data-outcome={name}]").click()
        assert listed(browser) == [row["image"] for row in expected]
        browser.one(f"[data-outcome={name}]").click()
    assert browser.one(".counts [data-count=above]").text == str(report["flagged"])
    browser.run("document.querySelector('input[value=uncertain]').click()")
    assert len(listed(browser)) == report["counts"]["uncertain"]
    kinds = browser.run("return [...document.querySelectorAll('#histogram rect')].map((r) => r.getAttribute('class'))")
    assert set(kinds) == {"normal", "abnormal"}
    browser.run("document.querySelector('input[value=all]').click()")
    assert "above threshold" in browser.one("#grid .open").get_attribute("textContent")


def test_a_chosen_threshold_decides_on_the_page_too(browser: Browser, tmp_path: Path) -> None:
    for number in range(6):
        (tmp_path / "in").mkdir(exist_ok=True)
        Image.fromarray(np.full((40, 30), 20 + 30 * number, np.uint8)).save(tmp_path / "in" / f"part{number}.png")
    rule = DecisionRule("images", threshold=0.4)
    inspect_images(tmp_path / "in", tmp_path / "out", BrightImageScorer(), InspectionOptions(rule))
    report = json.loads((tmp_path / "out" / "report.json").read_text())
    assert 0 < report["flagged"] < 6
    browser.open(tmp_path / "out" / "report.html")
    tiles = browser.one(".tiles").text
    assert f"{report['flagged']}" in tiles
    assert "0.400 chosen by the user" in tiles
    assert "the threshold that the user chose" in browser.one(".scores-body").text
    assert "Uncalibrated" in browser.one(".standing").text
    assert "above threshold" in browser.one("#grid .open").get_attribute("textContent")
    assert browser.messages() == []


def test_thousands_of_images_have_tiles_near_the_window_alone(browser: Browser, large_gallery_page: Path) -> None:
    browser.open(large_gallery_page)
    browser.until("document.querySelector('canvas.thumbnail').dataset.drawn === 'true'")
    assert len(listed(browser)) == 5000
    assert len(browser.all(".tile-item")) < 80
    browser.run("gallery.list.focus(4999)")
    browser.until("document.activeElement.querySelector('canvas')?.dataset.drawn === 'true'")
    assert len(browser.all(".tile-item")) < 120
    assert browser.run("return document.activeElement.dataset.number") == "4999"
    assert browser.messages() == []


def test_what_is_printed_is_a_contact_sheet(browser: Browser, large_gallery_page: Path) -> None:
    browser.open(large_gallery_page)
    browser.run("window.dispatchEvent(new Event('beforeprint'))")
    assert len(browser.all("#printed .tile-item")) == 60
    assert "first 60 of 5,000" in browser.run("return document.getElementById('printed-note').textContent")
