"""What is kept of runs: their ends, their problems, their samples, what their pacers learned."""

from __future__ import annotations

from typing import TYPE_CHECKING

import msgspec

from provisioner.core.problem import Problem
from provisioner.ledger import RunRecord
from tests.ledger.contract.facts import AT, intend

if TYPE_CHECKING:
    from tests.ledger.contract.facts import Store


class Results:
    """What is kept of runs: their ends, their problems, their samples, what their pacers learned."""

    async def test_runs_are_remembered(self, store: Store) -> None:
        """Runs come newest first; one that has ended has its summary, one that died has not."""
        runs = [RunRecord(f"run-{number:02}", "apply", AT + number) for number in range(12)]
        ended = msgspec.structs.replace(runs[11], ended_at=AT + 60.5, exit_code=3, summary=b'{"run_id":"run-11"}')
        async with store() as ledger:
            for run in runs:
                await ledger.begin_run(run)
            await ledger.end_run(ended)
        async with store() as ledger:
            assert await ledger.runs() == [ended, *runs[10:1:-1]]
            assert await ledger.runs(2) == [ended, runs[10]]
            assert await ledger.runs(prefix="run-0") == runs[9::-1]
            assert await ledger.runs(2, prefix="run-1") == [ended, runs[10]]
            assert await ledger.runs(prefix="run-_") == []

    async def test_problems_belong_to_a_run(self, store: Store) -> None:
        """Problems come back in the order in which they were added, by run, for the last 20 runs."""
        problems = [
            Problem("m.jsonl", line, f"n{line}", "invalid", "no role", column=3, target="t", severity="notice")
            for line in range(1, 1203)
        ]
        async with store() as ledger:
            await ledger.begin_run(RunRecord("run-00", "apply", AT))
            await ledger.add_problems(problems[:5])
            await ledger.add_problems(problems[5:])
            first = [problem async for problem in ledger.problems("run-00")]
            for number in range(1, 20):
                await ledger.begin_run(RunRecord(f"run-{number:02}", "apply", AT))
                await ledger.add_problems(problems[:1])
            twentieth = [problem async for problem in ledger.problems("run-00")]
            await ledger.begin_run(RunRecord("run-20", "apply", AT))

            assert first == problems
            assert twentieth == problems
            assert [problem async for problem in ledger.problems("run-00")] == []
            assert [problem async for problem in ledger.problems("run-01")] == problems[:1]

    async def test_samples_belong_to_a_run(self, store: Store) -> None:
        """The last samples of a run are its samples, for the last 20 runs."""
        async with store() as ledger:
            await ledger.begin_run(RunRecord("run-00", "apply", AT))
            await ledger.keep_samples(b"1")
            await ledger.keep_samples(b"\x00\xff")
            for number in range(1, 20):
                await ledger.begin_run(RunRecord(f"run-{number:02}", "apply", AT))
            await ledger.keep_samples(b"19")
            twentieth = await ledger.samples("run-00")
            await ledger.begin_run(RunRecord("run-20", "apply", AT))

            assert twentieth == b"\x00\xff"
            assert [await ledger.samples(f"run-{number:02}") for number in (0, 1, 19)] == [b"", b"", b"19"]

    async def test_what_a_pacer_learned_is_kept(self, store: Store) -> None:
        """The last thing learned is told at once, and after reopening, by target and family."""
        async with store() as ledger:
            before = await ledger.learned("default", "create")
            await ledger.learn("default", "create", b"1")
            await ledger.learn("default", "create", b"\x002")
            await ledger.learn("default", "read", b"3")
            told = await ledger.learned("default", "create")
            await ledger.record([intend("a")])
            await ledger.learn("other", "create", b"4")
        async with store() as ledger:
            kept = [await ledger.learned(*key) for key in (("default", "create"), ("default", "read"))]

            assert (before, told, kept) == (None, b"\x002", [b"\x002", b"3"])
            assert await ledger.learned("other", "create") == b"4"
