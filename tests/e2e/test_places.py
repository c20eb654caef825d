"""A target is one account and Region: what happens when two targets are the same one."""

from __future__ import annotations

import json
from collections import Counter
from typing import TYPE_CHECKING

import pytest

from provisioner.core.entry import Event, Fact
from tests.e2e.process import Endpoint, emulate, provisioner
from tests.emulator.support import client
from tests.ledger.opening import open_ledger

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

ROLE = "arn:aws:iam::123456789012:role/access"
OTHER_ACCOUNT = "arn:aws:iam::999999999999:role/provisioner"


@pytest.fixture
def endpoint(tmp_path: Path) -> Iterator[Endpoint]:
    """An endpoint of its own for each test."""
    with emulate(tmp_path) as running:
        yield running


@pytest.fixture
def manifest(tmp_path: Path) -> Path:
    """Three definitions."""
    path = tmp_path / "m.jsonl"
    path.write_text("".join(json.dumps({"name": f"algorithm {n}", "roleArn": ROLE}) + "\n" for n in range(3)))
    return path


def configure(tmp_path: Path, endpoint: Endpoint, **targets: str) -> Path:
    """A configuration with these targets."""
    path = tmp_path / "c.toml"
    urls = f"endpoint_url = '{endpoint.url}'\nsts_endpoint_url = '{endpoint.url}'\n"
    path.write_text("".join(f"[targets.{name}]\n{urls}{rest}\n" for name, rest in targets.items()))
    return path


def test_a_second_target_in_a_place_is_refused(tmp_path: Path, endpoint: Endpoint, manifest: Path) -> None:
    """Two targets that are one account and Region end with 78, and no definition is made twice."""
    configure(tmp_path, endpoint, east="region = 'us-east-1'", prod="region = 'us-east-1'")

    done = provisioner("apply", manifest, "-c", "c.toml", "--output", "json", cwd=tmp_path)

    names = Counter(algorithm["name"] for algorithm in endpoint.truth()["algorithms"])
    halted = [target.get("halted") for target in json.loads(done.stdout)["targets"].values()]
    assert done.returncode == 78
    assert set(names.values()) <= {1}
    assert any("the same account and Region" in why for why in halted if why)


@pytest.mark.parametrize("command", ["verify", "reconcile", "rebuild"])
def test_every_command_refuses_a_second_target_in_a_place(
    tmp_path: Path, endpoint: Endpoint, manifest: Path, command: str
) -> None:
    """What only reads ends with 78 as well, and says which two targets are one."""
    configure(tmp_path, endpoint, east="region = 'us-east-1'", prod="region = 'us-east-1'")
    provisioner("apply", manifest, "-c", "c.toml", "-t", "east", cwd=tmp_path)
    ledger = "rebuilt.db" if command == "rebuild" else "ledger.db"

    done = provisioner(command, "-c", "c.toml", "--ledger", ledger, "--output", "json", cwd=tmp_path)

    assert done.returncode == 78, done.stderr
    assert "the same account and Region" in done.stdout


def test_a_role_names_its_account(tmp_path: Path, endpoint: Endpoint, manifest: Path) -> None:
    """Targets of one Region whose roles lead into different accounts are different places."""
    role = f"assume_role_arn = '{OTHER_ACCOUNT}'"
    configure(tmp_path, endpoint, east="region = 'us-east-1'", other=f"region = 'us-east-1'\n{role}")

    done = provisioner("apply", manifest, "-c", "c.toml", cwd=tmp_path)

    assert done.returncode == 0, done.stdout
    assert len({algorithm["arn"].split(":")[4] for algorithm in endpoint.truth()["algorithms"]}) == 2


async def test_nothing_that_an_entry_names_is_pruned(tmp_path: Path, endpoint: Endpoint, manifest: Path) -> None:
    """An algorithm that is a duplicate for one target and the entry of another is not deleted."""
    configure(tmp_path, endpoint, east="region = 'us-east-1'")
    provisioner("apply", manifest, "-c", "c.toml", cwd=tmp_path)
    endpoint.change(names="duplicates")
    sdk = client(endpoint.url)
    async with open_ledger(str(tmp_path / "ledger.db")) as ledger:
        tag = f"v1/{ledger.ledger_id}/{'0' * 32}/x-1"
        twin = sdk.create_configured_model_algorithm(
            name="algorithm 0", roleArn=ROLE, tags={"provisioner:origin": tag}
        )["configuredModelAlgorithmArn"]
        await ledger.record([Fact("west", "algorithm 0", Event.CONFIRM, digest="d", tags_digest="t", arn=twin)])

    done = provisioner("verify", "-c", "c.toml", "--prune-duplicates", "--yes", "--output", "json", cwd=tmp_path)

    assert [finding["kind"] for finding in json.loads(done.stdout)["findings"]] == ["duplicate"]
    assert (done.returncode, len(endpoint.truth()["algorithms"])) == (5, 4)
