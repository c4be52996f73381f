"""The pages by axe-core, at the widths of a phone to a large screen, dark and light; and how large targets are.

axe-core is taken from where tools/lint_javascript.sh (`make lint`) installs it, or from the folder that AXE_CORE names.
"""

import os
from collections.abc import Iterator
from pathlib import Path

import pytest

pytest.importorskip("selenium", reason="selenium is not installed")

from tests.pages.browser import Browser

ROOT = Path(__file__).resolve().parents[2]
AXE = Path(os.environ.get("AXE_CORE", ROOT / "tools" / "javascript" / "node_modules" / "axe-core")) / "axe.min.js"
SIZES = [(390, 844), (1024, 768), (1440, 900), (2560, 1440)]
PAGES = ["gallery", "judged_gallery", "run_index", "long_run_index", "compare", "evaluation", "series", "flat_series"]
VIOLATIONS = """
const done = arguments[0];
axe.run(document, { resultTypes: ["violations"], iframes: false }).then((found) => done(found.violations.map((one) =>
  `${one.id}: ${one.nodes.length} x ${one.nodes[0].target}: ${one.help}`)), (error) => done([String(error)]));
"""

SMALL_TARGETS = (
    "const target = (e) => (e.matches('[type=checkbox], [type=radio]') ? e.closest('label') : e);"
    "const kinds = 'main button, main select, main input, main summary, header select';"
    "return [...document.querySelectorAll(kinds)].map((e) => [e, target(e).getBoundingClientRect()])"
    ".filter(([, box]) => box.width && box.height && box.height < 40)"
    ".map(([e, box]) => `${e.outerHTML.slice(0, 80)} ${box.height}`)"
)


@pytest.fixture
def pages(
    gallery_page: Path,
    judged_gallery_page: Path,
    run_folder: Path,
    long_run: Path,
    two_series: Path,
    evaluation_page: Path,
    series_page: Path,
    flat_page: Path,
) -> dict[str, Path]:
    return {
        "gallery": gallery_page,
        "judged_gallery": judged_gallery_page,
        "run_index": run_folder / "index.html",
        "long_run_index": long_run / "index.html",
        "compare": two_series / "compare.html",
        "evaluation": evaluation_page,
        "series": series_page,
        "flat_series": flat_page,
    }


@pytest.fixture
def emulated(browser: Browser) -> Iterator[Browser]:
    yield browser
    browser.driver.execute_cdp_cmd("Emulation.setEmulatedMedia", {"features": [], "media": ""})


@pytest.mark.skipif(not AXE.is_file(), reason=f"axe-core is not installed: there is no {AXE}")
@pytest.mark.parametrize("name", PAGES)
def test_axe_finds_nothing(emulated: Browser, pages: dict[str, Path], name: str) -> None:
    source = AXE.read_text(encoding="utf-8")
    for scheme in ("light", "dark"):
        feature = {"name": "prefers-color-scheme", "value": scheme}
        emulated.driver.execute_cdp_cmd("Emulation.setEmulatedMedia", {"features": [feature]})
        for size in SIZES if scheme == "light" else SIZES[:1]:
            emulated.open(pages[name], size)
            emulated.driver.execute_script(source)
            assert emulated.driver.execute_async_script(VIOLATIONS) == [], (scheme, size)
            assert emulated.overflow() <= 0
    if "gallery" in name:
        emulated.run("gallery.large.open(0)")
        emulated.shown()
        assert emulated.driver.execute_async_script(VIOLATIONS) == []


@pytest.mark.parametrize("name", PAGES)
def test_targets_of_a_phone_are_large_enough(browser: Browser, pages: dict[str, Path], name: str) -> None:
    browser.open(pages[name], SIZES[0])
    assert browser.run(SMALL_TARGETS) == []


@pytest.mark.parametrize("name", [name for name in PAGES if name != "compare"])
def test_what_is_printed_has_no_empty_page(emulated: Browser, pages: dict[str, Path], name: str) -> None:
    import base64
    import io

    import numpy as np
    import pypdf

    emulated.open(pages[name], (1440, 900))
    emulated.pause()
    printed = emulated.driver.execute_cdp_cmd("Page.printToPDF", {"printBackground": False})
    document = pypdf.PdfReader(io.BytesIO(base64.b64decode(printed["data"])))
    filled = [len(page.extract_text().strip()) + 100 * len(page.images) for page in document.pages]
    assert np.all(np.array(filled) > 20), filled


def test_a_printed_series_shows_its_highest_slices(emulated: Browser, series_page: Path) -> None:
    """As a contact sheet; on the screen it is not there."""
    emulated.open(series_page, (1440, 900))
    emulated.shown()
    assert not emulated.one(".printed").is_displayed()
    emulated.driver.execute_cdp_cmd("Emulation.setEmulatedMedia", {"media": "print"})
    assert emulated.one(".printed").is_displayed()
    pictures = emulated.all(".printed img")
    assert len(pictures) == 5
    assert all(emulated.run("return arguments[0].naturalWidth", picture) >= 256 for picture in pictures)
    captions = [caption.text for caption in emulated.all(".printed figcaption")]
    assert captions[0].startswith("Slice 5, score 0.9")
    scores = [float(caption.split()[-1]) for caption in captions]
    assert scores == sorted(scores, reverse=True)
