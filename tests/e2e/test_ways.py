"""Four ways to the same ledger: one process, shards, workers and a cluster of Ray register the same manifest.

In full: ``python -m pytest -m torture tests/e2e/test_ways.py``; ``PROVISIONER_WAYS`` sets the number of definitions.
"""

from __future__ import annotations

import asyncio
import os
from typing import TYPE_CHECKING, NamedTuple

import pytest

from provisioner.core.entry import State
from provisioner.emulator import Behaviour, running
from provisioner.exit_codes import ExitCode
from provisioner.ledger.location import locate
from tests.definition_lines import manifest_of
from tests.e2e.process import Endpoint, Process, start
from tests.e2e.test_jobs import REGIONS, SHORT, TARGETS
from tests.e2e.test_ray import QUIETLY
from tests.postgres import fresh_ledger

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping
    from pathlib import Path

SIZE = int(os.environ.get("PROVISIONER_WAYS", "200"))


BAD_ROLE = "arn:aws:iam::123456789012:role/denied"
CHANGES = ("--on-change", "replace", "--prune", "--yes")


class Site(NamedTuple):
    """Where the command runs, against which endpoint."""

    path: Path
    endpoint: Endpoint

    def start(self, ledger: str, *more: str) -> Process:
        """Begin to register the manifest."""
        options = ("-c", "c.toml", "--endpoint-url", self.endpoint.url, "--ledger", ledger, *more)
        return start("apply", "m.jsonl", *options, cwd=self.path, **QUIETLY)

    def apply(self, ledger: str, *more: str) -> int:
        """Register the manifest; the exit code."""
        return _code(self.start(ledger, *more))


def _code(process: Process) -> int:
    out, err = process.communicate()
    assert process.returncode in {ExitCode.DONE, ExitCode.DENIED}, out + err
    return process.returncode


class Way(NamedTuple):
    """One way to register a manifest.

    Attributes:
        ledgers: their names.
        register: with options, into the first of them; the exit code of all together.
    """

    ledgers: list[str]
    register: Callable[[Site, str, tuple[str, ...]], int]


def _shards(site: Site, ledger: str, options: tuple[str, ...]) -> int:
    return max(site.apply(ledger, "--shard", shard, *options) for shard in ("1/2", "2/2"))


def _workers(site: Site, ledger: str, options: tuple[str, ...]) -> int:
    codes = {_code(worker) for worker in [site.start(ledger, *options) for _ in range(2)]}
    (code,) = codes
    return code


def _ray(site: Site, ledger: str, options: tuple[str, ...]) -> int:
    return site.apply(ledger, "--engine", "ray", "--workers", "2", *options)


def ways() -> dict[str, Way]:
    """All but Ray, with new ledgers."""
    return {
        "local": Way(["local.db"], lambda site, ledger, options: site.apply(ledger, *options)),
        "shards": Way(["shard-1.db", "shard-2.db"], lambda site, _, options: _shards(site, "shard.db", options)),
        "workers": Way([fresh_ledger().url], _workers),
    }


class Contents(NamedTuple):
    """What ledgers have that must not depend on the way; and what else has to be true of it.

    Attributes:
        entries, versions: of all targets.
        problems: each once, however many targets have it.
        arns: of algorithms that exist by the ledgers, and of those that do not.
    """

    entries: list[tuple[str, ...]]
    versions: list[tuple[str, ...]]
    problems: list[tuple[int, str, str, str]]
    arns: tuple[set[str], set[str]]


async def contents_of(path: Path, ledgers: list[str]) -> Contents:
    """Everything that the ledgers have."""
    entries, versions, problems = [], [], set()
    for ledger in ledgers:
        async with locate(ledger if "://" in ledger else str(path / ledger)).read() as opened:
            entries += [entry async for entry in opened.entries()]
            for region in REGIONS:
                versions += await opened.versions(region)
            for run in await opened.runs(100):
                problems |= {(one.line, one.name, one.code, one.message) async for one in opened.problems(run.run_id)}
    return Contents(
        sorted((one.target, one.name, one.digest, one.tags_digest, one.state, one.code) for one in entries),
        sorted((one.target, one.name, one.digest, one.role, one.reason) for one in versions),
        sorted(problems),
        ({one.arn for one in entries if one.state is State.CREATED}, {one.arn for one in versions}),
    )


def check_same(path: Path, size: int, ways: Mapping[str, Way]) -> None:
    """The contents of all ways agree, and with each way every algorithm is in its account once.

    A first manifest has an invalid line and a definition that is refused; the next one has changed and removed some.
    """
    (path / "c.toml").write_text(f"[run]\n{SHORT}{TARGETS}")
    names = [f"a{number}" for number in range(size)]
    first = manifest_of(*names, "goes") + b"{}\n" + manifest_of("refused", roleArn=BAD_ROLE)
    second = manifest_of(names[0], description="changed") + manifest_of(*names[1:], "comes")
    found: dict[str, Contents] = {}
    codes: dict[str, list[int]] = {}
    calls: dict[str, dict[str, int]] = {}
    for way, (ledgers, register) in ways.items():
        with running(Behaviour(names="duplicates", denied_roles=(BAD_ROLE,))) as emulator:
            site = Site(path, Endpoint(emulator.url))
            codes[way] = []
            for manifest, options in ((first, ()), (second, CHANGES)):
                (path / "m.jsonl").write_bytes(manifest)
                codes[way].append(register(site, ledgers[0], options))
            truth = site.endpoint.truth()
            found[way] = asyncio.run(contents_of(path, ledgers))
            calls[way] = {kind: sum(truth["calls"][kind].values()) for kind in ("create", "delete")}
            alive = [one for one in truth["algorithms"] if not one.get("deleted_at")]
            gone = [one for one in truth["algorithms"] if one.get("deleted_at")]

            assert ({one["arn"] for one in alive}, {one["arn"] for one in gone}) == found[way].arns, way
            assert sorted((one["region"], one["name"]) for one in alive) == sorted(
                (region, name) for region in REGIONS for name in [*names, "comes"]
            ), way
    whole = found["local"]

    assert {one[4:] for one in whole.entries if one[1] in names} == {(State.CREATED, "")}
    assert {one[1:2] + one[4:5] for one in whole.entries} >= {("goes", State.DELETED), ("comes", State.CREATED)}
    assert {(one[1], one[4]) for one in whole.versions} == {(names[0], "replaced"), ("goes", "pruned")}
    assert len(whole.problems) > 1
    assert dict.fromkeys(ways, codes["local"]) == codes
    assert dict.fromkeys(ways, calls["local"]) == calls
    assert {way: one._replace(arns=whole.arns) == whole for way, one in found.items()} == dict.fromkeys(ways, True)


def test_every_way_leads_to_the_same_ledger(tmp_path: Path) -> None:
    """One process, shards and workers leave the same entries, older versions and problems, by as many calls."""
    check_same(tmp_path, 3, ways())


@pytest.mark.torture
def test_every_way_leads_to_the_same_ledger_in_full(tmp_path: Path) -> None:
    """So does a cluster of Ray."""
    check_same(tmp_path, SIZE, ways() | {"ray": Way([fresh_ledger().url], _ray)})
