"""The page of a series in a real browser."""

import csv
from pathlib import Path

import pytest

pytest.importorskip("selenium", reason="selenium is not installed")

from selenium.webdriver.common.action_chains import ActionChains
from selenium.webdriver.common.actions.wheel_input import ScrollOrigin
from selenium.webdriver.common.keys import Keys

from tests.pages.browser import DESKTOP, PHONE, Browser
from tests.pages.conftest import BLANK, SHAPE, SPOTS

SIZES = pytest.mark.parametrize("size", [PHONE, DESKTOP], ids=["phone", "desktop"])


@pytest.fixture
def page(browser: Browser, series_page: Path) -> Browser:
    browser.open(series_page)
    browser.shown()
    return browser


def current(page: Browser) -> int:
    return int(page.shown().split("/")[0])


def change(page: Browser, selector: str, value: object) -> None:
    page.run(
        "arguments[0].value = arguments[1]; arguments[0].dispatchEvent(new Event('input', {bubbles: true}));"
        "arguments[0].dispatchEvent(new Event('change', {bubbles: true}))",
        page.one(selector),
        value,
    )


@SIZES
def test_it_opens_without_a_word_and_asks_for_nothing(browser: Browser, series_page: Path, size: tuple) -> None:
    browser.open(series_page, size)
    assert current(browser) == 5  # the highest score
    browser.press(Keys.END, "#stage")
    browser.press(" ", "#stage")
    browser.shown()
    assert browser.messages() == []
    assert browser.requests() == {series_page.as_uri()}
    assert browser.overflow() <= 0


@SIZES
def test_the_slider_moves_the_picture(browser: Browser, series_page: Path, size: tuple) -> None:
    browser.open(series_page, size)
    before, looked = browser.pixels("picture"), browser.screenshot()
    browser.slide("#slice", 9)
    assert current(browser) == 9
    assert browser.pixels("picture") != before
    assert browser.screenshot() != looked
    assert browser.one("#slice-number").get_attribute("value") == "9"
    assert "Slice 9" in browser.one("#corner-slice").text


@SIZES
def test_the_overlay_appears_and_fades(browser: Browser, series_page: Path, size: tuple) -> None:
    browser.open(series_page, size)
    assert browser.mean("overlay", 3) > 0
    with_map = browser.screenshot()
    browser.run("document.querySelector('input[value=none]').click()")
    without = browser.screenshot()
    assert browser.mean("overlay", 3) == 0
    assert without != with_map
    browser.run("document.querySelector('input[value=deviation]').click()")
    deviation = browser.screenshot()
    assert deviation not in (with_map, without)
    browser.run("document.querySelector('input[value=map]').click()")
    browser.slide("#opacity", 0)
    browser.shown()
    assert browser.run("return getComputedStyle(document.getElementById('overlay')).opacity") == "0"
    browser.slide("#opacity", 100)
    browser.shown()
    assert browser.run("return getComputedStyle(document.getElementById('overlay')).opacity") == "1"
    assert browser.screenshot() != with_map


def test_the_outline_follows_the_lesion_map(page: Browser) -> None:
    with_outline = page.mean("marks", 3)
    page.run("document.getElementById('outline').click()")
    page.pause()
    assert 0 <= page.mean("marks", 3) < with_outline


def test_the_window_can_be_wider_than_the_models(page: Browser) -> None:
    page.run("document.querySelector('input[value=none]').click()")
    page.slide("#slice", BLANK)  # all -1000: black in the model's window
    assert page.mean("picture") == 0
    change(page, "#level", -1000)
    assert page.mean("picture") == pytest.approx(127.5, abs=2)
    change(page, "#preset", "1500/-600")
    assert page.one("#width").get_attribute("value") == "1500"
    assert page.mean("picture") == pytest.approx(255 * 350 / 1500, abs=5)
    page.one("#reset").click()
    assert page.mean("picture") == 0
    assert "W 900 L 450 HU" in page.one("#corner-window").text


def test_dragging_changes_the_window(page: Browser) -> None:
    before = page.pixels("picture")
    ActionChains(page.driver).click_and_hold(page.one("#stage")).move_by_offset(80, 0).perform()
    page.shown()
    width = float(page.one("#width").get_attribute("value"))
    assert width > 1200
    ActionChains(page.driver).move_by_offset(0, 60).release().perform()
    page.shown()
    assert float(page.one("#level").get_attribute("value")) > 500
    assert page.pixels("picture") != before


def test_grey_levels_are_those_of_the_voxels(page: Browser) -> None:
    column, row, value = SPOTS[5]
    change(page, "#width", 2000)
    change(page, "#level", 0)
    page.shown()
    read = "return document.getElementById('picture').getContext('2d').getImageData(...arguments, 1, 1).data[0]"
    assert page.run(read, column - 2, row - 2) == pytest.approx(255 * (value - 60 + 1000) / 2000, abs=9)


def test_the_strip_jumps(page: Browser) -> None:
    strip, mark = page.one("#strip"), page.one("#strip .mark[data-slice='9']")
    page.run("arguments[0].scrollIntoView()", strip)
    assert len(page.all("#strip .mark")) == SHAPE[2]
    offset = mark.location["x"] + mark.size["width"] / 2 - strip.location["x"] - strip.size["width"] / 2
    ActionChains(page.driver).move_to_element_with_offset(strip, offset, 20).click().perform()
    assert current(page) == 9
    page.press(Keys.ARROW_LEFT, "#strip")
    assert current(page) == 8
    assert strip.get_attribute("aria-valuenow") == "8"
    assert "slice 8" in strip.get_attribute("aria-valuetext")


def test_the_strip_tells_kinds_apart_by_shape(page: Browser) -> None:
    kinds = {kind: page.all(f"#strip .mark.{kind}") for kind in ("abnormal", "uncertain", "normal", "blank")}
    assert [len(kinds[kind]) for kind in ("blank", "uncertain")] == [1, 3]
    assert kinds["abnormal"]
    assert kinds["normal"]
    assert len({found[0].get_attribute("d") for found in kinds.values()}) == 4
    assert page.all("#strip .threshold")
    assert page.all("#strip .band")


def test_keys_and_wheel(page: Browser) -> None:
    for key, expected in (
        (Keys.ARROW_RIGHT, 6),
        (Keys.ARROW_DOWN, 7),
        (Keys.ARROW_UP, 6),
        (Keys.ARROW_LEFT, 5),
        (Keys.PAGE_DOWN, 11),
        (Keys.PAGE_UP, 1),
        (Keys.END, 11),
        (Keys.HOME, 0),
    ):
        page.press(key, "#stage")
        assert current(page) == expected, key
    page.press(" ", "#stage")
    assert page.shown().split("/")[1] == "none"
    page.press(" ", "#stage")
    assert page.shown().split("/")[1] == "map"
    ActionChains(page.driver).scroll_from_origin(ScrollOrigin.from_element(page.one("#stage")), 0, 40).perform()
    page.until("document.getElementById('stage').dataset.shown.startsWith('1/')")


def test_keys_work_without_a_click_but_not_in_fields(page: Browser) -> None:
    page.press(Keys.ARROW_RIGHT, "body")
    assert current(page) == 6
    page.press(Keys.ARROW_UP, "#width")
    assert current(page) == 6


@SIZES
def test_a_finding_jumps_to_its_peak(browser: Browser, series_page: Path, size: tuple) -> None:
    browser.open(series_page, size)
    browser.slide("#slice", 2)
    browser.shown()
    buttons = browser.all("[data-region]")
    assert len(buttons) == 2
    before = browser.mean("marks", 3)
    browser.run("arguments[0].click()", buttons[1])
    assert current(browser) == 9
    browser.pause()
    assert browser.mean("marks", 3) > before  # a ring
    assert browser.all("tr.here")


def test_the_table_of_findings_is_that_of_the_file(page: Browser, series_page: Path) -> None:
    with (series_page.parent / "regions.csv").open() as stream:
        first, *others = csv.DictReader(stream)
    assert len(others) == 1
    cells = [cell.text for cell in page.all("#regions tbody tr")[0].find_elements("css selector", "td")]
    assert cells[0] == f"{float(first['peak']):.3f}"
    volume, longest = cells[1].split("\n")
    assert volume.endswith(" ml")
    assert float(volume[:-3]) * 1000 == pytest.approx(float(first["volume_mm3"]), rel=0.05)
    assert longest == f"{float(first['longest_diameter_mm']):.0f} mm long"
    assert cells[2] == f"{first['first_slice']}\N{EN DASH}{first['last_slice']}"
    position = [abs(float(first[f"peak_{axis}_mm"])) for axis in "xyz"]
    words, place = cells[3].split("\n")
    assert words == first["place"]
    assert [float(part) for part in place.split()[1::2]] == pytest.approx(position, abs=0.051)
    assert first["peak_slice"] == "5"


def test_pixels_have_their_true_proportions(page: Browser) -> None:
    box = page.one("#frame").size
    assert box["width"] / box["height"] == pytest.approx(SHAPE[0] * 1.5 / (SHAPE[1] * 1.25), rel=0.02)
    letters = {edge: page.one(f"#edge-{edge}").text for edge in ("left", "right", "top", "bottom")}
    assert letters == {"left": "R", "right": "L", "top": "A", "bottom": "P"}


def test_facts_of_the_slice_are_told(page: Browser) -> None:
    page.slide("#slice", BLANK)
    page.shown()
    assert "blank" in page.one("#slice-facts").text
    page.slide("#slice", 5)
    page.shown()
    assert "0.956" in page.one("#slice-facts").text  # (880 / 900) squared
    assert "Uncalibrated" in page.one(".standing").text


@SIZES
def test_the_index_leads_to_the_pages_and_back(browser: Browser, run_folder: Path, size: tuple) -> None:
    browser.open(run_folder / "index.html", size)
    assert browser.overflow() <= 0
    rows = [row.text for row in browser.all("#series tbody tr")]
    assert len(rows) == 3
    assert any("refused" in row and "truncated" in row for row in rows)
    links = [link.get_attribute("href") for link in browser.all("#series a")]
    assert len(links) == 2
    browser.run("arguments[0].click()", browser.all("#series a")[0])
    browser.shown()
    assert browser.driver.current_url.partition("#")[0] == links[0]
    browser.run("document.querySelector('nav a').click()")
    browser.until("document.getElementById('series') !== null")
    assert browser.messages() == []
    assert all(url.startswith("file:") for url in browser.requests())


@pytest.mark.parametrize("scheme", ["light", "dark"])
def test_both_colour_schemes(browser: Browser, series_page: Path, scheme: str) -> None:
    feature = {"name": "prefers-color-scheme", "value": scheme}
    browser.driver.execute_cdp_cmd("Emulation.setEmulatedMedia", {"features": [feature]})
    browser.open(series_page)
    colour = browser.run("return getComputedStyle(document.body).backgroundColor")
    browser.driver.execute_cdp_cmd("Emulation.setEmulatedMedia", {"features": []})
    assert (sum(int(part) for part in colour[4:-1].split(",")) > 380) == (scheme == "light")


def test_everything_that_can_be_used_has_a_name(page: Browser) -> None:
    nameless = page.run(
        "return [...document.querySelectorAll('button, input, select, [tabindex], canvas[role]')].filter((e) => "
        "!(e.getAttribute('aria-label') || e.getAttribute('aria-labelledby') || e.textContent.trim() || "
        "[...(e.labels || [])].some((l) => l.textContent.trim()))).map((e) => e.outerHTML)"
    )
    assert nameless == []
