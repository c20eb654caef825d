"""The accounts of a fleet, in processes of their own, and the configuration that leads to them.

Healthy accounts are one process that costs next to nothing; STS and the accounts in trouble are embedded endpoints.
"""

from __future__ import annotations

import socket
import subprocess
import sys
from contextlib import ExitStack, contextmanager
from typing import TYPE_CHECKING
from urllib.request import Request, urlopen

import msgspec

from benchmarks.throughput.definitions import write_manifest
from benchmarks.throughput.processes import ROOT
from provisioner.emulator import credentials

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence
    from contextlib import AbstractContextManager
    from pathlib import Path

LATENCY_S = 0.05

REGIONS = ("us-east-1", "us-west-2", "eu-west-1", "ap-northeast-1")

MIX = (2, 5, 10, 20, 50)
"""Creates per second that the accounts of a mixed fleet allow."""

TROUBLE = {"quota": ("--quota", "3"), "denied": ("--denied",)}
"""The options of embedded endpoints in trouble."""

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
        url: of the healthy accounts.
        members: the targets.
        env: credentials of the account that may assume all roles.
    """

    folder: Path
    url: str
    members: list[Member]
    env: dict[str, str]

    @property
    def healthy(self) -> list[Member]:
        """The targets that are not in trouble."""
        return [member for member in self.members if member.limit]

    def creates(self) -> dict[str, list[float]]:
        """When each account made an algorithm, seconds since the epoch."""
        made = msgspec.json.decode(_ask(self.url, "GET", "/made"), type=dict[str, list[float]])
        return {account: times for account, times in made.items() if times}


def _ask(url: str, method: str, path: str, body: object = None) -> bytes:
    request = Request(url + path, method=method, data=msgspec.json.encode(body))  # noqa: S310  our own server
    with urlopen(request) as reply:  # noqa: S310  the same
        return bytes(reply.read())


@contextmanager
def world(folder: Path, limits: Sequence[float], lines: int, *, troubled: bool) -> Iterator[World]:
    """Endpoints for one target of each of ``limits``, 0 for none; with ``troubled``, the last ones are in trouble."""
    kinds: list[float | str] = list(limits)
    if troubled:
        kinds[-len(TROUBLED) :] = TROUBLED
    with ExitStack() as stack:
        sts, healthy = stack.enter_context(_endpoint([])), stack.enter_context(_accounts())
        urls: dict[float | str, str] = {"dead": stack.enter_context(_dead())}
        if troubled:
            urls |= {kind: stack.enter_context(_endpoint(options)) for kind, options in TROUBLE.items()}
        members = [_member(number, kind, urls.get(kind, healthy)) for number, kind in enumerate(kinds)]
        limits_by_account = {member.account: member.limit for member in members if member.limit != float("inf")}
        _ask(healthy, "PUT", "/limits", limits_by_account)
        write_manifest(folder / "manifest.jsonl", lines)
        (folder / "fleet.toml").write_text("".join(_table(member, sts) for member in members))
        keys = credentials("999999999999").environment()
        yield World(folder, healthy, members, keys)


def _member(number: int, kind: float | str, url: str) -> Member:
    limit = 0.0 if isinstance(kind, str) else kind or float("inf")
    return Member(f"t{number:04d}", f"{100_000_000_000 + number}", REGIONS[number % len(REGIONS)], url, limit)


def _table(member: Member, sts: str) -> str:
    return (
        f'[targets.{member.name}]\nregion = "{member.region}"\nendpoint_url = "{member.url}"\n'
        f'sts_endpoint_url = "{sts}"\nassume_role_arn = "arn:aws:iam::{member.account}:role/provisioner"\n'
    )


def _endpoint(options: Sequence[str]) -> AbstractContextManager[str]:
    return _serving("provisioner", "emulate", "--no-verify", "--latency", str(LATENCY_S), *options)


def _accounts() -> AbstractContextManager[str]:
    return _serving("benchmarks.fleet.accounts", str(LATENCY_S))


@contextmanager
def _serving(module: str, *arguments: str) -> Iterator[str]:
    """A process that prints its address."""
    command = [sys.executable, "-m", module, *arguments]
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
