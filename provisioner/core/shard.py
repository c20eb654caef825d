"""Shards: the targets of one task among several that share them without a database. Pure.

A target belongs to the same shard in every task, whatever other targets there are. Jump consistent hashing (Lamping and
Veach, "A Fast, Minimal Memory, Consistent Hash Algorithm", 2014) spreads the hashes of the names evenly, and one shard
more takes an equal part from each of the others and moves nothing else.
"""

from __future__ import annotations

import re
from hashlib import sha256
from typing import TYPE_CHECKING, NamedTuple

from provisioner.core.ledger_names import NO_PATH
from provisioner.errors import UsageError

if TYPE_CHECKING:
    from collections.abc import Mapping

AUTO = "auto"
PATTERN = re.compile(r"(auto|[0-9]{1,6})(?:/([0-9]{1,6}))?")
SAYS = "2/5 (the second of five), auto, or auto/5"
_MULTIPLIER = 2862933555777941757
"""Of the linear congruential generator in the paper."""


class Shard(NamedTuple):
    """One of several shards.

    Attributes:
        number: from 1.
        total: how many there are.
    """

    number: int
    total: int

    def __str__(self) -> str:
        return f"{self.number}/{self.total}"

    def has(self, target: str) -> bool:
        """Whether a target belongs to it."""
        return bucket(target, self.total) == self.number - 1

    def ledger(self, path: str) -> str:
        """The path of its ledger: the number of shards is no part of it, so that another one moves few targets."""
        if NO_PATH.match(path):
            return path
        stem, dot, suffix = path.rpartition(".")
        return f"{stem}-{self.number}.{suffix}" if dot and "/" not in suffix and stem else f"{path}-{self.number}"


def bucket(name: str, count: int) -> int:
    """Which of ``count`` buckets a name belongs to, from 0."""
    key = int.from_bytes(sha256(name.encode()).digest()[:8], "big")
    chosen, jump = -1, 0
    while jump < count:
        chosen = jump
        key = (key * _MULTIPLIER + 1) % 2**64
        jump = int((chosen + 1) * (2**31 / ((key >> 33) + 1)))
    return chosen


def shard_of(text: str, environment: Mapping[str, str]) -> Shard | None:
    """The shard that ``text`` names: ``2/5``, or, from the variables of an array job, ``auto`` or ``auto/5``.

    Args:
        text: see above; "" for none.
        environment: of the process.

    Raises:
        UsageError: there is no such shard, or the process is no task of an array job.
    """
    match = PATTERN.fullmatch(text)
    if match is None:
        if text:
            raise UsageError(f"{text!r} is not a shard", hint=f"Write {SAYS}")
        return None
    index, given = match[1], int(match[2] or 0)
    if index == AUTO:
        return _of_array(environment, given)
    shard = Shard(int(index), given)
    if not 1 <= shard.number <= shard.total:
        raise UsageError(f"{text!r} is not a shard", hint=f"Write {SAYS}: shards count from 1")
    return shard


class _Task(NamedTuple):
    """A task of an array job.

    Attributes:
        variable: that has its index.
        place: among the tasks, from 0.
        total: of the tasks; 0 where the platform does not say it.
    """

    variable: str
    place: int
    total: int


def _of_array(environment: Mapping[str, str], given: int) -> Shard:
    task = _task(environment)
    if task is None:
        hint = "Write the shard, such as 2/5, or run in an array job of AWS Batch or SLURM, or in an Indexed Job"
        raise UsageError("auto: this is not a task of an array job", hint=hint)
    if given and task.total and given != task.total:
        what = f"auto/{given}: the array job has {task.total} tasks"
        raise UsageError(what, where=task.variable, hint="Write auto")
    count = given or task.total
    if not count:
        hint = "Write auto/N with the number of completions of the job"
        raise UsageError("auto: the platform does not say how many tasks there are", where=task.variable, hint=hint)
    if not 0 <= task.place < count:
        what = f"the index {task.place} is not one of the {count} tasks, 0 to {count - 1}"
        raise UsageError(
            what, where=task.variable, hint="Number the tasks without gaps, and give the right number of tasks"
        )
    return Shard(task.place + 1, count)


def _task(environment: Mapping[str, str]) -> _Task | None:
    """The task of an array job that the environment describes.

    AWS Batch (User Guide, "AWS Batch job environment variables"), Kubernetes (Jobs, "Completion mode": an Indexed Job
    has no variable for the number), SLURM (sbatch, "Job array environment variables").
    """

    def number(name: str, otherwise: int) -> int:
        text = environment.get(name, "")
        if text and not (text.isascii() and text.isdecimal()):
            raise UsageError(f"{text!r} is not the index of a task", where=name)
        return int(text or otherwise)

    if "AWS_BATCH_JOB_ARRAY_INDEX" in environment:
        name = "AWS_BATCH_JOB_ARRAY_INDEX"
        return _Task(name, number(name, 0), number("AWS_BATCH_JOB_ARRAY_SIZE", 0))
    if "JOB_COMPLETION_INDEX" in environment:
        return _Task("JOB_COMPLETION_INDEX", number("JOB_COMPLETION_INDEX", 0), 0)
    if "SLURM_ARRAY_TASK_ID" in environment:
        name = "SLURM_ARRAY_TASK_ID"
        place = number(name, 0) - number("SLURM_ARRAY_TASK_MIN", 0)
        step = number("SLURM_ARRAY_TASK_STEP", 1) or 1
        return _Task(name, place // step if not place % step else -1, number("SLURM_ARRAY_TASK_COUNT", 0))
    return None
