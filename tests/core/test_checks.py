"""What each answer means for a run: the checks of ``doctor``, by table."""

from __future__ import annotations

import math
from typing import Any

import pytest

from provisioner.core import checks
from provisioner.core.checks import NAMES, Check, Demand, Status
from provisioner.core.verdict import Loss, Reply
from provisioner.errors import ConfigurationError, Reason

ACCOUNT = "123456789012"
ROLE = f"arn:aws:iam::{ACCOUNT}:role/cleanrooms-ml-access"
OTHER = f"arn:aws:iam::{ACCOUNT}:role/access"
KEY = f"arn:aws:kms:us-east-1:{ACCOUNT}:key/k"
URI = f"{ACCOUNT}.dkr.ecr.us-east-1.amazonaws.com/train:1"
DENIED = Reply(status=403, code="AccessDeniedException", message="no")
DENIED_JSON = Reply(status=400, code="AccessDeniedException", message="no")
BAD_KEYS = Reply(status=403, code="InvalidClientTokenId", message="no")
NO_HOST = Reply(loss=Loss.NO_SUCH_HOST, message="no such host")
REFUSED = Reply(loss=Loss.REFUSED, message="refused")
GATEWAY = Reply(status=404)
THROTTLED = Reply(status=429, code="ThrottlingException")
SERVICE = {"Service": "cleanrooms-ml.amazonaws.com"}
ALLOWED = dict.fromkeys(("ecr:BatchGetImage", "ecr:GetDownloadUrlForLayer"), "allowed")


def ending(check: Check) -> tuple[Status, Reason | None]:
    """How a check ended."""
    return check.status, check.reason


@pytest.mark.parametrize(
    ("holder", "free_bytes", "ended"),
    [
        ("", None, (Status.OK, None)),
        ("", 1 << 30, (Status.OK, None)),
        ("", 20 << 20, (Status.WARN, None)),
        ("", 100_000, (Status.FAIL, Reason.LEDGER)),
        ("process 7 on host", 1 << 30, (Status.FAIL, Reason.LOCKED)),
        ("process 7 on host", 0, (Status.FAIL, Reason.LOCKED)),
    ],
)
def test_a_ledger_needs_room_and_no_other_run(
    holder: str, free_bytes: int | None, ended: tuple[Status, Reason]
) -> None:
    """A full disk ends a run with 74, another run with 6; little room is a warning."""
    check = checks.ledger("l.db", "3 entries", holder=holder, free_bytes=free_bytes, storage="ext4")

    assert ending(check) == ended
    assert holder in check.message


def test_a_job_that_is_under_way_is_joined_by_the_same_apply() -> None:
    """So what a run would end with is not known: a warning says what which run does."""
    check = checks.ledger("postgresql://l", "3 entries", holder="process 7", job="auto-1", free_bytes=None, storage="")

    assert ending(check) == (Status.WARN, None)
    assert check.hint.startswith("`apply` with the same manifest and options joins it; others end with 6")


@pytest.mark.parametrize(
    ("temporary", "left_s", "status", "words"),
    [
        (False, math.inf, Status.OK, "do not expire"),
        (True, math.inf, Status.OK, "expiry unknown"),
        (True, 3600.0, Status.OK, "expire in 60 min"),
        (True, 120.0, Status.WARN, "expire in 2 min"),
    ],
)
def test_credentials_that_end_soon_are_a_warning(left_s: float, status: Status, words: str, *, temporary: bool) -> None:
    """What the SDK renews in time is fine; what may end in the middle of a run is worth a look."""
    check = checks.credentials("env", temporary=temporary, left_s=left_s)

    assert ending(check) == (status, None)
    assert words in check.message


@pytest.mark.parametrize(
    ("configured", "ended"),
    [
        ("", (Status.OK, None)),
        (ACCOUNT, (Status.OK, None)),
        ("111122223333", (Status.FAIL, Reason.DENIED)),
    ],
)
def test_the_account_is_the_configured_one(configured: str, ended: tuple[Status, Reason]) -> None:
    """Credentials of another account end a run with 77."""
    assert ending(checks.account(ACCOUNT, "arn", configured)) == ended


@pytest.mark.parametrize(
    ("reply", "guarded", "ended"),
    [
        (BAD_KEYS, True, (Status.FAIL, Reason.DENIED)),
        (BAD_KEYS, False, (Status.FAIL, Reason.DENIED)),
        (REFUSED, True, (Status.FAIL, Reason.UNFINISHED)),
        (REFUSED, False, (Status.WARN, None)),
        (DENIED, True, (Status.FAIL, Reason.DENIED)),
    ],
)
def test_an_unknown_account_stops_only_a_run_that_asks(
    reply: Reply, ended: tuple[Status, Reason], *, guarded: bool
) -> None:
    """Refused credentials stop every run, an STS out of reach only one that compares the account."""
    assert ending(checks.no_account(reply, guarded=guarded)) == ended


@pytest.mark.parametrize(
    ("notices", "reply", "ended"),
    [
        ((), None, (Status.OK, None)),
        ((), REFUSED, (Status.OK, None)),
        (("not known",), None, (Status.WARN, None)),
        (("not known",), NO_HOST, (Status.FAIL, Reason.CONFIGURATION)),
        ((), NO_HOST, (Status.FAIL, Reason.CONFIGURATION)),
    ],
)
def test_a_region_without_a_host_is_wrong(
    notices: tuple[str, ...], reply: Reply | None, ended: tuple[Status, Reason]
) -> None:
    """An unknown Region is a warning, because the list may grow; one whose host does not exist ends a run with 78."""
    assert ending(checks.region("xx-east-1", notices, reply)) == ended


@pytest.mark.parametrize(
    ("ahead_s", "status", "words"),
    [
        (None, Status.SKIPPED, "no reply"),
        (0.4, Status.OK, "agrees"),
        (30.0, Status.OK, "30 s ahead of"),
        (-30.0, Status.OK, "30 s behind"),
        (400.0, Status.WARN, "400 s ahead of"),
        (-86400.0, Status.WARN, "86400 s behind"),
    ],
)
def test_a_wrong_clock_is_a_warning(ahead_s: float | None, status: Status, words: str) -> None:
    """A run follows the server's clock after its first refusal, so a wrong clock of this machine ends none."""
    check = checks.clock(ahead_s)

    assert ending(check) == (status, None)
    assert words in check.message


@pytest.mark.parametrize(
    ("reply", "ended"),
    [
        (DENIED, (Status.FAIL, Reason.DENIED)),
        (BAD_KEYS, (Status.FAIL, Reason.DENIED)),
        (NO_HOST, (Status.FAIL, Reason.CONFIGURATION)),
        (GATEWAY, (Status.FAIL, Reason.CONFIGURATION)),
        (REFUSED, (Status.FAIL, Reason.UNFINISHED)),
        (Reply(status=500, code="InternalFailure"), (Status.FAIL, Reason.UNFINISHED)),
        (THROTTLED, (Status.WARN, None)),
    ],
)
def test_a_list_that_fails_ends_a_run_in_the_same_way(reply: Reply, ended: tuple[Status, Reason]) -> None:
    """Denied is 77, a wrong host 78, an outage 75; a throttled List is only repeated."""
    assert ending(checks.no_listing(reply)) == ended


@pytest.mark.parametrize(
    ("reply", "words", "hint"),
    [
        (DENIED_JSON, "so verify and rebuild call Get for each", "Allow tag:GetResources"),
        (REFUSED, "so verify and rebuild call Get for each", "endpoint of the resource groups tagging API"),
        (BAD_KEYS, "so verify and rebuild call Get for each", "Renew the credentials"),
        (THROTTLED, "ThrottlingException", "waits for its turn"),
    ],
)
def test_no_run_needs_tagging(reply: Reply, words: str, hint: str) -> None:
    """Whatever keeps GetResources from answering is a warning, with what it costs and what to do."""
    check = checks.no_tagging(reply)

    assert ending(check) == (Status.WARN, None)
    assert words in check.message
    assert str(reply) in check.message
    assert hint in check.hint


@pytest.mark.parametrize(
    ("value", "held", "wanted", "ended"),
    [
        (1000.0, 0, None, (Status.OK, None)),
        (1000.0, 1000, None, (Status.WARN, None)),
        (1000.0, 1000, 0, (Status.OK, None)),
        (1000.0, 990, 10, (Status.OK, None)),
        (1000.0, 990, 11, (Status.FAIL, Reason.QUOTA)),
        (1000.0, 1200, 1, (Status.FAIL, Reason.QUOTA)),
    ],
)
def test_the_quota_must_hold_what_is_to_be_created(
    value: float, held: int, wanted: int | None, ended: tuple[Status, Reason]
) -> None:
    """What is there and what is to be created must fit; a full quota matters only where something is to be created."""
    assert ending(checks.quota(value, Demand(held, wanted), region="us-east-1", profile="")) == ended


def test_too_small_a_quota_comes_with_the_command_that_raises_it() -> None:
    """The command can be typed as it is: service, quota, Region, profile, and a value with some room."""
    check = checks.quota(1000.0, Demand(990, 36), region="eu-west-1", profile="prod")

    assert check.message == "990 of 1000 algorithms exist, room for 10, 36 to create"
    assert check.hint == (
        "aws service-quotas request-service-quota-increase --service-code cleanrooms-ml --quota-code L-CDB92F4A"
        " --desired-value 1100 --region eu-west-1 --profile prod"
    )


def trust(*statements: dict[str, Any]) -> dict[str, Any]:
    """A trust policy."""
    return {"Version": "2012-10-17", "Statement": list(statements)}


def statement(principal: Any = SERVICE, action: Any = "sts:AssumeRole", **more: Any) -> dict[str, Any]:
    """A statement that allows the service to assume the role."""
    return {"Effect": "Allow", "Principal": principal, "Action": action, **more}


CONDITION = {"Condition": {"StringEquals": {"aws:SourceAccount": ACCOUNT}}}


@pytest.mark.parametrize(
    ("policy", "trusted"),
    [
        (trust(statement()), True),
        ({"Statement": statement()}, True),
        (trust(statement({"Service": ["ec2.amazonaws.com", "cleanrooms-ml.amazonaws.com"]})), True),
        (trust(statement(action=["sts:TagSession", "sts:AssumeRole"])), True),
        (trust(statement(action="sts:*")), True),
        (trust(statement("*")), True),
        (trust(statement(**CONDITION)), True),
        (trust(statement({"AWS": "*"}), statement()), True),
        (trust(statement({"Service": "cleanrooms.amazonaws.com"})), False),
        (trust(statement({"AWS": f"arn:aws:iam::{ACCOUNT}:root"})), False),
        (trust(statement(action="sts:TagSession")), False),
        (trust(statement(), statement(Effect="Deny")), False),
        (trust(statement(), statement(Effect="Deny", **CONDITION)), True),
        (trust(), False),
        ({}, False),
        ({"Statement": ["nonsense"]}, False),
    ],
)
def test_a_trust_policy_allows_the_service(policy: dict[str, Any], *, trusted: bool) -> None:
    """The service itself must be allowed to assume the role; what depends on a condition is taken to hold."""
    assert checks.trusts_service(policy) is trusted


@pytest.mark.parametrize(
    ("arn", "policy", "passing", "pulling", "ended", "words"),
    [
        (ROLE, trust(statement()), "allowed", ALLOWED, (Status.OK, None), "may be passed, may pull"),
        (ROLE, trust(statement()), "", ALLOWED, (Status.OK, None), "trusts the service, may pull"),
        (ROLE, trust(statement()), "allowed", {}, (Status.OK, None), "may be passed"),
        (OTHER, trust(statement()), "allowed", ALLOWED, (Status.OK, None), "may be passed"),
        (OTHER, trust(statement()), "", ALLOWED, (Status.WARN, None), "passes only roles named cleanrooms-ml*"),
        (ROLE, trust(), "allowed", ALLOWED, (Status.FAIL, Reason.FAILED), "does not trust"),
        (ROLE, trust(statement()), "implicitDeny", ALLOWED, (Status.FAIL, Reason.DENIED), "may not pass"),
        (
            ROLE,
            trust(statement()),
            "allowed",
            ALLOWED | {"ecr:BatchGetImage": "explicitDeny"},
            (Status.FAIL, Reason.FAILED),
            "deny ecr:BatchGetImage",
        ),
        (
            ROLE,
            trust(statement()),
            "allowed",
            ALLOWED | {"ecr:BatchGetImage": "implicitDeny"},
            (Status.WARN, None),
            "do not allow ecr:BatchGetImage",
        ),
        (ROLE, trust(statement()), "allowed", dict.fromkeys(ALLOWED, ""), (Status.OK, None), "may be passed"),
    ],
)
def test_a_role_is_trusted_passed_and_pulls(
    arn: str,
    policy: dict[str, Any],
    passing: str,
    pulling: dict[str, str],
    ended: tuple[Status, Reason],
    words: str,
) -> None:
    """What stops a run fails; what another policy may allow is a warning; what is not known is named in the hint."""
    check = checks.role(arn, policy, passing, pulling)

    assert ending(check) == ended
    assert words in check.message
    assert ("iam:SimulatePrincipalPolicy" in check.hint) is (not passing or "" in pulling.values())


@pytest.mark.parametrize(
    ("check", "permission"),
    [
        (checks.no_role(ROLE, DENIED), "iam:GetRole"),
        (checks.no_image(URI, DENIED_JSON), "ecr:DescribeImages"),
        (checks.no_key(KEY, DENIED_JSON), "kms:DescribeKey"),
        (checks.no_quota(DENIED_JSON), "servicequotas:GetServiceQuota"),
    ],
)
def test_a_missing_permission_skips_a_check(check: Check, permission: str) -> None:
    """Without the permission to look, nothing is said of what was to be looked at, and the permission is named."""
    assert ending(check) == (Status.SKIPPED, None)
    assert f"{permission} is missing" in check.message


def test_a_role_that_cannot_be_read_is_still_told_what_the_managed_policy_passes() -> None:
    """The name alone says something of iam:PassRole."""
    assert "passes only roles named cleanrooms-ml*" in checks.no_role(OTHER, DENIED).message
    assert "passes only" not in checks.no_role(ROLE, DENIED).message


@pytest.mark.parametrize(
    "check",
    [
        checks.no_role(ROLE, Reply(status=404, code="NoSuchEntity")),
        checks.role_elsewhere(ROLE, OTHER),
        checks.no_image(URI, Reply(status=400, code="RepositoryNotFoundException")),
        checks.no_image(URI, Reply(status=400, code="ImageNotFoundException")),
        checks.no_key(KEY, Reply(status=400, code="NotFoundException")),
        checks.key_elsewhere(KEY, "eu-west-1"),
        checks.key(KEY, "PendingDeletion"),
    ],
)
def test_what_definitions_name_must_be_there(check: Check) -> None:
    """A role, image or key that is not there, or can't be used, fails its definitions for good."""
    assert ending(check) == (Status.FAIL, Reason.FAILED)
    assert check.hint


@pytest.mark.parametrize("reply", [REFUSED, Reply(status=500, code="ServerException"), THROTTLED])
def test_a_service_that_does_not_answer_is_a_warning(reply: Reply) -> None:
    """A run does not need IAM, ECR, KMS or Service Quotas, so their failures end none."""
    found = [
        checks.no_role(ROLE, reply),
        checks.no_image(URI, reply),
        checks.no_key(KEY, reply),
        checks.no_quota(reply),
    ]

    assert {ending(check) for check in found} == {(Status.WARN, None)}


def test_an_error_becomes_a_failed_check() -> None:
    """What, where and why are the message, the next step is the hint, and the reason stays."""
    check = checks.failed("ledger", ConfigurationError("it is wrong", where="f", why="because", hint="do this"))

    assert (check.message, check.hint, check.reason) == ("f: it is wrong: because", "do this", Reason.CONFIGURATION)


def test_every_check_has_a_name_that_can_be_skipped() -> None:
    """No name occurs twice, and a foreign role is one of them."""
    assert len(set(NAMES)) == len(NAMES)
    assert checks.foreign_role(ROLE, "111122223333").name in NAMES


@pytest.mark.parametrize(
    ("valid", "invalid", "message"),
    [(1, 0, "1 definition"), (2, 1, "2 definitions, 1 invalid line"), (0, 3, "0 definitions, 3 invalid lines")],
)
def test_the_lines_of_a_manifest_are_counted(valid: int, invalid: int, message: str) -> None:
    """One is one definition, or one invalid line."""
    assert checks.manifest(valid, invalid).message == message
