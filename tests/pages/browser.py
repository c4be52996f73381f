"""A real browser without a window, and what tests ask of it."""

import json
import shutil
import time
from pathlib import Path
from typing import Any

from selenium import webdriver
from selenium.webdriver.chrome.options import Options
from selenium.webdriver.chrome.service import Service
from selenium.webdriver.common.by import By
from selenium.webdriver.remote.webelement import WebElement
from selenium.webdriver.support.wait import WebDriverWait

FLAGS = (
    "--headless=new",
    "--no-sandbox",
    "--disable-dev-shm-usage",
    "--no-first-run",
    "--disable-background-networking",
    "--disable-component-update",
    "--disable-sync",
    "--hide-scrollbars",
)
# Chromium draws WebGL without a graphics card where it is told to.
WITHOUT_GPU = ("--disable-gpu",)
WEBGL = ("--use-angle=swiftshader", "--enable-unsafe-swiftshader", "--ignore-gpu-blocklist")
PHONE, DESKTOP = (390, 844), (1440, 900)
WIDTHS = (PHONE, (1024, 768), DESKTOP, (2560, 1440))


def programs() -> tuple[str, str] | None:
    """Chromium and its driver, where both are installed."""
    browser = shutil.which("chromium") or shutil.which("chromium-browser")
    driver = shutil.which("chromedriver")
    return (browser, driver) if browser and driver else None


class Browser:
    """Chromium, driven."""

    def __init__(self, profile: Path, *, webgl: bool = False) -> None:
        found = programs()
        assert found is not None
        options = Options()
        options.binary_location = found[0]
        for flag in (*FLAGS, *(WEBGL if webgl else WITHOUT_GPU), f"--user-data-dir={profile}"):
            options.add_argument(flag)
        options.set_capability("goog:loggingPrefs", {"browser": "ALL", "performance": "ALL"})
        self.driver = webdriver.Chrome(options=options, service=Service(found[1]))
        self.driver.set_page_load_timeout(60)
        self.driver.set_script_timeout(30)

    def open(self, path: Path, size: tuple[int, int] = DESKTOP, query: str = "") -> None:
        """Open a page from disk at a size of the window, and wait until its picture is there."""
        metrics = {"width": size[0], "height": size[1], "deviceScaleFactor": 1, "mobile": size == PHONE}
        self.driver.execute_cdp_cmd("Emulation.setDeviceMetricsOverride", metrics)
        self.driver.get("about:blank")
        for kind in ("browser", "performance"):
            self.driver.get_log(kind)
        self.driver.get(path.as_uri() + query)

    def run(self, script: str, *arguments: Any) -> Any:
        """Run JavaScript."""
        return self.driver.execute_script(script, *arguments)

    def all(self, selector: str) -> list[WebElement]:
        """Elements."""
        return self.driver.find_elements(By.CSS_SELECTOR, selector)

    def one(self, selector: str) -> WebElement:
        """The first element."""
        return self.driver.find_element(By.CSS_SELECTOR, selector)

    def until(self, script: str, *arguments: Any) -> Any:
        """Wait until JavaScript returns something true."""
        return WebDriverWait(self.driver, 20, 0.02).until(lambda _: self.run(f"return {script}", *arguments))

    def shown(self) -> str:
        """What the stage says it shows, once drawing has come to rest."""
        previous, end = None, time.monotonic() + 20
        while (now := self.run("return document.getElementById('stage').dataset.shown || ''")) != previous or not now:
            if time.monotonic() > end:
                raise TimeoutError(f"the page draws nothing, or does not come to rest: {now!r}; {self.messages()}")
            previous = now
            self.pause()
        return now

    def pause(self) -> None:
        """Wait for a frame and what follows it."""
        self.driver.execute_async_script("const d = arguments[0]; requestAnimationFrame(() => setTimeout(d, 60));")

    def pixels(self, canvas: str) -> str:
        """Content of a canvas, to compare."""
        self.shown()
        return self.run("return document.getElementById(arguments[0]).toDataURL()", canvas)

    def mean(self, canvas: str, channel: int = 0) -> float:
        """Mean of a channel of a canvas."""
        self.shown()
        return self.run(
            "const c = document.getElementById(arguments[0]);"
            "const d = c.getContext('2d').getImageData(0, 0, c.width, c.height).data;"
            "let s = 0; for (let i = arguments[1]; i < d.length; i += 4) s += d[i]; return 4 * s / d.length;",
            canvas,
            channel,
        )

    def screenshot(self) -> bytes:
        """What is on the screen."""
        self.shown()
        return self.driver.get_screenshot_as_png()

    def messages(self) -> list[str]:
        """What the console said."""
        return [entry["message"] for entry in self.driver.get_log("browser")]

    def requests(self) -> set[str]:
        """Where the page asked for something."""
        events = [json.loads(entry["message"])["message"] for entry in self.driver.get_log("performance")]
        sent = [event["params"]["request"]["url"] for event in events if event["method"] == "Network.requestWillBeSent"]
        return {url for url in sent if not url.startswith("data:")}

    def overflow(self) -> int:
        """By how many pixels the page is wider than the window."""
        return self.run("return document.documentElement.scrollWidth - window.innerWidth")

    def press(self, key: str, selector: str = "") -> None:
        """Press a key on an element, or on whatever has the focus."""
        target = self.one(selector) if selector else self.driver.switch_to.active_element
        target.send_keys(key)

    def scheme(self, name: str | None) -> None:
        """Prefer `light` or `dark` colours; `None` for what the system says."""
        features = [{"name": "prefers-color-scheme", "value": name}] if name else []
        self.driver.execute_cdp_cmd("Emulation.setEmulatedMedia", {"features": features, "media": ""})

    def touch(self, kind: str, *points: tuple[float, float]) -> None:
        """Fingers on the screen: `touchStart`, `touchMove` or `touchEnd`."""
        places = [{"x": x, "y": y, "id": number} for number, (x, y) in enumerate(points)]
        self.driver.execute_cdp_cmd("Input.dispatchTouchEvent", {"type": kind, "touchPoints": places})

    def slide(self, selector: str, value: float) -> None:
        """Move a slider, as a user would: with an event."""
        self.run(
            "arguments[0].value = arguments[1]; arguments[0].dispatchEvent(new Event('input', {bubbles: true}))",
            self.one(selector),
            value,
        )
