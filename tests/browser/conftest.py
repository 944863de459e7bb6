"""A real browser: Debian's chromium, driven by Playwright."""

import os
import shutil
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

from tests.browser.scene import Dashboard
from tests.services import missing

FLAGS = [
    "--headless", "--no-sandbox", "--disable-gpu", "--disable-quic", "--no-first-run",
    "--disable-background-networking", "--disable-component-update", "--disable-sync",
]  # fmt: skip
DESKTOP = {"width": 1440, "height": 900}
PHONE = {"width": 390, "height": 844}


@pytest.fixture(scope="module")  # not longer: Playwright keeps a running event loop in this thread
def browser() -> Iterator[Any]:
    try:
        from playwright.sync_api import sync_playwright
    except ImportError:
        missing("Playwright", "python3-playwright (or pip install playwright)")
        raise
    program = shutil.which("chromium") or ("/usr/bin/chromium" if Path("/usr/bin/chromium").exists() else None)
    if program is None:
        missing("chromium", "chromium")
    with sync_playwright() as playwright:
        # Playwright makes a new empty profile for each start
        started = playwright.chromium.launch(executable_path=program, args=FLAGS)
        yield started
        started.close()


@pytest.fixture
def dashboard() -> Iterator[Dashboard]:
    made = Dashboard()
    with made.server:
        yield made
        made.stop()


@pytest.fixture
def open_page(browser: Any) -> Iterator[Callable[..., Any]]:
    """Opens a page in a new profile. At the end, nothing may stand in its console that a user would call an error."""
    contexts = []
    problems: list[str] = []

    def start(url: str, phone: bool = False, dark: bool = False, expected: tuple[str, ...] = (), **more: Any) -> Any:
        size = PHONE if phone else DESKTOP
        context = browser.new_context(
            viewport=size, color_scheme="dark" if dark else "light", locale="en-GB", timezone_id="UTC",
            reduced_motion="reduce", has_touch=phone, device_scale_factor=1, **more,
        )  # fmt: skip
        contexts.append(context)
        page = context.new_page()
        page.set_default_timeout(8000)

        def note(text: str) -> None:
            if not any(part in text for part in expected):
                problems.append(text)

        page.on("console", lambda message: note(message.text) if message.type in ("error", "warning") else None)
        page.on("pageerror", lambda error: note(str(error)))
        page.goto(url)
        return page

    yield start
    for context in contexts:
        context.close()
    assert problems == []


@pytest.fixture(scope="session")
def pictures(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Where screenshots go: $GEARTRAIN_SCREENSHOTS, or a temporary folder."""
    named = os.environ.get("GEARTRAIN_SCREENSHOTS")
    folder = Path(named) if named else tmp_path_factory.mktemp("screenshots")
    folder.mkdir(parents=True, exist_ok=True)
    return folder
