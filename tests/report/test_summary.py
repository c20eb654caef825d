"""The summary of a run: contract for programs, text for people."""

from __future__ import annotations

from itertools import combinations
from pathlib import Path
from typing import Any

import msgspec
import pytest

from provisioner.core.entry import Outcome
from provisioner.core.pause import Pause
from provisioner.core.problem import Problem
from provisioner.core.versions import Fate
from provisioner.engine.ending import paused
from provisioner.engine.observer import Halt
from provisioner.errors import Reason
from provisioner.exit_codes import ExitCode, code_for
from provisioner.report.recommended import Recommended
from provisioner.report.statistics import Statistics
from provisioner.report.summary import JobPart, RunEnd, Started, Summary, iso, parsed, summarize
from provisioner.report.text import CALLS, found_text, halt_lines, one_line, problem_lines

OUTCOMES = [
    "created",
    "recovered",
    "adopted",
    "unchanged",
    "updated",
    "replaced",
    "drifted",
    "failed",
    "parked",
    "ambiguous",
    "pending",
]
NONE = dict.fromkeys(OUTCOMES, 0)
NO_CALLS = dict.fromkeys(["create", "throttled", "list", "get", "get_resources", "tag", "delete"], 0)
ENDING = RunEnd(run_id="20261123T120000-abc", ledger="ledger.db", started_at=1_795_435_200.25, elapsed_s=41.23456)
UNSEEN, MINE = "account and Region unknown", "--ledger 'my ledger.db'"
ESCAPE = "\x1b]0;owned\x07\n\u202e"


def counted(name: str = "default", *, outcomes: dict[Outcome, int] | None = None, **given: Any) -> Statistics:
    """A statistics as a run leaves it."""
    made = Statistics(name)
    made.whole = True
    made.outcomes.update(outcomes or {})
    for key, value in given.items():
        setattr(made, key, value)
    return made


def summary(*statistics: Statistics, **ending: Any) -> Summary:
    """The summary of ``statistics``."""
    return summarize(statistics, msgspec.structs.replace(ENDING, **ending))


def told(one: Summary) -> dict[str, Any]:
    """The summary as a program reads it."""
    read: dict[str, Any] = msgspec.json.decode(one.json())
    return read


def with_problem(**fields: Any) -> Statistics:
    """A statistics with one problem."""
    made = counted(outcomes={Outcome.FAILED: 1}, lines=1, valid=1)
    plain: dict[str, Any] = {"source": "defs.jsonl", "line": 17, "name": "x", "code": "invalid", "message": "m"}
    made.problem_found(Problem(**(plain | fields)))
    return made


def test_the_json_is_the_contract() -> None:
    """A run in one target prints exactly the keys of the contract, in its order, and where the ledger is."""
    made = with_problem()
    made.outcomes = counted(outcomes={Outcome.CREATED: 360}).outcomes
    made.lines, made.valid, made.invalid = 362, 360, 2
    made.calls.update(create=362, throttled=2)
    made.pace_per_s, made.account_id, made.region = 4.9812, "123456789012", "us-east-1"

    outcomes, calls = NONE | {"created": 360}, NO_CALLS | {"create": 362, "throttled": 2}
    assert told(summary(made)) == {
        "run_id": "20261123T120000-abc",
        "exit_code": 65,
        "elapsed_s": 41.235,
        "started_at": "2026-11-23T12:00:00.250Z",
        "ledger": "ledger.db",
        "manifest": {"lines": 362, "valid": 360, "invalid": 2},
        "outcomes": outcomes,
        "calls": calls,
        "targets": {
            "default": {
                "outcomes": outcomes,
                "calls": calls,
                "pace_per_s": 4.98,
                "account_id": "123456789012",
                "region": "us-east-1",
            }
        },
        "problems": [{"source": "defs.jsonl", "line": 17, "name": "x", "code": "invalid", "message": "m"}],
        "problems_total": 1,
        "pruned": 0,
        "superseded": 0,
    }


def test_the_json_is_one_line() -> None:
    """A program reads the summary as one line, whatever names and messages are in it."""
    assert b"\n" not in summary(with_problem(name=ESCAPE, message=ESCAPE)).json()


def test_every_outcome_and_call_is_there() -> None:
    """The summary has all outcomes and calls, also those that did not occur, in the order of the contract."""
    read = told(summary(counted()))

    assert list(read["outcomes"]) == list(read["targets"]["default"]["outcomes"]) == OUTCOMES
    assert list(read["calls"]) == list(NO_CALLS) == list(CALLS)


def test_what_is_told_only_where_it_applies() -> None:
    """Stop, error, halt, repeated lines, columns and targets of problems are present only if there are any."""
    made = with_problem(column=4, target="default")
    made.repeated = 2
    made.halt = Halt(Reason.QUOTA, "quota")

    read = told(summary(made, stopped="signal SIGTERM", error="disk full"))

    assert (read["stopped"], read["error"]) == ("signal SIGTERM", "disk full")
    assert read["manifest"]["repeated"] == 2
    assert read["targets"]["default"]["halted"] == "quota"
    assert (read["problems"][0]["column"], read["problems"][0]["target"]) == (4, "default")


def test_no_definition_vanishes_over_targets() -> None:
    """Totals are the sums over the targets, whose outcomes each add up to the valid lines."""
    first = counted("a", outcomes={Outcome.CREATED: 3, Outcome.PENDING: 1}, lines=5, valid=4, invalid=1)
    second = counted("b", outcomes={Outcome.CREATED: 2, Outcome.UNCHANGED: 2}, lines=5, valid=4, invalid=1)
    first.calls.update(create=4, list=2)
    second.calls.update(create=2, get=1)

    read = told(summary(first, second))

    assert read["outcomes"] == NONE | {"created": 5, "pending": 1, "unchanged": 2}
    assert read["calls"] == NO_CALLS | {"create": 6, "list": 2, "get": 1}
    assert [sum(target["outcomes"].values()) for target in read["targets"].values()] == [4, 4]
    assert read["manifest"] == {"lines": 5, "valid": 4, "invalid": 1}


def test_open_entries_are_summed_over_targets() -> None:
    """Unresolved entries are in the totals too, and only if there are any."""
    read = told(summary(counted("a", open=2), counted("b"), counted("c", open=3)))

    assert (read["exit_code"], read["open"]) == (5, 5)
    assert {name: target.get("open", 0) for name, target in read["targets"].items()} == {"a": 2, "b": 0, "c": 3}
    assert "open" not in told(summary(counted("a"), counted("b")))


def test_the_manifest_is_counted_once() -> None:
    """Of several targets that read the manifest, the one that read most of it speaks for all."""
    read = told(summary(counted("a", lines=3, valid=3), counted("b", lines=9, valid=8, invalid=1), counted("c")))

    assert read["manifest"] == {"lines": 9, "valid": 8, "invalid": 1}


def test_a_run_that_could_not_begin_has_a_summary() -> None:
    """Without any target the summary has zeros, the error and its code."""
    read = told(summary(error="no such file", reasons=frozenset({Reason.USAGE})))

    assert (read["exit_code"], read["error"], read["targets"]) == (2, "no such file", {})
    assert read["manifest"] == {"lines": 0, "valid": 0, "invalid": 0}


def test_a_hundred_problems_over_all_targets() -> None:
    """The summary shows a hundred problems however many targets there are, and counts them all."""
    statistics = [counted(name) for name in "ab"]
    for made in statistics:
        for line in range(80):
            made.problem_found(Problem("m", line, "x", "c", "m"))

    read = told(summary(*statistics))

    assert (len(read["problems"]), read["problems_total"]) == (100, 160)


@pytest.mark.parametrize(("first", "second"), list(combinations(Reason, 2)))
def test_the_weightier_of_two_codes_wins(first: Reason, second: Reason) -> None:
    """Between a target's halt and what ended the run, the order of the contract decides, whichever is which."""
    for halt, end in [(first, second), (second, first)]:
        assert summary(counted(halt=Halt(halt, "x")), reasons=frozenset({end})).exit_code == code_for([first])


def test_the_worst_of_all_targets_is_the_exit_code() -> None:
    """One target's code is the run's."""
    assert summary(counted("a"), counted("b", outcomes={Outcome.AMBIGUOUS: 1}), counted("c", invalid=1)).exit_code == 5


def test_a_second_interrupt_is_told_as_such() -> None:
    """130 says that the run was cut short, whatever else applies."""
    assert (
        summary(counted(halt=Halt(Reason.CONFIGURATION, "x")), reasons=frozenset({Reason.INTERRUPTED})).exit_code == 130
    )


def test_the_text_says_all_that_matters() -> None:
    """The text has the ledger's whole path, counts, calls, targets, problems and the exit code with its meaning."""
    made = with_problem()
    made.calls.update(create=10, throttled=1, list=2, get=3)
    made.halt, made.whole = Halt(Reason.QUOTA, "the quota of 5 is reached"), False
    made.region, made.pace_per_s = "us-east-1", 4.981

    assert summary(made, stopped="the deadline of 55m has passed", error="broke", elapsed_s=2.0).text().split("\n") == [
        f"ledger    {Path.cwd() / 'ledger.db'}",
        "manifest  1 line read before the run ended, 1 valid, 0 invalid",
        "outcomes  1 failed",
        "calls     10 create (1 throttled), 2 list, 3 get",
        "time      2.0 s, 4.5 creates/s",
        "target    default (us-east-1)",
        "problems  1",
        "  defs.jsonl:17: x: invalid: m",
        "halted    default: the quota of 5 is reached",
        "stopped   the deadline of 55m has passed",
        "error     broke",
        "exit      4: a service quota is reached: raise it, then run again (`provisioner explain 4`)",
        "next      1 failed: provisioner list --state failed",
    ]


def test_a_target_that_halted_is_named_once() -> None:
    """An error that names the target itself follows the name of the line, and stays whole in the JSON."""
    one = summary(counted(halt=Halt(Reason.CONFIGURATION, "default: the target has moved")))

    assert halt_lines(one) == ["halted    default: the target has moved"]
    assert one.targets["default"].halted == "default: the target has moved"


@pytest.mark.parametrize(
    ("account_id", "region", "place"),
    [
        ("123456789012", "us-east-1", "123456789012 us-east-1"),
        ("", "us-east-1", "us-east-1"),
        ("", "", "account and Region unknown"),
    ],
)
def test_a_target_is_where_it_is_known_to_be(account_id: str, region: str, place: str) -> None:
    """The line of a target has its account and Region, as far as they are known."""
    assert f"default ({place})\n" in summary(counted(account_id=account_id, region=region)).text()


def test_a_run_with_nothing_to_do_says_so() -> None:
    """A run without any definition ends its outcomes with words, and its rate is not a division by zero."""
    text = summary(counted(), elapsed_s=0.0).text()

    assert "outcomes  nothing to do\n" in text
    assert "time      0.0 s\n" in text


@pytest.mark.parametrize(
    ("targets", "ending", "cause"),
    [
        ([counted(halt=Halt(Reason.CONFIGURATION, "default: no Region"))], {}, "halted    default: no Region"),
        (
            [counted(name, halt=Halt(Reason.DENIED, f"{name}: expired")) for name in "abcde"],
            {},
            "halted    a, b, c and 2 more: expired",
        ),
        ([counted()], {"error": "the disk is full"}, "error     the disk is full"),
        ([], {"error": "no such file"}, "error     no such file"),
        ([counted(whole=False)], {"stopped": "not confirmed"}, "stopped   not confirmed"),
    ],
    ids=["halted", "all halted", "error", "no targets", "stopped"],
)
def test_a_run_that_did_not_begin_says_why_first_and_once(
    targets: list[Statistics], ending: dict[str, Any], cause: str
) -> None:
    """Nothing was read, so nothing is said of lines, outcomes and calls: the cause, the ledger, the exit code."""
    lines = summary(*targets, **ending).text().split("\n")

    assert lines[0] == cause
    assert [line[:9].strip() for line in lines[1:]] == ["ledger", "exit"]


def test_the_text_shows_the_first_problems() -> None:
    """Twenty problems are shown, and how many more there are."""
    made = counted()
    for line in range(150):
        made.problem_found(Problem("m.jsonl", line, "x", "c", f"message {line}"))

    text = summary(made).text()

    assert text.count("  m.jsonl:") == 20
    assert "  and 130 more: `provisioner runs 20261123T120000-abc` lists all\n" in text


@pytest.mark.parametrize("code", ExitCode)
def test_every_exit_code_is_explained(code: ExitCode) -> None:
    """Whatever the exit code, the text ends with it and what it means."""
    reasons = frozenset(reason for reason in Reason if code_for([reason]) is code)
    last = summary(reasons=reasons).text().split("\n")[-1]

    assert last.startswith(f"exit      {int(code)}: ")
    assert len(last) > 16


@pytest.mark.parametrize("field", ["source", "name", "code", "message"])
def test_no_problem_steers_the_terminal(field: str) -> None:
    """Whatever came from a manifest or from AWS is escaped in the text, and stays as it is in the JSON."""
    made = with_problem(**{field: ESCAPE})

    assert all(line.isprintable() for line in summary(made).text().split("\n"))
    assert told(summary(made))["problems"][0][field] == ESCAPE


@pytest.mark.parametrize("field", ["ledger", "stopped", "error"])
def test_no_ending_steers_the_terminal(field: str) -> None:
    """The same for what ended the run and for the ledger's path: one line each."""
    text = summary(counted(), **{field: ESCAPE}).text()

    assert all(line.isprintable() for line in text.split("\n"))
    assert text.count("\n") == summary(counted(), **{field: "plain"}).text().count("\n")


@pytest.mark.parametrize("field", ["account_id", "region", "halt"])
def test_no_target_steers_the_terminal(field: str) -> None:
    """The same for the lines of a target."""
    made = counted()
    setattr(made, field, Halt(Reason.DENIED, ESCAPE) if field == "halt" else ESCAPE)

    assert all(line.isprintable() for line in summary(made).text().split("\n"))


def fleet(**halted: str) -> list[Statistics]:
    """Thirty targets that are well, three with failures, drift and an open create, and those that halted."""
    well = [counted(f"well-{number:02}", outcomes={Outcome.CREATED: 10}, lines=10, valid=10) for number in range(30)]
    odd = [
        counted("odd-drift", outcomes={Outcome.DRIFTED: 4, Outcome.CREATED: 6}, lines=10, valid=10),
        counted("odd-open", outcomes={Outcome.AMBIGUOUS: 1, Outcome.CREATED: 9}, open=1, lines=10, valid=10),
        counted("odd-failed", outcomes={Outcome.FAILED: 2, Outcome.CREATED: 8}, lines=10, valid=10),
    ]
    ended = [
        counted(
            name.replace("_", "-"), outcomes={Outcome.PENDING: 10}, lines=10, valid=10, halt=Halt(Reason.DENIED, why)
        )
        for name, why in halted.items()
    ]
    return [*well, *odd, *ended]


def target_part(one: Summary, **recommended: str) -> list[str]:
    """The lines about the targets."""
    lines = one.text(Recommended(**recommended)).split("\n")
    first = next(number for number, line in enumerate(lines) if line.startswith("targets "))
    last = next(number for number in range(first + 1, len(lines)) if not lines[number].startswith(" "))
    return lines[first:last]


def test_of_many_targets_those_that_failed_come_first() -> None:
    """Halted, failed, drifted, unresolved, each with counts, reason and the command to look; the rest is one line."""
    one = summary(*fleet(halt_1="halt-1: the quota of 5 is reached"))

    assert target_part(one, ledger="my ledger.db", service="--local") == [
        "targets   34: 1 halted, 1 with failures, 2 unresolved or drifted, 30 done",
        "  halt-1 (account and Region unknown): 10 pending",
        "    halted: the quota of 5 is reached",
        f"  odd-failed ({UNSEEN}): 8 created, 2 failed: `provisioner list --state failed --target odd-failed {MINE}`",
        f"  odd-drift ({UNSEEN}): 6 created, 4 drifted: `provisioner list --state drifted --target odd-drift {MINE}`",
        f"  odd-open ({UNSEEN}): 9 created, 1 ambiguous: `provisioner reconcile --target odd-open {MINE} --local`",
        "  30 others: 300 created",
    ]


def test_what_halts_many_targets_alike_is_said_once() -> None:
    """Forty targets without credentials are one line with the reason, and three names."""
    halts = {f"halt_{number:02}": f"halt-{number:02}: the credentials have expired" for number in range(40)}
    lines = target_part(summary(*fleet(**halts)))

    assert lines[1:3] == [
        "  40 targets (halt-00, halt-01, halt-02 and 37 more): 400 pending",
        "    halted: the credentials have expired",
    ]
    assert len(lines) == 7


def test_targets_that_are_paused_alike_are_one_line() -> None:
    """Each has its own command to resume; together they have one."""
    pause = Pause(1_795_435_200.0, 1_795_431_600.0, "an audit")
    many = [counted(f"t{number}", halt=paused(f"t{number}", pause), pause=pause) for number in range(9)]

    assert target_part(summary(*many, counted("well"), counted("good")), ledger="l.db")[1:3] == [
        "  9 targets (t0, t1, t2 and 6 more): nothing",
        f"    paused: until {pause.end}: an audit. `provisioner resume TARGET... --ledger l.db` ends the pause",
    ]


def test_a_paused_target_that_halts_for_another_reason_says_which() -> None:
    """A command that only reads goes on where a target is paused, and what ends it there is not the pause."""
    pause = Pause(1_795_435_200.0, 1_795_431_600.0, "an audit")
    read = summary(counted("t", halt=Halt(Reason.DENIED, "denied"), pause=pause), counted("well"))

    assert halt_lines(read) == ["halted    t: denied"]
    assert "paused" not in one_line(read)


def test_a_thousand_troubled_targets_are_bounded() -> None:
    """Twenty are shown, and the command that has all."""
    halts = [counted(f"t{number}", halt=Halt(Reason.DENIED, f"reason {number}")) for number in range(1000)]
    lines = target_part(summary(*halts, counted("well", outcomes={Outcome.CREATED: 1})))
    never_began = halt_lines(summary(*halts))

    assert len(lines) == 43
    assert len(never_began) == 21
    assert never_began[-1] == "          and 980 more: --output json has all"
    assert lines[-2] == "  and 980 more that need attention: `provisioner status`"


def test_of_too_many_troubled_targets_each_kind_is_shown() -> None:
    """Where not each has a line, one kind of trouble does not hide the others."""
    failed = [counted(f"f{number}", outcomes={Outcome.FAILED: 2}) for number in range(40)]
    drifted = [counted(f"d{number}", outcomes={Outcome.DRIFTED: 1}) for number in range(10)]
    open_ = counted("o", outcomes={Outcome.AMBIGUOUS: 1}, open=1)

    assert target_part(summary(*failed, *drifted, open_))[1:] == [
        "  40 targets (f0, f1, f2 and 37 more): 80 failed: `provisioner list --state failed`",
        "  10 targets (d0, d1, d2 and 7 more): 10 drifted: `provisioner list --state drifted`",
        "  o (account and Region unknown): 1 ambiguous: `provisioner reconcile --target o`",
    ]


def test_a_target_with_a_problem_is_not_among_those_that_are_well() -> None:
    """Also one whose definitions are all registered: of an algorithm that nothing names, none of them knows."""
    odd = counted("odd", outcomes={Outcome.CREATED: 1})
    odd.problem_found(Problem("", 0, "a", "duplicate", "x is a duplicate", target="odd"))
    well = counted("well", outcomes={Outcome.CREATED: 1})
    well.problem_found(Problem("m.jsonl", 2, "", "invalid", "a problem of the manifest"))

    assert target_part(summary(odd, well)) == [
        "targets   2: 1 with problems, 1 done",
        "  odd (account and Region unknown): 1 created, 1 problem",
        "  well (account and Region unknown): 1 created",
    ]


def test_the_reason_of_many_names_no_single_one() -> None:
    """Where the reasons differ in ARNs alone, none of these is shown as if it were that of all."""
    halts = [
        counted(f"t{number}", halt=Halt(Reason.DENIED, f"arn:aws:iam::{number:012}:role/x is denied"))
        for number in range(5)
    ]

    well = counted("well", outcomes={Outcome.CREATED: 1})

    assert target_part(summary(*halts, well))[2] == "    halted: its role is denied"


def test_each_of_a_few_targets_has_a_line() -> None:
    """So few that nothing is collapsed, and no summary line repeats what another says."""
    west = counted(
        "west", outcomes={Outcome.CREATED: 4}, account_id="123456789012", region="us-west-2", lines=4, valid=4
    )
    west.calls.update(create=5, throttled=1)

    assert target_part(summary(counted("east", outcomes={Outcome.PENDING: 4}), west, elapsed_s=2.0)) == [
        "targets   2: 1 with work left, 1 done",
        "  east (account and Region unknown): 4 pending",
        "  west (123456789012 us-west-2): 4 created, 2.0 creates/s",
    ]


def test_every_problem_names_its_target_where_there_are_several() -> None:
    """Also the examples of a cause; where there is one target, its name says nothing."""
    alone = with_problem(target="west", source="")
    alike = failing(2, target="east")
    alike.target = "east"

    text = summary(alone, alike).text()
    assert "\n  west: x: invalid: m\n" in text
    assert "\n    n0 (east), n1 (east): `" in text
    assert "\n  x: invalid: m\n" in summary(with_problem(target="west", source="")).text()


@pytest.mark.parametrize(
    ("outcomes", "more", "steps"),
    [
        ({Outcome.CREATED: 3}, {}, []),
        ({Outcome.FAILED: 3}, {}, ["3 failed: provisioner list --state failed -L"]),
        (
            {Outcome.FAILED: 1, Outcome.AMBIGUOUS: 2},
            {"open": 3, "invalid": 4},
            [
                "1 failed: provisioner list --state failed -L",
                "3 unresolved: provisioner reconcile -L --local",
                "4 invalid lines: provisioner validate 'm 1.jsonl' -C",
            ],
        ),
        ({Outcome.DRIFTED: 5}, {}, ["5 drifted: provisioner plan 'm 1.jsonl' --on-change replace -L --local"]),
        ({Outcome.PARKED: 6}, {}, ["6 parked: provisioner list --state parked -L"]),
    ],
)
def test_the_next_command_finds_the_same_ledger(
    outcomes: dict[Outcome, int], more: dict[str, Any], steps: list[str]
) -> None:
    """The end says what to type, with the options that lead to the same configuration, ledger and endpoint."""
    recommended = Recommended(config="c.toml", ledger="l.db", service="--local", manifest="'m 1.jsonl'")
    lines = summary(counted(outcomes=outcomes, lines=9, **more)).text(recommended).split("\n")

    shown = [line.removeprefix("next      ") for line in lines if line.startswith("next ")]
    options = {" -L": " --config c.toml --ledger l.db", " -C": " --config c.toml"}
    expected = [step.replace(" -L", options[" -L"]).replace(" -C", options[" -C"]) for step in steps]
    assert shown == expected


@pytest.mark.parametrize(
    ("words", "expected"),
    [
        ("list --state failed", "list --state failed --ledger l-2.db"),
        ("reconcile", "reconcile --ledger l.db --shard 2/3 --local"),
        ("explain 75", "explain 75"),
    ],
)
def test_the_next_command_finds_the_same_shard(words: str, expected: str) -> None:
    """What calls AWS gets the shard, and finds its ledger by that; what does not gets the ledger of the shard."""
    recommended = Recommended(ledger="l.db", service="--local", shard="2/3", shard_ledger="l-2.db")
    assert recommended.command(words) == f"provisioner {expected}"


def test_what_was_resolved_without_a_line_is_not_nothing() -> None:
    """An empty manifest with an unanswered create of an earlier run: the sweep found it, and the summary says so."""
    made = counted()
    made.resolved.update(recovered=1)

    text = summary(made).text()
    assert "\noutcomes  none\nresolved  1 recovered\n" in text
    assert "nothing to do" not in text


@pytest.mark.parametrize(
    ("ending", "expected"),
    [
        ({"error": "4 algorithms would be deleted", "reasons": frozenset({Reason.FAILED})}, "3: refused: "),
        ({}, "3: some definitions failed or drifted"),
    ],
)
def test_a_refusal_is_no_failed_definition(ending: dict[str, Any], expected: str) -> None:
    """Exit code 3 of a run that was refused does not send anybody to look for definitions."""
    made = counted() if ending else counted(outcomes={Outcome.FAILED: 1})

    assert f"\nexit      {expected}" in summary(made, **ending).text()


@pytest.mark.parametrize(
    ("seconds", "text"),
    [(0.0, "1970-01-01T00:00:00.000Z"), (1_795_435_200.25, "2026-11-23T12:00:00.250Z")],
)
def test_times_are_iso_in_utc(seconds: float, text: str) -> None:
    """Wall-clock times are printed in UTC, to the millisecond."""
    assert iso(seconds) == text


def test_one_line_says_what_a_run_did() -> None:
    """The outcomes; or else what sweeps resolved; or else the calls; and why it ended early."""
    applied = counted(outcomes={Outcome.CREATED: 3, Outcome.FAILED: 1})
    resolved = counted()
    resolved.resolved.update(recovered=2)
    resolved.calls.update(list=1)
    looked = counted()
    looked.calls.update(list=4, get=2)

    assert one_line(summary(applied)) == "3 created, 1 failed"
    assert one_line(msgspec.structs.replace(summary(applied), pruned=2)) == "3 created, 1 failed, 2 deleted"
    assert one_line(msgspec.structs.replace(summary(looked), already_gone=1)) == "1 already gone"
    assert one_line(summary(resolved)) == "2 recovered"
    assert one_line(summary(looked, stopped="signal SIGTERM")) == "4 list, 2 get; stopped: signal SIGTERM"
    assert one_line(summary(error="no ledger")) == "nothing; error: no ledger"


def test_a_summary_that_a_ledger_keeps_is_read_again() -> None:
    """It comes back as it was; what is none, or was written in another way, is None."""
    made = summary(with_problem())

    assert parsed(made.json()) == made
    assert parsed(b"") is None
    assert parsed(b'{"run_id": 5}') is None


def test_what_is_still_to_be_deleted_is_named() -> None:
    """Superseded algorithms are counted, with the command that says why; where there are none, nothing is said."""
    none, one = (summary(counted(), superseded={Fate.TO_DELETE: number}) for number in (0, 1))

    assert told(none)["superseded"] == 0
    assert "superseded" not in none.text()
    shown = "`provisioner list --state superseded` says why, and what deletes it\n"
    assert f"\nto delete 1 superseded algorithm: {shown}" in one.text()


def test_what_stays_is_not_to_be_deleted() -> None:
    """What --keep keeps and what was adopted have words of their own, and are counted apart from what is due."""
    one = summary(counted(), superseded={Fate.TO_DELETE: 2, Fate.KEPT: 3, Fate.ADOPTED: 1})
    read, text = told(one), one.text()

    assert (read["superseded"], read["superseded_kept"], read["superseded_adopted"]) == (6, 3, 1)
    assert "\nkept      3 older versions, as --keep says\n" in text
    assert "\nleft      1 superseded algorithm that was adopted: --adopted deletes it, too\n" in text
    assert "\nto delete 2 superseded algorithms: " in text
    assert "to delete" not in summary(counted(), superseded={Fate.KEPT: 3}).text()


ALGORITHM = "arn:aws:cleanrooms-ml:us-east-1:1:configured-model-algorithm/{}"


def failing(count: int, *, code: str = "ValidationException", message: str = "no such role", **more: Any) -> Statistics:
    """A statistics in which so many definitions fail for one cause."""
    made = counted(outcomes={Outcome.FAILED: count}, lines=count, valid=count)
    for number in range(count):
        text = message.replace("{}", str(number))
        made.problem_found(Problem("m.jsonl", number + 1, f"n{number}", code, text, **more))
    return made


def test_what_fails_alike_is_one_message() -> None:
    """Ten thousand definitions that fail for one cause are a count, three names and the command that lists them."""
    one = summary(failing(10_000))

    lines = one.text().split("\n")
    at = lines.index("problems  10000")
    assert lines[at + 1 : at + 3] == [
        "  ValidationException (10000 times): no such role",
        "    n0, n1, n2 and 9997 more: `provisioner list --code ValidationException` lists them",
    ]
    [cause] = told(one)["causes"]
    assert (cause["code"], cause["message"], cause["count"]) == ("ValidationException", "no such role", 10_000)
    assert cause["examples"][2] == {"name": "n2", "source": "m.jsonl", "line": 3}


@pytest.mark.parametrize(
    ("code", "more", "command"),
    [
        ("ValidationException", {}, "provisioner list --code ValidationException"),
        ("drifted", {}, "provisioner list --state drifted"),
        ("superseded", {}, "provisioner list --state superseded"),
        ("not_planned", {}, "provisioner runs 20261123T120000-abc"),
        ("wrong_type", {"column": 3}, "provisioner validate MANIFEST"),
    ],
)
def test_the_command_that_lists_a_cause(code: str, more: dict[str, Any], command: str) -> None:
    """An entry is found by its code; what no entry has is found where it is recorded."""
    assert f"n0, n1: `{command}` lists them\n" in summary(failing(2, code=code, **more)).text()


def test_a_cause_of_whole_targets_names_them() -> None:
    """A refused prune has neither a line nor a name; a plan, of which no record is kept, has no command for it."""
    made = [counted("east"), counted("west")]
    for one in made:
        one.problem_found(Problem("", 0, "", "prune_refused", "nothing is pruned", target=one.target))

    lines = problem_lines(summary(*made), listed_by="validate MANIFEST")
    assert lines == ["  prune_refused (2 times): nothing is pruned", "    east, west"]
    assert "    east, west: `provisioner runs " in summary(*made).text()


def test_arns_do_not_tell_causes_apart() -> None:
    """Messages that differ in an ARN only are one cause, over all targets; any other difference makes two."""
    alike = f"it changed since {ALGORITHM} was created"
    text = summary(failing(2, message=alike), failing(1, message=alike), failing(2, message="role {}")).text()

    assert "  ValidationException (3 times): it changed since its algorithm was created\n" in text
    assert "  m.jsonl:1: n0: ValidationException: role 0\n" in text
    assert "  m.jsonl:2: n1: ValidationException: role 1\n" in text


@pytest.mark.parametrize(
    ("message", "shown"),
    [
        (
            f"{ALGORITHM} is a duplicate; {ALGORITHM}x is kept, not {ALGORITHM}",
            "its algorithm is a duplicate; another is kept, not its algorithm",
        ),
        ("arn:aws:iam::1:role/r{}: not to be passed", "its role: not to be passed"),
        ("arn:aws:kms:us-east-1:1:key/k{} is disabled", "its KMS key is disabled"),
        (
            f"delete all but one of {ALGORITHM}, {ALGORITHM}x, or run again",
            "delete all but one of its algorithms, or run again",
        ),
        ("User: arn:aws:sts::1:assumed-role/r/s{} is not authorized", "User: the caller is not authorized"),
        ("arn:aws:s3:::b{} does not exist", "its ARN does not exist"),
    ],
)
def test_a_cause_says_what_its_arns_are_of(message: str, shown: str) -> None:
    """In place of an ARN that only one of them has."""
    assert f"  ValidationException (2 times): {shown}\n" in summary(failing(2, message=message)).text()


def test_a_manifest_that_was_read_in_part_says_so() -> None:
    """A program reads it too: the counts are not those of the whole manifest."""
    part, whole = (summary(counted(whole=whole, lines=2, valid=2), stopped="x") for whole in (False, True))

    assert ("partial" in told(part)["manifest"], "partial" in told(whole)["manifest"]) == (True, False)
    assert "manifest  2 lines, 2 valid" in whole.text()


JOBS = {
    "2 of 5 targets by this worker, 3 left": JobPart("j", 5, 5, 3),
    "2 of 5 targets by this worker, 1 target of the job did not end with 0": JobPart("j", 5, 5, 0, bad=1),
    "finished before this worker began, so nothing was done; another --job ID begins a new job": JobPart("j", 5, 0, 0),
    "2 of 2 targets by 1 worker": JobPart("j", 2, 2, 0, 1, started=Started(0, 0, 0)),
    "2 of 2 targets by 4 workers (1 died and was restarted)": JobPart("j", 2, 2, 0, 4, started=Started(1, 0, 0)),
    "2 of 2 targets by 4 workers (2 died and were not restarted, 1 never had a place)": JobPart(
        "j", 2, 2, 0, 4, started=Started(2, 2, 1)
    ),
}


@pytest.mark.parametrize("line", JOBS)
def test_whose_part_of_a_job_it_is_and_what_became_of_the_workers(line: str) -> None:
    """Also that one is gone without which the others have finished the job."""
    one = summary(counted("a"), counted("b"), job=JOBS[line])

    assert f"\njob       j: {line}; `provisioner runs --job j` shows the whole job\n" in one.text()
    assert parsed(one.json()) == one


def test_a_past_run_that_registered_nothing_says_what_it_found() -> None:
    """Of a verify the findings by kind, of a reconcile what it resolved; no creates and no lines of a manifest."""
    verified = counted()
    verified.calls.update(list=2, get=1)
    resolved = counted()
    resolved.resolved.update(recovered=2)
    one = summary(verified, found={"missing": 2, "drifted": 1})

    assert found_text(one, command="verify").split("\n")[:4] == [
        f"ledger    {Path.cwd() / 'ledger.db'}",
        "found     2 missing, 1 drifted",
        "calls     2 list, 1 get",
        "time      41.2 s",
    ]
    assert "\nfound     nothing: the ledger and AWS agree\n" in found_text(summary(verified), command="verify")
    compared = found_text(summary(counted(lines=2, valid=2)), command="verify")
    assert "\nmanifest  2 lines, 2 valid, 0 invalid\nfound     nothing: manifest, ledger and AWS agree\n" in compared
    assert "\nresolved  2 recovered\ncalls     none\n" in found_text(summary(resolved), command="reconcile")
    assert one_line(one) == "2 missing, 1 drifted"
    assert parsed(one.json()) == one
