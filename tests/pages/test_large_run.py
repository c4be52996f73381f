"""The index of hundreds and of 5,000 series in a real browser: opened, searched, filtered, sorted."""

import csv
from pathlib import Path

import pytest

pytest.importorskip("selenium", reason="selenium is not installed")

from selenium.webdriver.common.by import By
from selenium.webdriver.support.select import Select

from anomalib_zsad.records.run_summary import REFUSED, RunSummary
from tests.pages.browser import Browser
from tests.pages.large_run import write_large_run


@pytest.fixture(scope="module", params=[500, pytest.param(5000, marks=pytest.mark.slow)])
def run(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, RunSummary]:
    folder = tmp_path_factory.mktemp("large_run")
    return folder, write_large_run(folder, request.param)


def shown(browser: Browser) -> list[str]:
    """Names of the series that are listed, from top to bottom."""
    return browser.run(
        "return [...document.querySelectorAll('#series tbody tr')].filter((r) => r.getClientRects().length)"
        ".map((r) => r.dataset.series)"
    )


def choose(browser: Browser, name: str, value: str) -> None:
    Select(browser.one(f"#{name}")).select_by_value(value)


def test_the_table_has_all(run: tuple[Path, RunSummary]) -> None:
    folder, summary = run
    with (folder / "summary.csv").open(newline="") as stream:
        rows = list(csv.DictReader(stream))
    assert [row["series"] for row in rows] == [entry.series for entry in summary.entries]
    assert sum(row["status"] == REFUSED for row in rows) == 0.03 * len(rows)


@pytest.mark.parametrize("size", [(390, 844), (1440, 900)])
def test_a_long_list_begins_with_the_highest_scores(
    browser: Browser, run: tuple[Path, RunSummary], size: tuple[int, int]
) -> None:
    folder, summary = run
    count = len(summary.entries)
    browser.open(folder / "index.html", size)
    ordered = sorted((entry for entry in summary.entries if entry.status != REFUSED), key=lambda e: -e.volume_score)
    assert shown(browser) == [entry.series for entry in ordered[:200]]
    assert browser.one("#count").text == f"{count:,} entries"
    assert all(browser.run("return arguments[0].naturalWidth > 30", one) for one in browser.all("#series img")[:200])
    assert len(browser.all("#series img")) == min(1000, len(ordered))
    assert browser.one("#more").text == f"Show 200 more of {count - 200:,}"
    browser.one("#more").click()
    assert shown(browser) == [entry.series for entry in ordered[:400]]
    assert browser.run("return document.activeElement.textContent") == ordered[200].series
    assert browser.overflow() <= 0
    assert browser.messages() == []


def test_entries_are_searched_filtered_and_sorted(browser: Browser, run: tuple[Path, RunSummary]) -> None:
    folder, summary = run
    browser.open(folder / "index.html")
    choose(browser, "status", REFUSED)
    count = len(summary.entries)
    assert browser.one("#count").text == f"{3 * count // 100} of {count:,} entries"
    assert set(shown(browser)) == {entry.series for entry in summary.entries if entry.status == REFUSED}
    choose(browser, "modality", "MR")
    browser.one("#search").send_keys("GAP 12")
    refused = [entry for entry in summary.entries if entry.status == REFUSED and entry.modality == "MR"]
    assert set(shown(browser)) == {entry.series for entry in refused}
    choose(browser, "status", "")
    choose(browser, "modality", "")
    browser.one("#search").clear()
    browser.one("#search").send_keys("series-00000000ff")
    assert shown(browser) == ["series-00000000ff"]
    browser.one("#search").send_keys(" nothing")
    assert shown(browser) == []
    assert browser.one("#none").is_displayed()
    browser.one("#search").clear()
    browser.one("#search").send_keys("axial")
    choose(browser, "sort", "low")
    done = sorted((entry for entry in summary.entries if entry.status != REFUSED), key=lambda e: e.volume_score)
    assert shown(browser) == [entry.series for entry in done[:200]]
    choose(browser, "sort", "images")
    slices = {entry.series: entry.slices for entry in summary.entries}
    assert [slices[name] for name in shown(browser)] == sorted(filter(None, slices.values()), reverse=True)[:200]
    choose(browser, "sort", "name")
    assert shown(browser)[0] == "series-0000000003"
    link = browser.all("#series tbody tr a")[0]
    link.click()
    assert browser.driver.title == "series-0000000003"
    assert browser.messages() == []


def test_a_decision_is_no_choice_where_nothing_was_decided(browser: Browser, run: tuple[Path, RunSummary]) -> None:
    browser.open(run[0] / "index.html")
    assert not browser.driver.find_element(By.ID, "decision").is_displayed()
    assert browser.one("#modality").is_displayed()


def test_a_short_list_has_no_tools(browser: Browser, run_folder: Path) -> None:
    browser.open(run_folder / "index.html")
    assert browser.all("#tools") == []
    assert len(shown(browser)) == 3
    assert browser.messages() == []
