"""A Chromium to look at pages with: Playwright's own or the system's; tests that need one skip without."""

import shutil
from collections.abc import Iterator
from contextlib import contextmanager

import pytest


@contextmanager
def chromium() -> Iterator:
    """A Playwright browser."""
    api = pytest.importorskip("playwright.sync_api")
    found = map(shutil.which, ("chromium", "chromium-browser", "google-chrome"))
    with api.sync_playwright() as playwright:
        browser = None
        for path in (None, *filter(None, found)):
            try:
                browser = playwright.chromium.launch(executable_path=path, args=["--no-sandbox"])
                break
            except api.Error:
                continue
        if browser is None:
            pytest.skip("no Chromium here: `playwright install chromium` brings one")
        try:
            yield browser
        finally:
            browser.close()
