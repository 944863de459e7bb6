"""Every view at desktop and phone width, light and dark: written to a folder, to be looked at."""

from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from tests.browser.scene import Dashboard

VIEWS = {
    "functions": "#functions",
    "function": "#function/mail.send",
    "workers": "#workers",
    "jobs": "#jobs",
    "submit": "#submit?function=film.encode",
    "servers": "#servers",
    "overview": "#overview",
}


@pytest.fixture
def furnished(dashboard: Dashboard) -> Dashboard:
    dashboard.furnish()
    return dashboard


@pytest.mark.parametrize("phone", [False, True], ids=["desktop", "phone"])
@pytest.mark.parametrize("dark", [False, True], ids=["light", "dark"])
def test_every_view(
    furnished: Dashboard, open_page: Callable[..., Any], pictures: Path, phone: bool, dark: bool
) -> None:
    page = open_page(furnished.url, phone=phone, dark=dark)
    name = f"{'phone' if phone else 'desktop'}-{'dark' if dark else 'light'}"
    page.wait_for_selector(".state.live")
    page.wait_for_selector(".u-over")
    for view, address in VIEWS.items():
        page.evaluate("address => { location.hash = address }", address)
        page.wait_for_function("view => document.title.toLowerCase().startsWith(view.slice(0, 6))", arg=view)
        if view in ("functions", "workers", "jobs"):
            page.wait_for_selector(".body .row")
        if view in ("overview", "function"):
            page.wait_for_selector(".u-over")
        wide = page.evaluate("document.documentElement.scrollWidth - document.documentElement.clientWidth")
        assert wide <= 0, f"{view} is {wide} px wider than the screen"
        page.screenshot(path=pictures / f"{view}-{name}.png")
    page.evaluate("location.hash = '#workers'")
    page.get_by_role("button", name="Running jobs").click()
    page.get_by_role("gridcell", name="film.encode").first.click()
    page.wait_for_selector("dialog pre")
    page.screenshot(path=pictures / f"job-{name}.png")
