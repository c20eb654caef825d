"""What a definition costs before anything is sent: decode, validation, digests, the whole manifest; and its memory.

python -m benchmarks.definitions [COUNT ...]

The lines are those of configs/example.jsonl under other names, in order and shuffled. Times are CPU seconds of one
process (best of the rounds, and how far the worst was from it), so that a busy machine shows in the spread, not in the
figure. Beside ours stands what a plain decoder costs that checks nothing.
"""

from __future__ import annotations

import gc
import json
import random
import statistics
import subprocess
import sys
import tempfile
import time
from pathlib import Path
from typing import TYPE_CHECKING

import msgspec

from benchmarks.machine import command, machine
from provisioner.manifest.parser import Rules, parse
from provisioner.manifest.problems import InvalidDefinitionError

if TYPE_CHECKING:
    from collections.abc import Callable

EXAMPLES = Path(__file__).resolve().parents[1] / "configs" / "example.jsonl"
ROUNDS = 9
REPEATS = 10
PLAIN = Rules(ownership_tag="provisioner:origin")
DEFAULTS = Rules(
    defaults={"roleArn": "arn:aws:iam::123456789012:role/access", "tags": {"team": "ads", "stage": "prod"}},
    ownership_tag="provisioner:origin",
)
WHOLE = """
import sys, time
from provisioner.manifest.parser import Rules
from provisioner.manifest.reader import Manifest
rules = Rules(ownership_tag="provisioner:origin")
began = time.process_time()
rows = sum(len(batch.rows) for batch in Manifest(sys.argv[1:], rules).batches())
seconds = time.process_time() - began
# The kernel's own mark: that of getrusage begins with the memory of the process that started this one.
with open("/proc/self/status") as status:
    print(rows, seconds, next(int(line.split()[1]) for line in status if line.startswith("VmHWM:")) / 1024)
"""


def per_item(work: Callable[[bytes], object], items: list[bytes]) -> tuple[float, float]:
    """Microseconds an item, best of the rounds; and how far the median was above it, as a share."""
    rounds = []
    gc.disable()
    for _ in range(ROUNDS):
        began = time.process_time()
        for _ in range(REPEATS):
            for item in items:
                work(item)
        rounds.append((time.process_time() - began) / REPEATS / len(items) * 1e6)
    gc.enable()
    return min(rounds), statistics.median(rounds) / min(rounds) - 1


def problems_in(line: bytes) -> int:
    """How many problems a line has."""
    try:
        parse(line, PLAIN)
    except InvalidDefinitionError as error:
        return len(error.problems)
    return 0


def print_lines() -> None:
    """Microseconds of each step, for the lines of the examples."""
    lines = EXAMPLES.read_bytes().splitlines()
    bad = [line.replace(b'"name"', b'"nmae"') for line in lines]
    assert not any(map(problems_in, lines))
    assert all(map(problems_in, bad))
    decode = msgspec.json.Decoder().decode
    print(f"\n{sum(map(len, lines)) // len(lines)} bytes a line\n{'step':<52} {'us a line':>9} {'spread':>7}")
    steps: list[tuple[str, Callable[[bytes], object], list[bytes]]] = [
        ("json.loads, nothing checked", json.loads, lines),
        ("msgspec decode to a dict, nothing checked", decode, lines),
        ("decode and validate", lambda line: parse(line, PLAIN), lines),
        ("decode and validate, with defaults", lambda line: parse(line, DEFAULTS), lines),
        ("decode, validate and both digests", lambda line: parse(line, PLAIN).canonical(), lines),
        ("diagnosis of a line with one misspelt key", problems_in, bad),
    ]
    for name, work, items in steps:
        best, spread = per_item(work, items)
        print(f"{name:<52} {best:>9.2f} {spread:>7.0%}", flush=True)


def write_manifest(path: Path, count: int, *, shuffled: bool) -> None:
    """``count`` definitions in the manner of the examples, their names in order or not."""
    examples = [json.loads(line) for line in EXAMPLES.read_bytes().splitlines()]
    numbers = list(range(count))
    if shuffled:
        random.Random(1).shuffle(numbers)  # noqa: S311 - a repeatable order
    with path.open("w") as file:
        for number in numbers:
            definition = examples[number % len(examples)] | {"name": f"algorithm {number:08d}"}
            file.write(json.dumps(definition, ensure_ascii=False) + "\n")


def print_manifests(counts: list[int]) -> None:
    """CPU and peak memory of reading whole manifests, each in a process of its own."""
    print(f"\n{'manifest, read to its end':<34} {'lines':>11} {'us a line':>9} {'spread':>7} {'peak MiB':>9}")
    with tempfile.TemporaryDirectory() as folder:
        for count in counts:
            for order in ("in order", "shuffled"):
                path = Path(folder) / "m.jsonl"
                write_manifest(path, count, shuffled=order == "shuffled")
                runs = []
                for _ in range(3):
                    shown = subprocess.run(
                        [sys.executable, "-c", WHOLE, str(path)], check=True, capture_output=True, text=True
                    )
                    rows, seconds, peak = map(float, shown.stdout.split())
                    assert rows == count
                    runs.append((seconds / count * 1e6, peak))
                best, peak = min(runs)
                spread = max(runs)[0] / best - 1
                print(f"{order:<34} {count:>11,} {best:>9.2f} {spread:>7.0%} {peak:>9.1f}", flush=True)


def main() -> None:
    """Print it all."""
    print(machine(), command(), sep="\n")
    print_lines()
    print_manifests([int(argument) for argument in sys.argv[1:]] or [10_000, 1_000_000])


if __name__ == "__main__":
    main()
