"""``plan --preflight`` over HTTP: a stub of the services that it asks."""

from __future__ import annotations

import json
from functools import partial
from typing import TYPE_CHECKING, Any

import pytest

from provisioner.commands.plan import PlanCommand
from provisioner.commands.preflight import look_first
from provisioner.commands.run import Order, Run, policy_of
from provisioner.config.settings import Settings
from provisioner.core.permissions import NEEDS, PREFLIGHT
from tests.aws.conftest import _aws_environment, _shared_models, service_models
from tests.aws.server import Server
from tests.aws.services import DENIED, DENIED_JSON, ROLE, Refusal, Services, quota

if TYPE_CHECKING:
    from pathlib import Path

__all__ = ["_aws_environment", "_shared_models", "service_models"]

LINES = [
    {
        "name": name,
        "roleArn": ROLE,
        "kmsKeyArn": "arn:aws:kms:us-east-1:123456789012:key/k",
        "trainingContainerConfig": {"imageUri": "123456789012.dkr.ecr.us-east-1.amazonaws.com/train:1"},
    }
    for name in ("a", "b")
]


async def planned(folder: Path, services: Services) -> PlanCommand:
    """A plan of two definitions in an empty account."""
    (folder / "m.jsonl").write_text("".join(json.dumps(line) + "\n" for line in LINES))
    async with Server(services) as server:
        target = {"region": "us-east-1", "endpoint_url": server.url, "sts_endpoint_url": server.url}
        settings = Settings.from_tables({"run": {"ledger": str(folder / "l.db")}, "targets": {"t": target}})
        order = Order(
            sources=(str(folder / "m.jsonl"),),
            settings=settings,
            targets=settings.select(()),
            policy=policy_of(settings),
        )
        run = Run(order)
        command = PlanCommand(run, offline=False, preflight=partial(look_first, run, services_url=server.url))
        await command.plan()
    return command


ALL_DENIED = dict.fromkeys(("GetRole", "SimulatePrincipalPolicy"), DENIED) | dict.fromkeys(
    ("GetServiceQuota", "DescribeImages", "DescribeKey"), DENIED_JSON
)


@pytest.mark.parametrize(
    ("answers", "statuses", "over", "code"),
    [
        ({}, ["ok", "ok", "ok", "ok"], 0, 0),
        ({"GetServiceQuota": quota(1.0)}, ["ok", "ok", "ok", "ok"], 1, 4),
        (ALL_DENIED, ["skipped", "skipped", "skipped", "skipped"], 0, 0),
        ({"DescribeImages": Refusal(400, "ImageNotFoundException")}, ["ok", "ok", "fail", "ok"], 0, 3),
    ],
)
async def test_what_the_definitions_need_is_looked_at_first(
    tmp_path: Path, answers: dict[str, Any], statuses: list[str], over: int, code: int
) -> None:
    """Quota, role, image, key; the plan is made whatever is found, and a missing permission to look is no failure."""
    services = Services(**answers)

    command = await planned(tmp_path, services)

    assert [check.name for check in command.checks] == ["quota", "role", "image", "key"]
    assert [str(check.status) for check in command.checks] == statuses
    assert command.made is not None
    assert (command.made.counts["create"], command.made.counts["over_quota"]) == (2, over)
    assert command.made.exit_code == code
    assert {action.partition(":")[2] for action in NEEDS["plan"][PREFLIGHT]} >= set(services.asked) - {
        "GetCallerIdentity",
        "ListConfiguredModelAlgorithms",
    }
