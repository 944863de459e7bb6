"""The dashboard in a real browser, as a user works with it."""

import time
from collections.abc import Callable, Iterator
from typing import Any

import pytest

from geartrain.protocol.commands import Command as C
from tests.browser.scene import Dashboard

Open = Callable[..., Any]
LOST = ("ERR_CONNECTION_REFUSED", "ERR_INCOMPLETE_CHUNKED_ENCODING", "ERR_EMPTY_RESPONSE", "ERR_CONNECTION_RESET")


def test_a_job_from_the_form_with_its_progress_and_its_result(dashboard: Dashboard, open_page: Open) -> None:
    worker = dashboard.talker("tester", "reverse")
    page = open_page(dashboard.url + "#submit")
    page.get_by_label("Function", exact=True).fill("reverse")
    page.get_by_label("Workload").fill("Grüße <b>hallo</b>")
    page.get_by_role("button", name="Submit the job").click()
    handle, workload = worker.grab()
    assert workload.decode() == "Grüße <b>hallo</b>"
    worker.status(handle, 3, 8)
    page.get_by_text("3 of 8").wait_for()
    assert page.get_by_role("progressbar").evaluate("bar => bar.value") == 0.375
    page.evaluate("window.open('#workers')")  # another page follows the same job by the stream
    other = page.context.wait_for_event("page") if len(page.context.pages) == 1 else page.context.pages[1]
    other.get_by_role("button", name="Running jobs").click()
    other.get_by_text("37%").wait_for()
    worker.say(C.WORK_DATA, handle, "part, ")
    worker.complete(handle, "<i>the end</i>")
    page.get_by_role("heading", name="Completed").wait_for()
    assert page.locator("pre").inner_text() == "part, <i>the end</i>"
    other.get_by_text("No job runs right now.").wait_for()


@pytest.mark.parametrize(("command", "words"), [(C.WORK_FAIL, "Failed"), (C.WORK_EXCEPTION, "Ended with an exception")])
def test_jobs_that_end_badly(dashboard: Dashboard, open_page: Open, command: C, words: str) -> None:
    worker = dashboard.talker("tester", "bad")
    page = open_page(dashboard.url + "#submit?function=bad")
    page.get_by_role("button", name="Submit the job").click()
    handle, _ = worker.grab()
    worker.say(command, handle, *([b"out of paper"] if command == C.WORK_EXCEPTION else []))
    page.get_by_role("heading", name=words).wait_for()
    if command == C.WORK_EXCEPTION:
        assert page.locator("pre").inner_text() == "out of paper"


def test_inspect_change_priority_and_cancel(dashboard: Dashboard, open_page: Open) -> None:
    client = dashboard.talker()
    handles = [client.submit("film.encode", f"film {n}", f"u{n}") for n in range(3)]
    page = open_page(dashboard.url + "#jobs")
    page.get_by_role("row", name=handles[1]).click()
    dialog = page.get_by_role("dialog")
    dialog.get_by_text("film 1").wait_for()
    dialog.get_by_label("Priority").select_option("high")
    page.get_by_text("The job now has high priority.").first.wait_for()
    page.keyboard.press("Escape")
    page.get_by_role("row", name=handles[1]).get_by_text("high").wait_for()
    page.get_by_role("row", name=handles[0]).click()
    dialog.get_by_role("button", name="Cancel the job").click()
    dialog.get_by_role("button", name="Really").click()
    page.get_by_text("The job is cancelled.").first.wait_for()
    page.get_by_role("row", name=handles[0]).wait_for(state="detached")
    worker = dashboard.talker("tester", "film.encode")
    assert [worker.grab()[0], worker.grab()[0]] == [handles[1], handles[2]]


def test_a_warning_where_no_worker_can_do_the_jobs(dashboard: Dashboard, open_page: Open) -> None:
    client = dashboard.talker()
    client.submit("lonely")
    page = open_page(dashboard.url)
    page.get_by_text("Jobs wait for 1 function that no worker can do.").wait_for()
    page.get_by_role("link", name="Show").click()
    row = page.get_by_role("row", name="No worker:")
    assert "lonely" in row.inner_text()
    dashboard.talker("tester", "lonely")
    page.get_by_text("No function fits.").wait_for()  # the list shows only those without a worker


def test_a_chart_without_samples_says_so(dashboard: Dashboard, open_page: Open) -> None:
    dashboard.talker("tester", "new")
    page = open_page(dashboard.url + "#function/new")  # a function's first sample comes with the minute
    page.get_by_role("img", name="In the queue: no samples yet").wait_for()
    assert page.get_by_text("No samples yet.").count() == 2
    page.goto(dashboard.url + "#overview")
    page.get_by_role("img", name="In the queue, now: waiting 0, running 0").wait_for()
    page.get_by_text("No samples yet.").first.wait_for(state="detached")


def test_filter_sort_and_group_by_keyboard(dashboard: Dashboard, open_page: Open) -> None:
    client = dashboard.talker()
    for name, count in (("mail.send", 3), ("mail.digest", 1), ("film.encode", 2)):
        for _ in range(count):
            client.submit(name)
    page = open_page(dashboard.url + "#functions")
    names = "rows => rows.map(row => row.querySelector('.named span').textContent)"
    page.get_by_role("row", name="film.encode").wait_for()
    rows = page.locator(".body .row")
    assert rows.evaluate_all(names) == ["mail.send", "film.encode", "mail.digest"]
    page.get_by_role("button", name="Function", exact=True).focus()
    page.keyboard.press("Enter")
    assert rows.evaluate_all(names) == ["film.encode", "mail.digest", "mail.send"]
    assert page.get_by_role("columnheader", name="Function").get_attribute("aria-sort") == "ascending"
    page.get_by_label("Filter").fill("mail")
    page.get_by_text("2 functions of 3").wait_for()
    page.get_by_label("Filter").fill("")
    page.get_by_label("Group by").select_option("prefix")
    group = page.locator(".row.group", has_text="mail")
    assert group.inner_text().split("\n")[:2] == ["mail  ·  2", "4"] or "4" in group.inner_text()
    group.focus()
    page.keyboard.press("Enter")
    assert group.get_attribute("aria-expanded") == "false"
    page.keyboard.press("ArrowUp")
    page.keyboard.press("Enter")
    page.get_by_role("heading", name="film.encode").wait_for()


def test_keyboard_reaches_everything_from_the_top(dashboard: Dashboard, open_page: Open) -> None:
    page = open_page(dashboard.url)
    page.wait_for_selector(".state.live")
    page.keyboard.press("Tab")
    assert page.evaluate("document.activeElement.textContent") == "Skip to the content"
    seen = set()
    for _ in range(12):
        page.keyboard.press("Tab")
        seen.add(page.evaluate("document.activeElement.ariaLabel || document.activeElement.innerText.split('\\n')[0]"))
    assert {"Overview", "Functions", "Workers", "Jobs", "Submit", "Dark or light"} <= seen
    page.get_by_role("button", name="Dark or light").press("Enter")
    assert page.evaluate("document.documentElement.dataset.theme") == "dark"
    page.reload()
    assert page.evaluate("document.documentElement.dataset.theme") == "dark"


def test_the_page_finds_a_server_that_was_started_again(dashboard: Dashboard, open_page: Open) -> None:
    dashboard.talker().submit("before")
    page = open_page(dashboard.url + "#functions", expected=LOST)
    page.get_by_role("row", name="before").wait_for()
    dashboard.server.stop()
    page.get_by_text("No connection to").first.wait_for()
    dashboard.server.start()
    dashboard.talker().submit("after")
    page.get_by_role("row", name="after").wait_for(timeout=15000)
    page.get_by_text("is back.").first.wait_for()
    assert page.get_by_text("No connection to").count() == 0
    assert page.get_by_role("row", name="before").count() == 0


@pytest.fixture
def two(dashboard: Dashboard) -> Iterator[tuple[Dashboard, Dashboard]]:
    """Two servers that name one another in --http-origins."""
    made = Dashboard()
    dashboard.server.stop()
    origins = tuple(one.url.removesuffix("/_gearman/") for one in (dashboard, made))
    for one in (dashboard, made):
        one.server._settings["http_origins"] = origins
        one.server.start()
    yield dashboard, made
    made.stop()


def test_two_servers_on_one_page(two: tuple[Dashboard, Dashboard], open_page: Open) -> None:
    here, there = two
    here.talker().submit("shared")
    handle = there.talker().submit("shared", "from there")
    page = open_page(here.url + "#servers")
    page.get_by_label("Address of its HTTP port").fill(f"127.0.0.1:{there.http_port}")
    page.get_by_role("button", name="Add").click()
    page.locator(".state.live").nth(2).wait_for()
    page.get_by_role("link", name="Functions").click()
    page.get_by_label("Group by").select_option("server")
    page.get_by_text("2 functions", exact=True).wait_for()
    assert page.locator(".row.group").count() == 2
    page.get_by_role("combobox", name="Server").select_option(there.url)
    page.get_by_text("1 function", exact=True).wait_for()
    page.get_by_role("link", name="Jobs").click()
    page.get_by_role("row", name=handle).click()
    page.get_by_text("from there").wait_for()
    page.get_by_role("button", name="Cancel the job").click()
    page.get_by_role("button", name="Really").click()
    page.get_by_text("The job is cancelled.").first.wait_for()


def test_a_server_that_does_not_allow_this_page_is_not_read(dashboard: Dashboard, open_page: Open) -> None:
    page = open_page(dashboard.url + "#servers", expected=("Content Security Policy", "Refused to connect", "CSP"))
    page.get_by_label("Address of its HTTP port").fill("127.0.0.1:1")
    page.get_by_role("button", name="Add").click()
    page.get_by_text("does not let this page read").wait_for()


def test_a_token_is_asked_for_and_kept_in_the_tab_only(open_page: Open, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("GEARMAND_HTTP_TOKEN", "open-sesame")
    guarded = Dashboard()
    with guarded.server:
        handle = guarded.talker().submit("guarded")
        page = open_page(guarded.url + "#jobs", expected=("401", *LOST))

        def cancel() -> None:
            page.get_by_role("row", name=handle).click()
            page.get_by_role("button", name="Cancel the job").click()
            page.get_by_role("button", name="Really").click()

        cancel()
        page.get_by_text("wants its token for that").first.wait_for()
        page.get_by_role("textbox", name="Token").fill("open-sesame")
        page.get_by_role("button", name="Use the token").click()
        page.get_by_role("link", name="Jobs").click()
        cancel()
        page.get_by_text("The job is cancelled.").first.wait_for()
        assert "open-sesame" not in page.evaluate("JSON.stringify(localStorage) + document.cookie + location")
        assert "open-sesame" in page.evaluate("JSON.stringify(sessionStorage)")
        guarded.stop()


def test_a_thousand_functions_and_a_large_queue(dashboard: Dashboard, open_page: Open) -> None:
    client = dashboard.talker()
    for number in range(1000):
        client.submit(f"area{number % 40}.function{number}")
    for _ in range(20):  # the server answers a pipelined thousand at a time
        client._sock.sendall(b"".join(_submit(number) for number in range(1000)))
        for _ in range(1000):
            client.hear()
    page = open_page(dashboard.url + "#functions")
    page.get_by_text("1,000 functions", exact=True).wait_for()
    assert page.locator(".body .row").count() < 60
    page.evaluate(
        """() => { window.longest = 0; new PerformanceObserver(list => {
            for (const task of list.getEntries()) window.longest = Math.max(window.longest, task.duration);
        }).observe({ entryTypes: ["longtask"] }) }"""
    )
    start = time.monotonic()
    page.get_by_label("Group by").select_option("prefix")
    page.locator(".row.group").first.wait_for()
    page.get_by_label("Filter").fill("function99")
    page.get_by_text("11 functions of 1000").wait_for()
    page.get_by_label("Filter").fill("")
    page.get_by_text("1,000 functions", exact=True).wait_for()
    for _ in range(10):
        page.mouse.wheel(0, 3000)
        page.wait_for_function("document.querySelectorAll('.body .row').length > 10")
    took = time.monotonic() - start
    page.get_by_role("link", name="Jobs").click()
    page.get_by_text("the first 200 jobs").wait_for()
    longest = page.evaluate("window.longest")
    assert longest < 400, f"the page stood still for {longest:.0f} ms"
    assert took < 8


def _submit(number: int) -> bytes:
    from geartrain.protocol.packets import request

    return request(C.SUBMIT_JOB_BG, b"area0.function0", b"", b"%d" % number)


def test_names_that_begin_alike_are_told_apart_on_a_phone(dashboard: Dashboard, open_page: Open) -> None:
    names = ["billing:invoices:eu-1:html", "billing:invoices:eu-1:pdf"]
    names += [f"com.example.warehouse.reconciliation.nightly.{kind}" for kind in ("full", "delta")]
    client = dashboard.talker()
    for name in names:
        client.submit(name)
    page = open_page(dashboard.url, phone=True)
    is_cut = (
        "cell => { const text = cell.querySelector('span') ?? cell; return text.scrollHeight > text.clientHeight + 1 }"
    )
    for view in ("#functions", "#jobs"):
        page.evaluate("view => { location.hash = view }", view)
        for name in names:
            shown = page.get_by_role("gridcell", name=name).locator("visible=true")
            shown.wait_for()
            assert not shown.evaluate(is_cut), f"{name} is cut in {view}"


def test_a_grouped_table_is_a_tree(dashboard: Dashboard, open_page: Open) -> None:
    """A screen reader is told which rows are groups, and whether they are open."""
    dashboard.talker().submit("film.encode")
    page = open_page(dashboard.url + "#functions")
    page.get_by_role("grid", name="Functions").wait_for()
    page.get_by_label("Group by").select_option("prefix")
    tree = page.get_by_role("treegrid", name="Functions")
    tree.get_by_role("row", level=1, expanded=True).wait_for()
    assert tree.get_by_role("row", level=2).count() == 1
