"""A real browser: Debian's Chromium without a window, driven by Selenium."""

import contextlib
import shutil
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from selenium import webdriver
from selenium.webdriver.common.action_chains import ActionChains
from selenium.webdriver.common.by import By
from selenium.webdriver.remote.webelement import WebElement

from support.waiting import PATIENCE, until

_FLAGS = (
    "--headless",
    "--no-sandbox",
    "--disable-gpu",
    "--disable-quic",
    "--no-first-run",
    "--disable-background-networking",
    "--disable-component-update",
    "--disable-sync",
    "--disable-dev-shm-usage",
    "--hide-scrollbars",
    "--force-device-scale-factor=1",
)


def why_not() -> str | None:
    """Why there is no browser, if there is none."""
    missing = [name for name in ("chromium", "chromedriver") if not shutil.which(name)]
    return f"{' and '.join(missing)} not installed (Debian: chromium, chromium-driver)" if missing else None


LABELLED = """
    return [...document.querySelectorAll("button, a, summary")]
        .find(element => element.innerText.trim() === arguments[0] && element.checkVisibility());
"""


class Browser:
    """One window, and what a person does in it."""

    def __init__(self, driver: webdriver.Chrome) -> None:
        self.driver = driver

    def open(self, url: str) -> None:
        self.driver.get(url)

    def find(self, css: str) -> list[WebElement]:
        return self.driver.find_elements(By.CSS_SELECTOR, css)

    def one(self, css: str) -> WebElement:
        """The element, once it is there."""
        return until(lambda: self.find(css), what=f"{css} at {self.driver.current_url}")[0]

    @property
    def text(self) -> str:
        """What can be read on the page."""
        return str(self.run("return document.body.innerText"))

    def until_text(self, wanted: str, *, seconds: float = PATIENCE) -> None:
        until(lambda: wanted in self.text, what=f"{wanted!r} on {self.driver.current_url}", seconds=seconds)

    def reload_until_text(self, wanted: str) -> None:
        """For what a page shows as it was when it was opened."""

        def is_there() -> bool:
            self.driver.refresh()
            return wanted in self.text

        until(is_there, what=f"{wanted!r} on {self.driver.current_url}", seconds=60)

    def focused(self, keys: str) -> None:
        """Press keys where the focus is."""
        ActionChains(self.driver).send_keys(keys).perform()

    def fill(self, name: str, text: str) -> None:
        field = self.one(f"[name='{name}']")
        field.clear()
        field.send_keys(text)

    def press(self, label: str) -> None:
        """Press the button or follow the link of that label, and wait until the next page is there if one comes."""
        # In one step, for parts of a page are replaced while somebody looks at them.
        button: WebElement = until(lambda: self.run(LABELLED, label), what=f"{label!r} at {self.driver.current_url}")
        self.run("arguments[0].scrollIntoView({block: 'center'})", button)
        leads_on = button.tag_name == "a" or (button.tag_name == "button" and button.get_attribute("type") == "submit")
        self.run("window.before = true")
        button.click()
        if leads_on:
            until(
                lambda: self.run("return !window.before && document.readyState == 'complete'"),
                what=f"what {label} does",
            )

    def run(self, script: str, *arguments: Any) -> Any:
        return self.driver.execute_script(script, *arguments)

    def complaints(self) -> list[str]:
        """What the browser's console says: refusals of the content policy, scripts that fail."""
        return [entry["message"] for entry in self.driver.get_log("browser")]  # type: ignore[no-untyped-call] # Selenium has no type for it

    def resize(self, width: int, height: int) -> None:
        """Give the page this many pixels, however small a window may be."""
        metrics = {"width": width, "height": height, "deviceScaleFactor": 1, "mobile": False}
        self.driver.execute_cdp_cmd("Emulation.setDeviceMetricsOverride", metrics)

    def use_dark(self, *, dark: bool) -> None:
        features = [{"name": "prefers-color-scheme", "value": "dark" if dark else "light"}]
        self.driver.execute_cdp_cmd("Emulation.setEmulatedMedia", {"features": features})

    def picture(self, path: Path) -> None:
        self.driver.save_screenshot(str(path))


@contextlib.contextmanager
def browser(profile: Path) -> Iterator[Browser]:
    """A browser with a fresh profile."""
    options = webdriver.ChromeOptions()
    options.binary_location = shutil.which("chromium") or "chromium"
    for flag in (*_FLAGS, f"--user-data-dir={profile}", "--window-size=1440,1000"):
        options.add_argument(flag)
    options.set_capability("goog:loggingPrefs", {"browser": "ALL"})
    service = webdriver.ChromeService(shutil.which("chromedriver"))
    driver = webdriver.Chrome(options=options, service=service)
    try:
        driver.set_page_load_timeout(60)
        yield Browser(driver)
    finally:
        driver.quit()
