"""The page of a matrix, as a browser shows it: found, filtered, compared, read by keyboard and in the dark."""

from __future__ import annotations

import json
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING, Any
from urllib.parse import unquote, urlsplit

import chromium
import matrix_sample
import pytest

from harness.reporting.interop.files import write_report

if TYPE_CHECKING:
    from collections.abc import Iterator

    from chromium import Browser

    from harness.reporting.interop.report import Report

pytestmark = pytest.mark.skipif(
    not chromium.installed(), reason="no Chromium on this machine (Debian: chromium-headless-shell)"
)
SIZES = {"wide": (1440, 900), "narrow": (400, 800)}
# What all channels of two colours come to, as the guidelines for accessible pages count it.
CONTRAST = """
(() => {
  const light = (text) => {
    const probe = document.createElement('canvas').getContext('2d', {willReadFrequently: true});
    probe.fillStyle = text; probe.fillRect(0, 0, 1, 1);
    const part = (n) => { n /= 255; return n <= 0.03928 ? n / 12.92 : ((n + 0.055) / 1.055) ** 2.4 };
    const [r, g, b] = probe.getImageData(0, 0, 1, 1).data;
    return 0.2126 * part(r) + 0.7152 * part(g) + 0.0722 * part(b);
  };
  const behind = (element) => {
    for (let each = element; each; each = each.parentElement) {
      const colour = getComputedStyle(each).backgroundColor;
      if (!/^rgba\\(.*, 0\\)$|\\/ 0\\)$/.test(colour)) return colour;
    }
    return 'white';
  };
  const bad = [];
  for (const element of document.querySelectorAll('button, .badge, .soft, a, h1, h2, h3, dt, dd, code, .ro, .flag')) {
    if (!element.checkVisibility() || element.disabled || !element.textContent.trim()) continue;
    const [a, b] = [light(getComputedStyle(element).color), light(behind(element))];
    const ratio = (Math.max(a, b) + 0.05) / (Math.min(a, b) + 0.05);
    const name = `${element.className || element.tagName} ${element.textContent.slice(0, 20)}`;
    if (ratio < 4.5) bad.push(`${name}: ${ratio.toFixed(2)}`);
  }
  return bad;
})()
"""


@pytest.fixture(scope="module")
def browser(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Browser]:
    browser = chromium.Browser(chromium.installed(), tmp_path_factory.mktemp("profile"))
    yield browser
    browser.close()


@pytest.fixture(scope="module")
def run(tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, Report]:
    """Return the folder of a run with 36 cells, and its report."""
    folder = tmp_path_factory.mktemp("run")
    report = matrix_sample.report()
    matrix_sample.write_evidence(folder, report)
    return folder, write_report(folder, report)


@pytest.fixture
def page(browser: Browser, run: tuple[Path, Report]) -> Iterator[Browser]:
    """Return the browser with the page of that run; nothing may go wrong in it, and nothing be fetched."""
    browser.size(*SIZES["wide"])
    browser.colours("light")
    browser.open(url(run))
    browser.until("document.documentElement.dataset.ready")
    yield browser
    assert (browser.problems, [each for each in browser.requests if not each.startswith("file:///")]) == ([], [])


def url(run: tuple[Path, Report], place: str = "") -> str:
    return f"{(run[0] / 'index.html').as_uri()}{place}"


def ids(browser: Browser) -> list[str]:
    """Return the ids of the cells that are shown."""
    shown: list[str] = browser.run(
        "[...document.querySelectorAll('#cells [data-open]')].map((each) => report.cells[each.dataset.open].id)"
    )
    return shown


def choose(browser: Browser, selector: str, value: str) -> None:
    """Choose an entry, or type a text, as a user would see it done."""
    browser.run(
        f"(() => {{ const each = document.querySelector({json.dumps(selector)}); each.value = {json.dumps(value)};"
        " each.dispatchEvent(new Event(each.type === 'search' ? 'input' : 'change', {bubbles: true})) })()"
    )


def test_each_cell_has_a_symbol_and_a_word(page: Browser, run: tuple[Path, Report]) -> None:
    """A status must be told by a symbol and by a word, in the order of the plan, and what is unexpected be marked."""
    texts = page.run("[...document.querySelectorAll('.cell')].map((each) => each.innerText)")
    expected = [cell.word + ("" if cell.is_expected else " !") for cell in run[1].cells]
    assert [text[1:].strip() for text in texts] == expected
    assert all(text[0] in "✓✗∅◷↯⚠\u2013≈" for text in texts)


def test_a_failed_cell_is_found_and_shows_the_event_that_decided_it(page: Browser, run: tuple[Path, Report]) -> None:
    """Filtered for what failed and opened, a cell must show its verdict, blame, and the deciding event marked."""
    failed = [cell for cell in run[1].cells if cell.status == "failed"]
    page.click("#totals [data-status=failed]")
    page.until(f"document.querySelectorAll('.cell').length === {len(failed)}")
    assert ids(page) == [cell.id for cell in failed]
    page.click(".cell")
    page.until("!document.getElementById('panel').hidden")
    text = page.run("document.getElementById('panel').innerText")
    assert failed[0].verdict
    assert (failed[0].verdict.reason in text, f"driver: {failed[0].driver}" in text) == (True, True), text
    page.click("[data-decider]")
    row = page.run("document.activeElement.innerText")
    assert ("decided here" in row, "channel.rcv.packet" in row) == (True, True), row
    assert page.run("document.activeElement.dataset.event") == str(failed[0].verdict.event)
    assert page.run("document.querySelectorAll('svg.swim line.decided').length") == 1


@pytest.mark.parametrize(
    ("selector", "value", "keeps"),
    [
        ("#f-test", "net-link", lambda cell: cell.test == "net-link"),
        ("#f-worker", "go", lambda cell: cell.worker == "go"),
        ("#f-driver", "node", lambda cell: cell.driver == "node"),
        ("#f-show", "unexpected", lambda cell: not cell.is_expected),
        ("#f-show", "expected", lambda cell: cell.is_expected),
        ("#f-show", "declared", lambda cell: cell.expectation.is_declared),
        ("#f-text", "NOT READY", lambda cell: bool(cell.verdict) and "not ready" in cell.verdict.reason),
        ("#f-text", "<script>", lambda cell: "<script>" in cell.expectation.reason),
        ("#f-text", "no such thing", lambda _: False),
    ],
)
def test_filters_leave_those_cells_that_they_name(
    page: Browser, run: tuple[Path, Report], selector: str, value: str, keeps: Any
) -> None:
    """Each filter must leave just the cells that it names, and say how many; cleared, all must be back."""
    wanted = [cell.id for cell in run[1].cells if keeps(cell)]
    choose(page, selector, value)
    page.until(f"document.getElementById('count').textContent === '{len(wanted)} of 36 cells'")
    assert ids(page) == wanted
    page.click("#clear")
    assert len(ids(page)) == len(run[1].cells)


def test_a_link_opens_what_it_was_copied_from(browser: Browser, page: Browser, run: tuple[Path, Report]) -> None:
    """Filters and the open cell must stand in the address, and an address bring them back."""
    cell = next(cell for cell in run[1].cells if cell.status == "timeout")
    page.click("#totals [data-status=timeout]")
    page.click(".cell")
    place = page.run("location.hash")
    assert place == f"#cell={cell.id}&status=timeout"
    browser.open(url(run, place))
    browser.until("!document.getElementById('panel').hidden")
    assert {each.split("/")[0] for each in ids(browser)} == {c.test for c in run[1].cells if c.status == "timeout"}
    assert cell.worker in browser.run("document.getElementById('panel-title').innerText")
    browser.open(url(run, "#cell=no/such/cell&status=nonsense"))
    assert "No cell matches" in browser.until("document.getElementById('cells').innerText")


def test_all_can_be_done_by_keyboard(page: Browser) -> None:
    """Tab must enter a table, arrows move in it, Enter open, Escape close and give the focus back."""
    page.run("document.querySelector('.cell').focus()")
    page.key("ArrowRight")
    page.key("ArrowDown")
    place = page.run("[document.activeElement.closest('td').cellIndex, document.activeElement.closest('tr').rowIndex]")
    assert place == [2, 2]
    page.key("Enter")
    page.until("document.activeElement.id === 'panel-title'")
    page.run("document.querySelector('.events [tabindex=\"0\"]').focus()")
    first = page.run("document.activeElement.dataset.event")
    page.key("ArrowDown")
    assert page.run("document.activeElement.dataset.event") == str(int(first) + 1)
    page.key("Enter")
    assert page.run("document.activeElement.getAttribute('aria-expanded')") == "true"
    page.key("Escape")
    assert page.run("document.activeElement.closest('td').cellIndex") == 2
    assert page.run("document.getElementById('panel').hidden")


def test_what_is_for_screen_readers_is_there(page: Browser) -> None:
    """Whatever can be operated must have a name, tables their headings, and a cell's name tell all of it."""
    page.click(".cell.bad")
    nodes = page.ask("Accessibility.getFullAXTree")["nodes"]
    roles = {"button", "link", "combobox", "searchbox", "textbox", "image"}
    seen = [node for node in nodes if node.get("role", {}).get("value") in roles and not node.get("ignored")]
    nameless = [node["role"]["value"] for node in seen if not str(node.get("name", {}).get("value", "")).strip()]
    assert (len(seen) > 60, nameless) == (True, [])
    assert page.run("[...document.querySelectorAll('#cells th')].every((th) => th.scope)")
    assert page.run("document.querySelector('.cell.bad').ariaLabel").endswith(": failed, unexpected")


@pytest.mark.parametrize("scheme", ["light", "dark"])
@pytest.mark.parametrize("size", SIZES)
def test_it_can_be_read_in_any_light_and_on_any_screen(page: Browser, scheme: str, size: str) -> None:
    """Text must stand out, light or dark, and nothing but tables scroll sideways, with and without an open cell."""
    page.colours(scheme)
    page.size(*SIZES[size])
    for _ in range(2):
        assert page.run(CONTRAST) == []
        assert page.run("document.documentElement.scrollWidth <= innerWidth")
        assert page.run("[...document.querySelectorAll('.cell')].every((each) => each.scrollWidth <= each.clientWidth)")
        page.run("document.querySelector('.cell.bad').click()")
        assert page.run("document.getElementById('panel').scrollWidth <= document.getElementById('panel').clientWidth")


def test_the_theme_can_be_chosen(page: Browser) -> None:
    """The switch must go through the system's colours, light and dark, whatever the system has."""
    page.run("localStorage.clear()")
    paper = "getComputedStyle(document.body).backgroundColor"
    seen = [page.run(paper)]
    for _ in range(3):
        page.click("#theme")
        seen.append(page.run(paper))
    assert (seen[0] == seen[1] == seen[3], seen[1] == seen[2]) == (True, False)


@pytest.mark.parametrize("size", SIZES)
def test_no_word_of_a_cell_s_stages_is_cut(page: Browser, run: tuple[Path, Report], size: str) -> None:
    """A stage must be named in its bar when there is room for it, never in part, and all of them below the bar."""
    page.size(*SIZES[size])
    failed = next(cell for cell in run[1].cells if cell.status == "failed")
    page.click("#totals [data-status=failed]")
    page.click(".cell")
    named = page.until("document.querySelector('[data-stages]')?.innerText")
    assert [name for name in failed.spans if name not in named] == []
    cut = page.run(
        "[...document.querySelectorAll('.phases span')].filter((each) => { const text = document.createRange();"
        " text.selectNodeContents(each); const [a, b] = [text.getBoundingClientRect(), each.getBoundingClientRect()];"
        " return a.right > b.right && a.top < b.bottom - 2 }).map((each) => each.textContent)"
    )
    assert cut == []


def test_two_runs_are_compared(page: Browser, run: tuple[Path, Report], tmp_path: Path) -> None:
    """Another report that is chosen must show what became worse and better, and what each cell was."""
    other = matrix_sample.report(seed=2, run="20261128-other")
    (tmp_path / "report.json").write_text(other.as_json())
    was = {cell.id: cell for cell in other.cells}
    worse = [cell.id for cell in run[1].cells if was[cell.id].is_expected and not cell.is_expected]
    page.choose_file("#other", tmp_path / "report.json")
    assert f"{len(worse)} worse" in page.until("document.querySelector('#difference [role=status]')?.innerText")
    choose(page, "#f-change", "worse")
    assert ids(page) == worse
    assert page.run("document.querySelector('.cell small').innerText") == f"was ✓ {was[worse[0]].word}"
    page.click("[data-forget]")
    assert len(ids(page)) == len(run[1].cells)


@pytest.mark.parametrize(
    ("text", "says"),
    [
        ('{"schema_version": 2, "cells": []}', "it has schema_version 2, and 1 was needed"),
        ("[]", "it is no report of a matrix"),
        ("no", "cannot be compared"),
    ],
)
def test_what_cannot_be_compared_is_refused(page: Browser, tmp_path: Path, text: str, says: str) -> None:
    """A report of another version, and what is none, must be told and change nothing."""
    (tmp_path / "old.json").write_text(text)
    page.choose_file("#other", tmp_path / "old.json")
    assert says in page.until("document.querySelector('#difference [role=status]')?.innerText")
    assert len(ids(page)) == 36


def test_a_page_can_have_the_other_run_in_it(browser: Browser, run: tuple[Path, Report], tmp_path: Path) -> None:
    """A page that was written against another run must open with the difference."""
    write_report(tmp_path, run[1], against=matrix_sample.report(seed=2, run="20261128-other"))
    browser.open((tmp_path / "index.html").as_uri())
    assert "20261128-other" in browser.run("document.getElementById('difference').innerText")
    assert browser.problems == []


def test_what_a_cell_has_left_opens_from_disk(browser: Browser, tmp_path: Path) -> None:
    """An open cell must link its logs and its worker's dump, whatever their names, by paths relative to the page."""
    run = tmp_path / "a run #1"
    report = replace(matrix_sample.report(), dumps=("node.dump", "python.dump"))
    cell = next(cell for cell in report.cells if cell.folder and cell.worker == "python")
    matrix_sample.write_evidence(run, report)
    names = ["events.jsonl", "driver.log", "logs/driver/50% #2?.txt"]
    for name in names[1:]:
        (run / cell.folder / name).parent.mkdir(parents=True, exist_ok=True)
        (run / cell.folder / name).write_text("left")
    (run / "python.dump").write_text("{}")
    write_report(run, report)
    moved = run.rename(tmp_path / "elsewhere 100%")
    browser.open(url((moved, report), f"#cell={cell.id}"))
    browser.until("!document.getElementById('panel').hidden")
    links = browser.run(
        "[...document.querySelectorAll('#panel .files a')].map((a) => [a.getAttribute('href'), a.href])"
    )
    files = [Path(unquote(urlsplit(link).path)) for _, link in links]
    assert files == [*(moved / cell.folder / name for name in names), moved / "python.dump"]
    assert [file for file in files if not file.is_file()] == []
    assert [link for link, _ in links if ":" in link or link.startswith("/")] == []
    browser.open(next(link for _, link in links if link.endswith(".txt")))
    assert browser.until("document.body?.innerText") == "left"


def test_text_of_strangers_is_shown_and_never_run(page: Browser, run: tuple[Path, Report]) -> None:
    """Markup in reasons and in lines of a log must be shown as it is."""
    cell = next(cell for cell in run[1].cells if cell.is_unexpected_pass)
    page.run(f"location.hash = 'cell={cell.id}'")
    page.until("!document.getElementById('panel').hidden")
    assert "<script>alert(1)</script>" in page.run("document.getElementById('panel').innerText")
    assert "</script><b>packet 5 & done" in page.run("document.getElementById('panel').innerText")
    assert page.run("document.querySelectorAll('#panel script, #panel .said b b').length") == 0


def test_two_thousand_cells_are_usable_at_once(browser: Browser, tmp_path: Path) -> None:
    """A page of 2,016 cells of 50 events must open, filter and show a cell in 2 s of its own time."""
    report = matrix_sample.report(14, 12, 12)
    matrix_sample.write_evidence(tmp_path, report)
    write_report(tmp_path, report)
    browser.size(*SIZES["wide"])
    browser.open((tmp_path / "index.html").as_uri())
    browser.until("document.documentElement.dataset.ready")
    assert len(ids(browser)) == 2016
    before = task_seconds(browser)
    browser.run("document.querySelector('[data-status=failed]').click()")
    browser.run("document.querySelector('.cell.bad').click()")
    assert browser.run("document.querySelectorAll('.events [data-deciding]').length") == 1
    assert (browser.problems, task_seconds(browser) < 2.0) == ([], True), (before, task_seconds(browser))


def task_seconds(browser: Browser) -> float:
    """Return the processor time that the page has taken; on a busy machine wall time says more of others."""
    metrics = {each["name"]: each["value"] for each in browser.ask("Performance.getMetrics")["metrics"]}
    return float(metrics["TaskDuration"])
