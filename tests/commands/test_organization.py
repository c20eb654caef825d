"""Targets from AWS Organizations: moto's, over HTTP; what a ledger keeps of its answer; what a plan says of it."""

from __future__ import annotations

from contextlib import contextmanager
from typing import TYPE_CHECKING, Any

import boto3
import msgspec
import pytest
import structlog

from provisioner.commands.apply import apply
from provisioner.commands.organization import Asked, with_known, with_organization
from provisioner.commands.plan import PlanCommand
from provisioner.commands.run import Order, Run, policy_of
from provisioner.config.settings import Settings
from provisioner.core.permissions import OF_ORGANIZATIONS
from provisioner.emulator import DEFAULT_ACCOUNT, Behaviour, credentials, running
from provisioner.errors import ProvisionerError, Reason
from provisioner.fleet import organizations
from provisioner.report.plan import plan_text
from tests.aws.conftest import _aws_environment, _shared_models, service_models
from tests.aws.server import Server
from tests.aws.services import DENIED_JSON, Refusal, Services
from tests.definition_lines import manifest_of
from tests.moto import moto_server

if TYPE_CHECKING:
    from collections.abc import Iterator, MutableMapping
    from pathlib import Path

__all__ = ["_aws_environment", "_shared_models", "service_models"]


@contextmanager
def logged() -> Iterator[list[MutableMapping[str, Any]]]:
    """The events that are logged inside; structlog is unconfigured again afterwards, as for a program's user."""
    with structlog.testing.capture_logs() as events:
        yield events
    structlog.reset_defaults()


class Tree:
    """An organization: ``prod`` with 21 accounts, ``prod/core`` with one, ``lab`` with two, one of them closed.

    Args:
        url: of moto's server.
    """

    def __init__(self, url: str) -> None:
        self.url = url
        self._client = boto3.client("organizations", region_name="us-east-1", endpoint_url=url)
        self._client.create_organization(FeatureSet="ALL")
        self.root = self._client.list_roots()["Roots"][0]["Id"]
        self.units = {"prod": self._unit(self.root, "prod"), "lab": self._unit(self.root, "lab")}
        self.units["core"] = self._unit(self.units["prod"], "core")
        self.ids = {f"P {number}": self._account(f"P {number}", "prod") for number in range(21)}
        self.ids |= {"core": self._account("core", "core"), "lab": self._account("lab", "lab")}
        self.ids["old"] = self._account("old", "lab")
        self._client.close_account(AccountId=self.ids["old"])

    def settings(self, folder: Path, **organizations: Any) -> Settings:
        """The settings that ask this organization."""
        asked = {"role_name": "provisioner", "regions": ["us-east-1"], "endpoint_url": self.url, **organizations}
        return Settings.from_tables({"run": {"ledger": str(folder / "l.db")}, "fleet": {"organizations": asked}})

    def tag(self, account: str, **tags: str) -> None:
        """Set tags of an account; an empty value removes one."""
        account_id = self.ids[account]
        kept = [{"Key": key, "Value": value} for key, value in tags.items() if value]
        if kept:
            self._client.tag_resource(ResourceId=account_id, Tags=kept)
        self._client.untag_resource(ResourceId=account_id, TagKeys=[key for key, value in tags.items() if not value])

    def _unit(self, parent: str, name: str) -> str:
        made = self._client.create_organizational_unit(ParentId=parent, Name=name)
        return str(made["OrganizationalUnit"]["Id"])

    def _account(self, name: str, unit: str) -> str:
        made = self._client.create_account(AccountName=name, Email=f"{name.replace(' ', '.')}@example.com")
        account_id = str(made["CreateAccountStatus"]["AccountId"])
        self._client.move_account(AccountId=account_id, SourceParentId=self.root, DestinationParentId=self.units[unit])
        return account_id


@pytest.fixture(scope="module")
def tree() -> Iterator[Tree]:
    """An organization that all tests here read."""
    with moto_server() as url, pytest.MonkeyPatch.context() as patch:
        for name, value in credentials(DEFAULT_ACCOUNT).environment().items():
            patch.setenv(name, value)
        yield Tree(url)


async def targets(settings: Settings) -> list[str]:
    """The targets that Organizations names."""
    return [*(await with_organization(settings)).settings.targets]


async def test_the_accounts_of_a_unit_and_of_all_units_below_are_targets(tree: Tree, tmp_path: Path) -> None:
    """Each active account is a target in each Region, with the role in it, by name; pages are read to the end."""
    settings = tree.settings(tmp_path, units=[tree.units["prod"]], regions=["us-east-1", "eu-west-1"])

    asked = await with_organization(settings)

    made = asked.settings.targets
    assert len(made) == 2 * 22
    assert [*made][:3] == ["P-0-us-east-1", "P-0-eu-west-1", "P-1-us-east-1"]
    core = made["core-eu-west-1"]
    assert (core.account_id, core.region) == (tree.ids["core"], "eu-west-1")
    assert core.assume_role_arn == f"arn:aws:iam::{tree.ids['core']}:role/provisioner"
    assert core.origin == f"AWS Organizations ({tree.ids['core']})"


async def test_accounts_are_included_and_excluded(tree: Tree, tmp_path: Path) -> None:
    """`include` adds accounts outside the units, `exclude` takes accounts and whole units away; both by id."""
    one = tree.settings(tmp_path, include=[tree.ids["core"], tree.ids["lab"]], exclude=[tree.ids["core"]])
    rest = tree.settings(tmp_path, units=[tree.root], exclude=[tree.units["prod"], DEFAULT_ACCOUNT])

    assert await targets(one) == ["lab-us-east-1"]
    assert [name for name in await targets(rest) if name != "master-us-east-1"] == ["lab-us-east-1"]


async def test_accounts_that_are_not_active_are_skipped_with_a_notice(tree: Tree, tmp_path: Path) -> None:
    """A suspended or closed account is no target, and the log says which."""
    asked = await with_organization(tree.settings(tmp_path, units=[tree.units["lab"]]))
    with logged() as events:
        asked.log("r")

    assert [*asked.settings.targets] == ["lab-us-east-1"]
    assert [(one["event"], one.get("accounts")) for one in events] == [
        ("organization.asked", 1),
        ("accounts.skipped", [f"old ({tree.ids['old']}, suspended)"]),
    ]
    assert asked.check is not None
    assert asked.check.message == "1 account; 1 account not active, so left out"


def run_of(asked: Asked, manifest: Path, url: str, *patterns: str) -> Run:
    """A run of ``manifest`` in these targets, at the embedded endpoint."""
    settings = asked.settings.with_endpoint(url, sts_endpoint_url=url)
    return Run(
        Order(
            sources=(str(manifest),),
            settings=settings,
            targets=settings.select(patterns),
            patterns=patterns,
            policy=policy_of(settings),
            listing=asked.fresh,
        )
    )


async def test_an_outage_of_organizations_stops_no_run(
    tree: Tree, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The ledger keeps the answer of a run for those that get none, and for commands that call nothing."""
    monkeypatch.setattr("provisioner.aws.organizations.ATTEMPTS", 1)
    for name, value in credentials(DEFAULT_ACCOUNT).environment().items():
        monkeypatch.setenv(name, value)
    settings = tree.settings(tmp_path, units=[tree.units["lab"]])
    manifest = tmp_path / "m.jsonl"
    manifest.write_bytes(manifest_of("a"))
    down = tree.settings(tmp_path, units=[tree.units["lab"]], endpoint_url="http://127.0.0.1:9")
    with pytest.raises(organizations.OutOfReachError) as caught:
        await with_organization(down)
    with running(Behaviour()) as emulator:
        summary = await apply(run_of(await with_organization(settings), manifest, emulator.url))
        assert (summary.exit_code, [*summary.targets]) == (0, ["lab-us-east-1"])

        asked = await with_organization(down)
        with logged() as events:
            asked.log("r")
        again = await apply(run_of(asked, manifest, emulator.url))

    assert caught.value.reason is Reason.UNFINISHED
    assert (again.exit_code, again.outcomes["unchanged"]) == (0, 1)
    assert [one["event"] for one in events] == ["organization.unreachable", "accounts.skipped"]
    assert asked.fresh is None
    assert asked.check is not None
    assert "a run would go on with its last answer: 1 account; 1 account not active" in asked.check.message
    assert [*(await with_known(down)).targets] == ["lab-us-east-1"]
    other = tree.settings(tmp_path, units=[tree.root], endpoint_url="http://127.0.0.1:9")
    with pytest.raises(organizations.OutOfReachError):  # the answer is to another question
        await with_organization(other)
    with pytest.raises(ProvisionerError, match="AWS Organizations has not been asked for the targets yet"):
        (await with_known(other)).select(())


async def test_a_plan_says_which_targets_have_come_and_gone(
    tree: Tree, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A target that the organization has no longer is information: nothing there is deleted, whatever is pruned."""
    for name, value in credentials(DEFAULT_ACCOUNT).environment().items():
        monkeypatch.setenv(name, value)
    manifest = tmp_path / "m.jsonl"
    manifest.write_bytes(manifest_of("a"))
    before = tree.settings(tmp_path, units=[tree.units["lab"]])
    after = msgspec.structs.replace(
        tree.settings(tmp_path, include=[tree.ids["core"]]),
        lifecycle=msgspec.structs.replace(before.lifecycle, prune=True),
    )
    with running(Behaviour()) as emulator:
        await apply(run_of(await with_organization(before), manifest, emulator.url))
        run = run_of(await with_organization(after), manifest, emulator.url)
        command = PlanCommand(run, offline=False)
        summary = await command.plan()

    assert command.made is not None
    assert (command.made.new, command.made.gone, command.made.deletes) == (["core-us-east-1"], {"lab-us-east-1": 1}, 0)
    lines = plan_text(command.made, summary, everything=False).splitlines()
    assert "new       1 target (core-us-east-1): no run with this ledger has been there yet" in lines
    assert (
        "gone      1 target (lab-us-east-1), with 1 entry: not in the configuration; nothing there is changed" in lines
    )


async def test_the_tags_of_accounts_are_those_of_their_targets(tree: Tree, tmp_path: Path) -> None:
    """With `tags = true` they select targets, and those named like a variable fill templates; else none is read."""
    tree.tag("lab", env="dev", cost_center="4711", region="no variable", **{"a b": "no variable either"})
    wanted: dict[str, Any] = {"units": [tree.units["lab"], tree.units["core"]]}

    asked = await with_organization(tree.settings(tmp_path, **wanted, tags=True))
    without = await with_organization(tree.settings(tmp_path, **wanted))

    lab = asked.settings.targets["lab-us-east-1"]
    assert lab.tags == {"env": "dev", "cost_center": "4711", "region": "no variable", "a b": "no variable either"}
    assert lab.vars == {"env": "dev", "cost_center": "4711"}
    assert [one.name for one in asked.settings.select(["!tag:env=dev"])] == ["core-us-east-1"]
    with pytest.raises(ProvisionerError, match=r"set some in .*, or `tags = true` in .fleet.organizations."):
        without.settings.select(["tag:env=dev"])
    assert asked.listing is not None
    assert without.listing is not None
    assert asked.listing.answers(without.listing.asked)
    assert not without.listing.answers(asked.listing.asked)


async def test_a_tag_that_changes_moves_an_account_and_deletes_nothing(
    tree: Tree, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A plan says which targets have joined and left. What an account loses with a tag is not pruned by the next run.

    After that it is pruned as if the line had left the manifest, but only in a run that selects the target.
    """
    for name, value in credentials(DEFAULT_ACCOUNT).environment().items():
        monkeypatch.setenv(name, value)
    tree.tag("core", stage="prod")
    tree.tag("lab", stage="test")
    manifest = tmp_path / "m.jsonl"
    line = msgspec.json.decode(manifest_of("a"))
    manifest.write_bytes(manifest_of("b") + msgspec.json.encode({**line, "targets": ["tag:stage=prod"]}))
    settings = tree.settings(tmp_path, units=[tree.units["core"], tree.units["lab"]], tags=True)
    settings = settings.override("lifecycle", prune=True)
    with running(Behaviour()) as emulator:

        async def applied(*patterns: str) -> tuple[int, dict[str, int], int]:
            run = run_of(await with_organization(settings), manifest, emulator.url, *patterns)
            run.order = msgspec.structs.replace(run.order, yes=True)
            summary = await apply(run)
            return (
                summary.exit_code,
                {name: one.outcomes["created"] for name, one in summary.targets.items()},
                (summary.pruned),
            )

        assert await applied() == (0, {"core-us-east-1": 2, "lab-us-east-1": 1}, 0)
        tree.tag("core", stage="test")
        tree.tag("lab", stage="prod")
        command = PlanCommand(
            run_of(await with_organization(settings), manifest, emulator.url, "tag:stage=prod"), offline=True
        )
        summary = await command.plan()
        moved = await applied("tag:stage=prod")
        refused = await applied()
        pruned = await applied()

    assert command.made is not None
    assert (command.made.joined, command.made.left) == (["lab-us-east-1"], ["core-us-east-1"])
    lines = plan_text(command.made, summary, everything=False).splitlines()
    assert "joined    1 target (lab-us-east-1): newly selected, because account tags have changed" in lines
    why = "no longer selected, because account tags have changed; nothing there is changed"
    assert f"left      1 target (core-us-east-1): {why}" in lines
    assert moved == (0, {"lab-us-east-1": 1}, 0)
    assert refused == (3, {"core-us-east-1": 0, "lab-us-east-1": 0}, 0)
    assert pruned == (0, {"core-us-east-1": 0, "lab-us-east-1": 0}, 1)


ACCOUNTS = {
    "Accounts": [{"Id": f"{number:012d}", "Name": f"a{number}", "Status": "ACTIVE"} for number in range(6)]
    + [{"Id": "9" * 12, "Name": "old", "Status": "SUSPENDED"}]
}
TAGS = {"Tags": [{"Key": "env", "Value": "prod"}]}
BUSY, GONE = Refusal(400, "TooManyRequestsException"), Refusal(400, "TargetNotFoundException")


async def tagged(folder: Path, services: Services) -> list[str]:
    """The targets with `env=prod` of an organization of seven accounts."""
    services.answers |= {
        "ListAccountsForParent": ACCOUNTS,
        "ListOrganizationalUnitsForParent": {"OrganizationalUnits": []},
    }
    async with Server(services) as server:
        asked = {"units": ["r-ab12"], "role_name": "r", "regions": ["us-east-1"], "tags": True}
        tables = {"fleet": {"organizations": {**asked, "endpoint_url": server.url}}}
        settings = (
            await with_organization(Settings.from_tables({"run": {"ledger": str(folder / "l.db")}, **tables}))
        ).settings
    return [target.name for target in settings.select(["tag:env=prod"])]


async def test_throttled_tags_are_asked_for_again(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Each active account is asked once; throttling is waited out, and an account that has just left is left out."""
    monkeypatch.setattr("provisioner.aws.organizations.ATTEMPTS", 1)
    services = Services(ListTagsForResource=[TAGS, BUSY, GONE, TAGS])

    assert len(await tagged(tmp_path, services)) == 5
    assert services.asked.count("ListTagsForResource") == 6 + 1


@pytest.mark.parametrize(
    ("answer", "reason", "message"),
    [
        (DENIED_JSON, Reason.DENIED, "The caller needs organizations:ListTagsForResource for `tags = true`"),
        (BUSY, Reason.UNFINISHED, "AWS Organizations is out of reach: ListTagsForResource"),
    ],
)
async def test_a_part_of_the_tags_is_no_answer(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, answer: Refusal, reason: Reason, message: str
) -> None:
    """Accounts without their tags would be selected wrongly, so one that cannot be read ends the question."""
    monkeypatch.setattr("provisioner.aws.organizations.ATTEMPTS", 1)
    monkeypatch.setattr("provisioner.aws.organizations.THROTTLED_ATTEMPTS", 1)
    with pytest.raises(ProvisionerError) as caught:
        await tagged(tmp_path, Services(ListTagsForResource=[TAGS, TAGS, answer]))

    assert caught.value.reason is reason
    assert message in str(caught.value)


@pytest.mark.parametrize(
    ("answer", "reason", "message"),
    [
        (DENIED_JSON, Reason.DENIED, f"The caller needs {', '.join(OF_ORGANIZATIONS)}, in the management account"),
        (Refusal(400, "ParentNotFoundException"), Reason.CONFIGURATION, "ou-ab12-11112222: AWS Organizations does not"),
        (
            Refusal(400, "AWSOrganizationsNotInUseException"),
            Reason.CONFIGURATION,
            "AWS Organizations refuses the request",
        ),
        (
            Refusal(503, "ServiceUnavailable"),
            Reason.UNFINISHED,
            "AWS Organizations is out of reach: ListAccountsForPar",
        ),
        (Refusal(400, "TooManyRequestsException"), Reason.UNFINISHED, "AWS Organizations is out of reach"),
    ],
)
async def test_what_a_refusal_means(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, answer: Refusal, reason: Reason, message: str
) -> None:
    """A missing permission (77) and a wrong id (78) are told apart from what passes (75)."""
    monkeypatch.setattr("provisioner.aws.organizations.ATTEMPTS", 1)
    monkeypatch.setattr("provisioner.aws.organizations.THROTTLED_ATTEMPTS", 1)
    asked = {"units": ["ou-ab12-11112222"], "role_name": "r", "regions": ["us-east-1"]}
    async with Server(Services(ListAccountsForParent=answer)) as server:
        tables = {"fleet": {"organizations": {**asked, "endpoint_url": server.url}}}
        settings = Settings.from_tables({"run": {"ledger": str(tmp_path / "l.db")}, **tables})
        with pytest.raises(ProvisionerError) as caught:
            await with_organization(settings)

    assert caught.value.reason is reason
    assert message in str(caught.value)
