"""The state of an account: names, quota, paging, tags."""

from __future__ import annotations

from typing import TYPE_CHECKING

import pytest
from hypothesis import given
from hypothesis import strategies as st

from provisioner.emulator.model import partition
from provisioner.emulator.state import Accounts, TargetState
from provisioner.emulator.wire import ApiError

from .support import definition, seeded

if TYPE_CHECKING:
    from random import Random

    from provisioner.emulator.state import Algorithm, Names

ACCOUNT = "123456789012"


def _target(seed: int = 0) -> TargetState:
    return TargetState(ACCOUNT, "us-east-1", seeded(seed))


def _create(target: TargetState, name: str, now: float = 0.0, names: Names = "unique", quota: int = 0) -> Algorithm:
    return target.create(definition(name), now, names=names, quota=quota)[0]


def _alive(algorithm: Algorithm) -> bool:
    return algorithm.deleted_at is None


def _sweep(target: TargetState, limit: int) -> list[str]:
    arns: list[str] = []
    token = None
    while True:
        page = target.page(_alive, token, limit)
        arns += [algorithm.arn for algorithm in page.algorithms]
        token = page.next_token
        if token is None:
            return arns


def test_arn_is_minted_for_account_and_region() -> None:
    """An ARN names the Region and the account, and its id is not the algorithm's name."""
    arn = _create(_target(), "secret-name").arn

    prefix, _, minted = arn.partition("/")
    assert prefix == "arn:aws:cleanrooms-ml:us-east-1:123456789012:configured-model-algorithm"
    assert "secret-name" not in minted


def test_ids_follow_from_the_seed() -> None:
    """The same seed mints the same ids, another seed others."""
    arns = [[_create(target, name).arn for name in "ab"] for target in (_target(1), _target(1), _target(2))]

    assert arns[0] == arns[1]
    assert not set(arns[0]) & set(arns[2])


def test_restored_arn_is_never_minted_again() -> None:
    """An endpoint that restarts with the same seed mints new ids, even where the first algorithm is deleted."""
    first = _target()
    old = _create(first, "a")
    first.delete(old.arn, 1.0)
    second = _target()
    second.restore(old)

    assert _create(second, "a").arn != old.arn


@pytest.mark.parametrize(
    ("region", "expected"),
    [
        ("eu-west-1", "aws"),
        ("cn-north-1", "aws-cn"),
        ("us-gov-west-1", "aws-us-gov"),
        ("eusc-de-east-1", "aws-eusc"),
        ("us-iso-east-1", "aws-iso"),
        ("us-isob-east-1", "aws-iso-b"),
        ("us-isof-south-1", "aws-iso-f"),
        ("nowhere-1", "aws"),
    ],
)
def test_partition_follows_the_region(region: str, expected: str) -> None:
    """ARNs have the partition of their Region; an unknown Region counts as commercial."""
    assert partition(region) == expected
    assert _create(TargetState(ACCOUNT, region, seeded()), "a").arn.startswith(
        f"arn:{expected}:cleanrooms-ml:{region}:"
    )


def test_unique_names_conflict() -> None:
    """With unique names a second create fails with 409 until the first algorithm is deleted."""
    target = _target()
    first = _create(target, "a")

    with pytest.raises(ApiError) as caught:
        _create(target, "a")
    target.delete(first.arn, 1.0)
    again = _create(target, "a")

    assert (caught.value.status, caught.value.code) == (409, "ConflictException")
    assert again.arn != first.arn


def test_duplicate_names_make_second_algorithm() -> None:
    """Where names are not unique, the same name twice makes two algorithms."""
    target = _target()

    arns = {_create(target, "a", names="duplicates").arn for _ in range(2)}

    assert len(arns) == len(target) == 2


def test_same_names_answer_first_arn() -> None:
    """Where a second create returns the same ARN, nothing is made or changed."""
    target = _target()
    first, made_first = target.create(definition("a"), 1.0, names="same")
    second, made_second = target.create(definition("a", description="other"), 2.0, names="same")

    assert (made_first, made_second) == (True, False)
    assert second is first
    assert "description" not in first.request


def test_quota_counts_the_living() -> None:
    """At the quota a create fails with 402 and the quota's name and value; a delete makes room."""
    target = _target()
    first = _create(target, "a", quota=1)

    with pytest.raises(ApiError) as caught:
        _create(target, "b", quota=1)
    target.delete(first.arn, 1.0)
    _create(target, "b", quota=1)

    assert (caught.value.status, caught.value.code) == (402, "ServiceQuotaExceededException")
    assert caught.value.members["quotaValue"] == 1.0
    assert caught.value.members["quotaName"]


@given(st.integers(0, 30), st.integers(1, 12))
def test_pages_hold_everything_once(count: int, limit: int) -> None:
    """Whatever the page size, a sweep returns each algorithm once, and no page exceeds the size."""
    target = _target()
    made = {_create(target, f"n{number}").arn for number in range(count)}

    arns = _sweep(target, limit)

    assert sorted(arns) == sorted(made)
    assert len(target.page(_alive, limit=limit).algorithms) <= limit


def test_order_is_not_that_of_creation() -> None:
    """List is ordered neither by time nor by name."""
    target = _target()
    made = [_create(target, f"n{number:02}").arn for number in range(20)]

    assert _sweep(target, 100) not in (made, made[::-1])


@given(st.randoms(use_true_random=False))
def test_sweep_shows_whatever_was_there_all_along(random: Random) -> None:
    """Creates and deletes between two pages neither hide nor repeat another algorithm."""
    target = _target(random.getrandbits(32))
    stay = {_create(target, f"stay{number}").arn for number in range(10)}
    go = [_create(target, f"go{number}").arn for number in range(10)]
    seen: list[str] = []
    token = None
    for number in range(100):
        page = target.page(_alive, token=token, limit=random.randint(1, 4))
        seen += [algorithm.arn for algorithm in page.algorithms]
        token = page.next_token
        if token is None:
            break
        _create(target, f"new{number}")
        if go:
            target.delete(go.pop(random.randrange(len(go))), 0.0)

    assert stay <= set(seen)
    assert len(seen) == len(set(seen))


@pytest.mark.parametrize("token", ["", "%%%", "bm8=", "4pyT"])
def test_foreign_token_is_refused(token: str) -> None:
    """A nextToken of another account or Region is refused with 400."""
    other = TargetState(ACCOUNT, "eu-west-1", seeded(0))
    for name in "ab":
        _create(other, name)

    for bad in (token or "x", other.page(_alive, limit=1).next_token):
        with pytest.raises(ApiError) as caught:
            _target().page(_alive, token=bad)
        assert (caught.value.status, caught.value.code) == (400, "ValidationException")


def test_deleted_algorithm_is_gone() -> None:
    """After a delete Get, Delete and tag calls fail with 404."""
    target = _target()
    arn = _create(target, "a").arn
    target.delete(arn, 5.0)

    for call in (
        target.get,
        lambda a: target.delete(a, 6.0),
        lambda a: target.tag(a, {}, 1.0),
        lambda a: target.untag(a, [], 1.0),
    ):
        with pytest.raises(ApiError) as caught:
            call(arn)
        assert caught.value.status == 404
    assert _sweep(target, 100) == []


def test_tags_merge_and_go() -> None:
    """Tagging adds and replaces; untagging removes and ignores unknown keys."""
    target = _target()
    arn = target.create(definition(tags={"a": "1", "b": "2"}), 0.0)[0].arn
    target.tag(arn, {"b": "3", "c": "4"}, 1.0)
    target.untag(arn, ["a", "zzz"], 1.0)

    assert target.get(arn).tags == {"b": "3", "c": "4"}


@pytest.mark.parametrize(
    ("tags", "allowed"),
    [
        ({f"k{number}": "" for number in range(50)}, True),
        ({f"k{number}": "" for number in range(51)}, False),
        ({"aws:x": "v"}, False),
        ({"AWS:x": "v"}, False),
        ({"awsx": "aws:v"}, True),
        ({"owner": "équipe-données 数据"}, True),
        ({"k": "+ - = . _ : / @"}, True),
        ({"k": "a\u00a0b"}, True),
        ({"k!": "v"}, False),
        ({"k": "a\nb"}, False),
        ({"k": "<b>"}, False),
    ],
)
def test_tag_rules_of_the_documentation(tags: dict[str, str], *, allowed: bool) -> None:
    """50 tags, no aws: keys in any case, letters and digits of any language, some punctuation."""
    target = _target()
    try:
        target.create(definition(tags=tags), 0.0)
        accepted = True
    except ApiError:
        accepted = False

    assert accepted == allowed


def test_tagging_counts_what_is_there() -> None:
    """Tags that together are over 50 are refused, and nothing changes."""
    target = _target()
    arn = target.create(definition(tags={f"k{n}": "" for n in range(50)}), 0.0)[0].arn

    with pytest.raises(ApiError):
        target.tag(arn, {"one": "more"}, 1.0)

    assert len(target.get(arn).tags) == 50


def test_tags_of_aws_do_not_count() -> None:
    """An algorithm with tags of AWS's own takes 50 others, and keeps them all when others change."""
    target = _target()
    arn = target.create(definition(), 0.0)[0].arn
    target.get(arn).tags = {"aws:cloudformation:stack-name": "s"}
    target.tag(arn, {f"k{n}": "" for n in range(50)}, 1.0)
    target.untag(arn, [f"k{n}" for n in range(50)], 2.0)

    assert target.get(arn).tags == {"aws:cloudformation:stack-name": "s"}


def test_change_that_cannot_be_saved_does_not_happen() -> None:
    """A change that cannot be saved does not take place in memory either."""
    full = False

    def save(_: Algorithm) -> None:
        if full:
            raise OSError

    target = TargetState(ACCOUNT, "us-east-1", seeded(0), save)
    arn = _create(target, "a").arn
    full = True
    for change in (
        lambda: _create(target, "b"),
        lambda: target.delete(arn, 1.0),
        lambda: target.tag(arn, {"k": "v"}, 1.0),
    ):
        with pytest.raises(OSError):  # noqa: PT011 - raised by this test
            change()

    assert [target.get(arn).tags, _sweep(target, 100)] == [{}, [arn]]


def test_late_effects_come_in_time_order() -> None:
    """Due effects take place before the next call, earliest first, each with its own time."""
    state = Accounts(seeded(0))
    happened: list[float] = []
    for due in (30.0, 10.0, 20.0):
        state.execute_at(due, happened.append)

    state.advance(9.9)
    assert happened == []
    state.advance(20.0)
    assert happened == [10.0, 20.0]
    assert state.waiting == 1


def test_targets_are_apart() -> None:
    """The same name can exist in every account and Region, each with its own ARN."""
    state = Accounts(seeded(0))
    places = [("123456789012", "us-east-1"), ("123456789012", "eu-west-1"), ("111122223333", "us-east-1")]
    arns = {_create(state.target(*place), "a").arn for place in places}

    assert len(arns) == 3
    assert [len(state.target(*place)) for place in places] == [1, 1, 1]
