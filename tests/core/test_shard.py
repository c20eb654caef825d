"""Shards: which targets belong to which, and what array jobs say."""

from __future__ import annotations

from collections import Counter

import pytest

from provisioner.core.shard import Shard, bucket, shard_of
from provisioner.errors import UsageError

NAMES = [f"account-{number}-us-east-1" for number in range(4000)]
BATCH = {"AWS_BATCH_JOB_ARRAY_INDEX": "3", "AWS_BATCH_JOB_ARRAY_SIZE": "8"}
SLURM = {
    "SLURM_ARRAY_TASK_ID": "14",
    "SLURM_ARRAY_TASK_MIN": "10",
    "SLURM_ARRAY_TASK_STEP": "2",
    "SLURM_ARRAY_TASK_COUNT": "5",
}


def test_every_target_belongs_to_one_shard() -> None:
    """The shards together are all targets, each once, and about as many in each."""
    shards = [Shard(index, 8) for index in range(1, 9)]
    found = Counter(str(shard) for name in NAMES for shard in shards if shard.has(name))

    assert sum(found.values()) == len(NAMES)
    assert all(400 < number < 600 for number in found.values())


def test_a_shard_more_moves_targets_to_it_alone() -> None:
    """From four shards to five, a fifth of the targets moves, and none between the old ones."""
    moved = [name for name in NAMES if bucket(name, 4) != bucket(name, 5)]

    assert {bucket(name, 5) for name in moved} == {4}
    assert 700 < len(moved) < 900


def test_the_shard_of_a_target_never_changes() -> None:
    """It is part of the contract: another version must not move targets to other ledgers."""
    assert [bucket(name, 10) for name in ("default", "prod-us", "Ads-prod-us-east-1", "")] == [2, 9, 0, 5]


@pytest.mark.parametrize(
    ("text", "environment", "shard"),
    [
        ("", {}, None),
        ("2/5", BATCH, Shard(2, 5)),
        ("1/1", {}, Shard(1, 1)),
        ("auto", BATCH, Shard(4, 8)),
        ("auto/8", BATCH, Shard(4, 8)),
        ("auto/8", {"AWS_BATCH_JOB_ARRAY_INDEX": "0"}, Shard(1, 8)),
        ("auto/3", {"JOB_COMPLETION_INDEX": "2"}, Shard(3, 3)),
        ("auto", SLURM, Shard(3, 5)),
        ("auto/4", {"SLURM_ARRAY_TASK_ID": "3"}, Shard(4, 4)),
    ],
)
def test_what_names_a_shard(text: str, environment: dict[str, str], shard: Shard | None) -> None:
    """I/N counts from 1, platforms count from 0 or from where they like."""
    assert shard_of(text, environment) == shard


@pytest.mark.parametrize(
    ("text", "environment", "message"),
    [
        ("0/5", {}, "'0/5' is not a shard. Write 2/5 (the second of five), auto, or auto/5: shards count from 1"),
        ("6/5", {}, "'6/5' is not a shard"),
        ("2", {}, "'2' is not a shard"),
        ("x", {}, "'x' is not a shard"),
        (
            "auto",
            {},
            "auto: this is not a task of an array job. Write the shard, such as 2/5, or run in an array job of",
        ),
        ("auto", {"JOB_COMPLETION_INDEX": "2"}, "JOB_COMPLETION_INDEX: auto: the platform does not say how many tasks"),
        ("auto/7", BATCH, "AWS_BATCH_JOB_ARRAY_INDEX: auto/7: the array job has 8 tasks. Write auto"),
        ("auto/2", {"JOB_COMPLETION_INDEX": "2"}, "the index 2 is not one of the 2 tasks, 0 to 1. Number the tasks"),
        ("auto", {**SLURM, "SLURM_ARRAY_TASK_ID": "13"}, "the index -1 is not one of the 5 tasks, 0 to 4"),
        ("auto/2", {"JOB_COMPLETION_INDEX": "x"}, "JOB_COMPLETION_INDEX: 'x' is not the index of a task"),
    ],
)
def test_what_names_no_shard(text: str, environment: dict[str, str], message: str) -> None:
    """A task that does not know its part must not do somebody else's."""
    with pytest.raises(UsageError) as caught:
        shard_of(text, environment)

    assert message in str(caught.value)


@pytest.mark.parametrize(
    ("path", "ledger"),
    [
        ("ledger.db", "ledger-2.db"),
        ("/a.b/ledger", "/a.b/ledger-2"),
        (".hidden", ".hidden-2"),
        ("postgresql://db/x", "postgresql://db/x"),
    ],
)
def test_each_shard_has_a_ledger_of_its_own(path: str, ledger: str) -> None:
    """A file is one shard's; a database is shared, for it has a lease for each target."""
    assert Shard(2, 5).ledger(path) == ledger
