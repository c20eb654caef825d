"""Four ways to the same ledger: one process, shards, workers and a cluster of Ray register the same manifest.

In full: ``python -m pytest -m torture tests/e2e/test_ways.py``; ``PROVISIONER_WAYS`` sets the number of definitions.
"""

from __future__ import annotations

import asyncio
import os
from typing import TYPE_CHECKING, NamedTuple

import pytest

from provisioner.core.entry import State
from provisioner.emulator import running
from provisioner.ledger.location import locate
from tests.definition_lines import manifest_of
from tests.e2e.process import Endpoint, start
from tests.e2e.test_jobs import REGIONS, SHORT, TARGETS
from tests.e2e.test_ray import QUIETLY
from tests.postgres import fresh_ledger

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping
    from pathlib import Path

    from provisioner.core.entry import Entry

SIZE = int(os.environ.get("PROVISIONER_WAYS", "200"))


class Site(NamedTuple):
    """Where the command runs, against which endpoint."""

    path: Path
    endpoint: Endpoint

    def command(self, ledger: str, *more: str) -> list[str]:
        """The arguments of ``apply``."""
        return [
            *("apply", "m.jsonl", "-c", "c.toml", "--endpoint-url", self.endpoint.url, "--output", "json"),
            *("--ledger", ledger, *more),
        ]

    def apply(self, ledger: str, *more: str) -> str:
        """Run it to its end; the ledger."""
        process = start(*self.command(ledger, *more), cwd=self.path, **QUIETLY)
        out, err = process.communicate()
        assert process.returncode == 0, out + err
        return ledger


def _local(site: Site) -> list[str]:
    return [site.apply("local.db")]


def _shards(site: Site) -> list[str]:
    for number in (1, 2, 3):
        site.apply("shard.db", "--shard", f"{number}/3")
    return ["shard-1.db", "shard-2.db", "shard-3.db"]


def _workers(site: Site) -> list[str]:
    ledger = fresh_ledger().url
    workers = [start(*site.command(ledger), cwd=site.path) for _ in range(2)]
    for worker in workers:
        out, err = worker.communicate()
        assert worker.returncode == 0, out + err
    return [ledger]


def _ray(site: Site) -> list[str]:
    return [site.apply(fresh_ledger().url, "--engine", "ray", "--workers", "2")]


WAYS = {"local": _local, "shards": _shards, "workers": _workers}


async def entries_of(path: Path, ledgers: list[str]) -> list[Entry]:
    """Everything that the ledgers have."""
    found = []
    for ledger in ledgers:
        async with locate(ledger if "://" in ledger else str(path / ledger)).read() as opened:
            found += [entry async for entry in opened.entries()]
    return found


def check_same(path: Path, size: int, ways: Mapping[str, Callable[[Site], list[str]]]) -> None:
    """The entries of all ways agree, and with each way every algorithm is in its account once."""
    names = [f"a{number}" for number in range(size)]
    (path / "c.toml").write_text(f"[run]\n{SHORT}{TARGETS}")
    (path / "m.jsonl").write_bytes(manifest_of(*names))
    found = {}
    for way, register in ways.items():
        with running() as emulator:
            endpoint = Endpoint(emulator.url)
            entries = asyncio.run(entries_of(path, register(Site(path, endpoint))))
            found[way] = sorted((one.target, one.name, one.digest, one.state) for one in entries)
            there = endpoint.truth()["algorithms"]

            assert sorted(one["arn"] for one in there) == sorted(one.arn for one in entries), way
            assert sorted((one["region"], one["name"]) for one in there) == [one[:2] for one in found[way]], way
    first = found["local"]

    assert {state for *_, state in first} == {State.CREATED}
    assert [one[:2] for one in first] == sorted((region, name) for region in REGIONS for name in names)
    assert {way: entries == first for way, entries in found.items()} == dict.fromkeys(ways, True)


def test_every_way_leads_to_the_same_ledger(tmp_path: Path) -> None:
    """One process, shards and workers record the same entries: target, name, digest and state."""
    check_same(tmp_path, 3, WAYS)


@pytest.mark.torture
def test_every_way_leads_to_the_same_ledger_in_full(tmp_path: Path) -> None:
    """So does a cluster of Ray."""
    check_same(tmp_path, SIZE, WAYS | {"ray": _ray})
