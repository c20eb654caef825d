"""Log events of a run."""

from __future__ import annotations

import ast
import asyncio
import io
import re
from pathlib import Path
from typing import TYPE_CHECKING, Any, NamedTuple

import pytest
import structlog

from provisioner.cli.repeats import EVENTS as REPEATED
from provisioner.core.pause import Pause
from provisioner.core.problem import Problem
from provisioner.core.verdict import Loss, Reply, Verdict
from provisioner.engine.observer import Attempt, Halt
from provisioner.engine.stop import Stop
from provisioner.errors import Reason
from provisioner.manifest.parser import Rules
from provisioner.manifest.reader import Manifest
from provisioner.report.events import EventLog
from tests.definition_lines import manifest_of
from tests.fakes import TAG, Act, Endpoint, FakeLedger, make_policy, now, open_target
from tests.faults.world import UnthreadedEngine
from tests.virtual_time import virtual_time

if TYPE_CHECKING:
    from collections.abc import Iterator, MutableMapping, Sequence

    from provisioner.core.entry import Fact

ROOT = Path(__file__).parents[2]
LEVELS = {"debug", "info", "warning", "error"}
IN_EVERY_LINE = {"timestamp", "level", "event", "run_id"}
ROW = re.compile(r"^\| `([a-z]+\.[a-z]+)` \| ([a-z, ]+) \| (.*?) \| .* \|$", re.MULTILINE)


class Event(NamedTuple):
    """What programs rely on."""

    name: str
    levels: frozenset[str]
    fields: frozenset[str]


def listed() -> list[Event]:
    """The events in docs/logging.md."""
    page = (ROOT / "docs" / "logging.md").read_text(encoding="utf-8")
    return [
        Event(name, frozenset(levels.split(", ")), frozenset(re.findall(r"`(\w+)`", fields)))
        for name, levels, fields in ROW.findall(page)
    ]


def _literal(node: ast.expr | None) -> str:
    return node.value if isinstance(node, ast.Constant) and isinstance(node.value, str) else ""


def _of_call(call: ast.Call) -> Event | None:
    """The event of ``log.info("noun.verb_past", key=value)``, or of ``log.log(level, ...)``."""
    method = call.func.attr if isinstance(call.func, ast.Attribute) else ""
    given = call.args[1:] if method == "log" else call.args
    name = _literal(given[0]) if given else ""
    if method not in {*LEVELS, "log"} or not re.fullmatch(r"[a-z]+\.[a-z]+", name):
        return None
    assert all(keyword.arg for keyword in call.keywords), f"{name}: its fields are not literals"
    named = {one.attr.lower() for one in ast.walk(call.args[0]) if isinstance(one, ast.Attribute)} & LEVELS
    fields = {keyword.arg for keyword in call.keywords if keyword.arg}
    return Event(name, frozenset(named if method == "log" else {method}), frozenset(fields - IN_EVERY_LINE))


def _of_dict(made: ast.Dict) -> Event | None:
    """The event of ``{"event": "noun.verb_past", "level": "info", "key": value}``."""
    keys = {_literal(key): value for key, value in zip(made.keys, made.values, strict=True)}
    if not {"event", "level"} <= set(keys):
        return None
    return Event(_literal(keys["event"]), frozenset({_literal(keys["level"])}), frozenset(keys.keys() - IN_EVERY_LINE))


def logged() -> dict[str, Event]:
    """The events in the code; one that is logged in several places has the fields of all."""
    found: dict[str, Event] = {}
    for path in (ROOT / "provisioner").rglob("*.py"):
        for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
            event = _of_call(node) if isinstance(node, ast.Call) else None
            event = _of_dict(node) if isinstance(node, ast.Dict) else event
            if event is not None:
                before = found.get(event.name, event)
                found[event.name] = Event(event.name, event.levels | before.levels, event.fields | before.fields)
    return found


def test_the_documentation_lists_every_event() -> None:
    """docs/logging.md and the code have the same events, each once, with the same levels and fields."""
    page, code = listed(), logged()

    assert sorted(page) == sorted(code.values())
    assert len(code) > 20
    assert {code[name].levels >= {"warning"} for name in REPEATED} == {True}


@pytest.fixture
def events() -> Iterator[list[MutableMapping[str, Any]]]:
    """What is logged, as structlog has it."""
    structlog.configure()
    with structlog.testing.capture_logs() as kept:
        yield kept
    structlog.reset_defaults()


async def run(endpoint: Endpoint, ledger: FakeLedger, *names: str) -> None:
    """Register definitions of these names, one after the other, and log it."""
    target = open_target(endpoint, ledger, observer=EventLog("here", "r", now))
    manifest = Manifest(["-"], Rules(ownership_tag=TAG), stdin=io.BytesIO(manifest_of(*names)))
    await UnthreadedEngine(target, make_policy(), Stop(), workers=1).run(manifest)


def test_a_wait_without_a_known_end(caplog: pytest.LogCaptureFixture) -> None:
    """The event of a wait says how many seconds it takes, where that is known, and otherwise has no such key."""
    events = EventLog("default", "r", lambda: 100.0)
    with caplog.at_level("INFO", "provisioner"):
        events.waiting_began("the settle time", 112.34)
        events.waiting_began("reading what the account holds", 0.0)

    assert caplog.messages == [
        "event='wait.began' run_id='r' target='default' what='the settle time' wait_s=12.3",
        "event='wait.began' run_id='r' target='default' what='reading what the account holds'",
    ]


def test_a_target_that_is_opened_again_is_logged_once(events: list[MutableMapping[str, Any]]) -> None:
    """A run that plans before it acts opens each target twice; an account that is found out meanwhile is news."""
    log = EventLog("here", "r", lambda: 0.0)
    for account in ("", "", "123456789012", "123456789012"):
        log.target_opened("us-east-1", account)
        log.notice_found("GetResources is denied")
        log.target_paused(Pause(2e9, 1e9))

    assert [event["account_id"] for event in events if event["event"] == "target.opened"] == [None, "123456789012"]
    assert [event["event"] for event in events if event["event"] != "target.opened"] == [
        *("target.noticed", "target.paused"),
    ]


@pytest.mark.parametrize(
    ("code", "severity", "level"), [("invalid", "problem", "warning"), ("image_by_digest", "notice", "info")]
)
def test_the_level_of_what_is_reported(
    events: list[MutableMapping[str, Any]], code: str, severity: Any, level: str
) -> None:
    """A problem is a warning, a notice is none; what concerns every target names none."""
    EventLog("here", "r", lambda: 0.0).problem_found(Problem("m", 3, "", code, "no", 0, "", severity))

    (event,) = events
    assert (event["event"], event["log_level"], event["code"], event["line"]) == ("definition.reported", level, code, 3)
    assert (event["run_id"], event["target"], event["name"]) == ("r", None, None)


@pytest.mark.parametrize(("reason", "name"), [(Reason.QUOTA, "target.parked"), (Reason.DENIED, "target.halted")])
def test_a_target_that_waits_for_a_quota_is_parked(
    events: list[MutableMapping[str, Any]], reason: Reason, name: str
) -> None:
    """An alarm can tell a quota from what is broken."""
    EventLog("here", "r", lambda: 0.0).target_halted(Halt(reason, "why"))

    assert [(one["event"], one["log_level"], one["reason"]) for one in events] == [(name, "error", reason)]


def test_an_attempt_is_logged_with_all_that_support_asks_for(events: list[MutableMapping[str, Any]]) -> None:
    """Id, number, request id, latency and verdict; one that was not answered is a warning as well."""
    log = EventLog("here", "r", lambda: 0.0)
    log.attempt_ended(Attempt("create", "a", "id-1", 2, Verdict.AMBIGUOUS, Reply(loss=Loss.READ_TIMEOUT), 20.01234))
    log.attempt_ended(Attempt("tag", "a", "id-2", 1, Verdict.DONE, Reply(status=200, request_id="q"), 0.05))

    names = [(one["event"], one["log_level"], one["code"]) for one in events]
    assert names == [
        ("attempt.ended", "debug", "read_timeout"),
        ("attempt.unanswered", "warning", "read_timeout"),
        ("attempt.ended", "debug", None),
    ]
    assert (events[0]["number"], events[0]["attempt"], events[0]["latency_s"]) == (2, "id-1", 20.0123)
    assert (events[2]["operation"], events[2]["request_id"], events[2]["verdict"]) == ("tag", "q", "DONE")


class SlowLedger(FakeLedger):
    """A ledger on a disk that takes two seconds for a commit."""

    async def record(self, facts: Sequence[Fact]) -> None:
        """See the interface."""
        await asyncio.sleep(2.0)
        await super().record(facts)


@virtual_time
async def test_the_latency_is_that_of_the_call(events: list[MutableMapping[str, Any]]) -> None:
    """The commits of the ledger before and after a call are not part of it."""
    await run(Endpoint([Act(effect_s=0.0, after_s=0.25)]), SlowLedger(), "a")

    assert [one["latency_s"] for one in events if one["event"] == "attempt.ended"] == [0.25]


UNREACHED = Act(Reply(loss=Loss.REFUSED, message="Connection refused"), after_s=0.1)


@virtual_time
async def test_an_outage_and_its_end_are_logged(events: list[MutableMapping[str, Any]]) -> None:
    """An endpoint that was reached before and then refuses three calls in a row is an outage until the next reply."""
    await run(Endpoint([Act(effect_s=0.0), *[UNREACHED] * 5]), FakeLedger(), "a", "b")

    began, ended = (one for one in events if one["event"].startswith("outage."))
    assert (began["event"], began["why"]) == ("outage.began", "refused Connection refused")
    assert (ended["event"], ended["operation"], ended["duration_s"] > 0) == ("outage.ended", "create", True)
