"""The accounts of a fleet: embedded endpoints in processes of their own, and the configuration that leads to them."""

from __future__ import annotations

import socket
import subprocess
import sys
from contextlib import ExitStack, contextmanager
from typing import TYPE_CHECKING

import msgspec

from benchmarks.throughput.definitions import write_manifest
from benchmarks.throughput.processes import ROOT
from provisioner.emulator import credentials, truth_at

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence
    from pathlib import Path

LATENCY_S = 0.05

REGIONS = ("us-east-1", "us-west-2", "eu-west-1", "ap-northeast-1")

MIX = (2, 5, 10, 20, 50)
"""Creates per second that the accounts of a mixed fleet allow."""

TROUBLED = ("quota", "quota", "denied", "dead")
"""The accounts of a fleet that are in trouble: two at their quota, one that denies everything, one without replies."""


class Member(msgspec.Struct, frozen=True):
    """One target. ``limit`` is what its account allows, creates per second; 0 for one that is in trouble."""

    name: str
    account: str
    region: str
    url: str
    limit: float


class World(msgspec.Struct, frozen=True):
    """A fleet, ready to be used.

    Attributes:
        folder: holds ``manifest.jsonl`` and ``fleet.toml``.
        members: the targets.
        env: credentials of the account that may assume all roles.
    """

    folder: Path
    members: list[Member]
    env: dict[str, str]

    @property
    def healthy(self) -> list[Member]:
        """The targets that are not in trouble."""
        return [member for member in self.members if member.limit]

    def creates(self) -> dict[str, list[float]]:
        """When each account made an algorithm, seconds since the epoch."""
        made: dict[str, list[float]] = {}
        for url in sorted({member.url for member in self.healthy}):
            for create in truth_at(url).creates:
                if create.arn:
                    made.setdefault(create.account_id, []).append(create.time)
        return made


@contextmanager
def world(folder: Path, limits: Sequence[float], lines: int, *, troubled: bool) -> Iterator[World]:
    """Endpoints for one target of each of ``limits``, 0 for none; with ``troubled``, the last ones are in trouble."""
    kinds: list[float | str] = list(limits)
    if troubled:
        kinds[-len(TROUBLED) :] = TROUBLED
    with ExitStack() as stack:
        sts = stack.enter_context(_endpoint([]))
        urls: dict[float | str, str] = {}
        for kind in dict.fromkeys(kinds):
            urls[kind] = stack.enter_context(_dead() if kind == "dead" else _endpoint(_options(kind)))
        members = [_member(number, kind, urls[kind]) for number, kind in enumerate(kinds)]
        write_manifest(folder / "manifest.jsonl", lines)
        (folder / "fleet.toml").write_text("".join(_table(member, sts) for member in members))
        keys = credentials("999999999999").environment()
        yield World(folder, members, keys)


def _member(number: int, kind: float | str, url: str) -> Member:
    limit = 0.0 if isinstance(kind, str) else kind or float("inf")
    return Member(f"t{number:04d}", f"{100_000_000_000 + number}", REGIONS[number % len(REGIONS)], url, limit)


def _table(member: Member, sts: str) -> str:
    return (
        f'[targets.{member.name}]\nregion = "{member.region}"\nendpoint_url = "{member.url}"\n'
        f'sts_endpoint_url = "{sts}"\nassume_role_arn = "arn:aws:iam::{member.account}:role/provisioner"\n'
    )


def _options(kind: float | str) -> list[str]:
    if kind == "quota":
        return ["--quota", "3"]
    if kind == "denied":
        return ["--denied"]
    assert not isinstance(kind, str)
    return ["--rate", str(kind), "--burst", str(max(1.0, kind))]


@contextmanager
def _endpoint(options: list[str]) -> Iterator[str]:
    command = [sys.executable, "-m", "provisioner", "emulate", "--no-verify", "--latency", str(LATENCY_S), *options]
    with subprocess.Popen(command, cwd=ROOT, stdout=subprocess.PIPE, stderr=subprocess.DEVNULL, text=True) as process:
        try:
            assert process.stdout is not None
            yield process.stdout.readline().strip()
        finally:
            process.terminate()


@contextmanager
def _dead() -> Iterator[str]:
    """A host that accepts connections and never answers."""
    with socket.create_server(("127.0.0.1", 0), backlog=1024) as listener:
        yield f"http://127.0.0.1:{listener.getsockname()[1]}"
