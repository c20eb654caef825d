"""What the page about a run reads from a ledger."""

from __future__ import annotations

from typing import TYPE_CHECKING, cast

import msgspec
import pytest

from provisioner.commands.report import report_of, report_of_fleet, report_of_run
from provisioner.commands.run import Order, Run, policy_of
from provisioner.config.settings import Settings
from provisioner.core.entry import Entry, State
from provisioner.core.problem import Problem
from provisioner.errors import UsageError
from provisioner.ledger import RunRecord
from provisioner.pacing.observed import Learned
from provisioner.report import page as pages
from provisioner.report.recorder import Recorder
from tests.fakes import FakeLedger

if TYPE_CHECKING:
    from provisioner.ledger import Ledger
    from provisioner.ledger.location import Location

FIRST, SECOND = "20260921T141320125-aaaaaa", "20260921T151320125-aabbbb"


class Here:
    """A location of a ledger that nobody holds."""

    name = "/srv/l.db"

    async def under_way(self, latest: str) -> set[str]:
        """The runs that are alive."""
        del latest
        return set()


LOCATION = cast("Location", Here())


@pytest.fixture
def ledger() -> FakeLedger:
    """A ledger of two targets, with an entry in trouble among others, and a run of one target that has died."""
    made = FakeLedger(
        [
            *(Entry("a", f"n{number}", State.CREATED, "", "", run_id=FIRST) for number in range(4)),
            Entry("a", "o", State.FAILED, "", "", run_id=SECOND, code="invalid"),
            Entry("b", "p", State.AMBIGUOUS, "", ""),
        ]
    )
    made.kept_runs.append(RunRecord(FIRST, "apply", 1.0, 3.5, 0))
    made.kept_runs.append(RunRecord(SECOND, "apply", 5.0))
    made.kept_samples[SECOND] = Recorder(["a"], lambda: 0.0).samples().encoded()
    return made


async def test_a_run_has_the_entries_of_its_targets(ledger: FakeLedger) -> None:
    """Those in trouble first, and which of them it has changed; other targets are another page's."""
    page = (await report_of_run(LOCATION, cast("Ledger", ledger), SECOND, 9.0)).page

    assert page["entries"]["name"] == ["o", "n0", "n1", "n2", "n3"]
    assert page["entries"]["touched"] == [1, 0, 0, 0, 0]
    assert [target["name"] for target in page["targets"]] == ["a"]
    assert page["status"]["text"].startswith("died")


async def test_a_page_that_is_full_has_what_is_in_trouble(ledger: FakeLedger, monkeypatch: pytest.MonkeyPatch) -> None:
    """Of more entries than it lists, those of every target that somebody has to look at come first."""
    monkeypatch.setattr(pages, "MOST_ROWS", 3)
    page = (await report_of_fleet(LOCATION, cast("Ledger", ledger), 9.0)).page

    assert page["entries"]["name"] == ["o", "p", "n0"]
    assert page["entries"]["total"] == 6
    assert [(run["run_id"], run["elapsed"]) for run in page["runs"]] == [(SECOND, 0.0), (FIRST, 2.5)]


async def test_a_run_without_samples_has_all_targets(ledger: FakeLedger) -> None:
    """Of an older run that has no summary either, nobody knows which targets it was about."""
    page = (await report_of_run(LOCATION, cast("Ledger", ledger), FIRST, 9.0)).page

    assert [target["name"] for target in page["targets"]] == ["a", "b"]
    with pytest.raises(UsageError, match="the ledger has no run"):
        await report_of_run(LOCATION, cast("Ledger", ledger), "1999", 9.0)


async def test_a_target_has_the_limit_that_was_learned(ledger: FakeLedger) -> None:
    """In creates per second; 0 where no run has found one."""
    await ledger.learn("a", "create", msgspec.json.encode(Learned(rate=4.98049, learned_at=1.0, accepts=60)))
    page = (await report_of_fleet(LOCATION, cast("Ledger", ledger), 9.0)).page

    assert {target["name"]: target["pace"] for target in page["targets"]} == {"a": 4.98, "b": 0.0}


async def test_a_page_without_a_ledger_counts_all_problems() -> None:
    """The summary lists the first ones, and how many there were."""
    run = Run(Order(sources=(), settings=Settings(), targets=(), policy=policy_of(Settings())))
    listed = [Problem("m", 1, "a", "invalid", "?")]
    summary = msgspec.structs.replace(run.summary(), problems=listed, problems_total=7)

    page = (await report_of(run, summary, LOCATION, None)).page

    assert (page["problems"]["name"], page["problems"]["total"]) == (["a"], 7)
