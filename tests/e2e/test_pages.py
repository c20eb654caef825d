"""Pages in a real browser: a headless Chromium, one for all tests of a process."""

from __future__ import annotations

import os
from typing import TYPE_CHECKING, Any

import pytest

from benchmarks.browser import DESK, PHONE, Browser, browser, missing
from benchmarks.pages import BEGAN, RUN, Simulation
from provisioner.core.entry import Entry, State
from provisioner.core.problem import Problem
from provisioner.errors import printable
from provisioner.report.html import document
from provisioner.report.page import About, Entries, LedgerCounts, Made, Problems, fleet_page, run_page

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

HOSTILE = (
    "</script><script>window.hacked = 1</script><img src=x onerror='window.hacked = 1'>\"\u2028\u202egpj\x1b[31m&amp;"
)
MANY = 20_000
MADE = Made(ledger="/srv/l.db", ledger_id="0123456789abcdef", at=BEGAN + 60)
ROWS = "#rows .grid tbody tr:not(.spacer)"
FIRST_ROW = "document.querySelector('#rows tbody .link').textContent"
BACKGROUND = "getComputedStyle(document.body).backgroundColor"
FOUND = "document.querySelector('#rows [aria-live]').textContent"


@pytest.fixture(scope="session")
def started() -> Iterator[Browser]:
    """The browser; without one the tests are skipped, but not where CI is set."""
    if absent := missing():
        assert not os.environ.get("CI"), f"{absent} missing: install Debian's chromium and chromium-driver"
        pytest.skip(f"{' and '.join(absent)} missing: install Debian's chromium and chromium-driver")
    with browser() as one:
        yield one


@pytest.fixture
def shown(started: Browser) -> Iterator[Browser]:
    """The browser; whatever a test does, no page may log anything or ask for an address other than its own."""
    yield started
    assert started.log() == []
    assert [url for url in started.requests() if not url.startswith(("file:", "data:"))] == []


def saved(folder: Path, name: str, contents: dict[str, Any]) -> Path:
    """The file of a page."""
    path = folder / f"{name}.html"
    path.write_text(document(contents), encoding="utf-8")
    return path


@pytest.fixture(scope="session")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Where the pages of all tests are."""
    return tmp_path_factory.mktemp("pages")


SIMULATION = Simulation(40, 20)
"""A run of forty targets with some trouble."""


@pytest.fixture(scope="session")
def run_(folder: Path) -> Path:
    """The page about it."""
    return saved(folder, "run", SIMULATION.page())


@pytest.fixture
def all_(run_: Path) -> int:
    """How many entries it has."""
    del run_
    return len(SIMULATION.entries)


@pytest.fixture(scope="session")
def many(folder: Path) -> Path:
    """The page about a ledger with many entries."""
    entries = Entries()
    for number in range(MANY):
        entries.add(Entry("default", f"n{number:05}", State.CREATED, "", "", arn=f"arn:aws:x/{number:05}"))
    counts = LedgerCounts(states={"default": {State.CREATED: MANY}})
    return saved(folder, "many", fleet_page([], counts, entries, MADE))


def typed(shown: Browser, text: str) -> str:
    """What the table says after a search."""
    shown.run(
        "(field => { field.value = arguments[0]; field.dispatchEvent(new Event('input')); })"
        "(document.querySelector('#rows input[type=search]'))",
        text,
    )
    shown.painted()
    return str(shown.run(FOUND))


def chosen(shown: Browser, name: str, text: str) -> str:
    """What the table says after a choice."""
    shown.run(
        "(select => { select.value = [...select.options].find(one => one.text.startsWith(arguments[1])).value;"
        " select.dispatchEvent(new Event('change')); })"
        "(document.querySelector(`#rows select[aria-label=${arguments[0]}]`))",
        name,
        text,
    )
    return str(shown.run(FOUND))


def test_a_page_shows_everything(shown: Browser, run_: Path) -> None:
    """Figures, charts, timeline, heat map and table are there, and the program has come to its end."""
    shown.show(run_)

    assert shown.driver.title == f"provisioner: apply {RUN}"
    assert shown.run("document.documentElement.dataset.ready") == "yes"
    assert shown.run("document.querySelectorAll('#charts canvas').length") == 4
    assert shown.run("document.querySelectorAll('#lanes .mark').length") == 7
    incidents = shown.run("[...document.querySelectorAll('#incident-list b')].map(one => one.textContent.trim())")
    assert incidents == ["3 targets", "4 targets"]
    halt = shown.run("document.querySelector('#incident-list li').textContent")
    assert halt.endswith("3 targets credentials may not create: iam:PassRole on arn:aws:iam::\u2026:role/access")
    assert shown.run("document.querySelector('#fleet-title').textContent") == "40 targets, definitions by outcome"
    assert shown.run("document.querySelectorAll('#targets td.heat').length") > 20
    assert shown.run("[...document.querySelectorAll('section[hidden]')].map(one => one.id)") == ["runs"]
    assert shown.run("document.querySelectorAll('#strip canvas').length") == 1


def test_charts_of_one_target(shown: Browser, run_: Path) -> None:
    """The charts show the target that is chosen, and the table below them has as many rows as there are points."""
    shown.show(run_)
    shown.run("document.querySelector('#numbers').open = true")
    shown.painted()
    whole = shown.run("document.querySelectorAll('#numbers tbody tr').length")
    shown.run(
        "(select => { select.value = 'team-07-000'; select.dispatchEvent(new Event('change')); })"
        "(document.querySelector('#series'))"
    )
    shown.painted()

    assert 10 < whole <= 240
    assert shown.run("document.querySelectorAll('#charts canvas').length") >= 3
    assert 0 < shown.run("document.querySelectorAll('#numbers tbody tr').length") <= whole


def test_the_table_searches_filters_and_sorts(shown: Browser, run_: Path, all_: int) -> None:
    """All words of a search must match in any column; choices narrow it down further; a heading sorts up and down."""
    shown.show(run_)
    everything = shown.run(FOUND)
    name = typed(shown, "LOOKALIKE 0007-01")
    words = typed(shown, "team-07 image")
    nothing = typed(shown, "<script>")
    typed(shown, "")
    failed = chosen(shown, "state", "failed")
    target = chosen(shown, "target", "team-07-000")
    states = shown.run("[...document.querySelectorAll('#rows .state')].map(one => one.textContent)")
    chosen(shown, "state", "any")
    heading = "document.querySelector('#rows thead th')"
    shown.run(f"{heading}.firstChild.click()")
    upward = (shown.run(f"{heading}.getAttribute('aria-sort')"), shown.run(FIRST_ROW))
    shown.run(f"{heading}.firstChild.click()")
    downward = (shown.run(f"{heading}.getAttribute('aria-sort')"), shown.run(FIRST_ROW))

    assert everything == f"{all_} rows."
    assert name == f"10 of {all_} rows."
    assert 0 < int(words.split()[0]) < 20
    assert nothing == f"0 of {all_} rows."
    assert 0 < int(target.split()[0]) < int(failed.split()[0]) < 100
    assert set(states) == {"failed"}
    assert upward == ("ascending", "lookalike 0007-000")
    assert downward == ("descending", "lookalike 0007-019")


def test_the_problems_are_a_table_too(shown: Browser, run_: Path, all_: int) -> None:
    """With their lines; the entries come back with what was looked for."""
    shown.show(run_)
    shown.run("document.querySelector('#rows input[value=problems]').click()")
    headings = shown.run("[...document.querySelectorAll('#rows thead th')].map(one => one.textContent)")
    problems = shown.run(FOUND)
    typed(shown, "image")
    shown.run("document.querySelector('#rows input[value=entries]').click()")

    assert headings == ["Name", "Target", "Code", "Message", "Line"]
    assert problems.endswith(" rows.")
    assert f"of {all_} rows." in shown.run(FOUND)


def test_of_many_rows_few_exist(shown: Browser, many: Path) -> None:
    """Whatever is scrolled to is there, and the browser has a screenful of rows at any time."""
    shown.show(many)
    first = shown.run(f"document.querySelectorAll('{ROWS}').length")
    shown.run("(grid => { grid.scrollTop = grid.scrollHeight; })(document.querySelector('#rows .grid'))")
    shown.painted()
    last = shown.run(f"[...document.querySelectorAll('{ROWS}')].map(one => one.querySelector('th').textContent)")

    assert first < 60
    assert len(last) < 60
    assert last[-1] == f"n{MANY - 1:05}"
    assert shown.run("document.querySelector('#rows table').getAttribute('aria-rowcount')") == str(MANY + 1)
    assert typed(shown, "n00007") == f"1 of {MANY:,} rows."
    assert shown.run(FIRST_ROW) == "n00007"


def test_hostile_texts_are_shown_as_texts(shown: Browser, folder: Path) -> None:
    """Names, targets, codes and messages from anywhere run nothing, load nothing, and show what they hide."""
    entries, problems = Entries(RUN), Problems()
    entries.add(Entry(HOSTILE, HOSTILE, State.FAILED, "", "", code=HOSTILE, message=HOSTILE, arn=f"{HOSTILE}/x"))
    problems.add(Problem(HOSTILE, 1, HOSTILE, HOSTILE, HOSTILE, target=HOSTILE))
    about = About(run_id=RUN, command=HOSTILE, started_at=BEGAN, ended_at=None, exit_code=None, status="died")
    counts = LedgerCounts(states={HOSTILE: {State.FAILED: 1}})
    shown.show(saved(folder, "hostile", run_page(about, counts, entries, problems, MADE)))
    shown.run("document.querySelector('#rows tbody .link').click()")
    details = shown.run("document.querySelector('dialog').textContent")
    shown.run("document.querySelector('dialog').close()")
    shown.run("document.querySelector('#targets .link').click()")

    assert shown.run("window.hacked") is None
    assert shown.run("document.images.length") == 0
    assert shown.run("document.scripts.length") == 2
    assert shown.run(FIRST_ROW) == printable(HOSTILE)
    assert printable(HOSTILE) in details
    assert "\\u202e" in shown.run("document.querySelector('h1').textContent")


@pytest.mark.parametrize("dark", [False, True])
def test_texts_can_be_read_in_light_and_dark(shown: Browser, run_: Path, dark: bool) -> None:  # noqa: FBT001  a parameter
    """Every text that is in sight has the contrast that WCAG asks for (AA, 4.5 : 1), whatever lies under it."""
    shown.show(run_, dark=dark)
    shown.driver.execute_script(_CONTRAST)
    bad = shown.run("window.unreadable()")

    assert bad == []
    assert shown.run(BACKGROUND) == ("rgb(13, 17, 23)" if dark else "rgb(255, 255, 255)")


@pytest.mark.parametrize("page", ["run_", "many"])
def test_a_phone_shows_it_without_scrolling_aside(shown: Browser, page: str, request: pytest.FixtureRequest) -> None:
    """No wider than the window, with the names and states of entries in sight."""
    shown.show(request.getfixturevalue(page), width=PHONE, height=844)

    assert shown.run("[document.documentElement.scrollWidth, innerWidth]") == [PHONE, PHONE]
    assert shown.run("[...document.querySelectorAll('.grid')].every(one => one.scrollWidth <= one.clientWidth)")
    assert shown.run("document.querySelector('#rows tbody th').clientWidth") > 120
    assert shown.run("getComputedStyle(document.querySelector('#rows .wide')).display") == "none"


def test_it_can_be_printed(shown: Browser, run_: Path, all_: int) -> None:
    """In light colours, also of a browser that is dark, with all targets and the first rows; then it is as before."""
    shown.show(run_, dark=True)
    before = shown.run(f"document.querySelectorAll('{ROWS}').length")
    printed = shown.printed(pages="1")
    shown.driver.execute_script("dispatchEvent(new Event('beforeprint'))")
    rows = shown.run(f"document.querySelectorAll('{ROWS}').length")
    cut = shown.run("document.querySelector('#rows .grid + p + p').textContent")
    light = shown.run(BACKGROUND)
    targets = shown.run("document.querySelectorAll('#targets tbody tr:not(.spacer)').length")
    shown.driver.execute_script("dispatchEvent(new Event('afterprint'))")

    assert printed.startswith(b"%PDF")
    assert (rows, cut, light, targets) == (300, f"The first 300 of {all_} rows.", "rgb(255, 255, 255)", 40)
    assert shown.run(f"document.querySelectorAll('{ROWS}').length") == before < 60


def test_it_works_from_the_keyboard(shown: Browser, run_: Path) -> None:
    """Every control is reached with Tab and has a name; Enter opens the details of a row, Escape closes them."""
    from selenium.webdriver.common.keys import Keys

    shown.show(run_)
    unnamed = shown.run(
        "[...document.querySelectorAll('button, input, select, canvas, [tabindex]')].filter(one =>"
        " !(one.textContent.trim() || one.getAttribute('aria-label') || one.getAttribute('aria-labelledby')"
        " || one.closest('[role=img]') || one.labels?.length)).map(one => one.outerHTML)"
    )
    ids = shown.run("[...document.querySelectorAll('[id]')].map(one => one.id)")
    missing_ids = shown.run(
        "[...document.querySelectorAll('[aria-labelledby]')].filter(one =>"
        " !document.getElementById(one.getAttribute('aria-labelledby'))?.textContent).length"
    )
    shown.run("document.querySelector('#rows input[type=search]').focus()")
    tag = "document.activeElement"
    for _ in range(40):
        shown.driver.switch_to.active_element.send_keys(Keys.TAB)
        if shown.run(f"{tag}.closest('tbody') !== null"):
            break
    name = shown.run(f"{tag}.textContent")
    shown.driver.switch_to.active_element.send_keys(Keys.ENTER)
    opened = shown.run("document.querySelector('dialog').open")
    title = shown.run("document.querySelector('dialog h2').textContent")
    shown.driver.switch_to.active_element.send_keys(Keys.ESCAPE)

    assert unnamed == []
    assert len(ids) == len(set(ids))
    assert missing_ids == 0
    assert (opened, title) == (True, name)
    assert shown.run("document.querySelector('dialog').open") is False


def test_a_target_leads_to_its_entries(shown: Browser, run_: Path, all_: int) -> None:
    """From the heat map to the details of a target, and from there to its entries alone."""
    shown.show(run_, width=DESK)
    first = shown.run("document.querySelector('#targets .link').textContent")
    shown.run("document.querySelector('#strip canvas').dispatchEvent(new MouseEvent('click', {clientX: 1}))")
    title = shown.run("document.querySelector('#details-title').textContent")
    shown.run("document.querySelector('dialog form button').click()")

    assert title == first
    assert "halted" in shown.run("document.querySelector('dialog').textContent")
    assert shown.run(FOUND) == f"6 of {all_} rows."


_CONTRAST = """
const canvas = document.createElement('canvas').getContext('2d', { willReadFrequently: true });
const pixel = (...colours) => {
  canvas.clearRect(0, 0, 1, 1);
  for (const colour of colours) { canvas.fillStyle = colour; canvas.fillRect(0, 0, 1, 1); }
  return [...canvas.getImageData(0, 0, 1, 1).data].slice(0, 3);
};
const linear = (part) => part <= 0.04045 ? part / 12.92 : ((part + 0.055) / 1.055) ** 2.4;
const light = (colour) => colour.reduce((sum, part, at) => sum + linear(part / 255) * [0.2126, 0.7152, 0.0722][at], 0);
const ratio = (one) => {
  const under = [];
  for (let at = one; at; at = at.parentElement) under.unshift(getComputedStyle(at).backgroundColor);
  const back = pixel('white', ...under), text = pixel(`rgb(${back})`, getComputedStyle(one).color);
  const [high, low] = [light(back), light(text)].sort((a, b) => b - a);
  return (high + 0.05) / (low + 0.05);
};
const written = (one) => [...one.childNodes].some((node) => node.nodeType === 3 && node.textContent.trim());
window.unreadable = () => [...document.querySelectorAll('body *')]
  .filter((one) => one.offsetParent !== null && written(one) && ratio(one) < 4.5)
  .map((one) => `${one.tagName} ${one.textContent.slice(0, 30)} ${ratio(one).toFixed(2)}`);
"""
