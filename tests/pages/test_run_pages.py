"""The index of a run, and two series side by side, in a real browser."""

from pathlib import Path

import pytest

pytest.importorskip("selenium", reason="selenium is not installed")

from tests.pages.browser import Browser

TIMES = "\N{MULTIPLICATION SIGN}"


@pytest.fixture
def study(two_series: Path) -> Path:
    """A run of two series of a study."""
    return two_series


@pytest.mark.parametrize("size", [(390, 844), (1024, 768), (1440, 900), (2560, 1440)])
def test_the_index_tells_series_apart_and_breaks_no_word(browser: Browser, study: Path, size: tuple) -> None:
    browser.open(study / "index.html", size)
    text = browser.one("#series").text
    for fact in ("TE 90 ms", "TR 4000 ms", "SE", *(f"40 {TIMES} 36 {TIMES} {n}" for n in (12, 6)), "axial"):
        assert fact in text
    assert "SECRET" not in browser.run("return document.documentElement.outerHTML")
    pictures = browser.all("#series .picture img")
    assert len(pictures) == 2
    assert all(browser.run("return arguments[0].naturalWidth > 30", picture) for picture in pictures)
    assert browser.overflow() <= 0
    if size[0] > 640:
        broken = browser.run(
            "const range = document.createRange(); const found = [];"
            "for (const cell of document.querySelectorAll('#series th, #series td')) {"
            " const walk = document.createTreeWalker(cell, NodeFilter.SHOW_TEXT);"
            " while (walk.nextNode()) { const node = walk.currentNode;"
            "  for (const match of node.data.matchAll(/\\S+/g)) { range.setStart(node, match.index);"
            "   range.setEnd(node, match.index + match[0].length);"
            "   if (range.getClientRects().length > 1) found.push(match[0]); } } } return found"
        )
        assert broken == []
    assert browser.messages() == []


def test_without_a_calibration_the_index_flags_nothing(browser: Browser, study: Path) -> None:
    browser.open(study / "index.html")
    text = browser.run("return document.body.innerText").lower()
    assert "flagged" not in text
    assert "above threshold" not in text


def slice_of(browser: Browser, side: str) -> int:
    browser.driver.switch_to.frame(browser.one(f"#{side}-frame"))
    shown = browser.shown().split("/")[0]
    browser.driver.switch_to.default_content()
    return int(shown)


def go(browser: Browser, side: str, place: int) -> None:
    browser.driver.switch_to.frame(browser.one(f"#{side}-frame"))
    browser.slide("#slice", place)
    browser.shown()
    browser.driver.switch_to.default_content()


@pytest.mark.parametrize("size", [(390, 844), (1440, 900)])
def test_two_series_of_a_study_go_together(browser: Browser, study: Path, size: tuple) -> None:
    browser.open(study / "index.html", size)
    link = browser.all("#series a[href^=compare]")[0].get_attribute("href")
    browser.driver.get(link)
    many = next(s for s in ("left", "right") if f"{TIMES} 12" in browser.one(f"#{s}-frame").get_attribute("title"))
    few = "right" if many == "left" else "left"
    slice_of(browser, many), slice_of(browser, few)
    for place in (0, 8, 10, 4):
        go(browser, many, place)
        browser.pause()
        assert slice_of(browser, few) == place // 2
    go(browser, few, 1)
    browser.pause()
    assert slice_of(browser, many) == 2
    browser.one("#linked").click()
    go(browser, few, 5)
    browser.pause()
    assert slice_of(browser, many) == 2
    assert browser.overflow() <= 0
    assert not browser.one("#planes").is_displayed()
    assert browser.messages() == []


def test_a_run_without_a_second_series_has_no_comparison(run_folder: Path) -> None:
    assert not (run_folder / "compare.html").exists()
    assert "compare.html" not in (run_folder / "index.html").read_text()
