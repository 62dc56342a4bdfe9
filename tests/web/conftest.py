"""A real browser, headless, for the web page."""

import json
import os
import shutil
from collections.abc import Callable, Iterator
from contextlib import suppress
from pathlib import Path
from typing import Any

import pytest
from selenium import webdriver
from selenium.common.exceptions import StaleElementReferenceException
from selenium.webdriver.common.by import By
from selenium.webdriver.remote.webelement import WebElement
from tests.serving import wait_for

_CHROMIUM, _DRIVER = shutil.which("chromium"), shutil.which("chromedriver")
_OPTIONS = [
    *("--headless=new", "--no-sandbox", "--disable-gpu", "--no-first-run", "--disable-dev-shm-usage"),
    *("--disable-background-networking", "--disable-component-update", "--disable-sync", "--disable-quic"),
]
_WINDOW = (1100, 1400)


class Page:
    """The web page in a browser."""

    def __init__(self, driver: webdriver.Chrome) -> None:
        self.driver = driver
        self._opened: set[str] = set()

    def open(self, url: str, sid: str = "") -> None:
        """Open a server's page, with a session of it."""
        self._opened.add(url)
        self.driver.get("about:blank")
        self.driver.get(f"{url}/#{sid}")
        wait_for(lambda: self.text("#health") != "", what="the page to come up")

    def forget(self) -> None:
        """Leave the page, with all that the browser keeps of it."""
        self.driver.execute_cdp_cmd("Page.navigate", {"url": "about:blank"})
        for origin in self._opened:
            self.driver.execute_cdp_cmd("Storage.clearDataForOrigin", {"origin": origin, "storageTypes": "all"})

    def find(self, selector: str) -> WebElement:
        """The first element."""
        return self.driver.find_element(By.CSS_SELECTOR, selector)

    def all(self, selector: str) -> list[WebElement]:
        """All elements."""
        return self.driver.find_elements(By.CSS_SELECTOR, selector)

    def text(self, selector: str) -> str:
        """What can be read in an element; empty where it is not shown."""
        return str(self.driver.execute_script("return document.querySelector(arguments[0])?.innerText ?? ''", selector))

    def press(self, label: str) -> None:
        """Press the button with these words, or this label."""
        wait_for(lambda: self._pressed(label), 10, f"{label!r} to be pressed")

    def _pressed(self, label: str) -> bool:
        try:
            self.find_button(label).click()
        except StaleElementReferenceException:  # drawn anew just now
            return False
        return True

    def find_button(self, label: str) -> WebElement:
        """The shown button with these words, or this label."""
        path = f"//button[normalize-space()='{label}' or @aria-label='{label}']"

        def shown() -> list[WebElement]:
            with suppress(StaleElementReferenceException):
                return [one for one in self.driver.find_elements(By.XPATH, path) if one.is_displayed()]
            return []

        return wait_for(shown, 10, f"a button {label!r}")[0]  # type: ignore[no-any-return]

    def wait(self, selector: str, words: str, timeout_s: float = 30) -> str:
        """What an element says, as soon as these words are in it."""

        def said() -> str:
            found = self.text(selector)
            return found if words in found else ""

        try:
            return str(wait_for(said, timeout_s))
        except AssertionError:
            raise AssertionError(
                f"{selector} does not say {words!r} but {self.text(selector)!r}; alert: {self.text('#alert')!r}"
            ) from None

    def look(self, scheme: str, width: int) -> None:
        """Show it light or dark, so many pixels wide."""
        features = [{"name": "prefers-color-scheme", "value": scheme}]
        self.driver.execute_cdp_cmd("Emulation.setEmulatedMedia", {"features": features})
        metrics = {"width": width, "height": 900, "deviceScaleFactor": 1, "mobile": False}
        self.driver.execute_cdp_cmd("Emulation.setDeviceMetricsOverride", metrics)

    def complaints(self, node_modules: Path) -> str:
        """What axe says of it, as JSON: "[]" if nothing."""
        self.driver.execute_script((node_modules / "axe-core" / "axe.min.js").read_text())
        found = self.driver.execute_async_script(
            "const done = arguments[0]; axe.run().then((found) => done(found.violations))"
        )
        return json.dumps([(one["id"], [node["html"] for node in one["nodes"]]) for one in found], indent=1)

    @property
    def sid(self) -> str:
        """The session that the address names."""
        return str(self.driver.execute_script("return location.hash.slice(1)"))

    def errors(self) -> list[Any]:
        """What the browser complained about."""
        return [one for one in self.driver.get_log("browser") if one["level"] == "SEVERE"]


def start_browser(profile: Path, *more: str, downloads: Path | None = None) -> webdriver.Chrome:
    """A browser with a profile of its own."""
    if _CHROMIUM is None or _DRIVER is None:
        missing = "Chromium and its driver are not installed (Debian: chromium, chromium-driver)"
        pytest.fail(missing) if os.environ.get("CI") else pytest.skip(missing)
    options = webdriver.ChromeOptions()
    options.binary_location = _CHROMIUM
    for option in (*_OPTIONS, f"--user-data-dir={profile}", *more):
        options.add_argument(option)
    options.set_capability("goog:loggingPrefs", {"browser": "ALL"})
    if downloads is not None:
        options.add_experimental_option("prefs", {"download.default_directory": str(downloads)})
    environment = {name: value for name, value in os.environ.items() if not name.lower().endswith("_proxy")}
    service = webdriver.ChromeService(executable_path=_DRIVER, env=environment)
    driver = webdriver.Chrome(options=options, service=service)
    driver.set_window_size(*_WINDOW)
    return driver


@pytest.fixture
def open_browser(tmp_path: Path) -> Iterator[Callable[..., Page]]:
    """Opens a browser of the test's own: ``open_browser(*more_options)``."""
    opened: list[webdriver.Chrome] = []

    def start(*more: str, downloads: Path | None = None) -> Page:
        opened.append(start_browser(tmp_path / f"profile-{len(opened)}", *more, downloads=downloads))
        return Page(opened[-1])

    yield start
    for driver in opened:
        driver.quit()


@pytest.fixture(scope="session")
def browser(tmp_path_factory: pytest.TempPathFactory) -> Iterator[webdriver.Chrome]:
    """The browser of most tests."""
    driver = start_browser(tmp_path_factory.mktemp("browser") / "profile")
    yield driver
    driver.quit()


@pytest.fixture
def page(browser: webdriver.Chrome) -> Iterator[Page]:
    """A new tab of a browser that remembers nothing of earlier tests."""
    before = browser.current_window_handle
    browser.switch_to.new_window("tab")
    mine = browser.current_window_handle
    browser.switch_to.window(before)
    browser.close()
    browser.switch_to.window(mine)
    browser.set_window_size(*_WINDOW)
    browser.get_log("browser")
    page = Page(browser)
    yield page
    page.forget()
