"""``--shard``, through the real process."""

from __future__ import annotations

import json
from typing import TYPE_CHECKING

from tests.definition_lines import manifest_of
from tests.e2e.process import provisioner

if TYPE_CHECKING:
    from pathlib import Path

CONFIGURATION = "".join(
    f"[targets.t{number}]\nregion = 'us-east-1'\naccount_id = '11112222333{number}'\n" for number in range(4)
)


def test_the_shards_of_an_array_job_do_every_target_once(tmp_path: Path) -> None:
    """Each task has its part and its ledger, and says so; a process that is no task is refused."""
    (tmp_path / "m.jsonl").write_bytes(manifest_of("a"))
    (tmp_path / "provisioner.toml").write_text(f"[fleet]\nshard = 'auto'\n[local]\nlatency = 0\n{CONFIGURATION}")
    summaries = []
    for index in range(3):
        done = provisioner(
            *("apply", "m.jsonl", "--local", "--output", "json"),
            cwd=tmp_path,
            AWS_BATCH_JOB_ARRAY_INDEX=str(index),
            AWS_BATCH_JOB_ARRAY_SIZE="3",
        )
        assert done.returncode == 0, done.stderr
        summaries.append(json.loads(done.stdout))
    alone = provisioner("apply", "m.jsonl", "--local", cwd=tmp_path)
    text = provisioner("plan", "m.jsonl", "--local", "--shard", "2/3", cwd=tmp_path)

    assert [one["shard"] for one in summaries] == ["1/3", "2/3", "3/3"]
    assert sorted(name for one in summaries for name in one["targets"]) == ["t0", "t1", "t2", "t3"]
    assert [one["ledger"] for one in summaries] == ["ledger-1.db", "ledger-2.db", "ledger-3.db"]
    assert (alone.returncode, "auto: this is not a task of an array job" in alone.stderr) == (2, True)
    number = len(summaries[1]["targets"])
    assert f"shard     2/3: {number} target{'s' if number != 1 else ''}" in text.stdout


def test_a_plan_is_carried_out_in_its_shard(tmp_path: Path) -> None:
    """The command that carries it out names the shard; another one is refused rather than done with nothing."""
    (tmp_path / "m.jsonl").write_bytes(manifest_of("a"))
    (tmp_path / "provisioner.toml").write_text(f"[local]\nlatency = 0\n{CONFIGURATION}")
    planned = provisioner("plan", "m.jsonl", "--local", "--shard", "1/2", "-o", "p 1", cwd=tmp_path)
    other = provisioner("apply", "--plan", "p 1", "--local", "--shard", "2/2", cwd=tmp_path)
    same = provisioner("apply", "--plan", "p 1", "--local", "--shard", "1/2", cwd=tmp_path)

    assert "`provisioner apply --plan 'p 1' --shard 1/2 --local` carries out exactly its steps" in planned.stderr
    assert (other.returncode, "other targets than those of shard 2/2" in other.stderr) == (2, True)
    assert (same.returncode, "created" in same.stdout) == (0, True)


def test_a_shard_without_a_target_has_nothing_to_do(tmp_path: Path) -> None:
    """With fewer targets than shards some have none: that is no failure."""
    (tmp_path / "m.jsonl").write_bytes(manifest_of("a"))
    ends = []
    for number in (1, 2):
        done = provisioner("apply", "m.jsonl", "--local", "--shard", f"{number}/2", cwd=tmp_path)
        ends.append((done.returncode, f"shard     {number}/2: 0 targets" in done.stdout))

    assert sorted(ends) == [(0, False), (0, True)]
