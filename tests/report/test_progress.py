"""What a person sees of a run while it goes on: figures that the run really had."""

from __future__ import annotations

from typing import Any

import pytest

from provisioner.core.entry import Outcome
from provisioner.engine.observer import Halt, Stage
from provisioner.errors import Reason
from provisioner.report.figures import (
    WINDOW_S,
    Count,
    Figures,
    Moment,
    Phase,
    Rates,
    attention,
    clock,
    eta_s,
    fitted,
    fleet_parts,
    main_parts,
    phase_of,
    waiting_for_others,
    wrapped_rows,
)
from provisioner.report.statistics import Statistics
from provisioner.report.summary import JobPart


def rates(*counts: int, every_s: float = 0.5) -> Rates:
    """The rates after samples with these counts of creates, each of them a definition that is done."""
    made = Rates()
    for number, count in enumerate(counts):
        made.add(Count(100 + number * every_s, {"a": count, "b": 0, "c": 9 * count}, count))
    return made


@pytest.mark.parametrize(
    ("counts", "expected"),
    [
        ((), 0.0),
        ((0,), 0.0),
        ((500,), 0.0),
        ((0, 5), 10.0),
        (tuple(range(0, 500, 5)), 10.0),
        ((0, *[300] * 9), 300 / 4.5),
        ((0, *[300] * 12), 0.0),
        ((7, 3), 0.0),
    ],
    ids=["none", "first", "late first", "two", "steady", "burst in the window", "burst before it", "never negative"],
)
def test_the_pace_is_what_was_made_in_the_last_seconds(counts: tuple[int, ...], expected: float) -> None:
    """Creates over the time in which they were counted: no extrapolation, and nothing from before the window."""
    assert rates(*counts).creates_per_s("ab") == pytest.approx(expected)


def test_samples_far_apart_are_averaged_over_their_distance() -> None:
    """Where samples are further apart than the window, the last two of them count."""
    assert rates(0, 100, 120, every_s=2 * WINDOW_S).creates_per_s("ab") == pytest.approx(20 / (2 * WINDOW_S))


def test_definitions_have_a_rate_of_their_own() -> None:
    """What is done without a create, because it is registered already, counts for the time that is left."""
    made = Rates()
    made.add(Count(1.0, {"a": 0}, 0))
    made.add(Count(2.0, {"a": 5}, 1000))

    assert (made.creates_per_s("a"), made.done_per_s) == (5.0, 1000.0)


def statistics(name: str = "default", *, outcomes: dict[Outcome, int] | None = None, **given: Any) -> Statistics:
    """Statistics as they are while a run goes on."""
    made = Statistics(name)
    made.region, made.whole = "us-east-1", True
    made.outcomes.update(outcomes or {})
    made.calls.update(given.pop("calls", {}))
    for key, value in given.items():
        setattr(made, key, value)
    return made


def line(width: int, *targets: Statistics, **moment: Any) -> str:
    """The line of a run over ``targets``, without its bar."""
    plain: dict[str, Any] = {"pace_per_s": 4.96, "eta_s": 9.0, "settle_left_s": 0.0, "elapsed_s": 65.0}
    return fitted(main_parts(Figures(targets), Moment(**(plain | moment))), width)


BUSY: dict[str, Any] = {"valid": 362, "limit_per_s": 5.0, "under_way": 3, "calls": {"create": 120, "throttled": 6}}


@pytest.mark.parametrize(
    ("width", "targets", "moment", "expected"),
    [
        (
            79,
            [statistics(outcomes={Outcome.CREATED: 111}, **BUSY)],
            {},
            "111/362  5.0/s of 5.0/s  ETA 0:09  6 throttled  3 in flight  1:05",
        ),
        (
            39,
            [statistics(outcomes={Outcome.CREATED: 111}, **BUSY)],
            {},
            "111/362  5.0/s of 5.0/s  ETA 0:09",
        ),
        (
            39,
            [statistics(outcomes={Outcome.CREATED: 99, Outcome.FAILED: 12}, **BUSY)],
            {},
            "111/362  5.0/s  ETA 0:09  12 failed",
        ),
        (
            79,
            [statistics(outcomes={Outcome.CREATED: 104, Outcome.AMBIGUOUS: 2}, **BUSY)],
            {"settle_left_s": 118.0},
            "104/362  5.0/s of 5.0/s  ETA 0:09  2 unresolved, 1:58 to settle  6 throttled",
        ),
        (
            79,
            [statistics(outcomes={Outcome.CREATED: 106, Outcome.PENDING: 256}, valid=362)],
            {"stop": "signal SIGINT"},
            "106/362  stopping: signal SIGINT  Ctrl-C again quits at once",
        ),
        (
            39,
            [statistics(outcomes={Outcome.CREATED: 106, Outcome.PENDING: 256}, valid=362, under_way=2)],
            {"stop": "the deadline of 55m has passed"},
            "106/362  stopping  2 in flight",
        ),
        (
            79,
            [statistics(valid=362, waiting="reading what the account holds", calls={"list": 4})],
            {"waits": "reading what the account holds"},
            "0/362  reading what the account holds (4 List calls)  1:05",
        ),
        (
            24,
            [statistics(valid=362, waiting="reading what the account holds", calls={"list": 4})],
            {"waits": "reading what the account holds"},
            "0/362  reading",
        ),
        (
            79,
            [statistics(outcomes={Outcome.CREATED: 360, Outcome.AMBIGUOUS: 2}, valid=362)],
            {"waits": "the settle time of 2 unanswered creates", "settle_left_s": 42.0},
            "360/362  waiting for the settle time of 2 unanswered creates, 0:42 left  1:05",
        ),
        (
            39,
            [statistics(outcomes={Outcome.CREATED: 360, Outcome.AMBIGUOUS: 2}, valid=362)],
            {"waits": "the settle time of 2 unanswered creates", "settle_left_s": 42.0},
            "360/362  settle time, 0:42 left",
        ),
        (79, [statistics(whole=False)], {"pace_per_s": 0.0, "eta_s": None}, "0/?  0.0/s  0 in flight  1:05"),
        (
            79,
            [statistics(whole=False, valid=512, expected=99_800)],
            {"pace_per_s": 0.0, "eta_s": None},
            "0/~99800  0.0/s  0 in flight  1:05",
        ),
        (
            79,
            [statistics(whole=False, valid=362, expected=362, exact=True)],
            {"eta_s": None},
            "0/362  5.0/s  0 in flight  1:05",
        ),
        (79, [statistics(due=8, deleted=3, gone=1)], {}, "4/8 deleted  5.0/s  ETA 0:09  1:05"),
        (
            79,
            [statistics(outcomes={Outcome.CREATED: 10}, valid=10, invalid=10)],
            {"eta_s": None},
            "10/10  5.0/s  10 invalid  0 in flight  1:05",
        ),
    ],
    ids=[
        *("80 columns", "40 columns", "failures before throttles", "unresolved", "stopped", "stopped in 40"),
        *("reading", "reading in 24", "settling", "settling in 40", "unknown", "estimated", "read to the end"),
        *("deletions alone", "invalid lines"),
    ],
)
def test_the_line_of_a_run(width: int, targets: list[Statistics], moment: dict[str, Any], expected: str) -> None:
    """Done and total, pace beside the limit, what is left; in whole words, the most important of them."""
    assert line(width, *targets, **moment) == expected


@pytest.mark.parametrize("width", range(10, 81))
def test_no_line_is_wider_than_the_terminal(width: int) -> None:
    """However wide that is, as long as the counts fit."""
    outcomes = {Outcome.CREATED: 104, Outcome.FAILED: 3, Outcome.AMBIGUOUS: 2}
    made = statistics(outcomes=outcomes, **BUSY)

    assert len(line(width, made, settle_left_s=60.0)) <= width
    assert len(line(width, made, stop="signal SIGINT")) <= max(width, len("107/362  stopping"))


def test_what_a_later_run_has_to_do_is_not_done() -> None:
    """Neither pending nor unresolved definitions count; a target that has not begun is taken to be like the others."""
    begun = statistics("a", outcomes={Outcome.CREATED: 3, Outcome.PENDING: 5, Outcome.AMBIGUOUS: 2}, valid=10)
    figures = Figures([begun, statistics("b", region="", whole=False)])

    assert (figures.done, figures.total, figures.estimated) == (3, 20, True)


@pytest.mark.parametrize(
    ("cells", "columns", "rows"),
    [([79, 30], 80, 0), ([79, 30], 40, 1), ([79, 41], 40, 2), ([79], 20, 3), ([], 80, 0), ([80], 80, 0)],
)
def test_a_terminal_that_becomes_narrower_wraps_lines(cells: list[int], columns: int, rows: int) -> None:
    """These rows are erased before the next frame; otherwise each change of the size would leave a line behind."""
    assert wrapped_rows(cells, columns) == rows


@pytest.mark.parametrize(
    ("given", "phase"),
    [
        ({}, Phase.DONE),
        ({"whole": False}, Phase.WORKING),
        ({"valid": 1}, Phase.WORKING),
        ({"under_way": 1}, Phase.WORKING),
        ({"region": "", "whole": False}, Phase.WAITING),
        ({"waiting": "reading the account: 3 listed, 2 tagged"}, Phase.READING),
        ({"waiting": "planning"}, Phase.PREPARING),
        ({"waiting": "the settle time of 1 unanswered create", "waiting_until": 9.0}, Phase.SETTLING),
        ({"halt": Halt(Reason.DENIED, "no", stage=Stage.UNOPENED), "region": ""}, Phase.UNOPENED),
        ({"halt": Halt(Reason.UNFINISHED, "no", stage=Stage.NOT_BEGUN), "region": ""}, Phase.SKIPPED),
        ({"outages": {"list": "no connection"}, "waiting": "planning"}, Phase.OUTAGE),
        ({"halt": Halt(Reason.QUOTA, "full"), "waiting": "planning", "outages": {"list": "no"}}, Phase.HALTED),
    ],
)
def test_what_a_target_does(given: dict[str, Any], phase: Phase) -> None:
    """By what its statistics say."""
    assert phase_of(statistics(**given)) is phase


def test_the_pace_and_the_limit_are_of_the_same_targets() -> None:
    """Those that create; what others made before they were done does not count beside the limits of these."""
    slow = statistics("slow", valid=9, limit_per_s=2.0, under_way=1, calls={"create": 5, "throttled": 1})
    quick = statistics("quick", limit_per_s=20.0, calls={"create": 90})
    new = statistics("new", valid=9, under_way=1, calls={"create": 1})

    some, ended, unmeasured = Figures([slow, quick]), Figures([quick]), Figures([slow, new])
    assert (some.creating, some.limit_per_s, some.creates) == ({"slow"}, 2.0, {"slow": 3, "quick": 90})
    assert (ended.creating, ended.limit_per_s) == ({"quick"}, 20.0)
    assert (unmeasured.creating, unmeasured.limit_per_s) == ({"slow", "new"}, 0.0)


def big_fleet() -> list[Statistics]:
    """A thousand targets, of which some need attention."""
    made = [statistics(f"t{number:03}", outcomes={Outcome.CREATED: 10}, valid=10) for number in range(990)]
    made += [statistics(f"w{number}", outcomes={Outcome.CREATED: 2}, valid=10) for number in range(4)]
    made += [
        statistics("few", outcomes={Outcome.FAILED: 1, Outcome.CREATED: 9}, valid=10),
        statistics("many", outcomes={Outcome.FAILED: 7, Outcome.PARKED: 1}, valid=10),
        statistics("over", halt=Halt(Reason.QUOTA, "over: the quota of 5 is reached"), valid=10),
        statistics("slow", waiting="the settle time of 2 unanswered creates", waiting_until=142.0, valid=10),
        statistics("new", region="", whole=False),
        statistics("list", waiting="reading what the account holds", valid=10),
    ]
    return made


@pytest.mark.parametrize(
    ("rows", "names"),
    [(9, "over many few slow"), (4, "over many few slow"), (3, "over many"), (1, ""), (0, "")],
)
def test_the_targets_that_need_attention(rows: int, names: str) -> None:
    """Halted ones, then those with most failures, then those that wait for a settle time; never more than fit."""
    lines = [fitted(parts, 79) for parts in attention(big_fleet(), 100.0, rows)]

    assert len(lines) <= rows
    shown = [text.split()[0] for text in lines if not text.startswith("  and ")]
    assert shown == names.split()
    assert lines[len(shown) :] == ([f"  and {4 - len(shown)} more that need attention"] if 0 < rows < 4 else [])


def test_what_is_said_of_a_target() -> None:
    """The reason of a halt, failures, the time left to settle; its name once."""
    assert [fitted(parts, 79) for parts in attention(big_fleet(), 100.0, 9)] == [
        "  over  halted: the quota of 5 is reached",
        "  many  7 failed, 1 parked  8/10",
        "  few  1 failed  10/10",
        "  slow  the settle time of 2 unanswered creates, 0:42 left  0/10",
    ]


@pytest.mark.parametrize(
    ("width", "text"),
    [
        (
            99,
            "1000 targets  1 halted  1 settling  1 reading  5 under way  1 not begun  991 done",
        ),
        (40, "1000 targets  1 halted  1 settling"),
    ],
)
def test_a_fleet_says_how_many_targets_do_what(width: int, text: str) -> None:
    """The most urgent first."""
    assert fitted(fleet_parts(Figures(big_fleet())), width) == text


@pytest.mark.parametrize(
    ("targets", "job", "expected"),
    [
        ([], JobPart("j", 5, 5, 5), "waiting for other workers, 5 targets left"),
        (
            [statistics("a", outcomes={Outcome.CREATED: 2}, valid=2)],
            JobPart("j", 5, 5, 1),
            "waiting for other workers, 1 target left",
        ),
        ([statistics("a", outcomes={Outcome.CREATED: 2}, valid=3)], JobPart("j", 5, 5, 4), ""),
        ([], JobPart("j", 5, 5, 0), ""),
        ([], None, ""),
    ],
)
def test_a_worker_without_work_says_whom_it_waits_for(
    targets: list[Statistics], job: JobPart | None, expected: str
) -> None:
    """Others have the targets that are left; it takes those of one that dies."""
    others = waiting_for_others(targets, job)

    assert others == expected
    assert line(79, *targets, others=others).endswith(f"{others}  1:05")


@pytest.mark.parametrize(
    ("counts", "settle_left_s", "slowest", "expected"),
    [
        ([(0, 0), (1, 900)], 0.0, {}, None),
        ([(0, 0), (4, 20)], 0.0, {}, 196.0),
        ([(0, 0), (4, 20)], 300.0, {}, 300.0),
        ([(0, 0), (4, 20)], 0.0, {"limit_per_s": 2.0, "under_way": 1}, 490.0),
        ([(0, 0), (4, 0)], 0.0, {}, None),
    ],
    ids=["too soon", "at this rate", "not before it settles", "not before the slowest", "stalled"],
)
def test_the_time_that_is_left(
    counts: list[tuple[float, int]], settle_left_s: float, slowest: dict[str, Any], expected: float | None
) -> None:
    """No estimate from what passes at once at the start, none that leaves out a wait or the slowest target."""
    made = Rates()
    for at, done in counts:
        made.add(Count(at, {}, done))
    figures = Figures([statistics(outcomes={Outcome.CREATED: 20}, valid=1000, **slowest)])

    assert eta_s(figures, made, settle_left_s) == expected


@pytest.mark.parametrize(("seconds", "text"), [(0, "0:00"), (59.6, "1:00"), (3599, "59:59"), (3725, "1:02:05")])
def test_times_are_short(seconds: float, text: str) -> None:
    """Minutes and seconds; hours where there are any."""
    assert clock(seconds) == text
