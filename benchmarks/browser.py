"""A headless Chromium that is driven by its WebDriver, for pages of ours: without a network, a profile or an update."""

from __future__ import annotations

import base64
import json
import shutil
import tempfile
from contextlib import contextmanager
from typing import TYPE_CHECKING, Any

from selenium import webdriver
from selenium.webdriver.chrome.options import Options
from selenium.webdriver.chrome.service import Service

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

SWITCHES = (
    "--headless",
    "--no-sandbox",  # containers and root have none
    "--disable-gpu",
    "--disable-dev-shm-usage",
    "--disable-quic",
    "--disable-background-networking",
    "--disable-component-update",
    "--disable-sync",
    "--no-first-run",
    "--hide-scrollbars",
    # Whatever a page might ask for goes nowhere, and is seen.
    "--host-resolver-rules=MAP * ~NOTFOUND",
)
PHONE, DESK = 390, 1280
"""Widths of a window."""


def missing() -> list[str]:
    """The programs that are needed and not there."""
    return [name for name in ("chromium", "chromedriver") if shutil.which(name) is None]


class Browser:
    """A browser with one page.

    Args:
        driver: of the browser.
    """

    def __init__(self, driver: webdriver.Chrome) -> None:
        self.driver = driver

    def show(self, page: Path, *, width: int = DESK, height: int = 900, dark: bool = False) -> None:
        """Open a page in a window of this size."""
        scheme = {"name": "prefers-color-scheme", "value": "dark" if dark else "light"}
        self.command("Emulation.setEmulatedMedia", features=[scheme])
        self.resize(width, height)
        self.log()
        self.requests()
        self.driver.get(page.as_uri())

    def resize(self, width: int, height: int) -> None:
        """Give the window this size."""
        size = {"width": width, "height": height, "deviceScaleFactor": 1, "mobile": width < 600}
        self.command("Emulation.setDeviceMetricsOverride", **size)

    def run(self, script: str, *arguments: object) -> Any:  # noqa: ANN401  whatever the script returns
        """What ``return script`` returns."""
        return self.driver.execute_script(f"return {script}", *arguments)

    def painted(self) -> None:
        """Wait until the page has been painted again."""
        self.driver.execute_async_script("requestAnimationFrame(() => requestAnimationFrame(arguments[0]))")

    def log(self) -> list[str]:
        """What the page has logged since, errors and refusals of its policy too."""
        return [entry["message"] for entry in self.driver.get_log("browser")]  # type: ignore[no-untyped-call]

    def requests(self) -> list[str]:
        """The addresses that were asked for since."""
        events = [json.loads(entry["message"])["message"] for entry in self.driver.get_log("performance")]  # type: ignore[no-untyped-call]
        return [event["params"]["request"]["url"] for event in events if event["method"] == "Network.requestWillBeSent"]

    def picture(self) -> bytes:
        """The window as WebP."""
        return base64.b64decode(self.command("Page.captureScreenshot", format="webp", quality=80)["data"])

    def printed(self, pages: str = "") -> bytes:
        """The page as PDF, or some ``pages`` of it such as "1-2"."""
        return base64.b64decode(self.command("Page.printToPDF", printBackground=True, pageRanges=pages)["data"])

    def command(self, name: str, **parameters: object) -> dict[str, Any]:
        """Send a command of the DevTools protocol."""
        answer: dict[str, Any] = self.driver.execute_cdp_cmd(name, parameters)
        return answer


@contextmanager
def browser() -> Iterator[Browser]:
    """Start a browser with a new profile; at the end both are gone."""
    with tempfile.TemporaryDirectory(prefix="provisioner-browser-", ignore_cleanup_errors=True) as profile:
        options = Options()
        options.binary_location = shutil.which("chromium") or "chromium"
        for switch in (*SWITCHES, f"--user-data-dir={profile}"):
            options.add_argument(switch)
        options.set_capability("goog:loggingPrefs", {"browser": "ALL", "performance": "ALL"})
        driver = webdriver.Chrome(options=options, service=Service(shutil.which("chromedriver")))
        try:
            yield Browser(driver)
        finally:
            driver.quit()
