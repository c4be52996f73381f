"""What a reader does with the pictures of a series: planes, zoom, readout, distances, thresholds, regions, film."""

import csv
import re
from collections.abc import Iterator
from pathlib import Path

import pytest

pytest.importorskip("selenium", reason="selenium is not installed")

from selenium.webdriver.common.action_chains import ActionChains
from selenium.webdriver.common.keys import Keys

from tests.pages.browser import DESKTOP, PHONE, WIDTHS, Browser
from tests.pages.conftest import SHAPE, SPOTS

ALL_WIDTHS = pytest.mark.parametrize("size", WIDTHS, ids=lambda size: str(size[0]))
COLUMN, ROW, _ = SPOTS[5]


@pytest.fixture
def page(browser: Browser, series_page: Path) -> Browser:
    browser.open(series_page)
    planes_ready(browser)
    return browser


@pytest.fixture
def dark(browser: Browser) -> Iterator[Browser]:
    browser.scheme("dark")
    yield browser
    browser.scheme(None)


def current(page: Browser) -> int:
    return int(page.shown().split("/")[0])


def planes_ready(page: Browser) -> None:
    page.until(
        "['cross-0', 'cross-1'].every((name) => document.getElementById(name).dataset.shown?.endsWith('/whole'))"
    )
    page.shown()


def crosshair(page: Browser) -> list[int]:
    return page.run("return [chosen.row, chosen.column]")


def press(page: Browser, *keys: str, on: str = "#stage") -> None:
    """Keys on an element; modifiers first."""
    element = page.one(on)
    page.run("arguments[0].focus({preventScroll: true})", element)
    actions = ActionChains(page.driver)
    for key in keys[:-1]:
        actions.key_down(key)
    actions.send_keys(keys[-1])
    for key in keys[:-1]:
        actions.key_up(key)
    actions.perform()
    page.pause()


def middle_of(page: Browser, pixel: tuple[int, int], pane: str = "mainPane") -> tuple[float, float]:
    """Where a pixel is in the window."""
    return tuple(page.run(
        f"const box = {pane}.element.getBoundingClientRect(); const at = {pane}.screenOf(arguments[0]);"
        "return [box.left + at.x, box.top + at.y]", list(pixel)
    ))  # fmt: skip


def click(page: Browser, pixel: tuple[int, int], pane: str = "mainPane") -> None:
    x, y = middle_of(page, pixel, pane)
    actions = ActionChains(page.driver)
    actions.w3c_actions.pointer_action.move_to_location(round(x), round(y))
    actions.w3c_actions.pointer_action.click()
    actions.perform()
    page.pause()


def readout(page: Browser) -> str:
    return page.one("#readout").text


@ALL_WIDTHS
@pytest.mark.parametrize("scheme", ["light", "dark"])
def test_the_picture_takes_the_room_there_is(browser: Browser, series_page: Path, size: tuple, scheme: str) -> None:
    browser.scheme(scheme)
    browser.open(series_page, size)
    browser.shown()
    box = browser.run("const b = document.getElementById('views').getBoundingClientRect(); return [b.width, b.height]")
    slider = browser.run("return document.getElementById('slice').getBoundingClientRect().bottom + scrollY")
    assert browser.overflow() <= 0
    assert browser.messages() == []
    if size == PHONE:
        assert box[0] == 390
    else:
        assert box[0] >= 0.62 * size[0]
        assert slider <= size[1] + 1
        # What is above and below the picture is bounded; the picture has the rest.
        assert box[1] >= min(360, size[1] - 330)
    three = browser.run("return document.getElementById('views').dataset.layout") == "three"
    assert three == (size[0] >= 1440)
    browser.scheme(None)


def test_regions_stand_beside_the_picture(page: Browser) -> None:
    views, regions = (page.run("return arguments[0].getBoundingClientRect().toJSON()", page.one(name))
                      for name in ("#views", ".regions"))  # fmt: skip
    assert regions["left"] >= views["right"]
    assert page.run("return document.getElementById('provenance').open") is False


def test_a_link_leads_to_a_slice_and_follows(browser: Browser, series_page: Path) -> None:
    browser.open(series_page, query="#slice=9")
    assert current(browser) == 9
    press(browser, Keys.ARROW_LEFT)
    assert current(browser) == 8
    browser.until("location.hash === '#slice=8'")
    browser.run("location.hash = '#slice=2'")
    browser.until("document.getElementById('stage').dataset.shown.startsWith('2/')")
    browser.open(series_page, query="#slice=99")
    assert current(browser) == 5


def test_it_begins_with_the_first_region_outlined_at_a_third_of_the_colour(page: Browser) -> None:
    assert page.shown() == "5/map/0.35"
    assert crosshair(page) == [ROW, COLUMN]
    assert page.run("return document.querySelector('tr.here [data-region]').textContent") == "1"
    assert page.one("#outline").is_selected()


def test_three_planes_show_the_same_voxels(page: Browser) -> None:
    """A place of the crosshair has one value in all three pictures."""
    read = (
        "const pixel = (canvas, x, y) => canvas.getContext('2d').getImageData(x, y, 1, 1).data[0];"
        "const point = { slice: slots.slotOf[chosen.place], row: chosen.row, column: chosen.column };"
        "const others = planes.map((view) => { const [y, x] = inPlane(view.plane, point, view.size);"
        "return pixel(view.pane.picture, x, y); });"
        "return [pixel(mainPane.picture, chosen.column, chosen.row), ...others]"
    )
    seen = set()
    for place, row, column in ((5, ROW, COLUMN), (7, 20, 24), (9, 3, 3), (2, 31, 17)):
        page.run(f"choose({{ place: {place}, row: {row}, column: {column} }})")
        page.shown()
        page.pause()
        values = page.run(read)
        assert len(set(values)) == 1, (place, values)
        seen.add(values[0])
    assert len(seen) > 1


def test_planes_are_linked_by_the_crosshair(page: Browser) -> None:
    click(page, (12, 20))
    assert crosshair(page) == [12, 20]
    assert [page.one(f"#cross-{number}").get_attribute("data-shown") for number in (0, 1)] == [
        "row 12/whole",
        "column 20/whole",
    ]
    names = [page.one(f"#cross-{number} .where").text for number in (0, 1)]
    assert names == ["coronal \N{MIDDLE DOT} row 12", "sagittal \N{MIDDLE DOT} column 20"]
    # A click in the coronal plane: its lines are slices, from the head down.
    click(page, (2, 33), "planes[0].pane")
    assert current(page) == SHAPE[2] - 1 - 2
    assert crosshair(page) == [12, 33]
    press(page, Keys.ARROW_DOWN, on="#cross-0")
    assert crosshair(page) == [13, 33]
    press(page, Keys.END, on="#cross-1")
    assert crosshair(page) == [13, SHAPE[0] - 1]
    press(page, Keys.SHIFT, Keys.ARROW_LEFT)
    assert crosshair(page) == [13, SHAPE[0] - 2]
    press(page, Keys.ALT, Keys.ARROW_UP)
    assert crosshair(page) == [3, SHAPE[0] - 2]


def test_every_plane_says_where_the_patient_is(page: Browser) -> None:
    words = [page.one(f"#{name} .words").text for name in ("stage", "cross-0", "cross-1")]
    assert words == [f"Patient's {side} is on your left" for side in ("right", "right", "front")]
    letters = {
        name: [page.one(f"#{name} .edge.{edge}").text for edge in ("left", "right", "top", "bottom")]
        for name in ("cross-0", "cross-1")
    }
    assert letters == {"cross-0": ["R", "L", "S", "I"], "cross-1": ["A", "P", "S", "I"]}
    assert len(page.all(".compass")) == 3
    # Letters are at the picture's edge, not at the pane's.
    left = page.run("return [mainPane.box.left, document.getElementById('edge-left').offsetLeft]")
    assert left[0] <= left[1] <= left[0] + 10


def test_planes_have_true_proportions(page: Browser) -> None:
    box = page.one("#cross-0 .frame").size
    assert box["width"] / box["height"] == pytest.approx(SHAPE[0] * 1.5 / (SHAPE[2] * 4), rel=0.02)


def test_without_geometry_nothing_is_said_of_it(browser: Browser, flat_page: Path) -> None:
    browser.open(flat_page)
    browser.shown()
    assert browser.one("#layout-three").get_attribute("disabled")
    assert browser.run("return document.getElementById('views').dataset.layout") == "one"
    assert [browser.one(f"#edge-{edge}").text for edge in ("left", "top")] == ["", ""]
    assert browser.one("#stage .words").text == ""
    assert not browser.all(".compass")
    assert "mm" not in readout(browser)
    press(browser, "d")
    press(browser, Keys.SHIFT, Keys.ARROW_RIGHT)
    press(browser, "d")
    assert browser.run("return distanceInWords(...chosen.distance)") == "1.0 pixels"
    assert browser.messages() == []


def test_the_readout_tells_value_map_and_place(page: Browser, series_page: Path) -> None:
    text = readout(page)
    value = float(re.search(r"value ≈ (\S+) HU", text)[1])
    assert value == pytest.approx(SPOTS[5][2] - 60, abs=160)  # a bright pixel among noise, in JPEG
    assert re.search(r"map 0\.9\d\d", text)
    with (series_page.parent / "regions.csv").open() as stream:
        first = next(csv.DictReader(stream))
    peak = [abs(float(first[f"peak_{axis}_mm"])) for axis in "xyz"]
    place = re.search(r"[RL] (\S+) +[AP] (\S+) +[SI] (\S+) mm", text)
    assert [float(part) for part in place.groups()] == pytest.approx(peak, abs=0.051)
    x, y = middle_of(page, (3, 3))
    actions = ActionChains(page.driver)
    actions.w3c_actions.pointer_action.move_to_location(round(x), round(y))
    actions.perform()
    page.pause()
    under = readout(page)
    assert under.startswith("Cursor: slice 5")
    assert under != text
    actions = ActionChains(page.driver)
    actions.move_to_element(page.one("#cross-0")).perform()
    page.pause()
    assert readout(page).startswith("Cursor: slice")


def test_zoom_by_keys_wheel_and_buttons(page: Browser) -> None:
    width = page.one("#frame").size["width"]
    press(page, "+")
    assert page.one("#frame").size["width"] == pytest.approx(1.25 * width, rel=0.01)
    press(page, "-")
    assert page.one("#frame").size["width"] == pytest.approx(width, rel=0.01)
    x, y = middle_of(page, (18, 26))
    page.run(
        "arguments[0].dispatchEvent(new WheelEvent('wheel', {deltaY: -100, ctrlKey: true, bubbles: true,"
        "cancelable: true, clientX: arguments[1], clientY: arguments[2]}))",
        page.one("#stage"), x, y,
    )  # fmt: skip
    assert page.one("#frame").size["width"] > 1.5 * width
    assert middle_of(page, (18, 26)) == pytest.approx((x, y), abs=1.5)
    assert current(page) == 5  # with control the wheel goes through no slices
    page.one("#zoom-fit").click()
    assert page.one("#frame").size["width"] == width
    page.one("#zoom-in").click()
    assert page.one("#stage").get_attribute("data-zoom") == "1.25"
    press(page, "0")
    assert page.one("#stage").get_attribute("data-zoom") == "1.00"


def test_an_enlarged_picture_is_moved(page: Browser) -> None:
    for _ in range(6):
        press(page, "+")
    before = page.run("return mainPane.box.left")
    window = page.one("#width").get_attribute("value")
    ActionChains(page.driver).key_down(Keys.SHIFT).drag_and_drop_by_offset(page.one("#stage"), 40, 0).key_up(
        Keys.SHIFT
    ).perform()
    assert page.run("return mainPane.box.left") == pytest.approx(before + 40, abs=1)
    page.run("document.querySelector('input[value=move]').click()")
    ActionChains(page.driver).drag_and_drop_by_offset(page.one("#stage"), -30, 0).perform()
    assert page.run("return mainPane.box.left") == pytest.approx(before + 10, abs=1)
    assert page.one("#width").get_attribute("value") == window
    # The crosshair stays in sight.
    for _ in range(4):
        press(page, Keys.ALT, Keys.ARROW_RIGHT)
    assert 0 <= page.run("return mainPane.screenOf([chosen.row, chosen.column]).x") <= page.one("#stage").size["width"]


def test_fingers_pinch_swipe_and_tap(browser: Browser, series_page: Path) -> None:
    browser.open(series_page, PHONE)
    browser.shown()
    browser.driver.execute_cdp_cmd("Emulation.setTouchEmulationEnabled", {"enabled": True, "maxTouchPoints": 5})
    try:
        browser.run("document.getElementById('stage').scrollIntoView()")
        x, y = middle_of(browser, (20, 24))
        browser.touch("touchStart", (x - 30, y))
        browser.touch("touchStart", (x - 30, y), (x + 30, y))
        for apart in (40, 60, 75):
            browser.touch("touchMove", (x - apart, y), (x + apart, y))
        browser.touch("touchEnd")
        assert float(browser.one("#stage").get_attribute("data-zoom")) == pytest.approx(2.5, abs=0.1)
        assert middle_of(browser, (20, 24)) == pytest.approx((x, y), abs=3)
        assert current(browser) == 5
        left = browser.run("return mainPane.box.left")
        for kind, at in (("touchStart", x), ("touchMove", x + 20), ("touchMove", x + 35), ("touchEnd", None)):
            browser.touch(kind, *([] if at is None else [(at, y)]))
        assert browser.run("return mainPane.box.left") > left  # one finger moves what is enlarged
        browser.run("mainPane.whole()")
        for kind, at in (("touchStart", x), ("touchMove", x + 60), ("touchMove", x + 140), ("touchEnd", None)):
            browser.touch(kind, *([] if at is None else [(at, y)]))
        assert current(browser) > 5  # and goes through slices otherwise
        x, y = middle_of(browser, (8, 9))
        browser.touch("touchStart", (x, y))
        browser.touch("touchEnd")
        browser.pause()
        assert crosshair(browser) == [8, 9]
    finally:
        browser.driver.execute_cdp_cmd("Emulation.setTouchEmulationEnabled", {"enabled": False})


def test_a_distance_by_mouse_and_by_keys(page: Browser) -> None:
    page.run("document.querySelector('input[value=distance]').click()")
    (x0, y0), (x1, y1) = middle_of(page, (10, 10)), middle_of(page, (10, 30))
    pointer = ActionChains(page.driver)
    pointer.w3c_actions.pointer_action.move_to_location(round(x0), round(y0)).pointer_down()
    pointer.w3c_actions.pointer_action.move_to_location(round(x1), round(y1)).pointer_up()
    before = page.mean("marks", 3)
    pointer.perform()
    page.pause()
    assert page.run("return distanceInWords(...chosen.distance)") == "30.0 mm"  # 20 columns of 1.5 mm
    assert page.mean("marks", 3) > before
    press(page, Keys.ESCAPE)
    assert page.run("return chosen.distance") is None
    press(page, "d")
    press(page, Keys.ALT, Keys.ARROW_UP)
    assert "distance 12.5 mm" in readout(page)  # 10 rows of 1.25 mm
    press(page, "d")
    assert page.run("return distanceInWords(...chosen.distance)") == "12.5 mm"


def test_regions_by_keys_with_a_crosshair_of_their_own(page: Browser) -> None:
    press(page, "n")
    assert current(page) == 9
    column, row, _ = SPOTS[9]
    assert crosshair(page) == [row, column]
    assert page.run("return document.querySelector('tr.here [data-region]').textContent") == "2"
    yellow = (
        "const c = document.getElementById('marks');"
        "const d = c.getContext('2d').getImageData(0, 0, c.width, c.height).data; let n = 0;"
        "for (let i = 0; i < d.length; i += 4)"
        " n += d[i + 3] > 200 && d[i] > 200 && d[i + 1] > 180 && d[i + 2] < 120; return n"
    )
    assert page.run(yellow) > 30  # yellow, the second colour
    press(page, "n")
    assert current(page) == 5
    assert page.run(yellow) == 0
    press(page, "p")
    assert current(page) == 9
    press(page, Keys.ARROW_LEFT)
    press(page, "p")
    assert current(page) == 5


def test_the_threshold_redraws_outlines_and_counts(page: Browser, series_page: Path) -> None:
    counts = page.one("#counts").text
    assert re.fullmatch(r"3 of 12 slices, 2 regions, 0\.\d+ ml", counts), counts
    outline = page.pixels("marks")
    page.slide("#threshold", 0.9)
    page.until("document.getElementById('counts').textContent.startsWith('about ')")
    assert re.match(r"about 1 of 12 slices, 1 region, 0\.\d+ ml", page.one("#counts").text)
    assert page.pixels("marks") != outline
    assert page.run("return document.querySelectorAll('tr.below').length") == 1
    press(page, "n")
    assert current(page) == 5  # the other one does not reach it
    page.one("#threshold-reset").click()
    page.until("!document.getElementById('counts').textContent.startsWith('about ')")
    assert page.one("#counts").text == counts
    press(page, Keys.ARROW_RIGHT, on="#threshold")
    assert page.one("#threshold-value").text != "0.700"


def test_what_covers_the_picture_goes_while_a_key_or_a_button_is_held(page: Browser) -> None:
    assert page.mean("marks", 3) > 0
    stage = page.one("#stage")
    page.run("arguments[0].focus()", stage)
    ActionChains(page.driver).key_down("h").perform()
    page.until("document.getElementById('stage').dataset.shown.endsWith('/hidden')")
    assert page.run("return getComputedStyle(document.getElementById('overlay')).opacity") == "0"
    assert page.mean("marks", 3) == 0
    ActionChains(page.driver).key_up("h").perform()
    page.until("document.getElementById('stage').dataset.shown.endsWith('/0.35')")
    ActionChains(page.driver).click_and_hold(page.one("#hold")).perform()
    page.until("document.getElementById('stage').dataset.shown.endsWith('/hidden')")
    ActionChains(page.driver).release().perform()
    page.until("document.getElementById('stage').dataset.shown.endsWith('/0.35')")


@ALL_WIDTHS
def test_side_by_side_by_keyboard(browser: Browser, series_page: Path, size: tuple) -> None:
    browser.open(series_page, size)
    browser.shown()
    press(browser, "2")
    browser.shown()
    browser.pause()
    assert browser.one("#plain").is_displayed()
    read = "return document.querySelector(arguments[0]).toDataURL()"
    assert browser.run(read, "#plain .picture") == browser.run(read, "#picture")
    press(browser, "+")
    zooms = {browser.one(name).get_attribute("data-zoom") for name in ("#stage", "#plain")}
    assert zooms == {"1.25"}
    assert browser.overflow() <= 0
    press(browser, "1")
    assert not browser.one("#plain").is_displayed()
    press(browser, "3")
    planes_ready(browser)
    assert browser.one("#cross-1").is_displayed()
    assert browser.overflow() <= 0
    assert browser.messages() == []


def test_full_screen_and_back(page: Browser) -> None:
    press(page, "f")
    page.until("document.fullscreenElement?.id === 'viewer'")
    assert page.one("#slice").is_displayed()
    press(page, "f")
    page.until("document.fullscreenElement === null")


def test_the_film_runs_until_something_else_is_done(page: Browser) -> None:
    page.run("document.getElementById('speed').value = '25'")
    press(page, "c")
    page.until("chosen.place > 7 || chosen.place < 5")
    assert page.one("#play").get_attribute("aria-pressed") == "true"
    press(page, Keys.HOME)
    assert page.one("#play").get_attribute("aria-pressed") == "false"
    assert current(page) == 0


def test_the_film_stops_at_the_slice_that_it_shows(page: Browser) -> None:
    """Asked to go where the film happens to be, it stops there: nothing but the film has changed."""
    page.run("choose({ place: 0 }); document.getElementById('speed').value = '1'")
    press(page, "c")
    assert page.one("#play").get_attribute("aria-pressed") == "true"
    press(page, Keys.HOME)
    assert page.one("#play").get_attribute("aria-pressed") == "false"
    page.run("document.getElementById('speed').value = '25'")
    press(page, "c")
    page.until("chosen.place > 2")
    press(page, "c")
    assert page.one("#play").get_attribute("aria-pressed") == "false"


def test_all_by_keyboard_in_the_dark(dark: Browser, series_page: Path) -> None:
    """From the top of the page, tabulator alone reaches every control, in the order in which they stand."""
    dark.open(series_page, DESKTOP)
    planes_ready(dark)
    reached = []
    for _ in range(60):
        ActionChains(dark.driver).send_keys(Keys.TAB).perform()
        reached.append(
            dark.run("const e = document.activeElement; return e.id || e.name || e.dataset.region || e.tagName")
        )
    controls = "layout-three zoom-in hold play full-screen stage cross-0 cross-1 slice strip opacity threshold outline"
    for name in (*controls.split(), "width", "reset"):
        assert name in reached, (name, reached)
