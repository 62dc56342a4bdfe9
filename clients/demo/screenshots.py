"""A screenshot of the web page for the README: a server of its own reads a real text, in a real browser.

    python clients/demo/screenshots.py [--out docs]

Needs Chromium and its driver (Debian: chromium, chromium-driver).
"""

import argparse
import sys
import tempfile
import time
from collections.abc import Callable
from pathlib import Path

from rich.console import Console
from selenium import webdriver
from selenium.webdriver.common.by import By
from selenium.webdriver.common.keys import Keys

sys.path.insert(0, str(Path(__file__).parent))
from demo import FOCUSED, language_reference, server

_CHARACTERS = 120_000
_SIZE = (1000, 1800)
_OPTIONS = ("--headless=new", "--no-sandbox", "--disable-gpu", "--force-device-scale-factor=2", "--hide-scrollbars")


def main() -> None:
    """Take it."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--out", type=Path, default=Path("docs"))
    options = parser.parse_args()
    text = language_reference()[:_CHARACTERS]
    with tempfile.TemporaryDirectory() as folder, server(None, Path(folder), Console()) as url:
        book = Path(folder) / "language reference.txt"
        book.write_text(text)
        browser = _browser(folder)
        try:
            _read(browser, url, book)
            _wait(lambda: _said(browser, "#facts").startswith("read: "), 600)
            browser.set_window_size(*_SIZE)
            _ask(browser, FOCUSED[0].question)
            _shoot(browser, options.out / "page.png")
        finally:
            browser.quit()


def _browser(folder: str) -> webdriver.Chrome:
    options = webdriver.ChromeOptions()
    options.binary_location = "/usr/bin/chromium"
    for option in (*_OPTIONS, f"--user-data-dir={folder}/profile"):
        options.add_argument(option)
    return webdriver.Chrome(options=options, service=webdriver.ChromeService("/usr/bin/chromedriver"))


def _read(browser: webdriver.Chrome, url: str, book: Path) -> None:
    browser.get(url)
    browser.find_element(By.ID, "file").send_keys(str(book))
    browser.find_element(By.ID, "focus").send_keys("\n".join(asked.question for asked in FOCUSED))
    browser.find_element(By.CSS_SELECTOR, "#begin .main").click()


def _ask(browser: webdriver.Chrome, question: str) -> None:
    """Ask, and open the first quote in the text."""
    browser.find_element(By.ID, "question").send_keys(question, Keys.ENTER)
    _wait(lambda: browser.find_elements(By.CSS_SELECTOR, "#answers .place"), 60)
    browser.find_element(By.CSS_SELECTOR, "#answers .place").click()
    _wait(lambda: browser.find_elements(By.CSS_SELECTOR, "#reader mark"), 60)


def _said(browser: webdriver.Chrome, selector: str) -> str:
    return browser.find_element(By.CSS_SELECTOR, selector).text


def _shoot(browser: webdriver.Chrome, file: Path) -> None:
    browser.execute_script("scrollTo(0, 0)")
    time.sleep(1)
    file.parent.mkdir(parents=True, exist_ok=True)
    file.write_bytes(browser.get_screenshot_as_png())
    print(file)


def _wait(condition: Callable[[], object], timeout_s: float) -> None:
    deadline = time.monotonic() + timeout_s
    while not condition():
        if time.monotonic() > deadline:
            raise TimeoutError("the page did not come to it")
        time.sleep(0.2)


if __name__ == "__main__":
    main()
