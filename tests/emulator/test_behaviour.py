"""The switches: scripts, random faults, the token bucket, documentation."""

from __future__ import annotations

from collections import Counter
from typing import get_args, get_type_hints

import msgspec
import pytest
from hypothesis import given
from hypothesis import strategies as st

from provisioner.emulator.behaviour import (
    FAULTS,
    UNREADABLE,
    Behaviour,
    TokenBucket,
    delay,
    draw,
    fault_named,
    take_scripted,
)

from .support import seeded


def test_script_is_used_up_in_order() -> None:
    """Each call takes the next item of its operation's script; the behaviour keeps the rest."""
    behaviour = Behaviour(rate=5.0, script=("throttle", "ok"), list_script=("error:503",))

    first, behaviour = take_scripted(behaviour, "create")
    listed, behaviour = take_scripted(behaviour, "list")
    second, behaviour = take_scripted(behaviour, "create")
    third, behaviour = take_scripted(behaviour, "create")
    tagged, behaviour = take_scripted(behaviour, "tag")

    assert [first, listed, second, third, tagged] == ["throttle", "error:503", "ok", "", ""]
    assert behaviour == Behaviour(rate=5.0)


@pytest.mark.parametrize("item", ["nonsense", "ok:500", "error:200", "error:", "error:x", "reset:500", "error:600"])
def test_unknown_outcome_is_refused(item: str) -> None:
    """A script with an unknown fault, or a status on a fault that takes none, is refused at once."""
    with pytest.raises(ValueError, match=item.partition(":")[0]):
        Behaviour(script=(item,))


def test_outcome_of_creates_is_refused_elsewhere() -> None:
    """A List cannot return a wrong ARN of a create."""
    with pytest.raises(ValueError, match="no_arn"):
        Behaviour(list_script=("no_arn",))


def test_status_of_a_server_error() -> None:
    """A server error has the status that its item names, 500 without one."""
    statuses = [fault_named(item).status for item in ("error", "error:503", "late_error:504")]

    assert statuses == [500, 503, 504]


def test_shares_over_one_are_refused() -> None:
    """The shares of faults exclude each other, so they cannot add up to more than 1."""
    with pytest.raises(ValueError, match="more than 1"):
        Behaviour(hang=0.6, reset=0.6)


def test_draws_follow_the_shares() -> None:
    """Each fault takes its share of the calls, within what 20,000 draws allow (five standard deviations: 2 points)."""
    behaviour = Behaviour(lost_reply=0.2, late=0.1, error=0.3, unreadable=0.1, error_status=503)
    random = seeded(7)
    counts = Counter(draw(behaviour, "create", random) for _ in range(20_000))

    shares = {name: count / 20_000 for name, count in counts.items()}
    assert shares == pytest.approx(
        {"lost_reply": 0.2, "late": 0.1, "error:503": 0.3, "ok": 0.3, **dict.fromkeys(UNREADABLE, 0.1 / 3)}, abs=0.02
    )


def test_draws_replay_with_their_seed() -> None:
    """The same seed draws the same faults."""
    behaviour = Behaviour(hang=0.5, reset=0.3)

    runs = [[draw(behaviour, "create", random) for _ in range(50)] for random in (seeded(3), seeded(3))]

    assert runs[0] == runs[1]


def test_other_calls_have_one_random_fault() -> None:
    """Random faults of creates affect no other call; read_error does."""
    behaviour = Behaviour(hang=1.0, read_error=1.0, error_status=502)

    assert draw(behaviour, "list", seeded(0)) == "error_without_effect:502"
    assert draw(Behaviour(hang=1.0), "get", seeded(0)) == "ok"


def test_latency_is_exact_without_jitter() -> None:
    """Without jitter every response takes the latency; with jitter the median does."""
    spread = sorted(delay(Behaviour(latency=0.1, jitter=0.3), random) for random in map(seeded, range(1001)))

    assert delay(Behaviour(latency=0.1), seeded(0)) == 0.1
    assert spread[500] == pytest.approx(0.1, rel=0.1)
    assert spread[0] < 0.07
    assert spread[-1] > 0.14


@pytest.mark.parametrize(
    ("times", "admitted"),
    [
        ([0.0, 0.0, 0.0, 0.0], 3),
        ([0.0, 0.0, 0.0, 0.4, 0.4], 3),
        ([0.0, 0.0, 0.0, 0.5, 0.5], 4),
        ([0.0, 0.0, 0.0, 100.0, 100.0, 100.0, 100.0], 6),
        ([10.0, 10.0, 10.0, 5.0, 5.5], 4),
    ],
)
def test_bucket_table(times: list[float], admitted: int) -> None:
    """A bucket of 3 that gains 2 a second is full at first and never holds more than 3, whatever the clock does."""
    bucket = TokenBucket()

    assert sum(bucket.take(2.0, 3.0, now) for now in times) == admitted


@given(st.lists(st.floats(0, 1), max_size=200), st.floats(0.5, 50), st.floats(1, 20))
def test_bucket_never_admits_more_than_burst_and_rate(gaps: list[float], rate: float, burst: float) -> None:
    """Over any sequence of calls, at most burst + rate x time are admitted."""
    bucket = TokenBucket()
    now = 1000.0
    admitted = 0
    for gap in gaps:
        now += gap
        admitted += bucket.take(rate, burst, now)

    assert admitted <= burst + rate * (now - 1000.0) + 1e-6


def test_every_switch_is_documented() -> None:
    """Each field has one line of documentation, which is the help of its option."""
    hints = get_type_hints(Behaviour, include_extras=True)
    lines = {
        name: [meta.description for meta in get_args(hint) if getattr(meta, "description", "")]
        for name, hint in hints.items()
    }

    assert all(len(line) == 1 and line[0] and "\n" not in line[0] for line in lines.values()), lines


@pytest.mark.parametrize("switches", [{"rate": -1}, {"hang": 1.5}, {"names": "odd"}, {"unknown": 1}, {"burst": 0}])
def test_impossible_switches_are_refused(switches: dict[str, object]) -> None:
    """The name, type and range of a switch are checked."""
    with pytest.raises(msgspec.ValidationError):
        msgspec.convert(switches, Behaviour)


def test_every_outcome_can_be_scripted() -> None:
    """Each fault of the table is a valid item of a script."""
    assert len(Behaviour(script=tuple(FAULTS)).script) == len(FAULTS)
