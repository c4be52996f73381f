"""The page of an inspected folder in a real browser."""

import json
from pathlib import Path

import pytest

pytest.importorskip("selenium", reason="selenium is not installed")

from selenium.webdriver.common.keys import Keys

from tests.pages.browser import DESKTOP, PHONE, Browser

SIZES = pytest.mark.parametrize("size", [PHONE, DESKTOP], ids=["phone", "desktop"])


def names(browser: Browser) -> list[str]:
    return [element.text for element in browser.all("#grid .name")]


def open_first(browser: Browser) -> None:
    browser.run("document.querySelector('.tile-button').click()")
    browser.shown()


@SIZES
def test_images_come_sorted_and_nothing_is_asked_for(browser: Browser, gallery_page: Path, size: tuple) -> None:
    browser.open(gallery_page, size)
    browser.until("document.querySelector('canvas.thumbnail').dataset.drawn === 'true'")
    shown = names(browser)
    assert len(shown) == 30
    assert shown[0] == "line0/part28.png"
    assert shown[-1] == "torn.png"
    open_first(browser)
    assert browser.overflow() <= 0
    assert browser.messages() == []
    assert browser.requests() == {gallery_page.as_uri()}


@SIZES
def test_the_large_view_with_overlay_and_keys(browser: Browser, gallery_page: Path, size: tuple) -> None:
    browser.open(gallery_page, size)
    open_first(browser)
    assert browser.one("#large-name").text == "line0/part28.png"
    assert browser.mean("overlay", 3) > 0
    with_map, picture = browser.screenshot(), browser.pixels("picture")
    browser.press(" ", "#stage")
    assert browser.shown().split("/")[1] == "none"
    assert browser.screenshot() != with_map
    browser.press(" ", "#stage")
    browser.slide("#opacity", 100)
    assert browser.shown().endswith("/1")
    browser.press(Keys.ARROW_RIGHT, "#stage")
    browser.until("document.getElementById('large-name').textContent === 'line1/part27.png'")
    assert browser.pixels("picture") != picture
    browser.run("document.getElementById('previous').click()")
    assert browser.shown().startswith("0/")
    browser.press(Keys.END, "#stage")
    assert "torn.png" in browser.one("#large-name").text
    assert "cannot be read" in browser.one("#image-facts").text
    assert browser.one("#absent").is_displayed()
    browser.press(Keys.ESCAPE, "#stage")
    assert not browser.one("#large").is_displayed()


def test_filter_search_and_sort(browser: Browser, gallery_page: Path) -> None:
    browser.open(gallery_page)
    counts = json.loads((gallery_page.parent / "report.json").read_text())["counts"]
    for decision in ("abnormal", "uncertain", "normal", "unreadable"):
        browser.run(f"document.querySelector('input[value={decision}]').click()")
        assert len(names(browser)) == counts[decision] > 0
    browser.run("document.querySelector('input[value=all]').click()")
    browser.one("#search").send_keys("LINE1/part0")
    assert names(browser) == [f"line1/part0{number}.png" for number in (9, 7, 5, 3, 1)]
    browser.run("const s = document.getElementById('sort'); s.value = 'low'; s.dispatchEvent(new Event('change'))")
    assert names(browser)[0] == "line1/part01.png"
    assert browser.one("#count").text == "5 images"


def test_what_has_no_picture_is_listed_and_said(browser: Browser, gallery_page: Path) -> None:
    browser.open(gallery_page)
    assert len(browser.all("#grid canvas")) == 20
    assert len(browser.all("#grid .thumbnail.none")) == 10
    assert "pictures of the 20 highest scores" in browser.one(".notes").text


def test_the_strip_opens_an_image(browser: Browser, gallery_page: Path) -> None:
    browser.open(gallery_page)
    browser.press(Keys.END, "#strip")
    browser.press(Keys.HOME, "#strip")
    browser.press(Keys.ARROW_RIGHT, "#strip")
    browser.press(Keys.ENTER, "#strip")
    assert browser.one("#large-name").text == "line1/part27.png"
    browser.press(Keys.ESCAPE, "#stage")
    browser.until("document.activeElement.dataset.number === '1'")  # the tile that was open last


def test_thumbnails_without_overlay(browser: Browser, gallery_page: Path) -> None:
    browser.open(gallery_page)
    browser.until("document.querySelector('canvas.thumbnail').dataset.drawn === 'true'")
    before = browser.run("return document.querySelector('canvas.thumbnail').toDataURL()")
    browser.one("#thumbnails").click()
    browser.until("document.querySelector('canvas.thumbnail').dataset.drawn === 'false'")
    assert browser.run("return document.querySelector('canvas.thumbnail').toDataURL()") != before
