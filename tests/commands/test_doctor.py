"""``doctor`` over HTTP: moto's services, and a stub of those where each answer is set."""

from __future__ import annotations

import json
from typing import TYPE_CHECKING, Any

import boto3
import pytest

from provisioner.commands.doctor import Visit, doctor
from provisioner.commands.needs import MOST
from provisioner.config.settings import Settings
from provisioner.core.checks import NAMES, Check
from provisioner.core.permissions import MANIFEST, NEEDS
from provisioner.errors import ManifestError, Reason
from tests.aws.conftest import _aws_environment, _shared_models, service_models
from tests.aws.server import Server
from tests.aws.services import (
    ACCOUNT,
    DENIED,
    DENIED_JSON,
    LIST,
    ROLE,
    TRUST,
    Refusal,
    Services,
    caller,
    decided,
    page,
    quota,
    role,
)
from tests.moto import moto_server

if TYPE_CHECKING:
    from pathlib import Path

__all__ = ["_aws_environment", "_shared_models", "service_models"]

ENDPOINTS = ("endpoint_url", "sts_endpoint_url", "tagging_endpoint_url")
URI = f"{ACCOUNT}.dkr.ecr.us-east-1.amazonaws.com/train:1"
KEY = f"arn:aws:kms:us-east-1:{ACCOUNT}:key/k"
CONTAINER = {"trainingContainerConfig": {"imageUri": URI}}


def line(name: str = "a", **more: Any) -> str:
    """A line of a manifest."""
    return json.dumps({"name": name, "roleArn": ROLE, **CONTAINER, "kmsKeyArn": KEY, **more}) + "\n"


def written(folder: Path, *lines: str) -> tuple[str, ...]:
    """A manifest of ``lines``."""
    path = folder / "m.jsonl"
    path.write_text("".join(lines))
    return (str(path),)


def files(folder: Path) -> list[str]:
    """The names in a folder."""
    return sorted(path.name for path in folder.iterdir())


async def visited(folder: Path, url: str, *lines: str, **more: Any) -> list[Check]:
    """All checks of a target whose services are at ``url``; ``more`` are its fields, ``skip`` the checks left out."""
    skip = frozenset(more.pop("skip", ()))
    target = {"region": "us-east-1"} | dict.fromkeys(ENDPOINTS, url) | more
    tables = {"run": {"ledger": str(folder / "l.db")}, "targets": {"t": target}}
    settings = Settings.from_tables(tables)
    visit = Visit(
        sources=written(folder, *lines) if lines else (),
        settings=settings,
        config="",
        targets=settings.select(()),
        skip=skip,
        services_url=url,
    )
    return await doctor(visit)


def statuses(found: list[Check]) -> dict[str, str]:
    """Status by name; of several checks of one name, the last."""
    return {check.name: str(check.status) for check in found}


def only(found: list[Check], name: str) -> Check:
    """The one check of a name."""
    [check] = [check for check in found if check.name == name]
    return check


async def test_everything_that_a_run_needs_is_there(tmp_path: Path) -> None:
    """Each check of a healthy target passes, in the order of the report, and nothing is written."""
    async with Server(Services()) as server:
        found = await visited(tmp_path, server.url, line(), account_id=ACCOUNT)

    assert [check.name for check in found] == [name for name in NAMES if name != "organizations"]
    assert set(statuses(found).values()) == {"ok"}
    assert {check.target for check in found[2:]} == {"t"}
    assert files(tmp_path) == ["m.jsonl"]


async def test_its_policy_allows_what_it_asks(tmp_path: Path) -> None:
    """What doctor calls, with and without a manifest, is what ``iam-policy`` has for it."""
    needs = {option: {action.partition(":")[2] for action in actions} for option, actions in NEEDS["doctor"].items()}
    services = Services(GetServiceQuota=Refusal(400, "NoSuchResourceException"), GetAWSDefaultServiceQuota=quota(9.0))
    async with Server(services) as server:
        await visited(tmp_path, server.url)
        bare = set(services.asked) - {"GetCallerIdentity"}
        await visited(tmp_path, server.url, line())
        whole = set(services.asked) - {"GetCallerIdentity"}

    assert (bare, whole) == (needs[""], needs[""] | needs[MANIFEST])


async def test_motos_services_pass(tmp_path: Path) -> None:
    """The same against moto's IAM, ECR, KMS and STS, as far as it has what is asked: no simulation and no quota."""
    with moto_server() as url:
        clients = {
            name: boto3.client(name, region_name="us-east-1", endpoint_url=url) for name in ("iam", "ecr", "kms")
        }
        clients["iam"].create_role(RoleName="cleanrooms-ml-access", AssumeRolePolicyDocument=json.dumps(TRUST))
        clients["ecr"].create_repository(repositoryName="train")
        image = {"imageTag": "1", "imageManifest": "{}", "imageManifestMediaType": "m"}
        clients["ecr"].put_image(repositoryName="train", **image)
        key = clients["kms"].create_key()["KeyMetadata"]["Arn"]
        found = await visited(tmp_path, url, line(kmsKeyArn=key))

    left = {name: status for name, status in statuses(found).items() if status != "ok"}
    assert left == {"quota": "warn"}
    assert "Allow iam:SimulatePrincipalPolicy to have iam:PassRole" in only(found, "role").hint


async def test_without_a_manifest_what_definitions_need_is_skipped(tmp_path: Path) -> None:
    """The rest is checked all the same, the quota against what exists."""
    async with Server(Services(**{LIST: page("a", "b")}, GetServiceQuota=quota(2.0))) as server:
        found = await visited(tmp_path, server.url)

    skipped = {check.name for check in found if check.message == "no manifest was given"}
    assert skipped == {"manifest", "role", "image", "key"}
    assert (only(found, "quota").status, only(found, "quota").reason) == ("warn", None)


async def test_the_quota_is_held_against_all_pages_and_what_is_new(tmp_path: Path) -> None:
    """Names that the account has already need no room; too little for the others is exit 4, with the command."""
    lists = [page("a", "b", next_token="2"), page("c")]
    services = Services(**{LIST: lists}, GetServiceQuota=quota(4.0))
    async with Server(services) as server:
        found = await visited(tmp_path, server.url, line("c"), line("d"), line("e"), profile="")

    check = only(found, "quota")
    assert (check.reason, check.message) == (Reason.QUOTA, "3 of 4 algorithms exist, room for 1, 2 to create")
    assert check.hint.startswith("aws service-quotas request-service-quota-increase ")
    assert services.asked.count(LIST) == 2


@pytest.mark.parametrize(
    ("operation", "refusal", "name", "status"),
    [
        ("GetRole", DENIED, "role", "skipped"),
        ("DescribeImages", DENIED_JSON, "image", "skipped"),
        ("DescribeKey", DENIED_JSON, "key", "skipped"),
        ("GetServiceQuota", DENIED_JSON, "quota", "skipped"),
        ("SimulatePrincipalPolicy", DENIED, "role", "ok"),
        ("GetResources", DENIED_JSON, "tagging", "warn"),
        (LIST, Refusal(403, "AccessDeniedException"), "list", "fail"),
    ],
)
async def test_a_missing_permission_to_look_is_never_fatal(
    tmp_path: Path, operation: str, refusal: Refusal, name: str, status: str
) -> None:
    """Only a denied List, which a run needs, fails; every other denial leaves all other checks as they were."""
    async with Server(Services(**{operation: refusal})) as server:
        found = await visited(tmp_path, server.url, line())

    changed = {check: each for check, each in statuses(found).items() if each != "ok"}
    assert statuses(found)[name] == status
    assert set(changed) <= {name, "quota"}
    assert {check.reason for check in found} == ({None, Reason.DENIED} if status == "fail" else {None})


@pytest.mark.parametrize(
    ("answers", "name", "reason"),
    [
        ({"GetCallerIdentity": caller(account="111122223333")}, "account", Reason.DENIED),
        ({"GetCallerIdentity": Refusal(403, "InvalidClientTokenId")}, "account", Reason.DENIED),
        ({"GetRole": Refusal(404, "NoSuchEntity")}, "role", Reason.FAILED),
        ({"GetRole": role(trust={"Statement": []})}, "role", Reason.FAILED),
        ({"GetRole": role(ROLE.replace("role/", "role/path/"))}, "role", Reason.FAILED),
        ({"SimulatePrincipalPolicy": decided("explicitDeny")}, "role", Reason.DENIED),
        ({"DescribeImages": Refusal(400, "ImageNotFoundException")}, "image", Reason.FAILED),
        ({"DescribeKey": {"KeyMetadata": {"KeyId": "k", "KeyState": "Disabled"}}}, "key", Reason.FAILED),
    ],
)
async def test_what_would_end_a_run_fails(tmp_path: Path, answers: dict[str, Any], name: str, reason: Reason) -> None:
    """Each answer that a run would not survive fails the check of its name with the run's reason."""
    async with Server(Services(**answers)) as server:
        found = await visited(tmp_path, server.url, line(), account_id=ACCOUNT)

    assert only(found, name).reason is reason


async def test_the_caller_is_simulated_by_the_role_of_its_session(tmp_path: Path) -> None:
    """A session's ARN lacks the path of its role, so IAM is asked for it; the account's root needs no simulation."""
    session = f"arn:aws:sts::{ACCOUNT}:assumed-role/admin/me"
    admin = f"arn:aws:iam::{ACCOUNT}:role/path/admin"
    services = Services(GetCallerIdentity=caller(session), GetRole=[role(), role(admin)])
    async with Server(services) as server:
        found = await visited(tmp_path, server.url, line())
    root = Services(GetCallerIdentity=caller(f"arn:aws:iam::{ACCOUNT}:root"))
    async with Server(root) as server:
        await visited(tmp_path, server.url, line())

    assert "may be passed" in only(found, "role").message
    assert any(
        "PolicySourceArn=arn%3Aaws%3Aiam%3A%3A123456789012%3Arole%2Fpath%2Fadmin" in sent for sent in services.sent
    )
    assert root.asked.count("SimulatePrincipalPolicy") == 1


async def test_the_tagging_api_is_called_where_a_run_calls_it(tmp_path: Path) -> None:
    """One page shows whether it answers; beside an endpoint of one's own it must be configured, too."""
    services = Services(GetResources={"ResourceTagMappingList": [], "PaginationToken": "2"})
    async with Server(services) as server:
        found = await visited(tmp_path, server.url)
        without = await visited(tmp_path, server.url, tagging_endpoint_url="")

    assert (only(found, "tagging").status, services.asked.count("GetResources")) == ("ok", 1)
    assert only(without, "tagging").status == "skipped"
    assert "no tagging_endpoint_url" in only(without, "tagging").message


async def test_a_role_of_another_account_is_never_asked_for(tmp_path: Path) -> None:
    """A role cannot be passed across accounts, whatever another account's IAM would say."""
    services = Services()
    async with Server(services) as server:
        found = await visited(tmp_path, server.url, line(roleArn="arn:aws:iam::111122223333:role/access"))

    assert only(found, "role").reason is Reason.DENIED
    assert "GetRole" not in services.asked


async def test_a_key_of_another_region_is_never_asked_for(tmp_path: Path) -> None:
    """A key's ARN says where it is, and one of another Region cannot be used."""
    services = Services()
    async with Server(services) as server:
        found = await visited(tmp_path, server.url, line(kmsKeyArn=KEY.replace("us-east-1", "eu-west-1")))

    assert only(found, "key").reason is Reason.FAILED
    assert "DescribeKey" not in services.asked


async def test_each_distinct_thing_is_looked_at_once_and_no_more_than_some(tmp_path: Path) -> None:
    """Many definitions that name the same take one call each; of very many distinct ones, the first are looked at."""
    services = Services()
    async with Server(services) as server:
        await visited(tmp_path, server.url, *(line(f"n{number}") for number in range(100)))
        once = services.asked.count("DescribeImages")
        many = [line(f"n{n}", trainingContainerConfig={"imageUri": f"{URI}{n}"}) for n in range(100)]
        found = await visited(tmp_path, server.url, *many)

    assert once == 1
    assert services.asked.count("DescribeImages") == 1 + MOST
    assert only([one for one in found if one.status == "skipped"], "image").message.startswith(
        f"there are more than {MOST}"
    )


async def test_skipped_checks_make_no_call(tmp_path: Path) -> None:
    """What is skipped does not appear, and the calls that only it needs are not made."""
    services = Services()
    skip = ("account", "tagging", "role", "quota", "image", "key", "ledger")
    async with Server(services) as server:
        found = await visited(tmp_path, server.url, line(), skip=skip)

    assert {check.name for check in found} == set(NAMES) - {*skip, "organizations"}
    assert services.asked == [LIST]


async def test_without_credentials_the_rest_is_skipped(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """No credentials end a run with 77; what needs them is skipped and not called."""
    monkeypatch.delenv("AWS_ACCESS_KEY_ID")
    services = Services()
    async with Server(services) as server:
        found = await visited(tmp_path, server.url, line())

    assert only(found, "credentials").reason is Reason.DENIED
    assert {check.message for check in found if check.status == "skipped"} == {"it needs what failed above"}
    assert services.asked == []


@pytest.mark.parametrize("skip", [(), ("credentials", "configuration")])
async def test_what_keeps_the_rest_from_being_checked_is_never_left_out(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, skip: tuple[str, ...]
) -> None:
    """A target without a Region, and a key with a line break, fail with 78 even if their checks are skipped."""
    async with Server(Services()) as server:
        no_region = await visited(tmp_path, server.url, region="", skip=skip)
        monkeypatch.setenv("AWS_ACCESS_KEY_ID", "AKID\n")
        bad_key = await visited(tmp_path, server.url, skip=skip)

    assert [check.name for check in no_region if check.reason is Reason.CONFIGURATION] == ["configuration"]
    assert [check.name for check in bad_key if check.reason is Reason.CONFIGURATION] == ["credentials"]


async def test_invalid_lines_are_a_failed_check(tmp_path: Path) -> None:
    """Invalid lines end a run with 65, and a manifest that does not exist is wrong usage."""
    async with Server(Services()) as server:
        found = await visited(tmp_path, server.url, line(), "{}\n")
        (tmp_path / "m.jsonl").unlink()
        with pytest.raises(ManifestError):
            await doctor(
                Visit(
                    sources=(str(tmp_path / "m.jsonl"),),
                    settings=Settings(),
                    config="",
                    targets=Settings().select(()),
                )
            )

    assert only(found, "manifest").reason is Reason.INVALID


async def test_two_targets_in_one_place_are_refused_as_a_run_would(tmp_path: Path) -> None:
    """The second target in an account and Region fails, and the first is fine."""
    async with Server(Services()) as server:
        target = {"region": "us-east-1", "endpoint_url": server.url, "sts_endpoint_url": server.url}
        tables = {"run": {"ledger": str(tmp_path / "l.db")}, "targets": {"a": {**target}, "b": {**target}}}
        settings = Settings.from_tables(tables)
        found = await doctor(Visit(sources=(), settings=settings, config="", targets=settings.select(())))

    reasons = {check.reason for check in found if check.name == "place"}
    assert reasons == {None, Reason.CONFIGURATION}
