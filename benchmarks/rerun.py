"""A run over a finished manifest, the daily case: time, CPU and peak memory for 10,000 to 1,000,000 definitions.

python -m benchmarks.rerun [COUNT ...]

Each size gets a manifest of real-looking definitions and a ledger in which all of them are created; then the real
`provisioner apply` runs over it against the embedded endpoint, which must see no call at all.
"""

from __future__ import annotations

import asyncio
import json
import os
import subprocess
import sys
import tempfile
import time
from pathlib import Path
from typing import TYPE_CHECKING

from benchmarks.machine import command, machine
from provisioner.core.entry import Event, Fact
from provisioner.emulator import DEFAULT_ACCOUNT, credentials, running
from provisioner.exit_codes import ExitCode
from provisioner.ledger import RunRecord
from provisioner.ledger.location import locate
from provisioner.manifest.parser import Rules, parse

if TYPE_CHECKING:
    from collections.abc import Sequence

EXAMPLES = Path(__file__).resolve().parents[1] / "configs" / "example.jsonl"
BATCH = 2048
TELL_MEMORY = """
import atexit
from provisioner.cli import main
atexit.register(lambda: print(next(line.split()[1] for line in open("/proc/self/status") if line.startswith("VmHWM"))))
main()
"""
"""The command line, which tells its peak memory at the end; ru_maxrss would begin with what this process had."""
ROLE = "arn:aws:iam::123456789012:role/for-lines-without-one"
ARN = "arn:aws:cleanrooms-ml:us-east-1:123456789012:configured-model-algorithm"


def write_manifest(path: Path, count: int) -> None:
    """``count`` definitions in the manner of the examples."""
    examples = [json.loads(line) for line in EXAMPLES.read_text().splitlines()]
    with path.open("w") as file:
        for number in range(count):
            definition = {**examples[number % len(examples)], "name": f"algorithm {number:08d}"}
            file.write(json.dumps(definition, ensure_ascii=False) + "\n")


async def fill_ledger(path: Path, manifest: Path) -> None:
    """A ledger in which all of ``manifest`` is created."""
    rules = Rules(ownership_tag="provisioner:origin")
    location = locate(str(path))
    async with location.lease() as lease, location.open(lease) as ledger:
        await ledger.begin_run(RunRecord("fill", "apply", time.time()))
        facts = []
        for number, line in enumerate(manifest.open("rb")):
            definition = parse(line, rules)
            canonical = definition.canonical()
            facts.append(
                Fact(
                    "default",
                    definition.name,
                    Event.CONFIRM,
                    digest=canonical.digest,
                    tags_digest=canonical.tags_digest,
                    arn=f"{ARN}/{number}",
                )
            )
            if len(facts) == BATCH:
                await ledger.record(facts)
                facts = []
        await ledger.record(facts)


def rerun(folder: Path, endpoint: str, *, options: Sequence[str] = (), ends: int = 0) -> tuple[float, float, float]:
    """Seconds, CPU seconds and peak MiB of one run that creates nothing, and ends with ``ends``."""
    environment = {**os.environ, **credentials(DEFAULT_ACCOUNT).environment(), "AWS_REGION": "us-east-1"}
    arguments = ["apply", "m.jsonl", "--ledger", "l.db", "--endpoint-url", endpoint, "--progress", "never", *options]
    began = time.perf_counter()
    process = subprocess.Popen(
        [sys.executable, "-c", TELL_MEMORY, *arguments],
        cwd=folder,
        env=environment,
        stdout=subprocess.PIPE,
        text=True,
    )
    assert process.stdout is not None
    told = process.stdout.read()
    _, status, usage = os.wait4(process.pid, 0)
    elapsed = time.perf_counter() - began
    assert os.waitstatus_to_exitcode(status) == ends, told
    return elapsed, usage.ru_utime + usage.ru_stime, int(told.split()[-1]) / 1024


def main() -> None:
    """Print a line for each size and case.

    Every line planned anew, for want of a digest; known by the digest; defaults that are new and change no definition;
    defaults that change every definition, so that each is reported and kept as drifted.
    """
    print(machine(), command(), sep="\n")
    print(f"{'definitions':>12} {'planned by':>14} {'seconds':>9} {'spread':>7} {'CPU us each':>12} {'peak MiB':>9}")
    for count in [int(argument) for argument in sys.argv[1:]] or [10_000, 100_000, 1_000_000]:
        with tempfile.TemporaryDirectory() as name, running() as emulator:
            folder = Path(name)
            write_manifest(folder / "m.jsonl", count)
            asyncio.run(fill_ledger(folder / "l.db", folder / "m.jsonl"))
            # The ledger was not made by a run, so the first run has to look at each line; it keeps the digest.
            show(count, "each line", [rerun(folder, emulator.url)])
            show(count, "digest", [rerun(folder, emulator.url) for _ in range(3)])
            (folder / "same.toml").write_text(f'[defaults]\nroleArn = "{ROLE}"\n')
            show(count, "other defaults", [rerun(folder, emulator.url, options=["--config", "same.toml"])])
            (folder / "drift.toml").write_text('[defaults.tags]\nadded = "to all"\n')
            drift = ["--config", "drift.toml", "--log-level", "error"]
            show(count, "all drifted", [rerun(folder, emulator.url, options=drift, ends=ExitCode.FAILED)])
            assert emulator.truth.count("create") == 0, "a finished job sent a create"


def show(count: int, way: str, runs: list[tuple[float, float, float]]) -> None:
    """A line of the table: the best run, and how much longer the worst took."""
    seconds, cpu, memory = min(runs)
    spread = f"{(max(runs)[0] - seconds) / seconds:.0%}" if len(runs) > 1 else "-"
    print(f"{count:>12,} {way:>14} {seconds:>9.2f} {spread:>7} {cpu / count * 1e6:>12.1f} {memory:>9.1f}", flush=True)


if __name__ == "__main__":
    main()
