"""``provisioner iam-policy``: the policy that it prints is enough for each command, and nothing of it is too much."""

from __future__ import annotations

import json
from typing import TYPE_CHECKING, Any, NamedTuple

import pytest

from provisioner.aws.session import REGIONS
from provisioner.core.permissions import Action
from tests.definition_lines import ROLE, lines_of, named, numbered
from tests.e2e.process import Endpoint, provisioner
from tests.emulator.support import client

if TYPE_CHECKING:
    import subprocess
    from collections.abc import Callable
    from pathlib import Path


class Account:
    """One Region of the endpoint, which nothing else uses, and the folder of its ledger and manifest."""

    def __init__(self, folder: Path, endpoint: Endpoint, region: str) -> None:
        folder.mkdir()
        self.folder = folder
        self.endpoint = endpoint
        self.region = region
        self.client = client(endpoint.url, region=region)
        self.write(numbered(4))
        (folder / "provisioner.toml").write_text(
            '[reconcile]\nsettle = "1s"\nlist_lag = "1s"\n'
            f'[targets.here]\nendpoint_url = "{endpoint.url}"\ntagging_endpoint_url = "{endpoint.url}"\n'
        )

    def write(self, manifest: bytes) -> None:
        """Make this the manifest."""
        (self.folder / "m.jsonl").write_bytes(manifest)

    def run(self, *arguments: object) -> subprocess.CompletedProcess[str]:
        """Run a command in this Region."""
        return provisioner(*arguments, cwd=self.folder, AWS_REGION=self.region)


def ledger(account: Account) -> None:
    """Something is registered."""
    assert account.run("apply", "m.jsonl").returncode == 0


def foreign(account: Account) -> None:
    """An algorithm that no ledger made, under a name of the manifest."""
    account.client.create_configured_model_algorithm(name="algorithm 0", roleArn=ROLE)


def foreign_with_tags(account: Account) -> None:
    """The same, with a tag that the ledger was to set and the manifest has no more, and without the one that it has."""
    account.write(numbered(1, tags={"old": ""}))
    account.endpoint.change(denied_actions=[Action.CREATE])
    assert account.run("apply", "m.jsonl").returncode == 77
    account.endpoint.change(denied_actions=[])
    account.client.create_configured_model_algorithm(name="algorithm 0", roleArn=ROLE, tags={"old": ""})
    account.write(numbered(1, tags={"new": ""}))


def foreign_beside(account: Account) -> None:
    """Something is registered, and there is an algorithm of another name that no ledger made."""
    ledger(account)
    account.client.create_configured_model_algorithm(name="other", roleArn=ROLE)


def changed(account: Account) -> None:
    """There is something to create, to adopt, to tag and to untag."""
    account.write(lines_of(named("tagged", tags={"old": ""}), named("left"), named("replaced")))
    ledger(account)
    foreign(account)
    account.write(numbered(4) + lines_of(named("tagged", tags={"new": ""}), named("left"), named("replaced")))


def replaced(account: Account) -> None:
    """There is something to replace besides."""
    changed(account)
    account.write(numbered(4) + lines_of(named("tagged", tags={"new": ""}), named("replaced", description="new")))


def pruned(account: Account) -> None:
    """There is something to prune besides."""
    changed(account)
    account.write(numbered(4) + lines_of(named("tagged", tags={"new": ""}), named("replaced")))


def duplicate(account: Account) -> None:
    """The ledger has made an algorithm a second time."""
    ledger(account)
    made = [one for one in account.endpoint.truth()["algorithms"] if one["arn"].split(":")[3] == account.region]
    account.client.create_configured_model_algorithm(name=made[0]["name"], roleArn=ROLE, tags=made[0]["tags"])


def lost(account: Account) -> None:
    """A create is unanswered, and took effect."""
    account.endpoint.change(script=["lost_reply"])
    assert account.run("apply", "m.jsonl", "--no-wait").returncode == 5


def rebuild(account: Account) -> tuple[object, ...]:
    """The command that rebuilds the ledger beside it."""
    status = provisioner("status", "--output", "json", cwd=account.folder)
    return ("rebuild", "--ledger", "new.db", "--ledger-id", json.loads(status.stdout)["ledger_id"])


class Case(NamedTuple):
    """A command as iam-policy takes it, how it is run, and what is there before."""

    command: str
    arguments: Callable[[Account], tuple[object, ...]]
    before: Callable[[Account], None]


CASES = [
    Case("apply", lambda _: ("apply", "m.jsonl"), changed),
    Case("apply --on-change replace", lambda _: ("apply", "m.jsonl", "--on-change", "replace", "--yes"), replaced),
    Case("apply --prune", lambda _: ("apply", "m.jsonl", "--prune", "--yes"), pruned),
    Case("adopt", lambda _: ("adopt", "m.jsonl"), foreign_with_tags),
    Case("plan", lambda _: ("plan", "m.jsonl"), changed),
    Case("verify", lambda _: ("verify",), foreign_beside),
    Case("verify --prune-duplicates", lambda _: ("verify", "--prune-duplicates", "--yes"), duplicate),
    Case("reconcile", lambda _: ("reconcile",), lost),
    Case("rebuild", rebuild, foreign_beside),
    Case("discover", lambda _: ("discover",), foreign),
    Case("destroy", lambda _: ("destroy", "--all", "--yes"), lost),
]

SPARED = {Action.GET_RESOURCES}
"""Actions that only spare calls: without one of them a command ends with 0 all the same."""


def printed(cwd: Path, *commands: str) -> list[str]:
    """The actions in the policy for ``commands``."""
    done = provisioner("iam-policy", *commands, cwd=cwd)
    assert done.returncode == 0, done.stderr
    found: dict[str, Any] = json.loads(done.stdout)
    return [action for statement in found["Statement"] for action in statement["Action"]]


SAMPLE = {"apply --prune", "destroy"}
"""What the default suite tries: a process for each action of a command takes a while."""


@pytest.mark.parametrize(
    "case",
    [
        pytest.param(
            case,
            id=case.command.replace(" ", ""),
            marks=() if case.command in SAMPLE else pytest.mark.torture,
        )
        for case in CASES
    ],
)
def test_a_policy_is_enough_and_nothing_in_it_too_much(tmp_path: Path, endpoint: Endpoint, case: Case) -> None:
    """With the policy the command ends with 0; without any one of its actions with 77, and it says which is missing."""
    actions = printed(tmp_path, case.command)
    endpoint.change(names="duplicates")
    for region, missing in zip(REGIONS, ["", *actions], strict=False):
        account = Account(tmp_path / region, endpoint, region)
        endpoint.change(allowed_actions=[])
        case.before(account)
        arguments = case.arguments(account)
        endpoint.change(allowed_actions=[action for action in actions if action != missing])

        done = account.run(*arguments)

        expected = 77 if missing and missing not in SPARED else 0
        assert done.returncode == expected, (missing, done.stdout, done.stderr)
        assert not missing or f"not authorized to perform: {missing}" in done.stdout + done.stderr


def test_reconcile_deletes_nothing(tmp_path: Path, endpoint: Endpoint) -> None:
    """What `apply` could not delete, `reconcile` leaves alone, whatever the configuration says: it has no Delete."""
    account = Account(tmp_path / "a", endpoint, "us-east-1")
    config = account.folder / "provisioner.toml"
    config.write_text("[lifecycle]\nprune = true\n" + config.read_text())
    ledger(account)
    account.write(numbered(3))
    endpoint.change(denied_actions=[Action.DELETE])
    assert account.run("apply", "m.jsonl", "--yes").returncode == 77
    endpoint.change(denied_actions=[], allowed_actions=printed(tmp_path, "reconcile"))
    before = endpoint.truth()["calls"]["delete"]

    assert account.run("reconcile").returncode == 0
    assert endpoint.truth()["calls"]["delete"] == before


def test_commands_that_call_nothing_need_no_policy(tmp_path: Path, endpoint: Endpoint) -> None:
    """Commands on the ledger alone get an empty list, and stderr says why; they work where everything is refused."""
    account = Account(tmp_path / "a", endpoint, "us-east-1")
    ledger(account)
    endpoint.change(denied=True)
    calls = endpoint.truth()["calls"]

    done = provisioner("iam-policy", "export", "status", "validate", cwd=tmp_path)

    assert (done.returncode, json.loads(done.stdout)) == (0, {"Version": "2012-10-17", "Statement": []})
    assert "call no AWS operation" in done.stderr
    for command in (("export",), ("status",), ("validate", "m.jsonl")):
        assert provisioner(*command, cwd=account.folder).returncode == 0
    assert endpoint.truth()["calls"] == calls


def test_deletion_is_confined_to_the_ledger_that_is_there(tmp_path: Path, endpoint: Endpoint) -> None:
    """The condition has the id of the ledger; before there is one, stderr says that any ledger's are in reach."""
    account = Account(tmp_path / "a", endpoint, "us-east-1")
    ask = ("iam-policy", "verify --prune-duplicates", "--ledger", "ledger.db")

    before = provisioner(*ask, cwd=account.folder)
    ledger(account)
    after = provisioner(*ask, cwd=account.folder)

    identity = json.loads(provisioner("status", "--output", "json", cwd=account.folder).stdout)["ledger_id"]
    assert ('"v1/*"' in before.stdout, "There is no ledger ledger.db yet" in before.stderr) == (True, True)
    assert (f'"v1/{identity}/*"' in after.stdout, "no ledger" in after.stderr) == (True, False)


def test_a_role_on_the_way_is_named(tmp_path: Path) -> None:
    """A target with a role: the policy belongs to that role, and the caller has to be allowed to assume it."""
    role = "arn:aws:iam::111122223333:role/provisioner"
    (tmp_path / "provisioner.toml").write_text(f'[targets.a]\nassume_role_arn = "{role}"\n[targets.b]\n')

    done = provisioner("iam-policy", "apply", "--target", "a", cwd=tmp_path)
    other = provisioner("iam-policy", "apply", "--target", "b", cwd=tmp_path)
    wrong = provisioner("iam-policy", "aply", cwd=tmp_path)

    assert f"attach the policy to {role}" in done.stderr
    assert "sts:AssumeRole" not in other.stderr
    assert (wrong.returncode, "Did you mean apply?" in wrong.stderr) == (2, True)
