"""What is to be done with a definition, given its entry."""

from __future__ import annotations

from itertools import product
from typing import Any, NamedTuple

import msgspec
import pytest

from provisioner.core.entry import Entry, Event, Fact, Outcome, State
from provisioner.core.inventory import Found
from provisioner.core.ownership import OwnershipTag, adopted_attempt
from provisioner.core.planner import TAGGING, TAGS_REFUSED, Action, Planner, Seen, Situation, Step
from provisioner.core.sweep import NAMES_UNIQUE
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
    parked    any     any     any   create     pending    -
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

    assert "ValidationException: bad image" in step.reason


def test_drift_names_the_algorithm_and_the_way_out() -> None:
    """A change that only a new algorithm can express is drift: recorded with the existing one, and with what to do."""
    step = plan(ROW, entry("created", "d0", "t1"))

    reason = f"the definition changed since {ARN} was created"
    assert step.facts == (Fact("here", "x", Event.DRIFT, code="drifted", message=reason),)
    assert step.reason == f"{reason}; --on-change replace creates a new one and deletes this one"


def test_what_is_planned_again_takes_the_new_digests() -> None:
    """A definition that is planned again is so with the digests that the manifest has now."""
    step = plan(ROW, entry("deleted", "d0", "t0"), target="there")

    assert step.facts == (Fact("there", "x", Event.REPLAN, digest="d1", tags_digest="t1", tag_keys=""),)


# What is there already, and what only a new algorithm can express.

OURS = Found("arn-2", "x", 2.0, OwnershipTag(LEDGER_ID, "d1", "run-2"), "d1", "t1")
OURS_BEFORE = Found("arn-3", "x", 1.0, OwnershipTag(LEDGER_ID, "d0", "run-3"), "d0", "t1")
FOREIGN = Found("arn-4", "x", 1.0, None, "d1", "t1")
OTHERS = Found("arn-5", "x", 1.0, OwnershipTag("00000000000000bb", "d1", "run-1"), "d1", "t1")
GONE = Seen(missing=True)


def incoming(state: str, digest: str = "d1", code: str = "ValidationException") -> Entry:
    """The replacement of the entry."""
    return Entry("here", "x", State(state), digest, "t1", attempt="run-2", code=code, message="bad", incoming=True)


def decide(known: Entry | None, other: Entry | None = None, seen: Seen | None = None, **policy: Any) -> Step:
    """The step for ROW."""
    return Planner("here", make_policy(**policy), LEDGER_ID).plan(ROW, Situation(known, other, seen or Seen()))


def events(step: Step) -> list[str]:
    """Its facts, those about a replacement marked."""
    return [f"+{fact.event}" if fact.incoming else str(fact.event) for fact in step.facts]


REPLACEMENTS = [
    # replacement, its digest and code, policy -> action, facts
    (None, {}, "replace", []),
    (incoming("planned"), {}, "replace", []),
    (incoming("parked"), {}, "replace", []),
    (incoming("sent"), {}, "ambiguous", []),
    (incoming("ambiguous"), {}, "ambiguous", []),
    (incoming("failed"), {}, "failed", []),
    (incoming("failed"), {"retry_failed": True}, "replace", ["+replan"]),
    (incoming("failed", digest="d9"), {}, "replace", ["+replan"]),
    (incoming("failed", code="AccessDeniedException"), {}, "replace", ["+replan"]),
    (incoming("failed", code=NAMES_UNIQUE), {}, "failed", []),
    (incoming("failed", code=NAMES_UNIQUE), {"delete_first": True}, "replace", []),
]


@pytest.mark.parametrize(("other", "policy", "action", "facts"), REPLACEMENTS)
@pytest.mark.parametrize("state", ["created", "drifted"])
def test_a_changed_definition_is_replaced(
    other: Entry | None, policy: dict[str, Any], action: str, facts: list[str], state: str
) -> None:
    """What became of an earlier replacement decides; one that came to nothing begins again."""
    step = decide(entry(state, "d0"), other, on_change="replace", **policy)

    assert (step.action, events(step)) == (Action(action), facts)
    assert step.reason


@pytest.mark.parametrize("digest", ["d0", "d1"])
@pytest.mark.parametrize("seen", [Seen(), GONE])
@pytest.mark.parametrize("on_change", ["fail", "replace"])
def test_an_unanswered_replacement_is_resolved_first(digest: str, seen: Seen, on_change: str) -> None:
    """Whatever the manifest says by now, and whether or not what it replaces is still there."""
    step = decide(entry("created", digest), incoming("ambiguous"), seen, on_change=on_change)

    assert step.action is Action.AMBIGUOUS
    assert step.entry is not None
    assert step.entry.incoming


@pytest.mark.parametrize(
    ("other", "facts"),
    [
        (None, ["+confirm"]),
        (incoming("planned"), ["+confirm"]),
        (incoming("failed"), ["+replan", "+confirm"]),
        (incoming("parked"), ["+replan", "+confirm"]),
    ],
)
def test_a_replacement_that_the_ledger_has_lost_is_recovered(other: Entry | None, facts: list[str]) -> None:
    """An algorithm of this ledger with the new definition is the replacement; nothing is sent."""
    step = decide(entry("created", "d0"), other, Seen(found=(OURS,)), on_change="replace")

    assert (step.action, step.outcome, events(step)) == (Action.RECOVER, Outcome.RECOVERED, facts)
    assert step.entry is not None
    assert (step.entry.arn, step.entry.attempt, step.entry.incoming) == ("arn-2", "run-2", False)


@pytest.mark.parametrize("found", [OURS_BEFORE, FOREIGN, OTHERS])
def test_nothing_else_is_taken_for_a_replacement(found: Found) -> None:
    """Not another definition, not a stranger's, not another ledger's."""
    assert decide(entry("created", "d0"), None, Seen(found=(found,)), on_change="replace").action is Action.REPLACE


MISSING = [
    # what has the name, policy -> action, facts
    ((), {}, "recreate", ["delete", "replan"]),
    ((OURS,), {}, "recover", ["delete", "replan", "confirm"]),
    ((OTHERS,), {}, "conflict", ["delete", "replan", "plan", "reject"]),
    ((OTHERS,), {"take_over": "00000000000000bb"}, "adopt", ["delete", "replan", "confirm", "tag"]),
    ((FOREIGN,), {"adopt": "never"}, "conflict", ["delete", "replan", "plan", "reject"]),
    ((FOREIGN,), {"adopt": "same"}, "adopt", ["delete", "replan", "confirm", "tag"]),
    ((FOREIGN,), {"adopt": "never", "names": "duplicates"}, "recreate", ["delete", "replan"]),
]


@pytest.mark.parametrize(("found", "policy", "action", "facts"), MISSING)
def test_what_is_gone_is_created_again(
    found: tuple[Found, ...], policy: dict[str, Any], action: str, facts: list[str]
) -> None:
    """Unless something has its name by now; the ledger says first that it is gone."""
    step = decide(entry("created"), None, Seen(missing=True, found=found), **policy)

    assert (step.action, events(step)) == (Action(action), facts)


@pytest.mark.parametrize("code", [TAGGING, TAGS_REFUSED])
@pytest.mark.parametrize(("digest", "action"), [("d1", Action.UPDATE), ("d0", Action.DRIFTED)])
def test_a_change_of_tags_that_did_not_end_well_is_made_again(code: str, digest: str, action: Action) -> None:
    """Though the digests agree: what the tags are is not known. Drift of the rest does not keep them from it."""
    step = decide(entry("drifted", digest, code=code))

    assert (step.action, step.facts) == (action, ())
    assert step.retag is (action is Action.DRIFTED)


ADOPTED = [
    # definition and tags of what is adopted, policy -> (action, outcome, retag), facts
    ("d1", "t1", {}, ("adopt", "adopted", True), ["confirm", "tag"]),
    ("d1", "t9", {}, ("adopt", "adopted", True), ["confirm", "tag"]),
    ("d9", "t1", {}, ("drifted", "drifted", True), ["confirm", "tag"]),
    ("d9", "t1", {"on_change": "replace"}, ("replace", "pending", False), ["confirm", "tag"]),
    ("d1", "t1", {"ownership_tag": ""}, ("adopt", "adopted", False), ["confirm"]),
    ("d1", "t9", {"ownership_tag": ""}, ("adopt", "adopted", True), ["confirm"]),
]


@pytest.mark.parametrize(("digest", "tags", "policy", "decided", "facts"), ADOPTED)
def test_what_is_taken_over_is_compared_and_marked(
    digest: str, tags: str, policy: dict[str, Any], decided: tuple[str, str, bool], facts: list[str]
) -> None:
    """That it needs this ledger's tag is recorded with it, so that no end of the run can come in between."""
    found = msgspec.structs.replace(FOREIGN, digest=digest, tags_digest=tags)

    step = decide(None, None, Seen(found=(found,)), adopt="any", **policy)

    assert (step.action, step.outcome, step.retag) == decided
    assert events(step) == facts
    assert step.entry is not None
    assert step.entry.attempt == adopted_attempt("arn-4")


def test_tags_of_what_is_recovered_are_known_as_this_ledgers() -> None:
    """If they are those of the manifest; others may be somebody else's."""
    row = Row("m.jsonl", 1, Definition(name="x", role_arn=ROLE, tags={"k": "1"}), ROW.canonical)
    same, other = Seen(found=(OURS,)), Seen(found=(msgspec.structs.replace(OURS, tags_digest="t9"),))
    planner = Planner("here", make_policy(), LEDGER_ID)
    keys = [planner.plan(row, Situation(None, seen=seen)).facts[0].tag_keys for seen in (same, other)]

    assert keys == ["k", None]
