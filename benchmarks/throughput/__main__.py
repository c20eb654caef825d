"""Creates per second beside other clients, against a server that answers at once.

python -m benchmarks.throughput [--rounds N] [--full] [aioboto3|clients|tls|growth ...]

Every client runs in a process of its own, on the same machine, against the same server, in turns. `provisioner apply`
does more than its peers: it reads and validates a manifest, and each create's intent and result are durable in the
ledger, in that order around the call. Tables:

- aioboto3: `provisioner apply` beside the best of asynchronous Python, with as many creates in flight, for the same
  40,000 definitions; with the start of the process, and without.
- clients, tls: the other clients too, which send fewer. Each one's start-up is measured by a short run and taken off.
- growth: how the cost of ours grows with lines, creates in flight and targets.
"""

from __future__ import annotations

import argparse
import os
import shutil
import statistics
import subprocess
import sys
import tempfile
from functools import partial
from importlib.metadata import version
from pathlib import Path
from typing import TYPE_CHECKING

import msgspec

from benchmarks.machine import command as this_command
from benchmarks.machine import machine
from benchmarks.throughput.definitions import write_manifest
from benchmarks.throughput.processes import NOTHING, ROOT, Cost, Rate, Summary, cost_of, rate, stub, summarise
from tests.aws.certificates import Authority

if TYPE_CHECKING:
    from collections.abc import Callable, Collection

JS_PACKAGES = ("@aws-sdk/client-cleanrooms@3", "@smithy/node-http-handler@4")

KEYS = {"AWS_ACCESS_KEY_ID": "AKIDEXAMPLE", "AWS_SECRET_ACCESS_KEY": "example", "NODE_NO_WARNINGS": "1"}

BASELINE = "aioboto3, 64 tasks"

DEFINITIONS = 40_000

PEER_DEFINITIONS = 10_000
"""How many of them aioboto3 sends; the others would take it as long each, and a round a minute more."""

WARM = 64
"""Creates of the short run that is taken off."""

IN_FLIGHT = (64, 256)

TABLES = ("aioboto3", "clients", "tls", "growth")


class Bench(msgspec.Struct, frozen=True):
    """Where one measurement runs: a folder of its own, an endpoint, an environment."""

    folder: Path
    url: str
    env: dict[str, str]


class Client(msgspec.Struct, frozen=True):
    """A client that can be measured.

    Attributes:
        name: in the table.
        creates: how many to measure over.
        command: the command line that sends so many.
        missing: why it cannot run here, "" when it can.
        warm: creates of the short run that is taken off.
    """

    name: str
    creates: int
    command: Callable[[Bench, int], list[str]]
    missing: str = ""
    warm: int = WARM


def peer(name: str, in_flight: int = 64) -> Callable[[Bench, int], list[str]]:
    """The command line of one of :mod:`benchmarks.throughput.peers`."""
    module = [sys.executable, "-m", "benchmarks.throughput.peers", name]
    return lambda bench, count: [*module, bench.url, str(count), str(in_flight)]


def javascript(modules: Path | None) -> Client:
    """The AWS SDK for JavaScript."""

    def command(bench: Bench, count: int) -> list[str]:
        assert modules is not None
        return ["node", str(modules / "peer.mjs"), bench.url, str(count)]

    missing = "" if modules else "node, npm or the package registry is missing"
    return Client("AWS SDK for JavaScript v3, 64 in flight", 6000, command, missing)


def aws_cli(modules: Path | None) -> Client:
    """One process a call, as a shell script has it."""

    def command(bench: Bench, count: int) -> list[str]:
        create = (
            f"env PYTHONPATH={modules} {sys.executable} -W ignore -m awscli cleanroomsml"
            f" create-configured-model-algorithm --region us-east-1 --endpoint-url {bench.url} --name a{{}}"
            " --role-arn arn:aws:iam::123456789012:role/access"
        )
        return ["sh", "-c", f"seq {count} | xargs -P 2 -I{{}} {create}"]

    missing = "" if modules else "pip or the package registry is missing"
    return Client("aws CLI, xargs -P 2", 16, command, missing, warm=2)


def wrk_rate(bench: Bench) -> Rate | None:
    """The ceiling: wrk, which neither signs nor reads what it gets."""
    if not shutil.which("wrk"):
        return None
    script = bench.folder / "post.lua"
    script.write_text('wrk.method = "POST"\nwrk.body = string.rep("x", 700)\n')
    command = ["wrk", "-t1", "-c64", "-d3s", "-s", str(script), bench.url]
    told = subprocess.run(command, capture_output=True, text=True, check=True).stdout
    per_s = float(next(line for line in told.splitlines() if "Requests/sec" in line).split()[1])
    return Rate(per_s, 0.0, 0.0)


def apply_command(bench: Bench, lines: int, targets: int = 1, in_flight: int = 256) -> list[str]:
    """``provisioner apply`` over a fresh ledger: ``lines`` definitions in each of ``targets``."""
    folder = Path(tempfile.mkdtemp(dir=bench.folder))
    write_manifest(folder / "m.jsonl", lines)
    tables = "".join(f'[targets.t{n}]\nregion = "us-east-1"\nendpoint_url = "{bench.url}"\n' for n in range(targets))
    (folder / "c.toml").write_text(f"[pace]\ninitial_rate = 100000.0\n{tables}")
    files = [str(folder / name) for name in ("m.jsonl", "c.toml", "l.db")]
    options = ["--config", files[1], "--ledger", files[2], "--max-in-flight", str(in_flight), "--progress", "never"]
    return [sys.executable, "-m", "provisioner", "apply", files[0], *options]


def measure(client: Client, bench: Bench) -> Rate:
    """One round of ``client``."""
    small = cost_of(client.command(bench, client.warm), bench.env)
    large = cost_of(client.command(bench, client.creates), bench.env)
    return rate(small, large, client.creates - client.warm)


def install_javascript(folder: Path) -> Path | None:
    """Fetch the SDK for JavaScript; None where that is not possible."""
    if not (shutil.which("node") and shutil.which("npm")):
        return None
    (folder / "package.json").write_text('{"private": true}')
    shutil.copy(ROOT / "benchmarks" / "throughput" / "peer.mjs", folder)
    npm = ["npm", "install", "--no-audit", "--no-fund", "--silent", *JS_PACKAGES]
    done = subprocess.run(npm, cwd=folder, check=False, capture_output=True)
    return None if done.returncode else folder


def install_cli(folder: Path) -> Path | None:
    """Fetch the aws CLI of the SDK's generation; None where that is not possible."""
    modules = folder / "cli"
    pip = [sys.executable, "-m", "pip", "install", "--quiet", "--disable-pip-version-check", "--target", str(modules)]
    done = subprocess.run([*pip, "awscli", f"botocore=={version('botocore')}"], check=False, capture_output=True)
    return None if done.returncode else modules


def aioboto3_table(bench: Bench, rounds: int) -> None:
    """Ours and aioboto3 in turns, over the same definitions, with the same number in flight."""
    print(f"{DEFINITIONS:,} definitions, {rounds} rounds, medians; ratios of a round, least to most", flush=True)
    print(f"aioboto3 sends {PEER_DEFINITIONS:,} of them, and its time for the others is computed\n")
    print(
        "| client | in flight | whole process | ratio | without start | ratio | CPU per create | ratio | peak memory |"
    )
    print("|---|---|---|---|---|---|---|---|---|")
    for in_flight in IN_FLIGHT:
        ours, theirs = [], []
        for _ in range(rounds):
            ours.append(pair(bench, partial(apply_command, in_flight=in_flight), DEFINITIONS))
            theirs.append(pair(bench, peer("aioboto3", in_flight), PEER_DEFINITIONS))
        for name, pairs in (("provisioner apply", ours), ("aioboto3", theirs)):
            print(comparison(f"{name} | {in_flight}", pairs, theirs), flush=True)
    print()


def pair(bench: Bench, command: Callable[[Bench, int], list[str]], creates: int) -> tuple[Rate, Rate]:
    """One round: the whole process for all definitions, of which it makes ``creates``, and without its start-up."""
    small, large = cost_of(command(bench, WARM), bench.env), cost_of(command(bench, creates), bench.env)
    times = (DEFINITIONS - WARM) / (creates - WARM)
    wall_s, cpu_s = (large.wall_s - small.wall_s) * times, (large.cpu_s - small.cpu_s) * times
    whole = Cost(small.wall_s + wall_s, small.cpu_s + cpu_s, large.peak_mib)
    return rate(NOTHING, whole, DEFINITIONS), rate(small, large, creates - WARM)


def comparison(name: str, mine: list[tuple[Rate, Rate]], theirs: list[tuple[Rate, Rate]]) -> str:
    """One line of the table."""
    cells = [name]
    for kind in (0, 1):
        ratios = [a[kind].per_s / b[kind].per_s for a, b in zip(mine, theirs, strict=True)]
        cells += [f"{statistics.median(one[kind].per_s for one in mine):,.0f}/s", spread(ratios)]
    ratios = [b[0].cpu_ms / a[0].cpu_ms for a, b in zip(mine, theirs, strict=True)]
    cells += [f"{statistics.median(one[0].cpu_ms for one in mine):.3f} ms", spread(ratios)]
    return f"| {' | '.join(cells)} | {max(one[0].peak_mib for one in mine):.0f} MiB |"


def spread(ratios: list[float]) -> str:
    """The median, and how far the others are from it."""
    return f"{statistics.median(ratios):.2f}x ({min(ratios):.2f} - {max(ratios):.2f})"


def peers_table(bench: Bench, clients: list[Client], rounds: int) -> None:
    """Ours beside the others, a row each."""
    rates: dict[str, list[Rate]] = {client.name: [] for client in clients}
    for _ in range(rounds):
        for client in clients:
            if not client.missing:
                rates[client.name].append(measure(client, bench))
    summaries = {name: summarise(found) for name, found in rates.items() if found}
    base = summaries[BASELINE]
    print(
        "| client | creates/s | spread | ratio | CPU per create | ratio | peak memory |\n|---|---|---|---|---|---|---|"
    )
    for client in clients:
        if client.missing:
            print(f"| {client.name} | SKIPPED: {client.missing} | | | | | |")
        else:
            print(row(client.name, summaries[client.name], base))
    ceiling = wrk_rate(bench)
    print(
        f"| wrk, 64 connections | {f'{ceiling.per_s:,.0f}' if ceiling else 'SKIPPED: it is not installed'} | | | | |\n"
    )


def row(name: str, summary: Summary, base: Summary) -> str:
    """One line of the table."""
    speed = f"{summary.per_s:,.0f}" if summary.per_s >= 10 else f"{summary.per_s:.1f}"
    spread = f"{summary.lowest:,.0f} - {summary.highest:,.0f}"
    return (
        f"| {name} | {speed} | {spread} | {summary.per_s / base.per_s:.2g}x | "
        f"{summary.cpu_ms:.3f} ms | {base.cpu_ms / summary.cpu_ms:.2g}x | {summary.peak_mib:.0f} MiB |"
    )


def growth(bench: Bench, *, full: bool) -> None:
    """How the cost of ours grows with lines, creates in flight and targets."""
    print("| lines | in flight | targets | creates/s | CPU per create | peak memory |\n|---|---|---|---|---|---|")
    sizes = [1_000, 10_000, 100_000, *([1_000_000, 10_000_000] if full else [])]
    cases = [(lines, 256, 1) for lines in sizes]
    cases += [(lines, in_flight, 1) for lines, in_flight in ((500, 1), (2_000, 4), (5_000, 16), (10_000, 64))]
    cases += [(10_000 // targets, 256, targets) for targets in (4, 16, 64)]
    for lines, in_flight, targets in cases:
        small = cost_of(apply_command(bench, 8, targets, in_flight), bench.env)
        large = cost_of(apply_command(bench, lines, targets, in_flight), bench.env)
        found = rate(small, large, (lines - 8) * targets)
        print(
            f"| {lines:,} | {in_flight} | {targets} | {found.per_s:,.0f} | {found.cpu_ms:.3f} ms | "
            f"{found.peak_mib:.0f} MiB |",
            flush=True,
        )


def main() -> None:
    """Print the tables."""
    parser = argparse.ArgumentParser(prog="python -m benchmarks.throughput", description=__doc__)
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--full", action="store_true", help="growth: up to 10,000,000 lines")
    parser.add_argument("tables", nargs="*", metavar="TABLE", help=f"{', '.join(TABLES)}; all by default")
    options = parser.parse_args()
    if unknown := [table for table in options.tables if table not in TABLES]:
        parser.error(f"there is no table {unknown[0]!r}; the tables are {', '.join(TABLES)}")
    tables = options.tables or TABLES
    print(f"{machine()}\n`{this_command()}`\n")
    with tempfile.TemporaryDirectory(prefix="provisioner-bench-") as name, stub(None) as url:
        folder = Path(name)
        plain = Bench(folder, url, {**os.environ, **KEYS})
        if "aioboto3" in tables:
            aioboto3_table(plain, options.rounds)
        if "clients" in tables or "tls" in tables:
            clients_tables(plain, tables, options.rounds)
        if "growth" in tables:
            print("provisioner apply, plain, one round each\n")
            growth(plain, full=options.full)


def clients_tables(plain: Bench, tables: Collection[str], rounds: int) -> None:
    """Ours beside all others, plain and over TLS."""
    folder = plain.folder
    clients = [
        Client("provisioner apply, 256 in flight", 40_000, apply_command),
        Client("provisioner apply, 64 in flight", 20_000, partial(apply_command, in_flight=64)),
        Client("provisioner, transport alone", 30_000, peer("direct")),
        Client("aiohttp and a cached key, 64 tasks", 20_000, peer("aiohttp")),
        javascript(install_javascript(folder)),
        Client(BASELINE, 4_000, peer("aioboto3")),
        Client("boto3, 16 threads", 3_000, peer("boto3", 16)),
        aws_cli(install_cli(folder)),
    ]
    what = f"{rounds} rounds, medians, start-up taken off; above 1x beats aioboto3"
    if "clients" in tables:
        print(f"plain, {what}\n")
        peers_table(plain, clients, rounds)
    if "tls" in tables:
        authority = Authority(folder)
        authority.server("localhost")
        trust = {"AWS_CA_BUNDLE": str(authority.bundle), "NODE_EXTRA_CA_CERTS": str(authority.bundle)}
        with stub(folder / "localhost.pem") as url:
            print(f"TLS, {what}\n")
            peers_table(Bench(folder, url, {**plain.env, **trust}), clients, rounds)


if __name__ == "__main__":
    main()
