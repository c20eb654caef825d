"""What is to be done with a definition, given its entry."""

from __future__ import annotations

from itertools import product
from typing import Any, NamedTuple

import pytest

from provisioner.core.entry import Entry, Event, Fact, Outcome, State
from provisioner.core.planner import Action, Planner, Situation, Step
from provisioner.manifest.definition import Canonical, Definition
from provisioner.manifest.reader import Row
from tests.fakes import LEDGER_ID, make_policy

ROLE = "arn:aws:iam::123456789012:role/access"
ROW = Row("m.jsonl", 1, Definition(name="x", role_arn=ROLE), Canonical(b"", b"", "d1", "t1"))
ARN = "arn:aws:cleanrooms-ml:us-east-1:123456789012:configured-model-algorithm/1"

# state, definition, tags, retry_failed ("any" where it does not matter) -> action, outcome, event
TABLE = """
    nothing   any     any     any   create     pending    -
    planned   any     any     any   create     pending    -
    sent      any     any     any   ambiguous  ambiguous  -
    ambiguous any     any     any   ambiguous  ambiguous  -
    parked    any     any     any   create     pending    replan
    deleted   any     any     any   create     pending    replan
    failed    same    same    no    failed     failed     -
    failed    same    same    yes   create     pending    replan
    failed    same    changed any   create     pending    replan
    failed    changed any     any   create     pending    replan
    created   same    same    any   unchanged  unchanged  -
    created   same    changed any   update     pending    -
    created   changed any     any   drifted    drifted    drift
    drifted   same    same    any   unchanged  unchanged  restore
    drifted   same    changed any   update     pending    -
    drifted   changed any     any   drifted    drifted    -
"""


class Rule(NamedTuple):
    """A line of the table."""

    state: str
    definition: str
    tags: str
    retry: str
    action: str
    outcome: str
    event: str


RULES = [Rule(*line.split()) for line in TABLE.split("\n") if line.strip()]
CASES = list(product(["nothing", *State], ["same", "changed"], ["same", "changed"], ["no", "yes"]))


def entry(state: str, digest: str = "d1", tags_digest: str = "t1", code: str = "ValidationException") -> Entry | None:
    """What the ledger has."""
    if state == "nothing":
        return None
    return Entry("here", "x", State(state), digest, tags_digest, arn=ARN, code=code, message="bad image")


def plan(row: Row, known: Entry | None, *, target: str = "here", **policy: Any) -> Step:
    """The step for ``row`` by the ledger alone."""
    return Planner(target, make_policy(**policy), LEDGER_ID).plan(row, Situation(known))


@pytest.mark.parametrize(("state", "definition", "tags", "retry"), CASES)
def test_every_entry_and_every_change(state: str, definition: str, tags: str, retry: str) -> None:
    """For each state, change of definition or tags and wish to retry, exactly one line of the table says the step."""
    case = (state, definition, tags, retry)
    [rule] = [rule for rule in RULES if all(here in ("any", there) for here, there in zip(rule, case, strict=False))]
    known = entry(state, "d1" if definition == "same" else "d0", "t1" if tags == "same" else "t0")

    step = plan(ROW, known, retry_failed=retry == "yes")

    assert step.action is Action(rule.action)
    assert step.outcome is Outcome(rule.outcome)
    assert [fact.event for fact in step.facts] == ([] if rule.event == "-" else [Event(rule.event)])
    assert step.reason


@pytest.mark.parametrize("code", ["AccessDeniedException", "AccessDenied"])
def test_a_refusal_is_mended_outside_the_manifest(code: str) -> None:
    """What failed for want of permission is tried again although nothing of it changed."""
    step = plan(ROW, entry("failed", code=code))

    assert step.action is Action.CREATE
    assert [fact.event for fact in step.facts] == [Event.REPLAN]


def test_a_failed_definition_tells_why_it_failed() -> None:
    """A definition that is left failed carries the error of the ledger as its reason."""
    step = plan(ROW, entry("failed"))

    assert "ValidationException bad image" in step.reason


def test_drift_names_the_algorithm_and_the_way_out() -> None:
    """A change that only a new algorithm can express is drift: recorded with the existing one, and with what to do."""
    step = plan(ROW, entry("created", "d0", "t1"))

    reason = f"the definition changed since it was created as {ARN}"
    assert step.facts == (Fact("here", "x", Event.DRIFT, code="drifted", message=reason),)
    assert step.reason == f"{reason}; --on-change replace creates a new one and deletes this one"


def test_what_is_planned_again_takes_the_new_digests() -> None:
    """A definition that is planned again is so with the digests that the manifest has now."""
    step = plan(ROW, entry("parked", "d0", "t0"), target="there")

    assert step.facts == (Fact("there", "x", Event.REPLAN, digest="d1", tags_digest="t1", tag_keys=""),)
