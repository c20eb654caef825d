"""What a page has in it, before a browser shows it: the figures, and nothing that could do harm."""

from __future__ import annotations

import base64
import hashlib
import json
import re
from html.parser import HTMLParser
from typing import Any

import pytest

from benchmarks.pages import BEGAN, RUN, Simulation
from provisioner.core.entry import Entry, Outcome, State
from provisioner.core.place import Place
from provisioner.core.problem import Problem
from provisioner.errors import printable
from provisioner.exit_codes import ExitCode
from provisioner.report import page as pages
from provisioner.report.html import document
from provisioner.report.page import TONES, About, Entries, LedgerCounts, Made, Problems, duration, fleet_page, run_page

MADE = Made(ledger="/srv/l.db", ledger_id="0123456789abcdef", at=BEGAN + 60)
HOSTILE = "</script><script>window.hacked = 1</script>\"'&\u2028\u202egpj\x1b[31m\x00<!--"


def about(**given: Any) -> About:
    """A run, as the ledger has it."""
    usual: dict[str, Any] = {"run_id": RUN, "command": "apply", "started_at": BEGAN, "ended_at": None}
    return About(**{**usual, "exit_code": None, "status": "running", **given})


def entry(name: str, state: State = State.CREATED, **given: Any) -> Entry:
    """An entry."""
    return Entry("default", name, state, "", "", **given)


def of_run(run: About, counts: LedgerCounts | None = None, *entries: Entry) -> dict[str, Any]:
    """The page about a run."""
    listed = Entries(RUN)
    for one in entries:
        listed.add(one)
    return run_page(run, counts or LedgerCounts(states={}), listed, Problems(), MADE)


def tiles(page: dict[str, Any]) -> dict[str, Any]:
    """The figures at the top, by label."""
    return {tile["label"]: tile["value"] for tile in page["tiles"]}


class Page(HTMLParser):
    """A parsed page: what it refers to, and the texts of its blocks."""

    def __init__(self, text: str) -> None:
        super().__init__()
        self.addresses: list[str] = []
        self.handlers: list[str] = []
        self.policy = ""
        self.blocks: dict[str, list[str]] = {}
        self._in = ""
        self.feed(text)

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        """See the base class."""
        self._in = tag
        given = dict(attrs)
        self.addresses += [given[name] or "" for name in ("href", "src", "action", "data") if name in given]
        self.handlers += [name for name in given if name.startswith("on") or name == "style"]
        if given.get("http-equiv") == "Content-Security-Policy":
            self.policy = given["content"] or ""

    def handle_endtag(self, tag: str) -> None:
        """See the base class."""
        del tag
        self._in = ""

    def handle_data(self, data: str) -> None:
        """See the base class."""
        self.blocks.setdefault(self._in, []).append(data)


@pytest.mark.parametrize("name", [*Outcome, *State])
def test_every_outcome_and_state_has_a_tone_and_a_colour(name: str) -> None:
    """A new one cannot be forgotten in the page."""
    assert TONES[name]
    assert f"--o-{name}:" in document(of_run(about()))


@pytest.fixture(scope="module")
def simulated() -> dict[str, Any]:
    """A run of many targets with some trouble."""
    return Simulation(40, 20).page()


def test_the_figures_are_those_of_the_run(simulated: dict[str, Any]) -> None:
    """Tiles, columns, targets, series and tables say the same."""
    figures, columns = tiles(simulated), {column["name"]: column["sum"] for column in simulated["columns"]}
    series = simulated["series"][""]
    created = [target["counts"].get("created", 0) for target in simulated["targets"]]

    assert figures["definitions"] == sum(columns.values()) == 800
    assert figures["failed"] == columns["failed"] == len(simulated["problems"]["name"])
    assert figures["created or changed"] == columns["created"] == sum(created)
    assert figures["throttled"] == sum(series["throttled"]) == sum(one["throttled"] for one in simulated["targets"])
    assert figures["left to do"] == columns["pending"]
    assert len(simulated["entries"]["name"]) == columns["created"] + columns["failed"]
    assert {one["kind"] for one in simulated["incidents"]} == {"halt", "outage"}
    assert sum(target["halted"] != "" for target in simulated["targets"]) == 3
    assert set(simulated["series"]) == {"", *(target["name"] for target in simulated["targets"])}


def test_rates_are_calls_per_second(simulated: dict[str, Any]) -> None:
    """Creates a second, summed over the time that each point covers, are the creates; the last point may be shorter."""
    series = simulated["series"][""]
    made = sum(series["created"][:-1]) * series["width"]

    assert 0 <= tiles(simulated)["created or changed"] - made <= series["created"][-1] * series["width"] + 0.1
    assert max(value for value in series["p50"] if value) <= max(value for value in series["p99"] if value)


def test_a_run_under_way_shows_what_the_ledger_has() -> None:
    """Without a summary the states of entries stand for the outcomes, and the page says that it is not the end."""
    counts = LedgerCounts(
        states={"default": {State.CREATED: 3, State.SENT: 1}},
        places={"default": Place("aws", "us-east-1", "123456789012")},
        limits_per_s={"default": 4.5},
    )
    page = of_run(about(), counts, entry("a", run_id=RUN), entry("b"))

    assert page["status"] == {"text": "still running", "tone": "quiet"}
    assert page["counted"] == "entries by state"
    assert [(column["name"], column["sum"]) for column in page["columns"]] == [("sent", 1), ("created", 3)]
    assert page["targets"][0]["place"] == "123456789012 us-east-1"
    assert page["targets"][0]["pace"] == 4.5
    assert page["entries"]["touched"] == [1, 0]
    assert "as of the moment" in page["remarks"][0]
    assert page["series"] == {}


@pytest.mark.parametrize(
    ("given", "tone", "text"),
    [
        ({"status": "died"}, "bad", "died: it has no end"),
        ({"status": "ended", "exit_code": 0}, "good", "exit 0: done"),
        ({"status": "ended", "exit_code": 10}, "good", "exit 10"),
        ({"status": "ended", "exit_code": 75}, "warn", "exit 75: stopped early"),
        ({"status": "ended", "exit_code": 3}, "bad", "exit 3: some definitions failed"),
        ({"status": "ended", "exit_code": 99}, "bad", "exit 99"),
    ],
)
def test_an_end_has_a_tone(given: dict[str, Any], tone: str, text: str) -> None:
    """The exit code, or its absence, is the first thing to see, in its colour and in words."""
    page = of_run(about(**given))

    assert page["status"]["tone"] == tone
    assert page["status"]["text"].startswith(text)


def test_every_exit_code_has_an_end() -> None:
    """None of them is shown without its advice."""
    for code in ExitCode:
        assert len(about(status="ended", exit_code=int(code)).end) > len("exit 130: ")


def test_the_fleet_is_its_states_and_runs() -> None:
    """Targets by state, what has to be looked at, superseded versions, and the latest runs."""
    counts = LedgerCounts(
        states={"a": {State.CREATED: 5, State.FAILED: 2}, "b": {State.AMBIGUOUS: 1}}, superseded={"a": 4}
    )
    page = fleet_page([about(status="died")], counts, Entries(), MADE)

    assert tiles(page) == {"targets": 2, "entries": 8, "created": 5, "to look at": 3, "superseded": 4}
    assert page["tiles"][3]["note"] == "2 failed, 1 ambiguous"
    assert page["status"]["text"] == "latest run: apply, died: it has no end, and is not under way"
    assert [(run["run_id"], run["tone"]) for run in page["runs"]] == [(RUN, "bad")]
    assert fleet_page([], counts, Entries(), MADE)["status"]["text"] == "no runs yet"


def test_rows_beyond_the_bound_are_counted(monkeypatch: pytest.MonkeyPatch) -> None:
    """A page lists so many entries and problems, and says how many there are."""
    monkeypatch.setattr(pages, "MOST_ROWS", 2)
    entries, problems = Entries(), Problems()
    listed = [entries.add(entry(str(number))) for number in range(3)]
    entries.total = 3
    for number in range(3):
        problems.add(Problem("m", number, str(number), "invalid", "no"))

    assert listed == [True, True, False]
    assert (entries.builtin()["name"], entries.builtin()["total"]) == (["0", "1"], 3)
    assert (problems.builtin()["name"], problems.builtin()["total"]) == (["0", "1"], 3)


@pytest.mark.parametrize(
    ("seconds", "text"),
    [(0.04, "0.0 s"), (59.94, "59.9 s"), (60, "1 min 0 s"), (3599, "59 min 59 s"), (7322, "2 h 2 min")],
)
def test_a_duration_is_for_people(seconds: float, text: str) -> None:
    """In the units that one would say."""
    assert duration(seconds) == text


def test_a_page_loads_nothing() -> None:
    """No address leads out of it, no attribute is a program or a style, and its policy allows nothing else."""
    page = Page(document(Simulation(3, 5).page()))

    assert [one for one in page.addresses if not one.startswith(("data:,", "#"))] == []
    assert page.handlers == []
    assert "default-src 'none'" in page.policy
    assert "unsafe" not in page.policy
    assert "http" not in page.policy


def test_the_policy_allows_what_the_page_has() -> None:
    """The hashes are those of its one program and its one style sheet."""
    text = document(of_run(about()))
    page = Page(text)
    program, styles = text.rpartition("<script>")[2].partition("</script>")[0], page.blocks["style"][0]

    for block, source in ((program, "script-src"), (styles, "style-src")):
        digest = base64.b64encode(hashlib.sha256(block.encode()).digest()).decode()
        assert f"{source} 'sha256-{digest}'" in page.policy


def test_hostile_texts_stay_data() -> None:
    """What is in a name or a message ends no block and hides nothing; all of it comes back as printable text."""
    entries, problems = Entries(RUN), Problems()
    entries.add(entry(HOSTILE, State.FAILED, code=HOSTILE, message=HOSTILE, arn=f"{HOSTILE}/{HOSTILE}"))
    problems.add(Problem(HOSTILE, 1, HOSTILE, HOSTILE, HOSTILE, target=HOSTILE))
    text = document(
        run_page(about(command=HOSTILE), LedgerCounts(states={HOSTILE: {State.FAILED: 1}}), entries, problems, MADE)
    )
    data = re.search(r'<script type="application/json" id="data">(.*?)</script>', text, re.DOTALL)
    assert data is not None
    found = json.loads(data[1])

    assert text.count("<script") == text.count("</script>") == 2
    assert not set("<>&").intersection(data[1])
    assert [c for c in data[1] if not c.isprintable()] == []
    assert found["entries"]["name"] == found["problems"]["name"] == [printable(HOSTILE)]
    assert found["targets"][0]["name"] == printable(HOSTILE)
    assert '<h1 id="title">apply' not in text


def test_whatever_the_contents_are_the_block_is_safe() -> None:
    """The block of data escapes what could end it, and what is not printable, by itself."""
    text = document({"title": "t", "text": HOSTILE})
    data = re.search(r'id="data">(.*?)</script>', text, re.DOTALL)
    assert data is not None

    assert data[1].isprintable()
    assert not set("<>&").intersection(data[1])
    assert json.loads(data[1])["text"] == HOSTILE


def test_the_library_comes_with_its_licence() -> None:
    """The page has the licence of what draws its charts, and where that is from."""
    text = document(of_run(about()))

    assert "The MIT License (MIT)" in text
    assert "Leon Sorokin" in text
    assert "github.com/leeoniya/uPlot (v1.6." in text
