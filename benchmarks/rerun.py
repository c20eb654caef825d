"""A run over a finished manifest, the daily case: time, CPU and peak memory for 10,000 to 1,000,000 definitions.

python -m benchmarks.rerun [COUNT ...]

Each size gets a manifest of real-looking definitions, which the real `provisioner apply` registers with the embedded
endpoint; then it runs over the finished manifest again and again. A finished manifest costs no call; without its digest
the account is read, 100 algorithms a call.
"""

from __future__ import annotations

import json
import os
import subprocess
import sys
import tempfile
import time
from pathlib import Path
from typing import TYPE_CHECKING

from benchmarks.machine import command, machine
from provisioner.emulator import DEFAULT_ACCOUNT, credentials, running
from provisioner.exit_codes import ExitCode

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
KEY = "arn:aws:kms:us-east-1:123456789012:key/1234abcd-12ab-34cd-56ef-1234567890ab"


def write_manifest(path: Path, count: int) -> None:
    """``count`` definitions in the manner of the examples."""
    examples = [json.loads(line) for line in EXAMPLES.read_text().splitlines()]
    with path.open("w") as file:
        for number in range(count):
            definition = {**examples[number % len(examples)], "name": f"algorithm {number:08d}"}
            file.write(json.dumps(definition, ensure_ascii=False) + "\n")


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

    Known by the digest; every line planned anew, for want of it; defaults that are new and change no definition;
    defaults that change every definition without a key of its own, four of five, so that these are reported as drifted.
    """
    print(machine(), command(), sep="\n")
    print(f"{'definitions':>12} {'planned by':>14} {'seconds':>9} {'spread':>7} {'CPU us each':>12} {'peak MiB':>9}")
    for count in [int(argument) for argument in sys.argv[1:]] or [10_000, 100_000, 1_000_000]:
        with tempfile.TemporaryDirectory() as name, running() as emulator:
            folder = Path(name)
            write_manifest(folder / "m.jsonl", count)
            (folder / "fast.toml").write_text("[pace]\ninitial_rate = 5000.0\n")
            rerun(folder, emulator.url, options=["--config", "fast.toml"])
            calls = emulator.truth.count("list")
            show(count, "digest", [rerun(folder, emulator.url) for _ in range(3)])
            assert emulator.truth.count("list") == calls, "a finished manifest cost a call"
            # A ledger without its lock file may have gone back in time, so the run looks at each line.
            (folder / "l.db.lock").unlink()
            show(count, "each line", [rerun(folder, emulator.url)])
            (folder / "same.toml").write_text(f'[defaults]\nroleArn = "{ROLE}"\n')
            show(count, "other defaults", [rerun(folder, emulator.url, options=["--config", "same.toml"])])
            (folder / "drift.toml").write_text(f'[defaults]\nkmsKeyArn = "{KEY}"\n')
            drift = ["--config", "drift.toml", "--log-level", "error"]
            show(count, "most drifted", [rerun(folder, emulator.url, options=drift, ends=ExitCode.FAILED)])
            assert emulator.truth.count("create") == count, "a finished job sent a create"


def show(count: int, way: str, runs: list[tuple[float, float, float]]) -> None:
    """A line of the table: the best run, and how much longer the worst took."""
    seconds, cpu, memory = min(runs)
    spread = f"{(max(runs)[0] - seconds) / seconds:.0%}" if len(runs) > 1 else "-"
    print(f"{count:>12,} {way:>14} {seconds:>9.2f} {spread:>7} {cpu / count * 1e6:>12.1f} {memory:>9.1f}", flush=True)


if __name__ == "__main__":
    main()
